"""The walk over a graph: every node once, in order; what it does to channels, whether a site is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir

from nla.activations import Activation
from nla.graph import attention, drafts, query
from nla.graph.activations import Pattern, recognise
from nla.graph.bending import composed, marked
from nla.graph.channels import Channels, Fact, Lost
from nla.graph.drafts import Draft, What
from nla.graph.flow import Flow
from nla.graph.gated import GatedProduct, gated_products
from nla.graph.judging import trouble
from nla.graph.producers import after_bias, covers, observable, produce, read
from nla.graph.recurrent import Recurrent, recurrent
from nla.graph.sources import AttentionSource, SiteSource
from nla.graph.steps import RULES
from nla.graph.steps.positions import mixed_positions
from nla.graph.weighted import Weighted, weighted
from nla.site import NotUnderstood

_IDENTITY = Activation.named("Identity")


class Walk:
    """The state of a walk: facts, the sites found so far, and what was not understood."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.nodes = query.in_order(graph)
        self.flow = Flow(graph, self.nodes)
        self.drafts: list[Draft] = []
        self.not_understood: list[NotUnderstood] = []
        self.layers: dict[ir.Node, Weighted] = {}
        """The weighted nodes, recurrent ones left out."""
        self.made: dict[ir.Node, int] = {}
        """The source of each weighted node's own output channels."""
        self.cells: dict[ir.Node, Recurrent] = {}
        self.attention: set[ir.Node] = set()
        """The nodes that weigh values with softmaxed scores."""
        self._patterns = recognise(self.nodes, self.flow.constants)
        self._gated = gated_products(self.nodes, self._patterns, self.flow.constants)
        for product in self._gated.values():
            self._patterns.pop(product.gate, None)
        self._activated = {pattern.z for pattern in self._patterns.values()}
        self._projections: set[ir.Value] = set()
        """Outputs of output projections, biases added."""
        self._projected: set[int] = set()
        """Attention sources whose heads a projection reads."""
        self._told: set[ir.Node] = set()
        """Nonlinear steps that are listed."""
        self._places = {node: at for at, node in enumerate(self.nodes)}

    def visit(self, node: ir.Node) -> None:
        """Learn the facts of the node's outputs, and the site that one of them may be."""
        outputs = [value for value in node.outputs if value.name]
        self.flow.shapes.visit(node)
        if all(value in self.flow.constants for value in outputs):
            return
        if query.is_control_flow(node):
            self._control_flow(node)
            return
        for value, fact in zip(node.outputs, marked(self.flow, node, self._facts(node)), strict=False):
            self.flow.set(value, fact)
        attention.track(self.flow, node)
        for value in outputs:
            self._look(node, value)

    def finish(self) -> None:
        """Register what is known only at the end: outputs, attention without an output projection."""
        for value in self.graph.outputs:
            self.flow.sources.leak(self.flow.fact(value), f"the graph output '{query.name(value)}'")
        for at, entry in enumerate(self.flow.sources.entries):
            if isinstance(entry, AttentionSource) and at not in self._projected:
                reason = (
                    "Attention whose weighted values reach no output projection that tells its heads apart."
                )
                node = entry.value.producer()
                if node is not None:
                    self._reject(entry.value, node, reason)

    def place(self, value: ir.Value) -> int:
        """Place in graph order of the node that makes the value."""
        node = value.producer()
        return -1 if node is None else self._places.get(node, -1)

    # --- facts

    def _facts(self, node: ir.Node) -> Sequence[Fact]:
        flow = self.flow
        found = attention.weighed(flow, node) or attention.fused(flow, node)
        if found is not None:
            self.attention.add(node)
            if isinstance(found, Lost):
                self._reject(node.outputs[0], node, f"Attention, but its values come from {found.reason}.")
            return [found, *[flow.lose(node, "whose caches are not followed")] * (len(node.outputs) - 1)]
        layer = weighted(node, flow.constants)
        if isinstance(layer, Weighted):
            self.layers[node] = layer
            return [self._weighted(layer)]
        units = recurrent(node, flow.constants)
        if isinstance(units, Recurrent):
            self.cells[node] = units
            return self._recurrent(units)
        facts = [flow.fact(value) for value in query.operands(node)]
        if isinstance(layer, str):
            through = mixed_positions(flow, node)
            return [Lost(layer, noisy=flow.lose(node, "", *facts).noisy) if through is None else through]
        if isinstance(units, str):
            self._reject(node.outputs[0], node, f"A recurrent layer, but {units}.")
        rule = RULES.get(query.kind(node))
        if rule is not None:
            made = list(rule(flow, node))
            return made + [flow.lose(node, "of which this is a further output")] * (
                len(node.outputs) - len(made)
            )
        return self._unknown(node, facts)

    def _unknown(self, node: ir.Node, facts: Sequence[Fact]) -> Sequence[Fact]:
        """An operator without a rule; one of another domain is listed where it reads or makes channels."""
        foreign = node.domain not in query.STANDARD or not onnx.defs.has(node.op_type)
        why = "an operator that nla does not know" if foreign else "after which channels are not followed"
        weighs = any(len(self.flow.constants.shape(value) or ()) > 1 for value in query.operands(node))
        beside = any(isinstance(fact, Channels) for fact in facts) or any(
            pattern.z in node.outputs for pattern in self._patterns.values()
        )
        if foreign and (beside or weighs):
            place = "stands between layers" if beside else "may be a layer: it has constants of several axes"
            named = node.domain not in query.STANDARD
            whose = (
                f"of domain '{node.domain}' that nla does not know" if named else "that ONNX does not have"
            )
            reason = f"An operator {whose} {place}."
            self._reject(node.outputs[0], node, reason)
        lost = self.flow.lose(node, why, *facts)
        if weighs:  # what follows comes from here, not from what this reads
            lost = replace(lost, reason=f"{query.kind(node)} '{query.node_name(node)}', {why}")
        return [lost] * len(node.outputs)

    def _control_flow(self, node: ir.Node) -> None:
        inside = sorted({query.kind(inner) for inner in query.inner_nodes(node)})
        shown = ", ".join(inside[:6]) + (", …" if len(inside) > 6 else "")
        self._reject(node.outputs[0], node, f"Its bodies are left alone; in them: {shown or 'nothing'}.")
        facts = [self.flow.fact(value) for value in query.captured(node)]
        lost = self.flow.lose(node, "whose bodies are left alone", *facts)
        reason = f"{node.op_type} '{query.node_name(node)}', whose bodies are left alone"
        for value in node.outputs:
            self.flow.set(value, Lost(reason, noisy=lost.noisy))

    def _weighted(self, layer: Weighted) -> Fact:
        self._bent(layer.data)
        projects = self._heads(layer)
        fact, self.made[layer.node] = produce(self.flow, layer)
        made = after_bias(layer.node.outputs[0], self.flow.constants)
        if projects and made not in self._activated:  # else the activation is the site
            self._projections.add(made)
        return fact

    def _recurrent(self, units: Recurrent) -> Sequence[Fact]:
        states = units.states(0)
        data = self.flow.fact(units.weighted.data)
        noisy = isinstance(data, Channels | Lost) and data.noisy
        if not states or noisy:
            return [self.flow.lose(units.node, "which has no output of hidden units", data)] * len(
                units.node.outputs
            )
        value, fact = states[0]
        what = What(drafts.RECURRENT, units.activation)
        source = self._draft(value, what, fact, units.neurons)
        self.drafts[-1] = replace(self.drafts[-1], recurrent=units.weighted)
        self._bent(units.weighted.data)
        read(self.flow, units.weighted, source)
        for other in query.operands(units.node)[1:]:  # states from outside and lengths
            self.flow.sources.leak(self.flow.fact(other), f"the states of '{query.node_name(units.node)}'")
        facts: list[Fact] = [Lost(f"the cell state of '{query.node_name(units.node)}'")] * len(
            units.node.outputs
        )
        for state, placed in units.states(source):
            facts[units.node.outputs.index(state)] = placed
        return facts

    def _bent(self, value: ir.Value) -> None:
        """List a nonlinear step on the way into a layer, once."""
        fact = self.flow.channels(value)
        if fact is None or fact.bent is None or fact.mixed or fact.bent in self._told:
            return
        self._told.add(fact.bent)
        reason = "It is not linear and stands between layers, but is no activation that nla knows."
        self._reject(fact.bent.outputs[0], fact.bent, reason)

    def _heads(self, layer: Weighted) -> bool:
        """Make a site of the heads that a weighted node reads; True where it is an output projection."""
        fact = self.flow.channels(layer.data)
        if (
            fact is None
            or fact.axes != layer.in_axes
            or fact.index.shape != layer.in_shape
            or fact.single is None
        ):
            return False
        entry = self.flow.sources.entries[fact.single]
        if isinstance(entry, SiteSource):
            site = self.drafts[entry.site]
            return site.what.found == drafts.HEAD and site.value is observable(layer.data)
        count = attention.heads(self.flow, fact)
        if not isinstance(entry, AttentionSource) or count is None:
            return False
        self._projected.add(fact.single)
        if isinstance(count, str):
            self._reject(layer.data, layer.node, f"Attention, but {count}.")
            return False
        head = What(drafts.HEAD, _IDENTITY)
        source = self._draft(observable(layer.data), head, fact, count, entry.size)
        number = (np.arange(fact.size) // entry.size).astype(np.int32).reshape(fact.index.shape)
        self.flow.set(layer.data, replace(fact, index=number, source=source, extra=0))
        return True

    # --- sites

    def _look(self, node: ir.Node, value: ir.Value) -> None:
        """Make a site of the value if an activation, a gated product or an output projection ends there."""
        product, pattern = self._gated.get(value), self._patterns.get(value)
        fact = self.flow.fact(value)
        if product is not None:
            self._gated_product(node, product, fact)
        elif pattern is not None:
            self._activation(node, pattern, fact)
        elif value in self._projections and isinstance(fact, Channels) and not fact.noisy:
            self._relabel(value, What(drafts.PROJECTED, _IDENTITY), fact)
        elif query.text(node, "activation") and isinstance(weighted(node, self.flow.constants), Weighted):
            self._fused(node, value, fact)

    def _activation(self, node: ir.Node, pattern: Pattern, fact: Fact) -> None:
        fact = fact if isinstance(fact, Channels) else self.flow.fact(pattern.z)
        reason = f"An activation, but {pattern.trouble}." if pattern.trouble else trouble(self.flow, fact)
        if pattern.activation is None or reason or not isinstance(fact, Channels):
            if not pattern.tentative or (pattern.trouble and isinstance(fact, Channels)):
                self._reject(pattern.output, node, reason)
        elif why := composed(self.flow, pattern, fact):
            self._reject(pattern.output, node, why)
            self._told.add(node)
            self.flow.set(pattern.output, replace(fact, bent=node))
        elif not pattern.tentative or self._from_layer(fact):
            pre = None if pattern.hidden else pattern.z
            self._relabel(
                pattern.output, What(drafts.ACTIVATED, pattern.activation, pre), fact, pattern.tensor
            )

    def _gated_product(self, node: ir.Node, product: GatedProduct, fact: Fact) -> None:
        reason = trouble(self.flow, fact)
        if reason or not isinstance(fact, Channels):
            self._reject(product.output, node, reason)
        else:
            what = What(drafts.GATED, product.activation, product.pre, product.gate, product.up)
            self._relabel(product.output, what, fact)

    def _fused(self, node: ir.Node, value: ir.Value, fact: Fact) -> None:
        layer = weighted(node, self.flow.constants)
        reason = trouble(self.flow, fact)
        if not isinstance(layer, Weighted) or layer.activation is None:
            reason = (
                f"The operator applies '{query.text(node, 'activation')}' itself, which nla does not know."
            )
        if reason:
            self._reject(value, node, reason)
        elif isinstance(layer, Weighted) and layer.activation is not None and isinstance(fact, Channels):
            self._relabel(value, What(drafts.ACTIVATED, layer.activation), fact)

    def _from_layer(self, fact: Channels) -> bool:
        """True where a weighted node feeds the channels with no other site between."""
        entries = self.flow.sources.entries
        origins = self.flow.sources.origins(fact)
        return origins is not None and any(not isinstance(entries[s], SiteSource) for s, _, _ in origins)

    def _relabel(self, value: ir.Value, what: What, fact: Channels, tensor: ir.Value | None = None) -> None:
        """Make a site of the value (observed at `tensor`): its channels are now the site's neurons."""
        source = self._draft(tensor or value, what, fact, fact.size)
        for part in fact.sources():
            if covers(self.flow, fact, part):
                self.flow.sources.couple(source, part)
        index = np.arange(fact.size, dtype=np.int32).reshape(fact.index.shape)
        self.flow.set(value, Channels(fact.axes, index, source, fact.rank))

    def _draft(self, value: ir.Value, what: What, fact: Channels, neurons: int, unit_size: int = 1) -> int:
        activated = what.found in (drafts.ACTIVATED, drafts.GATED)
        source = self.flow.sources.add(SiteSource(len(self.drafts), neurons, activated))
        self.drafts.append(Draft(value, what, fact, source, self.place(value), neurons, unit_size))
        return source

    def _reject(self, value: ir.Value, node: ir.Node, reason: str) -> None:
        self.not_understood.append(NotUnderstood(query.name(value), query.kind(node), reason))
