"""Convolutions and pooling in one and two dimensions."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nla.certificates.ops.linear import Gathering, Scale
from nla.certificates.ops.pooling import MaxPool
from nla.certificates.ops.windows import Conv, Window, average
from nla.certificates.rounding import Floats
from nla.graph import query
from nla.lowering.rules.base import Lowered, Shape, Unsound


def _conv(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    weight, bias = lowered.constant(query.operand(node, 1)), query.operand(node, 2)
    if weight is None or weight.ndim not in (3, 4):
        raise Unsound("with a kernel that varies" if weight is None else f"in {weight.ndim - 2} dimensions")
    added = lowered.constant(bias)
    if bias is not None and added is None:
        raise Unsound("with a bias that varies")
    weight = weight if weight.ndim == 4 else weight[:, :, None]
    groups = query.integer(node, "group", 1)
    with _Planes(node, lowered, full) as planes:
        window = _window(node, (weight.shape[2], weight.shape[3]), planes.size, planes.made, planes.flat)
        planes.put(Conv((planes.source,), planes.output, weight, window, groups, added))


def _transposed(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    """A transposed convolution is one of the turned kernel over data with zeros between."""
    weight, bias = lowered.constant(query.operand(node, 1)), query.operand(node, 2)
    added = lowered.constant(bias)
    if weight is None or weight.ndim not in (3, 4) or (bias is not None and added is None):
        raise Unsound(
            "with a kernel or a bias that varies" if weight is None else f"in {weight.ndim - 2} dimensions"
        )
    by_size = query.integers(node, "output_shape") is not None
    if by_size or (query.text(node, "auto_pad") or "NOTSET") not in ("NOTSET", "VALID"):
        raise Unsound("that pads by itself")
    weight = weight if weight.ndim == 4 else weight[:, :, None]
    groups = query.integer(node, "group", 1)
    inputs, each = weight.shape[:2]
    turned = weight.reshape(groups, inputs // groups, each, *weight.shape[2:]).swapaxes(1, 2)
    turned = turned.reshape(groups * each, inputs // groups, *weight.shape[2:])[:, :, ::-1, ::-1]
    with _Planes(node, lowered, full) as planes:
        window = _window(node, (weight.shape[2], weight.shape[3]), planes.size, planes.made, planes.flat)
        spread = np.full((1, planes.channels, *planes.between(window.strides)), -1)
        spread[:, :, :: window.strides[0], :: window.strides[1]] = lowered.places(planes.source)
        reach = [(k - 1) * d for k, d in zip(window.kernel, window.dilations, strict=True)]
        top, left = (reach[axis] - window.pads[axis] for axis in (0, 1))
        bottom, right = (
            planes.made[axis] + reach[axis] - first - spread.shape[axis + 2]
            for axis, first in ((0, top), (1, left))
        )
        if min(top, left, bottom, right) < 0:
            raise Unsound("whose padding exceeds its kernel")
        lowered.gather(planes.source, f"{planes.output}\0spread", spread)
        over = Window(window.kernel, (1, 1), window.dilations, (top, left, bottom, right))
        planes.put(Conv((f"{planes.output}\0spread",), planes.output, turned, over, groups, added))


def _max(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    if len(node.outputs) > 1 and node.outputs[1].uses():
        raise Unsound("whose indices are read")
    with _Planes(node, lowered, full) as planes:
        window = _window(node, _kernel(node), planes.size, planes.made, planes.flat)
        planes.put(MaxPool((planes.source,), planes.output, window))


def _average(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    with _Planes(node, lowered, full) as planes:
        window = _window(node, _kernel(node), planes.size, planes.made, planes.flat)
        inside = (window.index(*planes.size) >= 0).sum(axis=(2, 3))
        size = int(np.prod(window.kernel))
        counted = bool(query.integer(node, "count_include_pad")) or bool((inside == size).all())
        if (inside == 0).any():
            raise Unsound("an average pooling of padding alone")
        output = planes.output if counted else f"{planes.output}\0sum"
        op = average((planes.source,), output, planes.channels, window, planes.size, True)
        if counted:
            planes.put(op)
        else:  # padding does not count: each window by the pixels that it holds
            planes.put(op, size / inside)


def _global_average(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    with _Planes(node, lowered, full) as planes:
        window = Window(planes.size)
        planes.put(average((planes.source,), planes.output, planes.channels, window, planes.size, True))


def _global_max(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    with _Planes(node, lowered, full) as planes:
        planes.put(MaxPool((planes.source,), planes.output, Window(planes.size)))


class _Planes:
    """The node's data as [channels, height, width]: one dimension becomes a height of one, and back."""

    def __init__(self, node: ir.Node, lowered: Lowered, full: Shape) -> None:
        data = query.operand(node, 0)
        shape = lowered.shape(data)
        self.flat = len(shape) == 2
        if len(shape) not in (2, 3) or len(full) != len(shape) + 1:
            raise Unsound(f"over data of {len(shape)} axes")
        self._lowered, self._full = lowered, full
        name, self._name = lowered.known(data), query.name(node.outputs[0])
        self.channels = shape[0]
        self.size = (1, shape[1]) if self.flat else (shape[1], shape[2])
        self.made = (1, full[-1]) if self.flat else (full[-2], full[-1])
        self.source, self.output = name, self._name
        if self.flat:
            self.source, self.output = f"{self._name}\0plane", f"{self._name}\0planes"
            self._reshape(name, self.source, (self.channels, *self.size))

    def between(self, strides: tuple[int, int]) -> tuple[int, int]:
        """The size with strides - 1 zeros between the elements."""
        high, wide = ((size - 1) * stride + 1 for size, stride in zip(self.size, strides, strict=True))
        return high, wide

    def __enter__(self) -> _Planes:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def put(self, op: Conv | MaxPool, scale: Floats | None = None) -> None:
        """Enter the operator, its output scaled window by window, in the node's own shape."""
        shape = (1, self._full[1], *self.made)
        self._lowered.add(op, shape)
        if scale is not None:
            self._lowered.add(Scale((op.output,), self.output, scale, np.zeros(())), shape)
        if not self.flat:
            return
        self._reshape(self.output, self._name, self._full[1:])

    def _reshape(self, name: str, output: str, shape: Shape) -> None:
        index = np.arange(int(np.prod(shape))).reshape(shape)
        self._lowered.add(Gathering((name,), output, index), (1, *shape))


