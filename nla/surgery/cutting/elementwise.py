"""Steps that treat every element by itself: constants per channel are cut, partners must lose the same channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.steps import elementwise as steps
from nla.surgery.cutting.evaluation import evaluated
from nla.surgery.cutting.masks import Gone
from nla.surgery.cutting.work import Content, Rule, Unfit, Work, named, nothing


def together(work: Work, node: ir.Node) -> None:
    """Operands put together with broadcasting."""
    operands(work, node, range(len(node.inputs)))


def operands(work: Work, node: ir.Node, places: Sequence[int]) -> None:
    """The operands at `places` lose what the output loses, as far as they have it."""
    gone = work.gone(node.outputs[0])
    if gone is None:
        raise Unfit(f"{named(node)} ends the channels")
    for at in places:
        value = query.operand(node, at)
        if value is None:
            continue
        if value in work.constants:
            work.take_broadcast(node, at, gone)
        else:
            _partner(work, node, value, gone)


def _partner(work: Work, node: ir.Node, value: ir.Value, gone: Gone) -> None:
    if gone.fits(work.gone(value)):
        return
    dims = work.flow.shapes.dims(value)
    spread = dims is not None and all(len(dims) < -axis or dims[axis] == 1 for axis, _ in gone.cuts())
    if work.gone(value) is not None or not spread:
        raise Unfit(f"{named(node)} puts them together with channels that stay")


def kept_value(work: Work, node: ir.Node) -> Sequence[Content | None]:
    """The first operand's content, unchanged."""
    return [work.content(query.operand(node, 0))]


def product(work: Work, node: ir.Node) -> Sequence[Content | None]:
    """As evaluated; a factor that is zero makes zero of whatever the other is."""
    found = list(evaluated(work, node))
    gone, made = work.gone(node.outputs[0]), work.flow.channels(node.outputs[0])
    if gone is None or made is None:
        return found
    whole = found[0] if found and found[0] is not None else np.full(gone.flags.shape, np.nan)
    for value in query.operands(node):
        fact = work.flow.channels(value)
        if fact is not None and fact.axes == made.axes and fact.index.shape == made.index.shape:
            whole = np.where(work.content(value) == 0, 0.0, whole)
    return [whole]


def chosen(work: Work, node: ir.Node) -> Sequence[Content | None]:
    """Where: what both choices have in common, whatever the condition says."""
    made = work.flow.channels(node.outputs[0])
    sides = []
    for at in (1, 2):
        value = query.operand(node, at)
        fact = work.flow.channels(value)
        scalar = work.constants.scalar(value)
        if made is not None and scalar is not None:
            sides.append(np.full(made.index.shape, scalar))
        elif made is not None and fact is not None and fact.index.shape == made.index.shape:
            sides.append(work.content(value))
        else:
            return ()
    return [np.where(sides[0] == sides[1], sides[0], np.nan)]


def _same_zero(work: Work, node: ir.Node) -> None:
    """A quantisation whose scale follows the data: what leaves must be zero, which every range includes."""
    gone, value = work.gone(node.outputs[0]), query.operand(node, 0)
    if gone is None or not gone.fits(work.gone(value)):
        raise Unfit(f"{named(node)} ends the channels")
    other = gone.flags & (work.content(value) != 0)
    if other.any():
        raise Unfit(
            f"{named(node)} takes its scale from all channels, and they are not zero", gone.groups[other]
        )


def _zero_stays(work: Work, node: ir.Node) -> Sequence[Content | None]:
    return [work.content(query.operand(node, 0))]  # zero, which dequantises to zero


def _scaled(work: Work, node: ir.Node) -> None:
    """QuantizeLinear and DequantizeLinear: one scale, or one for each place of the channel axis."""
    gone, shape = work.gone(node.outputs[0]), work.constants.shape(query.operand(node, 1))
    if gone is None or shape is None:
        raise Unfit(f"{named(node)} has scales that are computed")
    if query.integer(node, "block_size"):
        raise Unfit(f"{named(node)} has scales in blocks")
    if shape in ((), (1,)):
        return
    rank, axis = work.flow.rank(node.outputs[0]), query.integer(node, "axis", 1)
    if rank is None:
        raise Unfit(f"{named(node)} has scales along an axis that cannot be told")
    places = gone.kept(axis - rank if axis >= 0 else axis)
    for at in (1, 2):
        if query.operand(node, at) is not None:
            work.take(node, at, [(0, places)])


_UNARY = tuple(kind for kind, rule in steps.RULES.items() if rule is steps.RULES["Relu"])
_ALIKE = ("Identity", "Dropout")
_SCALED = (
    "QuantizeLinear",
    "DequantizeLinear",
    "com.microsoft.QuantizeLinear",
    "com.microsoft.DequantizeLinear",
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(_UNARY, Rule(nothing, evaluated)),
    **dict.fromkeys(steps.TOGETHER, Rule(together, evaluated)),
    **dict.fromkeys(_ALIKE, Rule(nothing, kept_value)),
    **dict.fromkeys(_SCALED, Rule(_scaled, evaluated)),
    "DynamicQuantizeLinear": Rule(_same_zero, _zero_stays),
    "Mul": Rule(together, product),
    "Where": Rule(together, chosen),
    "Softmax": Rule(nothing),
    "LogSoftmax": Rule(nothing),
}
