"""A prepared graph as a network of operators with sound rules, for a batch of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nla.activations import Activation
from nla.certificates import envelopes
from nla.certificates.network import Network, Target
from nla.certificates.ops.elementwise import Activate
from nla.certificates.ops.linear import Scale
from nla.certificates.rounding import BRAIN, HALF, SINGLE, Floats
from nla.certificates.sets import anywhere
from nla.graph import drafts, query
from nla.graph.activations import Pattern, recognise
from nla.graph.drafts import Draft
from nla.graph.walk import Walk
from nla.lowering import forms
from nla.lowering.folded import Folded
from nla.lowering.rules import RULES
from nla.lowering.rules.base import Lowered, Shape, Unsound, sample
from nla.lowering.written_out import WrittenOut, written_out
from nla.site import Site

_NOT_PLAIN = frozenset(("QuantizeLinear", "DequantizeLinear", "Transpose"))
"""Within a form: what rounds, and what lays the output out otherwise than z."""


def lower(graph: ir.Graph, walk: Walk, sites: Sequence[Site]) -> Network:
    """The network of a graph whose shapes were inferred for a batch of one, and the sites that can be asked about.

    Args:
        graph: inputs of fixed sizes, shapes inferred.
        walk: the finished walk over it.
        sites: assembled from the walk.
    """
    return _Lowering(graph, walk).network(sites)


class _Lowering:
    def __init__(self, graph: ir.Graph, walk: Walk) -> None:
        self._graph, self._walk = graph, walk
        self._constants = Folded(graph, walk.flow, walk.nodes)
        self._lowered = Lowered(self._constants, opset=walk.flow.opset, unit=_unit(graph))
        self._why: dict[str, str] = {}
        """By tensor, the first operator without a rule that it depends on."""
        patterns = recognise(walk.nodes, walk.flow.constants)
        self._patterns = {query.name(pattern.output): pattern for pattern in patterns.values()}
        ranks = {
            query.name(v): len(d) for n in walk.nodes for v in n.outputs if (d := self._sizes(v)) is not None
        }
        ranks.update({query.name(v): len(d) for v in graph.inputs if (d := self._sizes(v)) is not None})
        self._norms = written_out(walk.nodes, walk.flow.constants, ranks)

    def network(self, sites: Sequence[Site]) -> Network:
        inputs = {}
        for value in self._graph.inputs:
            full = self._sizes(value)
            if full is not None and value not in self._constants:
                self._lowered.full[query.name(value)] = full
                inputs[query.name(value)] = sample(full)
        for node in self._walk.nodes:
            if any(value.name and value not in self._constants for value in node.outputs):
                self._node(node)
        found: dict[str, Draft] = {}
        for draft in self._walk.drafts:
            found.setdefault(query.name(draft.value), draft)
        targets, reasons = [], {}
        for site in sites:
            try:
                targets.append(self._target(site, found[site.name]))
            except Unsound as reason:
                reasons[site.name] = str(reason)
        return Network(
            ops=tuple(self._lowered.ops),
            inputs=inputs,
            targets=tuple(targets),
            given=self._lowered.given,
            reasons=reasons,
            unit=self._lowered.unit,
        )

    def _sizes(self, value: ir.Value) -> Shape | None:
        """The full shape for a batch of one; None where a size is not known."""
        dims = self._walk.flow.shapes.dims(value)
        if dims is None or not all(isinstance(size, int) and size > 0 for size in dims):
            return None
        return tuple(size for size in dims if isinstance(size, int))

    def _node(self, node: ir.Node) -> None:
        output = node.outputs[0]
        name, full = query.name(output), self._sizes(output)
        pattern, norm = self._patterns.get(name), self._norms.get(name)
        read = self._walk_inputs(node) if pattern is None else [query.name(pattern.z)]
        entered = len(self._lowered.ops)
        try:
            if full is None:
                raise Unsound("whose size is not known")
            if norm is not None:
                self._norm(norm, name, full)
                return
            if pattern is not None and self._activate(pattern, name, full):
                if not _bounded(pattern.activation):
                    self._inherit(node, read)
                return
            rule = RULES.get(query.kind(node))
            if rule is None:
                raise Unsound("which has no sound rule here")
            rule(node, self._lowered, full)
            if name not in self._lowered.given and name not in self._lowered.anew:
                self._inherit(node, read)
        except Unsound as reason:
            self._give_up(node, f"{query.kind(node)} '{query.node_name(node)}', {reason}", read, entered)
        except ValueError:  # numpy's: shapes that the rule did not expect
            self._give_up(
                node, f"{query.kind(node)} '{query.node_name(node)}', whose shapes do not fit", read, entered
            )

    def _walk_inputs(self, node: ir.Node) -> list[str]:
        return [query.name(value) for value in query.operands(node) if value not in self._constants]

    def _inherit(self, node: ir.Node, read: Sequence[str]) -> None:
        """What is not known of an input is not known of the outputs either."""
        why = next((self._why[name] for name in read if name in self._why), None)
        if why is not None:
            self._why.update({query.name(value): why for value in node.outputs if value.name})

    def _give_up(self, node: ir.Node, reason: str, read: Sequence[str], entered: int) -> None:
        del self._lowered.ops[entered:]
        before = next((self._why[name] for name in read if name in self._why), reason)
        for value in node.outputs:
            name, full = query.name(value), self._sizes(value)
            if name and full is not None:
                self._lowered.full[name] = full
                self._lowered.given[name] = anywhere(sample(full))
            self._why[name] = before

    def _norm(self, norm: WrittenOut, name: str, full: Shape) -> None:
        """Enter the set that the form's output lies in; moved there where other axes than the last are normalised."""
        if -norm.axes[0] > len(sample(full)):
            raise Unsound("along the axis of the samples")
        scale = np.ones(()) if norm.scale is None else self._lowered.constant(norm.scale)
        shift = np.zeros(()) if norm.shift is None else self._lowered.constant(norm.shift)
        if scale is None or shift is None:
            raise Unsound("with a scale or a shift that varies")
        count = len(norm.axes)
        inner = tuple(full[axis] for axis in norm.axes)
        if not norm.whole:
            scale = scale / np.sqrt(np.prod(inner))
        late = norm.shift is not None  # the mean is subtracted after x was scaled: its rounding counts more
        ball, given = self._lowered.ball, self._lowered.given
        if norm.axes == tuple(range(-count, 0)):
            ends = _along(scale, inner), _along(shift, inner)
            given[name] = ball(sample(full), count, *ends, norm.centred, late)
            self._lowered.full[name] = full
            return
        kept = [axis for axis in range(-len(full), 0) if axis not in norm.axes]
        turned = tuple(full[axis] for axis in (*kept, *norm.axes))
        unit, moved = f"{name}\0unit", f"{name}\0normalised"
        given[unit] = ball(sample(turned), count, np.ones(inner), np.zeros(inner), norm.centred, late)
        self._lowered.full[unit] = turned
        back = np.argsort([axis + len(full) for axis in (*kept, *norm.axes)])
        self._lowered.gather(unit, moved, self._lowered.places(unit).transpose(*back))
        along = (part.reshape(part.shape[1:]) if part.ndim == len(full) else part for part in (scale, shift))
        self._lowered.add(Scale((moved,), name, *along), full)

    def _activate(self, pattern: Pattern, name: str, full: Shape) -> bool:
        """Enter the activation; False where it is not one that has an envelope, so that its operators are tried."""
        activation = pattern.activation
        if activation is None or pattern.trouble or pattern.hidden or pattern.tensor is not None:
            return False
        if not envelopes.known(activation) or any(query.kind(node) in _NOT_PLAIN for node in pattern.nodes):
            return False
        z = query.name(pattern.z)
        if self._lowered.full.get(z) != full:
            return False
        loose = False
        if len(pattern.nodes) > 1:
            far = forms.distance(pattern, self._constants, self._lowered.opset)
            if far is None or not forms.is_close(far):
                return False
            loose = not forms.is_same(far)
        self._lowered.add(Activate((z,), name, activation, loose=loose), full)
        return True

    def _target(self, site: Site, draft: Draft) -> Target:
        pre = draft.what.pre
        if draft.what.found != drafts.ACTIVATED or pre is None or site.unit_size != 1:
            raise Unsound(
                "no activation of one z: a gate, a head, a recurrent unit, or z inside a fused operator"
            )
        threshold = silent_below(site.activation)
        if threshold is None:
            raise Unsound(f"{site.activation.name} never rests at zero")
        name = query.name(pre)
        if name not in self._lowered.full or name in self._why:
            raise Unsound(self._why.get(name, f"the size of '{name}' is not known"))
        pattern = self._patterns.get(query.name(draft.value))
        if pattern is not None and any(query.kind(node) == "Transpose" for node in pattern.nodes):
            raise Unsound(f"'{name}' is laid out otherwise than what the activation makes of it")
        shape = sample(self._lowered.full[name])
        axis = len(shape) + site.channel_axes[-1]
        if len(site.channel_axes) != 1 or not 0 <= axis < len(shape) or shape[axis] != site.neurons:
            raise Unsound(f"its neurons do not lie on one axis of '{name}'")
        return Target(site.name, name, site.activation, axis, site.neurons, threshold)


