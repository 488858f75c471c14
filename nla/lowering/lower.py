"""A prepared graph as a network of operators with sound rules, for a batch of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from nla.activations import Activation
from nla.certificates import envelopes
from nla.certificates.network import Network, Target
from nla.certificates.ops.elementwise import Activate
from nla.certificates.ops.linear import Scale
from nla.certificates.rounding import BRAIN, HALF, SINGLE, Floats
from nla.certificates.sets import Normalised, anywhere, moments_overshoot
from nla.certificates.thresholds import silent_below
from nla.graph import drafts, query
from nla.graph.activations import Pattern, clips, recognise, single
from nla.graph.drafts import Draft
from nla.graph.walk import Walk
from nla.lowering import forms
from nla.lowering.folded import Folded
from nla.lowering.numbers import behind_unfit_weights
from nla.lowering.rules import RULES, deciding, moving
from nla.lowering.rules.base import Lowered, Shape, Unsound, sample
from nla.lowering.written_out import WrittenOut, written_out
from nla.site import Site

_NOT_PLAIN = frozenset(("QuantizeLinear", "DequantizeLinear", "Transpose"))
"""Within a form: what rounds, and what lays the output out otherwise than z."""


_CHOOSING = frozenset(
    (
        *(moving.RULES.keys() - {"Resize", "Upsample"}),
        *deciding.RULES,
        "Cast",
        "Concat",
        "Relu",
        "Clip",
        "Max",
        "Min",
        "ReduceMax",
        "ReduceMin",
        "MaxPool",
    )
)
"""Operators that compute nothing: in integers they are what they are in real numbers."""


def lower(
    graph: ir.Graph, walk: Walk, sites: Sequence[Site], *, beyond: bool = False, alone: bool = False
) -> Network:
    """The network of a graph whose shapes were inferred for a batch of one, and the sites that can be asked about.

    Args:
        graph: inputs of fixed sizes, shapes inferred.
        walk: the finished walk over it.
        sites: assembled from the walk.
        beyond: whether a site behind an operator without a sound rule may be asked about, where that operator does not
            make z itself: nothing is known of what the operator makes.
        alone: whether the model takes one sample a run.
    """
    return _Lowering(graph, walk, beyond, alone).network(sites)


class _Lowering:
    def __init__(self, graph: ir.Graph, walk: Walk, beyond: bool, alone: bool) -> None:
        self._graph, self._walk, self._beyond = graph, walk, beyond
        self._constants = Folded(graph, walk.flow, walk.nodes)
        self._lowered = Lowered(
            self._constants, opset=walk.flow.opset, alone=alone, unit=_unit(graph, self._constants)
        )
        self._why: dict[str, str] = {}
        """By tensor, the first operator without a rule that it depends on."""
        patterns = recognise(walk.nodes, walk.flow.constants)
        self._patterns = {query.name(pattern.output): pattern for pattern in patterns.values()}
        for node in walk.nodes:  # of a constant that is lowered like data: a network at a reference point
            if query.name(node.outputs[0]) not in self._patterns and node.outputs[0] in walk.flow.constants:
                for pattern in (
                    *single.recognise(node, walk.flow.constants),
                    *clips.recognise(node, walk.flow.constants),
                ):
                    self._patterns[query.name(pattern.output)] = pattern
        values = [*graph.inputs, *(value for node in walk.nodes for value in node.outputs)]
        shapes = {query.name(v): sizes for v in values if (sizes := self._sizes(v)) is not None}
        self._norms = written_out(walk.nodes, walk.flow.constants, shapes)
        self._unfit = behind_unfit_weights(walk.nodes, self._constants)

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
        output = next(value for value in node.outputs if value.name)
        name, full = query.name(output), self._sizes(output)
        pattern, norm = self._patterns.get(name), self._norms.get(name)
        read = self._walk_inputs(node) if pattern is None else [query.name(pattern.z)]
        read = [] if norm is not None else read  # its set does not depend on them
        entered = len(self._lowered.ops)
        try:
            if full is None:
                raise Unsound("whose size is not known")
            if query.kind(node) not in _CHOOSING and not _covered(output.dtype, self._lowered.unit):
                raise Unsound(
                    f"computed in {str(output.dtype).lower()}, whose arithmetic has no sound rule here"
                )
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
        for op in self._lowered.ops[entered:]:
            self._lowered.full.pop(op.output, None)
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
        if -norm.axes[0] > len(sample(full)) or (-norm.axes[0] == len(full) and not self._lowered.alone):
            raise Unsound("along the axis of the samples")  # which may be one with that of the positions
        scale = np.ones(()) if norm.scale is None else self._lowered.constant(norm.scale)
        shift = np.zeros(()) if norm.shift is None else self._lowered.constant(norm.shift)
        if scale is None or shift is None:
            raise Unsound("with a scale or a shift that varies")
        count = len(norm.axes)
        inner = tuple(full[axis] for axis in norm.axes)
        if not norm.whole:
            scale = scale / np.sqrt(np.prod(inner))
        if norm.axes == tuple(range(-count, 0)):
            ends = _along(scale, inner), _along(shift, inner)
            self._lowered.given[name] = self._ball(norm, sample(full), count, *ends)
            self._lowered.full[name] = full
            return
        kept = [axis for axis in range(-len(full), 0) if axis not in norm.axes]
        turned = tuple(full[axis] for axis in (*kept, *norm.axes))
        unit, moved = f"{name}\0unit", f"{name}\0normalised"
        ends = np.ones(inner), np.zeros(inner)
        self._lowered.given[unit] = self._ball(norm, sample(turned), count, *ends)
        self._lowered.full[unit] = turned
        back = np.argsort([axis + len(full) for axis in (*kept, *norm.axes)])
        self._lowered.gather(unit, moved, self._lowered.places(unit).transpose(*back))
        along = (part.reshape(part.shape[1:]) if part.ndim == len(full) else part for part in (scale, shift))
        self._lowered.add(Scale((moved,), name, *along), full)

    def _ball(self, norm: WrittenOut, shape: Shape, axes: int, scale: Floats, shift: Floats) -> Normalised:
        """Its set, with room for how this form rounds. Raises Unsound."""
        late = norm.shift is not None  # the mean is subtracted after x was scaled: its rounding counts more
        ball = self._lowered.ball(shape, axes, scale, shift, norm.centred, late)
        if not norm.moments:
            return ball
        room = ball.overshoot + moments_overshoot(ball.size, self._lowered.unit)
        if not np.isfinite(room):
            raise Unsound(
                f"whose variance of {ball.size:,} values is written as a difference that may round to nothing"
            )
        return replace(ball, overshoot=room)

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
        pre, activation = draft.what.pre, site.activation
        if draft.what.found == drafts.GATED and self._shuts(draft):
            activation = Activation.named("Relu")  # what shuts: the product is zero where the gate is
        elif draft.what.found != drafts.ACTIVATED or pre is None or site.unit_size != 1:
            raise Unsound(
                "no activation of one z: a gate, a head, a recurrent unit, or z inside a fused operator"
            )
        threshold = silent_below(activation)
        if threshold is None:
            raise Unsound(f"{activation.name} never rests at zero")
        assert pre is not None
        self._check_rests(draft, activation, threshold)
        name = query.name(pre)
        if name in self._unfit:
            raise Unsound("weights before it are not finite: z may be NaN, whatever is fed")
        lost = name in self._why and not (self._beyond and name not in self._lowered.given)
        if name not in self._lowered.full or lost:
            raise Unsound(self._why.get(name, f"the size of '{name}' is not known"))
        full, shape = self._lowered.full[name], sample(self._lowered.full[name])
        order = self._order(query.name(draft.value), name)
        at = len(full) + site.channel_axes[-1]
        axis = order[at] - (len(full) - len(shape)) if 0 <= at < len(full) else -1
        if len(site.channel_axes) != 1 or not 0 <= axis < len(shape) or shape[axis] != site.neurons:
            raise Unsound(f"its neurons do not lie on one axis of '{name}'")
        plain = order == tuple(range(len(full)))
        turned = None if plain else tuple(k - len(full) + len(shape) for k in order[len(full) - len(shape) :])
        return Target(site.name, name, activation, axis, site.neurons, threshold, turned)

    def _check_rests(self, draft: Draft, activation: Activation, threshold: float) -> None:
        """Raise Unsound for an activation that is written out, and is not near zero where φ is."""
        pattern = self._patterns.get(query.name(draft.what.gate or draft.value))
        if pattern is None or len(pattern.nodes) == 1:
            return
        if not forms.rests(pattern, self._constants, self._lowered.opset, activation, threshold):
            raise Unsound(f"its {activation.name} is written out, and is not seen to rest at zero")

    def _shuts(self, draft: Draft) -> bool:
        """Whether a gated product is max(z, 0)·u, element by element, so that z ≤ 0 leaves nothing of it."""
        what, product = draft.what, draft.value.producer()
        if what.activation.name != "ReGLU" or product is None or what.gate is None or what.pre is None:
            return False
        pattern, read = self._patterns.get(query.name(what.gate)), query.operands(product)
        shapes = {self._sizes(value) for value in (what.pre, *read, draft.value)}
        turned = pattern is None or any(query.kind(node) == "Transpose" for node in pattern.nodes)
        return what.gate in read and len(shapes) == 1 and not turned

    def _order(self, output: str, z: str) -> tuple[int, ...]:
        """Axis k of the activation is this axis of z. Raises Unsound."""
        full, pattern = self._lowered.full[z], self._patterns.get(output)
        same = tuple(range(len(full)))
        if pattern is None or not any(query.kind(node) == "Transpose" for node in pattern.nodes):
            return same
        order = forms.order(pattern, len(full)) if query.name(pattern.z) == z else None
        if order is None or (sample(full) != full and order[0] != 0):
            raise Unsound(f"'{z}' is laid out otherwise than what the activation makes of it")
        return order


def _unit(graph: ir.Graph, constants: Folded) -> float:
    """Roundoff of the coarsest arithmetic that a weight is stored in, or is made in."""
    units = {ir.DataType.FLOAT16: HALF, ir.DataType.BFLOAT16: BRAIN}
    made = (value for node in graph for value in node.outputs if value in constants)
    kinds = (value.dtype for value in (*graph.initializers.values(), *made))
    return max((units.get(kind, SINGLE) for kind in kinds if kind is not None), default=SINGLE)


def _covered(kind: ir.DataType | None, unit: float) -> bool:
    """Whether arithmetic in a type rounds as the bounds leave room for: integers wrap and cut quotients short."""
    units = {ir.DataType.FLOAT16: HALF, ir.DataType.BFLOAT16: BRAIN}
    return kind in (None, ir.DataType.FLOAT, ir.DataType.DOUBLE) or units.get(kind) == unit


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
