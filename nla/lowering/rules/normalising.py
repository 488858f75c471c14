"""Operators whose output lies in a known set whatever they read: LayerNorm, RMSNorm, softmax."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from nla.certificates.ops.joining import Sum
from nla.certificates.ops.linear import Scale
from nla.certificates.ops.softmax import Softmax
from nla.certificates.sets import Box, moments_overshoot
from nla.graph import query
from nla.lowering.rules.base import LEAST, Lowered, Shape, Unsound, sample


def _layer(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    _check_epsilon(node)
    centred = "RMS" not in node.op_type and "Simplified" not in node.op_type
    first = _FIRST.get(node.op_type, 1)
    scale = query.operand(node, first)
    shift = (
        query.operand(node, first + 1) if centred else None
    )  # beyond the scale an RMSNorm has another operand
    axis = -1 if node.op_type in _FIRST else query.integer(node, "axis", -1)
    axes = -axis if axis < 0 else len(full) - axis
    if not 0 < axes <= len(sample(full)) or (axes == len(full) and not lowered.alone):
        raise Unsound("along the axis of the samples")
    inner = full[len(full) - axes :]
    g = np.ones(inner) if scale is None else lowered.constant(scale)
    b = np.zeros(inner) if shift is None else lowered.constant(shift)
    if g is None or b is None:
        raise Unsound("with a scale or a shift that varies")
    shapes = np.broadcast_to(g, inner), np.broadcast_to(b, inner)
    name = query.name(node.outputs[0])
    lowered.given[name] = lowered.ball(sample(full), axes, *shapes, centred)
    lowered.full[name] = full
    if node.op_type in ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"):
        _residual(node, lowered, full, first + (2 if centred else 1))


def _check_epsilon(node: ir.Node) -> None:
    epsilon = query.real(node, "epsilon", 1e-5)
    if not epsilon >= LEAST:
        raise Unsound(f"whose epsilon of {epsilon:g} does not outweigh squares that underflow")


_FIRST = {"SkipLayerNormalization": 2, "SkipSimplifiedLayerNormalization": 2, "EmbedLayerNormalization": 5}
"""Place of the scale, where it is not the second operand."""


def _residual(node: ir.Node, lowered: Lowered, full: Shape, bias: int) -> None:
    """The sum that a Skip operator normalises, where it is read: input + skip + bias."""
    value = node.outputs[3] if len(node.outputs) > 3 else None
    if value is None or not value.name or not value.uses():
        return
    parts = [query.operand(node, k) for k in (0, 1, bias)]
    names = [
        lowered.known(part) if lowered.constant(part) is None else "" for part in parts if part is not None
    ]
    if "" in names[:2]:
        raise Unsound("of a constant")
    name = query.name(value)
    first = name if len(names) == 2 else f"{name}\0first"
    lowered.add(Sum((names[0], names[1]), first), full)
    if len(names) > 2:
        added = lowered.tensor(parts[2], f"{name}\0bias", first)
        lowered.add(Sum((first, added), name), full)


def _instance(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    _grouped(node, lowered, full, full[1])


def _group(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    _grouped(node, lowered, full, query.integer(node, "num_groups"))


def _grouped(node: ir.Node, lowered: Lowered, full: Shape, groups: int) -> None:
    """Each group of channels is normalised over all its elements; scale and shift by channel, in opset 18 by group."""
    _check_epsilon(node)
    scale, shift = (lowered.constant(query.operand(node, k)) for k in (1, 2))
    if scale is None or shift is None:
        raise Unsound("with a scale or a shift that varies")
    if full[0] != 1 or groups < 1 or full[1] % groups or len(full) < 3:
        raise Unsound("along the axis of the samples")
    lowered.known(query.operand(node, 0))
    name = query.name(node.outputs[0])
    size = int(np.prod(full, dtype=np.int64)) // groups
    unit, moved = f"{name}\0unit", f"{name}\0normalised"
    lowered.full[unit] = (1, groups, size)
    ball = lowered.ball((groups, size), 1, np.ones(size), np.zeros(size), True)
    if node.op_type == "GroupNormalization":  # onnx defines its variance as mean(x²) - mean(x)²
        room = moments_overshoot(size, lowered.unit)
        if not np.isfinite(room):
            raise Unsound(f"whose variance of {size:,} values is a difference that may round to nothing")
        ball = replace(ball, overshoot=ball.overshoot + room)
    lowered.given[unit] = ball
    lowered.anew.add(name)
    lowered.gather(unit, moved, lowered.places(unit).reshape(full))
    along = (-1, *(1,) * (len(full) - 2))
    by_channel = (np.repeat(part, full[1] // part.size).reshape(along) for part in (scale, shift))
    lowered.add(Scale((moved,), name, *by_channel), full)


def _softmax(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    """Bounded whatever it reads, also where what it reads is not known."""
    data, name = query.operand(node, 0), query.name(node.outputs[0])
    together = lowered.opset < _ONE_AXIS
    axis = query.integer(node, "axis", 1 if together else -1) % len(full)
    if axis < len(full) - len(sample(full)):  # along the axis of the samples: what is known is the range
        lowered.given[name] = Box(np.zeros(sample(full)), np.full(sample(full), 1 + 2.0**-10))
        lowered.full[name] = full
        return
    source = lowered.known(data)
    lowered.anew.add(name)
    if not together or axis == len(full) - 1:
        lowered.add(Softmax((source,), name, axis - len(full)), full)
        return
    flat, made = f"{name}\0flat", f"{name}\0shares"
    places = lowered.places(source).reshape(1, -1, int(np.prod(full[axis:], dtype=np.int64)))
    lowered.gather(source, flat, places)
    lowered.add(Softmax((flat,), made), places.shape)
    lowered.gather(made, name, lowered.places(made).reshape(full))


_ONE_AXIS = 13
"""The opset from which Softmax is along one axis, not along all from it on."""

RULES = {
    "LayerNormalization": _layer,
    "RMSNormalization": _layer,
    "SimplifiedLayerNormalization": _layer,
    "com.microsoft.SimplifiedLayerNormalization": _layer,
    "com.microsoft.SkipLayerNormalization": _layer,
    "com.microsoft.SkipSimplifiedLayerNormalization": _layer,
    "com.microsoft.EmbedLayerNormalization": _layer,
    "InstanceNormalization": _instance,
    "GroupNormalization": _group,
    "Softmax": _softmax,
}
