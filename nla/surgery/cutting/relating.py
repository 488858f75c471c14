"""Merging: how the channels of a duplicate follow from those of the unit that stands in for it, tensor by tensor.

The relation begins at the weighted node that makes both: equal rows up to a factor. It holds through whatever treats
the two channels alike; a nonlinear step keeps a factor other than one only where it is homogeneous. The layer that
reads the duplicate adds its columns, scaled, to those of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.steps.elementwise import TOGETHER
from nla.graph.weighted import Weighted
from nla.surgery.cutting.evaluation import answer, by_channel
from nla.surgery.cutting.pooling import padded
from nla.surgery.cutting.requests import Array
from nla.surgery.cutting.work import Relation, Relations, Work

_CLOSE = 1e-6
"""Largest difference of two rows, as a share of their largest number, at which they are one row."""

_AFFINE = ("Add", "Sub", "Mul", "Div", "BatchNormalization")
_SAME = ("Identity", "Dropout", "Cast", "GlobalAveragePool", "ReduceMean")
_ORDERED = ("MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin")
_HOMOGENEOUS = ("Relu", "LeakyRelu", "PRelu")
_LINEAR = ("AveragePool", "ReduceSum")
_MOVED = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Resize", "Upsample", "Pad")
"""Steps after which the channels of two groups still stand in the same order."""
_PARTS = ("Split", "Slice", "Gather", "Concat", "Tile", "SpaceToDepth")
"""Steps after which that is sure for groups of one channel only."""


def relate(work: Work, node: ir.Node) -> None:
    """Learn the relations at the node's outputs."""
    layer = work.walk.layers.get(node)
    for value in node.outputs:
        gone = work.gone(value)
        groups = [] if gone is None else np.unique(gone.groups[gone.flags]).tolist()
        merged = [group for group in groups if group in work.merges and _paired(work, value, group)]
        if layer is not None:
            work.relations[value] = _by_weights(work, layer, merged) if merged else {}
            continue
        found = {group: _carried(work, node, group) for group in merged}
        work.relations[value] = {group: known for group, known in found.items() if known is not None}


def _paired(work: Work, value: ir.Value, group: int) -> bool:
    """True where every channel of the duplicate has its counterpart in the tensor."""
    return len(work.places(value, group)) == len(work.places(value, work.merges[group]))


def _carried(work: Work, node: ir.Node, group: int) -> Relation | None:
    """The relation behind a step, from those of its operands."""
    given = [
        work.relations.get(operand, {}).get(group)
        for operand in query.operands(node)
        if operand not in work.constants
    ]
    known = [relation for relation in given if relation is not None]
    if not given or len(known) < len(given):
        return None
    if len(known) > 1:
        return _together(work, node, known, group)
    return _RULES.get(query.kind(node), _alike)(work, node, known[0], group)


# --- made by weights

_MADE = ("Gemm", "MatMul", "Conv", "ConvTranspose", "com.microsoft.FusedMatMul")


def _by_weights(work: Work, layer: Weighted, groups: Sequence[int]) -> Relations:
    """The factor between the rows of a duplicate and its counterpart, and what their biases leave."""
    node = layer.node
    weight, bias = work.array(layer.weight), np.zeros(1) if layer.bias is None else work.array(layer.bias)
    if weight is None or bias is None or layer.added is not None or layer.spread is not None:
        return {}
    if weight.dtype.kind not in "fV" or query.kind(node) not in _MADE:
        return {}
    if bias.size not in (1, layer.outputs):
        return {}
    bias = np.broadcast_to(bias.astype(np.float64).reshape(-1), (layer.outputs,))
    bias = bias * (query.real(node, "beta", 1.0) if "Gemm" in node.op_type else 1.0)
    found: Relations = {}
    for group in groups:
        mine, theirs = (work.places(node.outputs[0], one) for one in (group, work.merges[group]))
        if len(mine) != 1:
            continue
        pair = int(mine[0]), int(theirs[0])
        rows = _row(layer, weight, pair[0]), _row(layer, weight, pair[1])
        factor, begin = _factor(*rows), _before(work, layer, group, pair)
        if factor is None or begin is None or (begin[1] and padded(node)):
            continue
        offset = begin[1] * float(rows[0].sum()) + bias[pair[0]]
        found[group] = (factor * begin[0], _settled(offset, factor * begin[0] * bias[pair[1]]))
    return found


