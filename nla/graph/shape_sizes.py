"""Sizes of tensors where onnx's inference left them open, one operator at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.einsum import terms
from nla.graph.shape_elements import LARGEST, LONGEST, factors, multiplied

if TYPE_CHECKING:
    from nla.graph.shapes import Dim, Dims, Shapes


def reshaped(shapes: Shapes, node: ir.Node) -> Dims | None:
    """Sizes after a Reshape, -1 solved where the other sizes tell."""
    before = shapes.dims(query.operand(node, 0))
    target = shapes.elements(query.operand(node, 1)) or query.integers(node, "shape")
    if target is None:
        return None
    keep = not query.integer(node, "allowzero")
    sizes = [_kept(before, at) if size == 0 and keep else size for at, size in enumerate(target)]
    if -1 in sizes:
        at = sizes.index(-1)
        sizes[at] = _rest(before, [size for i, size in enumerate(sizes) if i != at])
    return tuple(None if isinstance(size, int) and size < 0 else size for size in sizes)


def _kept(before: Dims | None, at: int) -> Dim:
    return before[at] if before is not None and at < len(before) else None


def _rest(before: Dims | None, others: Sequence[Dim]) -> Dim:
    """Product of `before` over product of `others`; equal symbols cancel."""
    above, below = (None if sizes is None else factors(sizes) for sizes in (before, others))
    if above is None or below is None or not below[1] or above[1] % below[1]:
        return None
    left = list(above[0])
    for symbol in below[0]:
        if symbol not in left:
            return None
        left.remove(symbol)
    return multiplied([*left, above[1] // below[1]])


def _first(shapes: Shapes, node: ir.Node) -> Dims | None:
    return shapes.dims(query.operand(node, 0))


def _broadcast(shapes: Shapes, node: ir.Node) -> Dims | None:
    return _spread_together(shapes, query.operands(node))


def _quantised_pair(shapes: Shapes, node: ir.Node) -> Dims | None:
    """Two tensors, each followed by its scale and zero point."""
    return _spread_together(shapes, query.operands(node)[0:4:3])


def _spread_together(shapes: Shapes, values: Sequence[ir.Value]) -> Dims | None:
    found = [shapes.dims(value) for value in values]
    known = [dims for dims in found if dims is not None]
    if len(known) != len(found) or not known:
        return None
    rank = max(len(dims) for dims in known)
    padded = [(1,) * (rank - len(dims)) + dims for dims in known]
    return tuple(_wider(shapes, [dims[axis] for dims in padded]) for axis in range(rank))


def _wider(shapes: Shapes, sizes: Sequence[Dim]) -> Dim:
    """The size that all are, or are spread to: one that is free in the inputs fits with itself and 1 only."""
    large = {size for size in sizes if size != 1}
    fixed = {size for size in large if isinstance(size, int)}
    if fixed:
        return max(fixed)
    free = large & shapes.free
    if len(free) == 1:
        return free.pop()
    return large.pop() if len(large) == 1 else None if large else 1


def _spread(shapes: Shapes, node: ir.Node) -> Dims | None:
    """Expand: the target's elements are sizes to broadcast with."""
    dims, target = shapes.dims(query.operand(node, 0)), shapes.elements(query.operand(node, 1))
    if dims is None or target is None:
        return None
    rank = max(len(dims), len(target))
    pair = [(1,) * (rank - len(part)) + part for part in (dims, target)]
    return tuple(_wider(shapes, sizes) for sizes in zip(*pair, strict=True))


def _transposed(shapes: Shapes, node: ir.Node) -> Dims | None:
    dims = shapes.dims(query.operand(node, 0))
    if dims is None:
        perm = query.integers(node, "perm")
        return None if perm is None else (None,) * len(perm)
    perm = query.integers(node, "perm") or tuple(reversed(range(len(dims))))
    return tuple(dims[p] for p in perm) if sorted(perm) == list(range(len(dims))) else None


