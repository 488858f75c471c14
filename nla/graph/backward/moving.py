"""Gradients of what moves values and changes none."""

from __future__ import annotations

import onnx_ir as ir

from nla.graph import query
from nla.graph.backward.tape import FLOATS, Gradients, Rule, Tape, refusal

_TRAINING_BY_INPUT = 12
_FAR = 1 << 62


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
    """Zeros around what was taken."""
    x = node.inputs[0]
    assert x is not None
    dims = tape.dims(node, x)
    starts, ends, axes, steps = (
        query.integers(node, key) or tape.whole_numbers(query.operand(node, at))
        for at, key in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    if starts is None or ends is None or (steps is not None and set(steps) != {1}):
        raise refusal(node, "its places are computed, or it takes every so many")
    axes = axes if axes is not None else tuple(range(len(starts)))
    pads = [0] * (2 * len(dims))
    for axis, start, stop in zip((a % len(dims) for a in axes), starts, ends, strict=False):
        size = dims[axis]
        if not isinstance(size, int):
            if start == 0 and stop >= _FAR // 2:
                continue
            raise refusal(node, "it takes a part of an axis whose size is not known before a run")
        begin, end = (min(max(at + size if at < 0 else at, 0), size) for at in (start, stop))
        pads[axis], pads[len(dims) + axis] = begin, size - max(end, begin)
    return (tape.padded(gradient, pads, 0.0, x),)


def _gathered(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """One place of an axis; Gather with more indices is not followed."""
    x, index = node.inputs[0], query.operand(node, 1)
    assert x is not None
    if tape.needs(index):
        raise refusal(node, "its indices are computed by the network itself")
    place = tape.constants.array(index)
    if place is None or place.size != 1:
        raise refusal(node, "it gathers several places, or places that are computed")
    dims = tape.dims(node, x)
    axis = query.integer(node, "axis") % max(len(dims), 1)
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
    pads = [0] * (2 * len(dims))
    pads[axis], pads[len(dims) + axis] = at, size - at - 1
    return (tape.padded(unsqueezed, pads, 0.0, x),)


def _padded(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """What lies inside the padding."""
    if query.text(node, "mode", "constant") not in ("", "constant"):
        raise refusal(node, "padding that repeats values is not followed")
    pads = query.integers(node, "pads") or tape.whole_numbers(query.operand(node, 1))
    x = node.inputs[0]
    rank = len(tape.dims(node, x))
    given = tape.whole_numbers(query.operand(node, 3))
    axes = [axis % rank for axis in given] if given is not None else list(range(rank))
    if pads is None or len(pads) != 2 * len(axes) or min(pads) < 0:
        raise refusal(node, "its pads are computed, or take values away")
    parts = [
        (axis, pads[k], -pads[len(axes) + k] or _FAR)
        for k, axis in enumerate(axes)
        if pads[k] or pads[len(axes) + k]
    ]
    if not parts:
        return (gradient,)
    return (tape.sliced(gradient, *([part[k] for part in parts] for k in range(3))),)


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
}