def _unit(graph: ir.Graph) -> float:
    """Roundoff of the coarsest arithmetic that a weight is stored in."""
    units = {ir.DataType.FLOAT16: HALF, ir.DataType.BFLOAT16: BRAIN}
    kinds = (value.dtype for value in graph.initializers.values())
    return max((units.get(kind, SINGLE) for kind in kinds if kind is not None), default=SINGLE)


def _along(constant: Floats | float, inner: Shape) -> Floats:
    """A constant broadcast to the axes that are normalised; ValueError where it varies over others."""
    array = np.asarray(constant, np.float64)
    while array.ndim > len(inner) and array.shape[0] == 1:
        array = array[0]
    return np.array(np.broadcast_to(array, inner))


def _bounded(activation: Activation | None) -> bool:
    """Whether the range of φ is finite, so that what comes after it is known whatever came before."""
    return activation is not None and bool(
        np.isfinite(envelopes.span(activation, anywhere((1,))).largest).all()
    )


def silent_below(activation: Activation) -> float | None:
    """The z at and below which a unit is silent: φ is zero there, or on its plateau at zero; None: nowhere.

    >>> silent_below(Activation.named("Relu")), silent_below(Activation.named("Tanh"))
    (0.0, None)
    """
    parameters = dict(activation.parameters)
    if activation.reaches_zero:
        if activation.name == "ThresholdedRelu":
            return parameters["alpha"]
        if activation.name == "HardSwish":
            return -3.0
        if activation.name == "HardSigmoid":
            return -parameters["beta"] / parameters["alpha"] if parameters["alpha"] > 0 else None
        return 0.0 if float(activation.value(0.0)) == 0 and float(activation.value(-1.0)) == 0 else None
    return activation.zero_plateau_below
