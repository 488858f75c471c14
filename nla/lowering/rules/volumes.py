"""Convolutions and pooling in three dimensions: what each window reads is gathered, then weighed or compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from nla.certificates.ops.linear import Scale
from nla.certificates.rounding import Floats
from nla.graph import query
from nla.lowering.rules import convolving, reducing
from nla.lowering.rules.base import Lowered, Rule, Shape, Unsound

_LARGEST = 1 << 24
_RANK = 5
"""Samples, channels, and three axes."""


@dataclass(frozen=True)
class _Windows:
    """What the windows of a node read of a volume."""

    name: str
    """The tensor."""
    places: np.ndarray
    """int64 [channels, windows, elements of a window] the flat place of each element; -1: padding."""
    made: Shape
    """Windows along the three axes."""


def _windows(
    node: ir.Node, lowered: Lowered, full: Shape, kernel: Shape, *, turned: bool = False
) -> _Windows:
    """Of a node over [1, channels, three axes]; `turned`: of a transposed convolution. Raises Unsound."""
    name = lowered.known(query.operand(node, 0))
    places, sizes = lowered.places(name), lowered.full[name][2:]
    if places.shape[0] != 1 or len(kernel) != len(sizes):
        raise Unsound("along the axis of the samples")
    if full[1] * int(np.prod(full[2:])) * int(np.prod(kernel)) > _LARGEST:
        raise Unsound("of a tensor too large to be followed")
    along = [_along(node, axis, kernel[axis], sizes[axis], full[2 + axis], turned) for axis in range(3)]
    read = places[0]
    for axis, each in enumerate(along, 1):
        beyond = np.expand_dims(each.ravel() < 0, tuple(range(1, 4 - axis)))
        read = np.where(beyond, -1, np.take(read, each.ravel(), axis))
    split = read.reshape(len(read), *(size for each in along for size in each.shape))
    ordered = split.transpose(0, 1, 3, 5, 2, 4, 6)
    return _Windows(name, ordered.reshape(len(read), int(np.prod(full[2:])), -1), full[2:])


def _along(node: ir.Node, axis: int, kernel: int, size: int, made: int, turned: bool) -> np.ndarray:
    """int64 [windows, kernel] what each window reads along an axis; -1: padding."""
    strides, dilations = (query.integers(node, key) or (1, 1, 1) for key in ("strides", "dilations"))
    stride, dilation = strides[axis], dilations[axis]
    auto = query.text(node, "auto_pad") or "NOTSET"
    before = (query.integers(node, "pads") or (0,) * 6)[axis]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        if turned:
            raise Unsound("that pads by itself")
        whole = max((made - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        before = whole // 2 if auto == "SAME_UPPER" else whole - whole // 2
    elif auto == "VALID":
        before = 0
    offsets, first = np.arange(kernel) * dilation, np.arange(made)[:, None]
    if not turned:
        found = first * stride + offsets - before
        return np.where((found >= 0) & (found < size), found, -1)
    found = first + before - offsets
    return np.where((found >= 0) & (found % stride == 0) & (found < size * stride), found // stride, -1)


def _weighed(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    """Conv, weights [outputs, inputs / groups, …]; ConvTranspose, [inputs, outputs / groups, …]."""
    weight, bias = lowered.constant(query.operand(node, 1)), query.operand(node, 2)
    added = lowered.constant(bias)
    if weight is None or (bias is not None and added is None):
        raise Unsound("with a kernel or a bias that varies")
    turned = node.op_type == "ConvTranspose"
    if turned and query.integers(node, "output_shape"):
        raise Unsound("that pads by itself")
    windows = _windows(node, lowered, full, weight.shape[2:], turned=turned)
    groups, output = query.integer(node, "group", 1), query.name(node.outputs[0])
    inputs, each = len(windows.places) // groups, full[1] // groups
    parts = []
    for k in range(groups):
        w = (
            weight[k * inputs : (k + 1) * inputs].swapaxes(0, 1)
            if turned
            else weight[k * each : (k + 1) * each]
        )
        read = windows.places[k * inputs : (k + 1) * inputs].transpose(1, 0, 2)
        laid = lowered.gather(windows.name, f"{output}\0read{k}", read.reshape(1, len(read), -1))
        b = None if added is None else added[k * each : (k + 1) * each]
        made = lowered.weigh(laid, f"{output}\0made{k}", w.reshape(each, -1), b, -1)
        places = lowered.places(made).transpose(0, 2, 1).reshape(1, each, *windows.made)
        parts.append(lowered.gather(made, output if groups == 1 else f"{output}\0part{k}", places))
    if groups > 1:
        lowered.join(tuple(parts), output, 1, full)


def _max(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    if len(node.outputs) > 1 and node.outputs[1].uses():
        raise Unsound("whose indices are read")
    _largest(node, lowered, full, query.integers(node, "kernel_shape") or ())


def _global_max(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    _largest(node, lowered, full, lowered.full[lowered.known(query.operand(node, 0))][2:])


def _largest(node: ir.Node, lowered: Lowered, full: Shape, kernel: Shape) -> None:
    windows, output = _windows(node, lowered, full, kernel), query.name(node.outputs[0])
    some = windows.places.max(axis=2, keepdims=True)
    if (some < 0).any():
        raise Unsound("of padding alone")
    places = np.where(windows.places < 0, some, windows.places)  # an element twice in place of padding
    laid = lowered.gather(windows.name, f"{output}\0read", places[None])
    groups = places.shape[0] * places.shape[1]
    made = reducing.largest_of(lowered, laid, f"{output}\0largest", groups, places.shape[2])
    lowered.gather(made, output, lowered.places(made).reshape(full))


def _average(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    if query.integer(node, "ceil_mode"):
        raise Unsound("an average pooling that rounds its size up")
    counted = bool(query.integer(node, "count_include_pad"))
    _mean(node, lowered, full, query.integers(node, "kernel_shape") or (), counted)


def _global_average(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    _mean(node, lowered, full, lowered.full[lowered.known(query.operand(node, 0))][2:], False)


def _mean(node: ir.Node, lowered: Lowered, full: Shape, kernel: Shape, counted: bool) -> None:
    windows, output = _windows(node, lowered, full, kernel), query.name(node.outputs[0])
    count = windows.places.shape[2]
    inside = np.maximum((windows.places >= 0).sum(axis=2), 1).reshape(full[1:])
    laid = lowered.gather(windows.name, f"{output}\0read", windows.places[None])
    made = lowered.weigh(laid, f"{output}\0mean", np.full((1, count), 1.0 / count), None, -1)
    if counted or (inside == count).all():
        lowered.gather(made, output, lowered.places(made).reshape(full))
        return
    placed = lowered.gather(made, f"{output}\0placed", lowered.places(made).reshape(full))
    share: Floats = count / inside
    lowered.add(Scale((placed,), output, share, np.zeros(())), full)


def _by_rank(flat: Rule, solid: Rule) -> Rule:
    """The rule for one and two dimensions, or the one for three."""

    def rule(node: ir.Node, lowered: Lowered, full: Shape) -> None:
        (solid if len(full) == _RANK else flat)(node, lowered, full)

    return rule


_SOLID: dict[str, Callable[[ir.Node, Lowered, Shape], None]] = {
    "Conv": _weighed,
    "ConvTranspose": _weighed,
    "MaxPool": _max,
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
}
RULES = {name: _by_rank(convolving.RULES[name], solid) for name, solid in _SOLID.items()}