def axes_of(shapes: Shapes, node: ir.Node, at: int = 1) -> tuple[int, ...] | None:
    """The `axes` of a node, attribute or constant input `at`; None where absent or not constant."""
    found = query.integers(node, "axes")
    if found is None:
        given = shapes.elements(query.operand(node, at))
        if given is None or not all(isinstance(a, int) for a in given):
            return None
        found = tuple(a for a in given if isinstance(a, int))
    return found


def _unsqueezed(shapes: Shapes, node: ir.Node) -> Dims | None:
    dims, axes = shapes.dims(query.operand(node, 0)), axes_of(shapes, node)
    if dims is None or axes is None or len(axes) > LONGEST:
        return None
    rank = len(dims) + len(axes)
    new = {axis % rank for axis in axes}
    left = iter(dims)
    return tuple(1 if axis in new else next(left, None) for axis in range(rank))


def _squeezed(shapes: Shapes, node: ir.Node) -> Dims | None:
    dims, axes = shapes.dims(query.operand(node, 0)), axes_of(shapes, node)
    if dims is None or (axes is None and not all(isinstance(d, int) for d in dims)):
        return None
    gone = {a % len(dims) for a in axes} if axes is not None else {i for i, d in enumerate(dims) if d == 1}
    return tuple(d for i, d in enumerate(dims) if i not in gone)


def _filled(shapes: Shapes, node: ir.Node) -> Dims | None:
    target = shapes.elements(query.operand(node, 0))
    return None if target is None else tuple(target)


def _of_shape(shapes: Shapes, node: ir.Node) -> Dims | None:
    found = shapes.elements(query.output(node))
    return None if found is None else (len(found),)


def _gathered(shapes: Shapes, node: ir.Node) -> Dims | None:
    data, where = (shapes.dims(query.operand(node, at)) for at in (0, 1))
    axis = query.integer(node, "axis")
    if data is None or where is None or not -len(data) <= axis < len(data):
        return None
    axis %= len(data)
    return (*data[:axis], *where, *data[axis + 1 :])


def _like_indices(shapes: Shapes, node: ir.Node) -> Dims | None:
    return shapes.dims(query.operand(node, 1))


def _sliced(shapes: Shapes, node: ir.Node) -> Dims | None:
    dims = shapes.dims(query.operand(node, 0))
    parts = [
        shapes.elements(query.operand(node, at)) or query.integers(node, key)
        for at, key in ((1, "starts"), (2, "ends"), (3, "axes"), (4, "steps"))
    ]
    starts, ends, axes, steps = parts
    if dims is None or starts is None or ends is None or len(starts) != len(ends):
        return None if dims is None else (None,) * len(dims)
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    sizes = list(dims)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=False):
        if not isinstance(axis, int) or not -len(dims) <= axis < len(dims):
            return (None,) * len(dims)
        sizes[axis] = _cut(sizes[axis], start, end, step)
    return tuple(sizes)


def _cut(size: Dim, start: Dim, end: Dim, step: Dim) -> Dim:
    if (
        isinstance(size, int)
        and isinstance(start, int)
        and isinstance(end, int)
        and isinstance(step, int)
        and step
    ):
        end = None if step < 0 and end < -size else end
        return len(range(size)[start:end:step])
    whole = start == 0 and step == 1 and (end == size or (isinstance(end, int) and end >= 2**31 - 1))
    return size if whole else None


def _joined(shapes: Shapes, node: ir.Node) -> Dims | None:
    values = query.operands(node)
    if node.op_type == "QLinearConcat":  # the scale and zero point of the whole, then three for each part
        values = values[2::3]
    parts = [shapes.dims(value) for value in values]
    known = [dims for dims in parts if dims is not None]
    axis = query.integer(node, "axis")
    if (
        not known
        or any(len(dims) != len(known[0]) for dims in known)
        or not -len(known[0]) <= axis < len(known[0])
    ):
        return None
    axis %= len(known[0])
    sizes = [
        next((d[at] for d in known if isinstance(d[at], int)), known[0][at]) for at in range(len(known[0]))
    ]
    along = [dims[axis] for dims in known]
    whole = len(known) == len(parts) and all(isinstance(size, int) for size in along)
    sizes[axis] = sum(size for size in along if isinstance(size, int)) if whole else None
    return tuple(sizes)