def _row(layer: Weighted, weight: Array, output: int) -> Array:
    """float64, the weights of one output channel, scaled as the node does."""
    scale = query.real(layer.node, "alpha", 1.0) if query.kind(layer.node) != "Conv" else 1.0
    if layer.groups > 1 and layer.weight_out_axis == 1:  # a transposed convolution: outputs of a group
        group, local = divmod(output, layer.outputs // layer.groups)
        each = layer.inputs // layer.groups
        row = weight[group * each : (group + 1) * each, local]
    else:
        row = np.take(weight, output, layer.weight_out_axis)
    return scale * row.astype(np.float64).reshape(-1)


def _before(work: Work, layer: Weighted, group: int, places: tuple[int, int]) -> Relation | None:
    """The relation of what the two rows read: the same channels, or a channel each of a depthwise convolution."""
    each = layer.outputs // layer.groups
    if places[0] // each == places[1] // each:
        return 1.0, 0.0
    depthwise = layer.groups == layer.inputs and layer.weight_out_axis == 0
    return work.relations.get(layer.data, {}).get(group) if depthwise else None


def _factor(mine: Array, theirs: Array) -> float | None:
    """s where one row is s times the other; None where it is not."""
    size = float(theirs @ theirs)
    if size == 0:
        return None
    factor = float(mine @ theirs) / size
    if abs(factor - 1) <= _CLOSE:
        factor = 1.0
    off = np.abs(mine - factor * theirs).max()
    return factor if off <= _CLOSE * np.abs(mine).max() and factor != 0 else None


def _settled(left: float, right: float) -> float:
    """The difference; zero where that is rounding."""
    return 0.0 if abs(left - right) <= _CLOSE * max(abs(left), abs(right)) else float(left - right)


# --- carried on


def _affine(work: Work, node: ir.Node, known: Relation, group: int) -> Relation | None:
    """m·x + b with numbers of its own for each channel; divided by x, it is not that."""
    if query.kind(node) == "Div" and query.operand(node, 0) in work.constants:
        return _alike(work, node, known, group)
    zero, one = answer(work, node, 0.0), answer(work, node, 1.0)
    if zero is None or one is None:
        return None
    pairs = [_numbers(work, node, group, content) for content in (zero, one - zero)]
    if pairs[0] is None or pairs[1] is None or pairs[1][1] == 0:
        return None
    (shift, other_shift), (slope, other_slope) = pairs[0], pairs[1]
    scale = known[0] if slope == other_slope else known[0] * slope / other_slope
    return scale, _settled(slope * known[1] + shift, scale * other_shift)


def _numbers(work: Work, node: ir.Node, group: int, content: Array) -> Relation | None:
    """A number for the duplicate and one for the other, of an array with one for each channel."""
    found = []
    for one in (group, work.merges[group]):
        values = np.unique(content.reshape(-1)[work.places(node.outputs[0], one)])
        if len(values) != 1 or not np.isfinite(values).all():
            return None
        found.append(float(values[0]))
    return found[0], found[1]


def _alike(work: Work, node: ir.Node, known: Relation, group: int) -> Relation | None:
    """Equal channels stay equal where the node treats both alike; what it does to them may be anything."""
    return known if known == (1.0, 0.0) and _same_constants(work, node, group) else None


def _same_constants(work: Work, node: ir.Node, group: int) -> bool:
    """True where no constant of the node tells the two apart."""
    made = work.flow.channels(node.outputs[0])
    for value in query.operands(node):
        if value not in work.constants or work.constants.scalar(value) is not None:
            continue
        array = work.array(value) if query.kind(node) in TOGETHER else None
        content = None if array is None or made is None else by_channel(array, made)
        pair = None if content is None else _numbers(work, node, group, content)
        if pair is None or pair[0] != pair[1]:
            return False
    return True


def _homogeneous(work: Work, node: ir.Node, known: Relation, group: int) -> Relation | None:
    fits = known[1] == 0 and known[0] > 0
    if query.kind(node) == "PRelu" and not _same_constants(work, node, group):
        return None
    return known if fits else None


def _kept(work: Work, node: ir.Node, known: Relation, group: int) -> Relation | None:
    kind = node.outputs[0].dtype
    floating = kind is None or kind.is_floating_point()
    return known if floating else _alike(work, node, known, group)


def _ordered(work: Work, node: ir.Node, known: Relation, group: int) -> Relation | None:
    return known if known[0] > 0 else None


def _linear(work: Work, node: ir.Node, known: Relation, group: int) -> Relation | None:
    return known if known[1] == 0 else None


def _moved(work: Work, node: ir.Node, known: Relation, group: int) -> Relation | None:
    filled = query.kind(node) in ("Pad", "Resize") and known[1] != 0
    cropped = query.text(node, "coordinate_transformation_mode") == "tf_crop_and_resize"
    fill = query.kind(node) == "Pad" and work.constants.scalar(query.operand(node, 2)) not in (None, 0.0)
    return None if filled or cropped or fill or query.real(node, "value", 0.0) else known


def _parts(work: Work, node: ir.Node, known: Relation, group: int) -> Relation | None:
    values = [*(v for v in query.operands(node) if v not in work.constants), *node.outputs]
    single = all(len(work.places(value, one)) <= 1 for value in values for one in (group, work.merges[group]))
    return known if single else None


def _together(work: Work, node: ir.Node, known: list[Relation], group: int) -> Relation | None:
    """Several computed operands: sums of equal factors, products without offsets."""
    kind, scales = query.kind(node), {relation[0] for relation in known}
    constants = any(operand in work.constants for operand in query.operands(node))
    if kind in ("Add", "Sum") and len(scales) == 1 and not constants:
        return scales.pop(), sum(relation[1] for relation in known)
    if kind == "Mul" and not any(relation[1] for relation in known):
        return float(np.prod([relation[0] for relation in known])), 0.0
    if kind == "Concat" and len(set(known)) == 1:
        return _parts(work, node, known[0], group)
    return (1.0, 0.0) if set(known) == {(1.0, 0.0)} and kind in TOGETHER and not constants else None


_Rule = Callable[[Work, ir.Node, Relation, int], Relation | None]


def _table() -> Iterable[tuple[str, _Rule]]:
    for kinds, rule in (
        (_AFFINE, _affine),
        (_SAME, _kept),
        (_ORDERED, _ordered),
        (_HOMOGENEOUS, _homogeneous),
        (_LINEAR, _linear),
        (_MOVED, _moved),
        (_PARTS, _parts),
    ):
        for kind in kinds:
            yield kind, rule


_RULES: dict[str, _Rule] = dict(_table())


def offsets(work: Work, value: ir.Value, content: Array) -> Array:
    """[channels] what a tensor's channels add to its reader's bias: of merged ones, what is not the other's."""
    found = content.reshape(-1).copy()
    for group, (_, offset) in work.relations.get(value, {}).items():
        found[work.places(value, group)] = offset
    return found


def columns(work: Work, value: ir.Value) -> list[tuple[int, int, float]]:
    """(channel that leaves, channel that stands in for it, factor) for all merged channels of a tensor."""
    found = []
    for group, (scale, _) in work.relations.get(value, {}).items():
        mine, theirs = work.places(value, group), work.places(value, work.merges[group])
        found += [(int(a), int(b), scale) for a, b in zip(mine, theirs, strict=True)]
    return found
