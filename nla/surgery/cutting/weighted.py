"""Weighted nodes: rows of what leaves, columns that read it, and the constant that it leaves to the bias."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.weighted import Weighted
from nla.surgery.cutting import unknown
from nla.surgery.cutting.bias import add_to_bias, computed_type
from nla.surgery.cutting.elementwise import operands
from nla.surgery.cutting.grouped import regrouped
from nla.surgery.cutting.masks import Flags, Gone, Places, known_flags
from nla.surgery.cutting.pooling import padded
from nla.surgery.cutting.relating import columns, offsets
from nla.surgery.cutting.requests import Array, summing, taking
from nla.surgery.cutting.work import Content, Rule, Unfit, Work, named

_BIASED = {
    "Gemm": 2,
    "com.microsoft.FusedGemm": 2,
    "Conv": 2,
    "com.microsoft.FusedConv": 2,
    "ConvTranspose": 2,
}
"""Operators with a bias of their own, and which operand it is."""
_ADDED = {"com.microsoft.FusedConv": 3}
"""Operators that add a computed tensor to their output, besides a Gemm."""
_PLAIN = (*_BIASED, "MatMul", "com.microsoft.FusedMatMul", "Einsum", "MatMulInteger", "ConvInteger")
_INTEGER = ("MatMulInteger", "ConvInteger")


def _cut(work: Work, node: ir.Node) -> None:
    layer, kind = work.walk.layers[node], query.kind(node)
    if layer.spread is not None:
        raise Unfit(f"{named(node)} has its channels on several axes of its weights, which stay whole")
    if kind not in _PLAIN:
        raise Unfit(f"{named(node)} holds its weights quantised or packed, in which form they stay whole")
    data, made = read_flags(work, layer), _made(work, layer)
    rows, read = known_flags(made, layer.outputs), known_flags(data, layer.inputs)
    at = next(place for place, value in enumerate(node.inputs) if value is layer.weight)
    if layer.groups > 1:
        regrouped(work, layer, at, rows, read)
    else:
        kept = [(layer.weight_out_axis, _kept(rows)), (layer.weight_in_axis, _kept(read))]
        take_merged(work, layer, at, kept)
    if made is not None:
        _beside(work, layer, made)
    if data is not None:
        left = _left_behind(work, layer, data)
        if left is not None:
            add_to_bias(work, layer, left[~rows], _BIASED.get(kind))


def read_flags(work: Work, layer: Weighted) -> Gone | None:
    """What leaves of the tensor that the node reads; Unfit where that is not what it contracts."""
    gone = work.gone(layer.data)
    if gone is not None and (gone.axes != layer.in_axes or gone.flags.shape != layer.in_shape):
        raise Unfit(f"{named(layer.node)} reads along another axis than the channels'")
    return gone


def take_merged(work: Work, layer: Weighted, at: int, kept: Sequence[tuple[int, Places | None]]) -> None:
    """Cut the weight, operand `at`, once the columns of merged channels are added to those of the others."""
    pairs = columns(work, layer.data)
    if not pairs:
        work.take(layer.node, at, kept)
        return
    shape, stored = work.constants.shape(layer.weight), work.check_editable(layer.node, at)
    if shape is None or query.kind(layer.node) in _INTEGER or (stored is not None and stored.quantised):
        raise Unfit(f"{named(layer.node)} has quantised weights, which cannot be added up", work.merges)
    change = taking(shape, [(axis, places) for axis, places in kept if places is not None])
    work.change(layer.node, at, summing(change, layer.weight_in_axis, pairs))


def _made(work: Work, layer: Weighted) -> Gone | None:
    gone = work.gone(layer.node.outputs[0])
    if gone is not None and (gone.axes != layer.out_axes or gone.flags.shape != layer.out_shape):
        raise Unfit(f"{named(layer.node)} makes its channels on another axis")
    return gone


def _kept(flags: Flags) -> Array | None:
    return np.flatnonzero(~flags) if flags.any() else None


def _beside(work: Work, layer: Weighted, made: Gone) -> None:
    """Bias, zero points by output channel, and a computed tensor that is added."""
    node, kind = layer.node, query.kind(layer.node)
    kept = made.kept(layer.out_axis)
    if kind in ("Gemm", "com.microsoft.FusedGemm"):
        operands(work, node, (2,))
    elif kind in _BIASED and layer.bias is not None:
        work.take(node, _BIASED[kind], [(0, kept)])
    elif kind in _BIASED and query.operand(node, _BIASED[kind]) is not None:
        raise Unfit(f"{named(node)} has a bias that is computed")
    if kind in _ADDED:
        operands(work, node, (_ADDED[kind],))
    if kind in _INTEGER and query.operand(node, 3) is not None:
        shape = work.constants.shape(query.operand(node, 3))
        if shape is None or len(shape) > 1:
            raise Unfit(f"{named(node)} has zero points that are not one for each channel")
        if shape not in ((), (1,)):
            work.take(node, 3, [(0, kept)])


# --- what the channels that leave were worth to the reader


def _left_behind(work: Work, layer: Weighted, data: Gone) -> Array | None:
    """[outputs] what the channels that leave added to every output; None where that is nothing."""
    content = offsets(work, layer.data, work.content(layer.data))
    flags = data.flags.reshape(-1) & ~_with_their_group(work, layer)
    lost = flags & np.isnan(content)
    if lost.any():
        raise unknown.unfit(work, layer.node, layer.data, data.groups.reshape(-1)[lost])
    merged = layer.groups > 1 and any(flags[mine] for mine, _, _ in columns(work, layer.data))
    if merged:
        raise Unfit(f"{named(layer.node)} has groups of channels, which are not added up", work.merges)
    content = np.where(flags, content, 0.0)
    if not content.any():
        return None
    groups = data.groups.reshape(-1)[content != 0]
    kind = query.kind(layer.node)
    if kind not in _PLAIN or kind in (*_INTEGER, "Einsum"):
        raise Unfit(f"{named(layer.node)} has no bias to which their value could be added", groups)
    if layer.spatial and (padded(layer.node) or kind == "ConvTranspose") and not _pointwise(work, layer):
        raise Unfit(
            f"{named(layer.node)} puts zeros around its input, so that their value, which is not zero, means "
            "less at the border",
            groups,
        )
    places = np.flatnonzero(content)
    with np.errstate(over="ignore", invalid="ignore"):
        left: Array = _effects(work, layer, places) @ content[places]
        if not np.isfinite(left.astype(computed_type(work, layer))).all():
            raise Unfit(f"what their value comes to is beyond the numbers of {named(layer.node)}", groups)
    return left


def _pointwise(work: Work, layer: Weighted) -> bool:
    """True for a kernel of one pixel with no padding: every output sees every input channel once."""
    shape = work.constants.shape(layer.weight) or (0,)
    one = all(size == 1 for size in shape[2:]) and not padded(layer.node)
    strides = query.integers(layer.node, "strides") or ()
    return one and (query.kind(layer.node) != "ConvTranspose" or all(stride == 1 for stride in strides))


def _with_their_group(work: Work, layer: Weighted) -> Flags:
    """[inputs] True for channels whose whole group of a grouped convolution leaves."""
    if layer.groups == 1:
        return np.zeros(layer.inputs, np.bool_)
    rows = known_flags(work.gone(layer.node.outputs[0]), layer.outputs)
    gone = rows.reshape(layer.groups, -1).all(1)
    return np.repeat(gone, layer.inputs // layer.groups)


def _effects(work: Work, layer: Weighted, places: Places) -> Array:
    """float64 [outputs, places] what an input channel of value one adds to each output, at all its positions."""
    weight, node = work.array(layer.weight), layer.node
    if weight is None:
        raise Unfit(f"the weights of {named(node)} cannot be read")
    scale = query.real(node, "alpha", 1.0) if "Gemm" in node.op_type or "MatMul" in node.op_type else 1.0
    each_read, each_made = layer.inputs // layer.groups, layer.outputs // layer.groups
    effects = np.zeros((layer.outputs, len(places)))
    for at, place in enumerate(places):
        group, local = divmod(int(place), each_read)
        own = slice(group * each_made, (group + 1) * each_made)
        if layer.weight_in_axis == 0 and layer.groups > 1:  # a transposed convolution: all inputs in one axis
            column = weight[place].reshape(each_made, -1)
        elif layer.groups > 1:
            column = weight[own, local].reshape(each_made, -1)
        else:
            moved = np.moveaxis(weight, (layer.weight_in_axis, layer.weight_out_axis), (0, 1))
            column = moved[place].reshape(layer.outputs, -1)
        effects[own, at] = column.sum(-1, dtype=np.float64) * scale
    return effects


# --- contents


def _carried(work: Work, node: ir.Node) -> Sequence[Content | None]:
    """What a depthwise convolution makes of channels of one value: the others depend on channels that stay."""
    layer = work.walk.layers[node]
    depthwise = layer.groups == layer.inputs > 1 and query.kind(node) in _BIASED
    if not depthwise or layer.activation is not None or layer.added is not None:
        return ()
    if work.gone(layer.data) is None or query.text(node, "activation"):
        return ()
    each = layer.outputs // layer.groups
    content = np.repeat(work.content(layer.data).reshape(-1), each)
    bias = work.array(layer.bias) if layer.bias is not None else np.zeros(layer.outputs)
    weight = work.array(layer.weight)
    if bias is None or weight is None or (layer.bias is None and query.operand(node, 2) is not None):
        return ()
    whole = weight.reshape(layer.outputs, -1).sum(-1, dtype=np.float64) * content
    exact = not padded(node) and layer.weight_out_axis == 0
    through = np.where(content == 0, 0.0, whole if exact else np.nan)
    return [through + bias.astype(np.float64)]


RULE = Rule(_cut, _carried)
