"""Steps that move data without changing it: transposes, reshapes, slices, padding, enlarging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.channels import Channels, Fact, inserted, removed, reshaped, taken, tiled, transposed
from nla.graph.flow import Flow
from nla.graph.shape_sizes import axes_of
from nla.graph.shape_sizes import reshaped as sizes_after
from nla.graph.steps.rules import Rule, first, keep, lost, negative
from nla.graph.weighted import read_width

_UNFOLLOWED = "after which its channel axis cannot be told"


def _or_lost(flow: Flow, node: ir.Node, fact: Fact, why: str = _UNFOLLOWED) -> Sequence[Fact]:
    return lost(flow, node, why) if fact is None else [fact]


def _transpose(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact = first(flow, node)
    if not isinstance(fact, Channels):
        return [fact]
    perm = query.integers(node, "perm")
    if perm is None:
        rank = flow.rank(query.operand(node, 0))
        perm = None if rank is None else tuple(reversed(range(rank)))
    return _or_lost(flow, node, None if perm is None else transposed(fact, perm))


def _reshape(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact = first(flow, node)
    if not isinstance(fact, Channels):
        return [fact]
    value = query.operand(node, 0)
    after = sizes_after(flow.shapes, node)
    stated = flow.shapes.dims(query.output(node))
    if stated is not None and (after is None or None in after):
        after = tuple(s if a is None else a for s, a in zip(stated, after or stated, strict=False))
    if after and not isinstance(after[-1], int):  # who multiplies it with weights knows how many there are
        after = (*after[:-1], read_width(query.output(node), flow.constants))
    before = flow.shapes.dims(value)
    if before is None and fact.rank is not None:
        before = (None,) * fact.rank
    return _or_lost(flow, node, reshaped(fact, before, after))


def _flatten(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact = first(flow, node)
    if not isinstance(fact, Channels):
        return [fact]
    dims = flow.shapes.dims(query.operand(node, 0))
    rank = flow.rank(query.operand(node, 0))
    axis = query.integer(node, "axis", 1)
    if rank is None or not -rank <= axis <= rank:
        return lost(flow, node, _UNFOLLOWED)
    sizes = list(dims or (None,) * rank)
    for at, length in zip(fact.axes, fact.index.shape, strict=True):
        sizes[at] = length
    cut = axis + rank if axis < 0 else axis
    behind = [size for size in sizes[cut:] if isinstance(size, int)]
    if len(behind) != rank - cut:
        return lost(flow, node, "which flattens axes of unknown size")
    ahead = [size for size in sizes[:cut] if isinstance(size, int)]
    front = query.product(ahead) if len(ahead) == cut else sizes[0] if cut == 1 else None
    return _or_lost(flow, node, reshaped(fact, tuple(sizes), (front, query.product(behind))))


def _squeeze(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact = first(flow, node)
    if not isinstance(fact, Channels):
        return [fact]
    value = query.operand(node, 0)
    axes: Sequence[int] | None = axes_of(flow.shapes, node)
    if axes is None and query.operand(node, 1) is None:
        dims = flow.shapes.dims(value)
        known = dims is not None and all(isinstance(size, int) for size in dims)
        axes = [at for at, size in enumerate(dims or ()) if size == 1] if known else None
    counted = None if axes is None else negative(axes, flow.rank(value))
    why = "which drops the only channel axis" if counted is not None else _UNFOLLOWED
    return _or_lost(flow, node, None if counted is None else removed(fact, counted), why)


def _unsqueeze(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact = first(flow, node)
    if not isinstance(fact, Channels):
        return [fact]
    axes, rank = axes_of(flow.shapes, node), flow.rank(query.operand(node, 0))
    new = None if rank is None or axes is None else rank + len(axes)
    counted = None if axes is None else negative(axes, new)
    return _or_lost(flow, node, None if counted is None else inserted(fact, counted, new))


def _expand(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact = first(flow, node)
    if not isinstance(fact, Channels):
        return [fact]
    target = flow.shapes.elements(query.operand(node, 1)) or flow.shapes.dims(query.output(node))
    if target is None:
        return _or_lost(flow, node, fact if all(n > 1 for n in fact.index.shape) else None)
    for axis, length in zip(fact.axes, fact.index.shape, strict=True):
        if length == 1 and len(target) >= -axis and target[axis] != 1:
            return lost(flow, node, "which spreads one channel over several")
    rank = flow.rank(query.operand(node, 0))
    return [replace(fact, rank=None if rank is None else max(rank, len(target)))]


def _split(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact = first(flow, node)
    if not isinstance(fact, Channels):
        return [fact] * len(node.outputs)
    counted = negative([query.integer(node, "axis")], flow.rank(query.operand(node, 0)))
    if counted is None:
        return lost(flow, node, _UNFOLLOWED) * len(node.outputs)
    length = fact.length(counted[0])
    if length is None:
        return [fact] * len(node.outputs)
    sizes = query.integers(node, "split") or flow.constants.integers(query.operand(node, 1))
    if sizes is None and query.operand(node, 1) is None:
        each = -(-length // len(node.outputs))
        sizes = tuple(min(each, length - at * each) for at in range(len(node.outputs)))
    if sizes is None or len(sizes) != len(node.outputs) or sum(sizes) != length or min(sizes) < 1:
        return lost(flow, node, "which splits its channels in unknown places") * len(node.outputs)
    starts = np.cumsum([0, *sizes])
    return [taken(fact, counted[0], slice(starts[i], starts[i + 1])) for i in range(len(sizes))]


def _slice(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact = first(flow, node)
    if not isinstance(fact, Channels):
        return [fact]
    parts = [
        flow.shapes.elements(query.operand(node, at)) or query.integers(node, key)
        for at, key in ((1, "starts"), (2, "ends"), (3, "axes"), (4, "steps"))
    ]
    starts, ends, axes, steps = parts
    if axes is None and query.operand(node, 3) is None and starts is not None:
        axes = tuple(range(len(starts)))
    whole = None if axes is None or not all(isinstance(a, int) for a in axes) else axes
    rank = flow.rank(query.operand(node, 0))
    counted = None if whole is None else negative([a for a in whole if isinstance(a, int)], rank)
    if counted is None:
        return lost(flow, node, "which cuts along an axis that cannot be told")
    for at, axis in enumerate(counted):
        if axis not in fact.axes:
            continue
        bounds = [None if p is None or at >= len(p) else p[at] for p in (starts, ends, steps)]
        if not isinstance(bounds[0], int) or not isinstance(bounds[1], int):
            return lost(flow, node, "which takes channels that cannot be told")
        step = bounds[2] if isinstance(bounds[2], int) and bounds[2] else 1
        end = None if step < 0 and bounds[1] < -(fact.length(axis) or 0) else bounds[1]
        fact = taken(fact, axis, slice(bounds[0], end, step))
        if not fact.size:
            return lost(flow, node, "which takes no channel")
    return [fact]


def _gather(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact, where = first(flow, node), query.operand(node, 1)
    if not isinstance(fact, Channels):
        return [
            fact if fact is not None else flow.lose(node, "a table that is looked up, which is no neuron's")
        ]
    counted = negative([query.integer(node, "axis")], flow.rank(query.operand(node, 0)))
    positions = flow.shapes.rank(where)
    if counted is None or positions is None or positions > 1:
        return lost(flow, node, _UNFOLLOWED)
    axis, length = counted[0], fact.length(counted[0])
    if length is not None:
        chosen = flow.constants.integers(where)
        if chosen is None or not all(-length <= at < length for at in chosen):
            return lost(flow, node, "which takes channels that cannot be told")
        fact = taken(fact, axis, np.asarray(chosen))
    return (
        [fact]
        if positions == 1
        else _or_lost(flow, node, removed(fact, [axis]), "which drops the channel axis")
    )


def _tile(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact, repeats = first(flow, node), flow.shapes.elements(query.operand(node, 1))
    if not isinstance(fact, Channels):
        return [fact]
    after: Channels | None = fact
    for axis in fact.axes:
        times = None if repeats is None or len(repeats) < -axis else repeats[axis]
        if not isinstance(times, int) or times < 1:
            return lost(flow, node, _UNFOLLOWED)
        after = None if after is None else after if times == 1 else tiled(after, axis, times)
    return _or_lost(flow, node, after)


def _pad(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact = first(flow, node)
    if not isinstance(fact, Channels):
        return [fact]
    pads = flow.shapes.elements(query.operand(node, 1)) or query.integers(node, "pads")
    rank = flow.rank(query.operand(node, 0))
    axes = axes_of(flow.shapes, node, 3)
    counted = None if axes is None else negative(axes, rank)
    for axis, length in zip(fact.axes, fact.index.shape, strict=True):
        if counted is not None and axis not in counted:
            continue
        at = counted.index(axis) if counted is not None else None if rank is None else axis + rank
        count = None if pads is None else len(pads) // 2
        known = pads is not None and at is not None and count is not None and at < count
        amounts = (
            (pads[at], pads[at + count]) if known and pads and at is not None and count is not None else None
        )
        if amounts != (0, 0) and _stated(flow, node, axis) != length:
            return lost(flow, node, "which may pad the channel axis")
    return [fact]


def _stated(flow: Flow, node: ir.Node, axis: int) -> int | str | None:
    dims = flow.shapes.dims(query.output(node))
    return None if dims is None or len(dims) < -axis else dims[axis]


def _resize(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact = first(flow, node)
    if not isinstance(fact, Channels):
        return [fact]
    at = {"Resize": (2, 3) if flow.opset >= 11 else (1, None), "Upsample": (1, None)}[query.kind(node)]
    scales = flow.constants.array(query.operand(node, at[0]))
    found = query.reals(node, "scales") if scales is None else tuple(float(s) for s in scales.reshape(-1))
    sizes = None if at[1] is None else flow.shapes.elements(query.operand(node, at[1]))
    axes = query.integers(node, "axes")
    counted = None if axes is None else negative(axes, flow.rank(query.operand(node, 0)))
    for axis, length in zip(fact.axes, fact.index.shape, strict=True):
        if counted is not None:
            kept = axis not in counted
        elif found:
            kept = len(found) >= -axis and found[axis] == 1.0
        else:
            kept = (sizes is not None and len(sizes) >= -axis and sizes[axis] == length) or (
                _stated(flow, node, axis) == length
            )
        if not kept:
            return lost(flow, node, "which may resize the channel axis")
    return [fact]


def _space_to_depth(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact, block = first(flow, node), query.integer(node, "blocksize", 1)
    if not isinstance(fact, Channels):
        return [fact]
    if fact.axes != (-3,) or block < 1:
        return lost(flow, node, _UNFOLLOWED)
    return _or_lost(flow, node, tiled(fact, -3, block * block))


def _depth_to_space(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    if not isinstance(first(flow, node), Channels):
        return [first(flow, node)]
    return lost(flow, node, "which spreads several channels over the pixels of one")


RULES: dict[str, Rule] = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Expand": _expand,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Tile": _tile,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
    "SpaceToDepth": _space_to_depth,
    "DepthToSpace": _depth_to_space,
    "com.microsoft.Trilu": keep,
}
