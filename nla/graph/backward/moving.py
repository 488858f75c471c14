"""Gradients of what moves values and changes none."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx_ir as ir

from nla.errors import printable
from nla.graph import query
from nla.graph.backward.mapping import along
from nla.graph.backward.tape import FLOATS, Gradients, Rule, Tape, refusal

_FAR = 1 << 62
_MODES: dict[str, Literal["constant", "edge", "reflect", "wrap"]] = {
    "constant": "constant",
    "edge": "edge",
    "reflect": "reflect",
    "wrap": "wrap",
}
"""Of Pad, and what NumPy calls them."""


def _same(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    return (gradient,)


def _reshaped(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    x = node.inputs[0]
    assert x is not None
    return (tape.shaped_as(gradient, x),)


def _dropout(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    training = query.operand(node, 2)
    if training is not None and tape.constants.scalar(training) != 0:
        raise refusal(node, "it drops values at random (training_mode)")
    return (gradient,)


def _cast(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    if x.dtype not in FLOATS or y.dtype not in FLOATS:
        return (None,)  # whole numbers have no slope
    return (tape.put("Cast", gradient, to=int(x.dtype)),)


def _transposed(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    rank = len(tape.dims(node, node.inputs[0]))
    perm = query.integers(node, "perm") or tuple(reversed(range(rank)))
    if sorted(perm) != list(range(rank)):
        raise refusal(node, "its perm is no order of the axes")
    return (tape.put("Transpose", gradient, perm=[perm.index(axis) for axis in range(rank)]),)


def _expanded(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    x = node.inputs[0]
    assert x is not None
    return (tape.folded(gradient, node, x),)


def _sliced(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """Zeros around what was taken, and between where it takes every so many."""
    x = node.inputs[0]
    assert x is not None
    dims = tape.dims(node, x)
    starts, ends, axes, steps = (
        query.integers(node, key) or tape.whole_numbers(query.operand(node, at))
        for at, key in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    if starts is None or ends is None or (steps is None and query.operand(node, 4) is not None):
        raise refusal(node, "its places are computed")
    axes = tuple(a % len(dims) for a in axes) if axes is not None else tuple(range(len(starts)))
    pads = [0] * (2 * len(dims))
    for axis, start, stop, step in zip(axes, starts, ends, steps or (1,) * len(axes), strict=True):
        size = dims[axis]
        if step != 1:
            end = None if step < 0 and stop < -tape.sizes(node, x, axis)[0] else stop
            units = np.eye(tape.sizes(node, x, axis)[0])
            gradient = along(tape, node, gradient, axis, units[:, start:end:step], len(dims), x)
            continue
        if not isinstance(size, int):
            if start == 0 and stop >= _FAR // 2:
                continue
            raise refusal(node, "it takes a part of an axis whose size is not known before a run")
        begin, end = (min(max(at + size if at < 0 else at, 0), size) for at in (start, stop))
        pads[axis], pads[len(dims) + axis] = begin, size - max(end, begin)
    return (tape.padded(gradient, pads, 0.0, x),)


def _gathered(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """Zeros but for the places of an axis that were taken; what was taken twice gets both."""
    x, index = node.inputs[0], query.operand(node, 1)
    assert x is not None
    if tape.needs(index):
        raise refusal(node, "its indices are computed by the network itself")
    place = tape.constants.array(index)
    if place is None:
        raise refusal(node, "it gathers places that are computed")
    dims = tape.dims(node, x)
    axis = query.integer(node, "axis") % max(len(dims), 1)
    if place.size != 1:
        units = np.eye(tape.sizes(node, x, axis)[0])[:, place.reshape(-1)]
        if place.ndim != 1:
            behind = tape.sizes(node, x, axis + 1)
            gradient = tape.put("Reshape", gradient, tape.integers(*[0] * axis, place.size, *behind))
        return (along(tape, node, gradient, axis, units, len(dims), x),)
    size = dims[axis]
    if not isinstance(size, int):
        raise refusal(node, "it gathers along an axis whose size is not known before a run")
    at = int(place.reshape(-1)[0]) % size
    if not place.ndim:
        unsqueezed = (
            tape.put("Unsqueeze", gradient, tape.integers(axis))
            if tape.opset >= 13
            else tape.put("Unsqueeze", gradient, axes=[axis])
        )
    else:
        unsqueezed = gradient
        if place.ndim > 1:
            behind = tape.sizes(node, x, axis + 1)
            unsqueezed = tape.put("Reshape", gradient, tape.integers(*[0] * axis, 1, *behind))
    pads = [0] * (2 * len(dims))
    pads[axis], pads[len(dims) + axis] = at, size - at - 1
    return (tape.padded(unsqueezed, pads, 0.0, x),)


def _padded(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """What lies inside the padding; what is repeated there, or taken away, by the matrix of each axis."""
    pads = query.integers(node, "pads") or tape.whole_numbers(query.operand(node, 1))
    mode = query.text(node, "mode", "constant") or "constant"
    x = node.inputs[0]
    assert x is not None
    rank = len(tape.dims(node, x))
    if tape.needs(query.operand(node, 2)):
        raise refusal(node, "what it pads with is computed by the network itself")
    given = tape.whole_numbers(query.operand(node, 3))
    if given is None and query.operand(node, 3) is not None:
        raise refusal(node, "its axes are computed")
    axes = [axis % rank for axis in given] if given is not None else list(range(rank))
    if pads is None or len(pads) != 2 * len(axes) or mode not in _MODES:
        raise refusal(node, f"its pads are computed, or of a kind that is not followed ({printable(mode)})")
    parts = [part for part in zip(axes, pads, pads[len(axes) :], strict=False) if any(part[1:])]
    if mode == "constant" and min(pads, default=0) >= 0:
        inside = [(axis, begin, -end or _FAR) for axis, begin, end in parts]
        return (tape.sliced(gradient, *zip(*inside, strict=True)) if inside else gradient,)
    for axis, begin, end in parts:
        units = np.eye(tape.sizes(node, x, axis)[0])
        widths = (0, 0), (max(begin, 0), max(end, 0))
        units = np.pad(units[:, max(-begin, 0) : min(len(units), len(units) + end)], widths, _MODES[mode])
        gradient = along(tape, node, gradient, axis, units, rank, x)
    return (gradient,)


def _to_space(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """DepthToSpace: back again, with the channels of a block outside (DCR) or inside (CRD) the others."""
    x, block = node.inputs[0], query.integer(node, "blocksize", 1)
    assert x is not None
    made = tape.put("SpaceToDepth", gradient, blocksize=block)
    if query.text(node, "mode", "DCR") == "CRD":
        channels, *sizes = tape.sizes(node, x, 1)
        split = tape.integers(0, block * block, channels // max(block * block, 1), *sizes)
        made = tape.put("Transpose", tape.put("Reshape", made, split), perm=[0, 2, 1, 3, 4])
        made = tape.shaped_as(made, x)
    return (made,)


def _to_depth(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """SpaceToDepth."""
    return (tape.put("DepthToSpace", gradient, blocksize=query.integer(node, "blocksize", 1)),)


RULES: dict[str, Rule] = {
    "Identity": _same,
    "Dropout": _dropout,
    "Cast": _cast,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshaped),
    "Transpose": _transposed,
    "Expand": _expanded,
    "Slice": _sliced,
    "Gather": _gathered,
    "Pad": _padded,
    "DepthToSpace": _to_space,
    "SpaceToDepth": _to_depth,
}