def _parts(shapes: Shapes, node: ir.Node) -> list[Dims | None]:
    """Split: every output."""
    dims, axis, count = shapes.dims(query.operand(node, 0)), query.integer(node, "axis"), len(node.outputs)
    if dims is None or not -len(dims) <= axis < len(dims):
        return []
    axis %= len(dims)
    given = query.integers(node, "split") or shapes.elements(query.operand(node, 1))
    size = dims[axis]
    if given is None and query.operand(node, 1) is None and isinstance(size, int):
        each = -(-size // count)
        given = tuple(max(0, min(each, size - at * each)) for at in range(count))
    sizes = given if given is not None and len(given) == count else (None,) * count
    return [(*dims[:axis], part, *dims[axis + 1 :]) for part in sizes]


def _multiplied(shapes: Shapes, node: ir.Node) -> Dims | None:
    left, right = (shapes.dims(query.operand(node, at)) for at in (0, 1))
    if left is None or right is None or len(left) < 2 or len(right) < 2:
        return None
    if any(query.integer(node, key) for key in ("transBatchA", "transBatchB")):
        return None
    left, right = (
        (*part[:-2], part[-1], part[-2]) if query.integer(node, key) else part
        for part, key in ((left, "transA"), (right, "transB"))
    )
    rank = max(len(left), len(right))
    padded = [(1,) * (rank - len(part)) + part for part in (left, right)]
    batch = [_wider(shapes, sizes) for sizes in zip(*(part[:-2] for part in padded), strict=True)]
    return (*batch, left[-2], right[-1])


def _summed(shapes: Shapes, node: ir.Node) -> Dims | None:
    """Einsum without an ellipsis: a letter is one size wherever it stands."""
    found = terms(node)
    left, right = (shapes.dims(query.operand(node, at)) for at in (0, 1))
    if found is None or left is None or right is None or "..." in query.text(node, "equation"):
        return None
    if len(left) != len(found.left) or len(right) != len(found.right):
        return None
    pairs = [*zip(found.left, left, strict=True), *zip(found.right, right, strict=True)]
    return tuple(_wider(shapes, [size for letter, size in pairs if letter == each]) for each in found.out)


def _projected(shapes: Shapes, node: ir.Node) -> Dims | None:
    """com.microsoft.MatMulNBits: weights of N columns, packed."""
    dims = shapes.dims(query.operand(node, 0))
    return None if not dims else (*dims[:-1], query.integer(node, "N"))


def _reduced(shapes: Shapes, node: ir.Node) -> Dims | None:
    dims, axes = shapes.dims(query.operand(node, 0)), axes_of(shapes, node)
    if dims is None or (axes is None and query.operand(node, 1) is not None):
        return None
    if axes is None:
        axes = () if query.integer(node, "noop_with_empty_axes") else tuple(range(len(dims)))
    gone = {axis % len(dims) for axis in axes if dims}
    if query.integer(node, "keepdims", 1):
        return tuple(1 if at in gone else size for at, size in enumerate(dims))
    return tuple(size for at, size in enumerate(dims) if at not in gone)


def _flattened(shapes: Shapes, node: ir.Node) -> Dims | None:
    dims, axis = shapes.dims(query.operand(node, 0)), query.integer(node, "axis", 1)
    if dims is None or not -len(dims) <= axis <= len(dims):
        return None
    axis = axis + len(dims) if axis < 0 else axis
    return tuple(multiplied(part) for part in (dims[:axis], dims[axis:]))


def _padded(shapes: Shapes, node: ir.Node) -> Dims | None:
    dims = shapes.dims(query.operand(node, 0))
    pads = query.integers(node, "pads") or shapes.elements(query.operand(node, 1))
    axes = shapes.elements(query.operand(node, 3))
    if dims is None or pads is None or (axes is None and query.operand(node, 3) is not None):
        return None if dims is None else (None,) * len(dims)
    places = tuple(range(len(dims))) if axes is None else axes
    sizes = list(dims)
    for axis, begin, end in zip(places, pads, pads[len(places) :], strict=False):
        if not isinstance(axis, int) or not -len(dims) <= axis < len(dims):
            return (None,) * len(dims)
        size, whole = sizes[axis], isinstance(begin, int) and isinstance(end, int)
        grown = size + begin + end if isinstance(size, int) and whole else None  # type: ignore[operator]
        sizes[axis] = size if begin == end == 0 else grown
    return tuple(sizes)


def _resized(shapes: Shapes, node: ir.Node) -> Dims | None:
    """By the sizes that it is given, or by constant scales."""
    dims, sizes = shapes.dims(query.operand(node, 0)), shapes.elements(query.operand(node, 3))
    if dims is None or query.integers(node, "axes") or query.text(node, "keep_aspect_ratio_policy"):
        return None
    if sizes is not None and len(sizes) == len(dims):
        return sizes
    scales = shapes.scales(query.operand(node, 1 if len(node.inputs) < 3 else 2)) or query.reals(
        node, "scales"
    )
    if scales is None or len(scales) != len(dims):
        return (None,) * len(dims)
    return tuple(_scaled(size, scale) for size, scale in zip(dims, scales, strict=True))


def _scaled(size: Dim, scale: float) -> Dim:
    """Rounded down, from a product in single precision, as in onnx and onnxruntime."""
    if scale == 1:
        return size
    known = isinstance(size, int) and 0 < scale < LARGEST
    return math.floor(np.float32(size) * np.float32(scale)) if known else None


_CONVOLUTIONS = ("Conv", "ConvInteger", "QLinearConv", "com.microsoft.FusedConv")


def _pooled(shapes: Shapes, node: ir.Node) -> Dims | None:
    """One value for each channel, whatever the sizes of the planes."""
    dims = shapes.dims(query.operand(node, 0))
    return None if dims is None or len(dims) < 2 else (*dims[:2], *(1,) * (len(dims) - 2))


def _windowed(shapes: Shapes, node: ir.Node) -> Dims | None:
    """A convolution or a pooling in NCHW: one size per window and its stride, padding and dilation."""
    convolves = query.kind(node) in _CONVOLUTIONS
    place = 3 if query.kind(node) == "QLinearConv" else 1
    dims, weight = shapes.dims(query.operand(node, 0)), shapes.dims(query.operand(node, place))
    kernel = query.integers(node, "kernel_shape") or (weight[2:] if convolves and weight else None)
    if dims is None or kernel is None or len(kernel) != len(dims) - 2 or (convolves and weight is None):
        return None
    count = len(kernel)
    strides, dilations = (query.integers(node, key) or (1,) * count for key in ("strides", "dilations"))
    pads, auto = query.integers(node, "pads") or (0,) * (2 * count), query.text(node, "auto_pad", "NOTSET")
    rounds_up = bool(query.integer(node, "ceil_mode"))
    channels = weight[0] if convolves and weight else dims[1]
    if not len(strides) == len(dilations) == count or len(pads) != 2 * count:
        return None
    sizes: list[Dim] = []
    for at, size in enumerate(dims[2:]):
        around = 0 if auto == "VALID" else pads[at] + pads[at + count]
        window, stride, same = kernel[at], strides[at], auto.startswith("SAME")
        reach = None if not isinstance(window, int) else dilations[at] * (window - 1)
        if stride == 1 and (same or around == reach):
            sizes.append(size)
        elif not isinstance(size, int) or reach is None or stride < 1:
            sizes.append(None)
        elif rounds_up and not same:
            sizes.append(_rounded_up(size + around - reach - 1, stride, size + pads[at]))
        else:
            sizes.append(-(-size // stride) if same else (size + around - reach - 1) // stride + 1)
    return (dims[0], channels, *sizes)


def _rounded_up(room: int, stride: int, values: int) -> int | None:
    """Windows with ceil_mode; None where the last would begin behind all values, which runtimes count differently."""
    count = -(-room // stride) + 1
    return count if (count - 1) * stride < values else None


_ALIKE = (
    *("Identity", "Cast", "Dropout", "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Clip", "Sigmoid"),
    *("Tanh", "Abs", "Sign", "Not", "Log", "Reciprocal", "Floor", "Ceil", "Round", "Sin", "Cos", "IsNaN"),
    *(
        "Trilu",
        "CumSum",
        "ScatterND",
        "ScatterElements",
        "Gelu",
        "Erf",
        "Softplus",
        "Softmax",
        "Neg",
        "Exp",
        "Sqrt",
        "LayerNormalization",
        "BatchNormalization",
        "InstanceNormalization",
        "GroupNormalization",
        "LpNormalization",
        "LRN",
        "LogSoftmax",
        "ThresholdedRelu",
    ),
    *("com.microsoft.Gelu", "com.microsoft.FastGelu", "com.microsoft.BiasGelu", "com.microsoft.QuickGelu"),
    *("com.microsoft.QLinearSigmoid", "com.microsoft.QLinearLeakyRelu", "com.microsoft.QLinearSoftmax"),
    *("com.microsoft.SimplifiedLayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization"),
    *(
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "HardSwish",
        "HardSigmoid",
        "Mish",
        "Softsign",
        "Swish",
        "Pow",
    ),
)

_BROADCAST = (
    *("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Where", "And", "Or", "Mod"),
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
)

_ONE: dict[str, Callable[[Shapes, ir.Node], Dims | None]] = {
    **dict.fromkeys(_ALIKE, _first),
    **dict.fromkeys(_BROADCAST, _broadcast),
    **dict.fromkeys(("com.microsoft.QLinearAdd", "com.microsoft.QLinearMul"), _quantised_pair),
    "Reshape": reshaped,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
    "Squeeze": _squeezed,
    "Shape": _of_shape,
    "Expand": _spread,
    "ConstantOfShape": _filled,
    "Gather": _gathered,
    "GatherElements": _like_indices,
    "Slice": _sliced,
    **dict.fromkeys(("Concat", "com.microsoft.QLinearConcat"), _joined),
    **dict.fromkeys(("MatMul", "MatMulInteger", "com.microsoft.FusedMatMul"), _multiplied),
    "Gemm": _multiplied,
    "Einsum": _summed,
    "Pad": _padded,
    **dict.fromkeys(("Resize", "Upsample"), _resized),
    "com.microsoft.MatMulNBits": _projected,
    "Flatten": _flattened,
    **dict.fromkeys((*_CONVOLUTIONS, "MaxPool", "AveragePool"), _windowed),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), _pooled),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"), _reduced),
}


def _normalised_sum(shapes: Shapes, node: ir.Node) -> list[Dims | None]:
    """Skip normalisations: the result, two statistics, and the sum that was normalised."""
    return [_first(shapes, node), None, None, _first(shapes, node)]


def _alone(rule: Callable[[Shapes, ir.Node], Dims | None]) -> Callable[[Shapes, ir.Node], list[Dims | None]]:
    return lambda shapes, node: [rule(shapes, node)]


RULES: dict[str, Callable[[Shapes, ir.Node], list[Dims | None]]] = {
    **{kind: _alone(rule) for kind, rule in _ONE.items()},
    "Split": _parts,
    "com.microsoft.SkipLayerNormalization": _normalised_sum,
    "com.microsoft.SkipSimplifiedLayerNormalization": _normalised_sum,
}
"""Sizes of a node's outputs, the first ones where it has more."""