def _kernel(node: ir.Node) -> tuple[int, int]:
    sizes = query.integers(node, "kernel_shape")
    if sizes is None or len(sizes) not in (1, 2):
        raise Unsound("whose window is not in one or two dimensions")
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def _window(
    node: ir.Node, kernel: tuple[int, int], size: tuple[int, int], made: tuple[int, int], flat: bool
) -> Window:
    """The node's window; automatic and ceiling padding from the sizes of input and output."""

    def pair(key: str) -> tuple[int, int]:
        found = query.integers(node, key) or ((1,) if flat else (1, 1))
        return (1, found[0]) if flat else (found[0], found[1])

    strides, dilations = pair("strides"), pair("dilations")
    auto = query.text(node, "auto_pad") or "NOTSET"
    given = (auto != "VALID" and query.integers(node, "pads")) or ((0, 0) if flat else (0, 0, 0, 0))
    pads = [0, given[0], 0, given[1]] if flat else list(given)
    for axis in (0, 1):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        needed = (made[axis] - 1) * strides[axis] + reach - size[axis]
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            whole = max(needed, 0)
            small, large = whole // 2, whole - whole // 2
            first, last = (small, large) if auto == "SAME_UPPER" else (large, small)
            pads[axis], pads[axis + 2] = first, last
        elif query.integer(node, "ceil_mode"):  # the last window may reach beyond: into padding
            if query.kind(node) == "AveragePool":
                raise Unsound("an average pooling that rounds its size up")
            pads[axis + 2] = max(pads[axis + 2], needed - pads[axis])
    return Window(kernel, strides, dilations, (pads[0], pads[1], pads[2], pads[3]))


RULES = {
    "Conv": _conv,
    "ConvTranspose": _transposed,
    "MaxPool": _max,
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
}
