"""Which values of a graph are constant, and what they hold: initializers, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.graph import query

Array = NDArray[Any]

_SMALL = 1 << 16
"""Elements of the largest constant that is read for its meaning (a scalar, a permutation, a shape)."""

_LARGEST = 1 << 27
"""Elements of the largest constant that is computed rather than read: a few nodes can ask for terabytes."""

_STEPS = 64
"""Nodes that one evaluation may cross."""


class Constants:
    """The values of a graph that are the same in every run."""

    def __init__(self, graph: ir.Graph, nodes: Sequence[ir.Node]) -> None:
        self._known: set[ir.Value] = set(graph.initializers.values())
        self._small: dict[ir.Value, Array | None] = {}
        for node in nodes:
            if self._is_constant(node):
                self._known.update(value for value in node.outputs if value.name)

    def __contains__(self, value: object) -> bool:
        return value in self._known

    def _is_constant(self, node: ir.Node) -> bool:
        if query.kind(node) == "Constant":
            return True
        if query.kind(node) in query.RANDOM or query.is_control_flow(node):
            return False
        inputs = query.operands(node)
        return bool(inputs) and all(value in self._known for value in inputs)

    def array(self, value: ir.Value | None) -> Array | None:
        """The constant's elements; None where it is none, or large, or made by unknown operators."""
        if value is None or value not in self._known:
            return None
        if value not in self._small:
            self._small[value] = self._evaluate(value, _SMALL)
        return self._small[value]

    def scalar(self, value: ir.Value | None) -> float | None:
        """The number that a constant of one element holds; None for every other value."""
        found = self.array(value)
        if found is None or found.size != 1 or found.dtype.kind in "OSU":
            return None
        return float(found.reshape(-1)[0])

    def integers(self, value: ir.Value | None) -> tuple[int, ...] | None:
        """The elements of a constant integer tensor, flattened; None for every other value."""
        found = self.array(value)
        if found is None or found.dtype.kind not in "iu":
            return None
        return tuple(int(element) for element in found.reshape(-1))

    def shape(self, value: ir.Value | None) -> tuple[int, ...] | None:
        """The constant's shape; None where it is not constant or no one says."""
        if value is None or value not in self._known:
            return None
        tensor = _stored(value)
        if tensor is not None:
            return tuple(tensor.shape.numpy())
        dims = query.dims_of(value)
        if dims is not None and all(isinstance(d, int) for d in dims):
            return tuple(d for d in dims if isinstance(d, int))
        found = self.array(value)
        return None if found is None else found.shape

    def weight(self, value: ir.Value) -> Array | None:
        """A constant of any size, read now; memory-mapped where it lies in a file as it is."""
        return self._evaluate(value, None) if value in self._known else None

    def root(self, value: ir.Value) -> tuple[ir.Value, tuple[int, ...]]:
        """The stored tensor behind a constant, and the axis of it that each axis of the constant is.

        Copies, casts, dequantisation and transposes are seen through; anything else is a root of its own.
        """
        axes = tuple(range(len(self.shape(value) or ())))
        for _ in range(_STEPS):
            node = value.producer()
            if node is None or query.kind(node) not in _SAME_ELEMENTS or not query.operands(node):
                break
            if query.kind(node) == "Transpose":
                perm = query.integers(node, "perm") or tuple(reversed(range(len(axes))))
                if sorted(perm) != list(range(len(axes))):
                    break
                axes = tuple(perm[axis] for axis in axes)
            value = query.operands(node)[0]
        return value, axes

    def _evaluate(self, value: ir.Value, largest: int | None) -> Array | None:
        done: dict[ir.Value, Array | None] = {}
        pending = [value]
        while pending:
            current = pending[-1]
            node = current.producer()
            tensor = _stored(current)
            if tensor is not None:
                done[current] = None if largest is not None and tensor.size > largest else _read(tensor)
            elif node is None or query.kind(node) not in _EVALUATE or len(done) > _STEPS:
                done[current] = None
            else:
                missing = [v for v in query.operands(node) if v not in done]
                if missing and len(pending) <= _STEPS:
                    pending.extend(missing)
                    continue
                done[current] = _apply(node, done)
            pending.pop()
        return done[value]


def _stored(value: ir.Value) -> ir.TensorProtocol | None:
    if value.const_value is not None:
        return value.const_value
    node = value.producer()
    if node is None or query.kind(node) != "Constant":
        return None
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.TENSOR:
            return attribute.as_tensor()
        if attribute.name in ("value_int", "value_ints"):
            return ir.tensor(np.asarray(attribute.value, np.int64))
        if attribute.name in ("value_float", "value_floats"):
            return ir.tensor(np.asarray(attribute.value, np.float32))
    return None


def _read(tensor: ir.TensorProtocol) -> Array | None:
    try:
        return np.asarray(tensor.numpy())
    except OSError:
        return None  # external data that is not there: the opener says so where it matters


def _apply(node: ir.Node, done: dict[ir.Value, Array | None]) -> Array | None:
    arrays = [None if v is None or not v.name else done.get(v) for v in node.inputs]
    given = [v is not None and bool(v.name) for v in node.inputs]
    if any(present and array is None for present, array in zip(given, arrays, strict=True)):
        return None
    try:
        with np.errstate(all="ignore"):
            return _EVALUATE[query.kind(node)](node, arrays)
    except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError):
        return None  # a malformed constant expression: nothing is known of it


def _axes(node: ir.Node, arrays: list[Any]) -> tuple[int, ...] | None:
    if len(arrays) > 1 and arrays[1] is not None:
        return tuple(int(a) for a in arrays[1].reshape(-1))
    return query.integers(node, "axes")


def _unsqueeze(node: ir.Node, arrays: list[Any]) -> Array:
    return np.expand_dims(arrays[0], _axes(node, arrays) or ())


def _squeeze(node: ir.Node, arrays: list[Any]) -> Array:
    return np.asarray(np.squeeze(arrays[0], _axes(node, arrays)))


def _reshape(node: ir.Node, arrays: list[Any]) -> Array:
    target = query.integers(node, "shape") if len(arrays) < 2 else arrays[1].reshape(-1)
    if target is None:
        raise ValueError("a Reshape without a shape")
    keep = not query.integer(node, "allowzero")
    sizes = [arrays[0].shape[i] if keep and int(s) == 0 else int(s) for i, s in enumerate(target)]
    return np.asarray(np.reshape(arrays[0], sizes))


def _transpose(node: ir.Node, arrays: list[Any]) -> Array:
    return np.transpose(arrays[0], query.integers(node, "perm"))


def _shape(node: ir.Node, arrays: list[Any]) -> Array:
    start = query.integer(node, "start")
    return np.asarray(arrays[0].shape[start : query.integer(node, "end", arrays[0].ndim)], np.int64)


def _cast(node: ir.Node, arrays: list[Any]) -> Array:
    return np.asarray(arrays[0]).astype(ir.DataType(query.integer(node, "to", 1)).numpy())


def _concat(node: ir.Node, arrays: list[Any]) -> Array:
    _bounded(sum(array.size for array in arrays))
    return np.concatenate(arrays, axis=query.integer(node, "axis"))


def _bounded(size: int) -> None:
    if size > _LARGEST:
        raise ValueError(f"a constant of {size} elements")


def _gather(node: ir.Node, arrays: list[Any]) -> Array:
    _bounded(arrays[0].size // max(1, arrays[0].shape[query.integer(node, "axis")]) * arrays[1].size)
    return np.asarray(np.take(arrays[0], arrays[1], axis=query.integer(node, "axis")))


def _slice(node: ir.Node, arrays: list[Any]) -> Array:
    parts = [None if a is None else [int(x) for x in a.reshape(-1)] for a in arrays[1:]]
    starts = parts[0] if parts else query.integers(node, "starts")
    ends = parts[1] if len(parts) > 1 else query.integers(node, "ends")
    if starts is None or ends is None:
        raise ValueError("a Slice without bounds")
    axes = (parts[2] if len(parts) > 2 else query.integers(node, "axes")) or range(len(starts))
    steps = (parts[3] if len(parts) > 3 else None) or [1] * len(starts)
    index = [slice(None)] * arrays[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index[axis] = slice(start, None if step < 0 and end < -arrays[0].shape[axis] else end, step)
    return np.asarray(arrays[0][tuple(index)])


def _dequantise(node: ir.Node, arrays: list[Any]) -> Array:
    quantised, scale = arrays[0], np.asarray(arrays[1], np.float32)
    zero = arrays[2] if len(arrays) > 2 and arrays[2] is not None else np.zeros((), quantised.dtype)
    axis, block = query.integer(node, "axis", 1), query.integer(node, "block_size")
    _bounded(max(quantised.size, scale.size * max(1, block)))
    if block:
        scale, zero = (
            np.repeat(scale, block, axis),
            np.repeat(np.broadcast_to(zero, arrays[1].shape), block, axis),
        )
        scale, zero = (np.take(v, range(quantised.shape[axis]), axis) for v in (scale, zero))
    elif scale.ndim == 1 and scale.size > 1:
        along = [-1 if i == axis % quantised.ndim else 1 for i in range(quantised.ndim)]
        scale, zero = scale.reshape(along), np.broadcast_to(zero, scale.shape).reshape(along)
    if np.broadcast_shapes(quantised.shape, scale.shape) != quantised.shape:
        raise ValueError("scales that do not fit their tensor")
    return np.asarray((quantised.astype(np.float32) - zero.astype(np.float32)) * scale)


def _quantise(node: ir.Node, arrays: list[Any]) -> Array:
    scale = np.asarray(arrays[1], np.float32)
    zero = arrays[2] if len(arrays) > 2 and arrays[2] is not None else np.zeros((), np.uint8)
    if scale.size != 1 or zero.dtype.kind not in "iu":
        raise ValueError("a quantisation that is not of the whole tensor")
    bounds = np.iinfo(zero.dtype)
    steps = np.rint(np.asarray(arrays[0], np.float32) / scale) + zero.astype(np.float32)
    return np.asarray(np.clip(steps, bounds.min, bounds.max).astype(zero.dtype))


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[ir.Node, list[Any]], Array]:
    def evaluate(_: ir.Node, arrays: list[Any]) -> Array:
        _bounded(query.product(np.broadcast_shapes(arrays[0].shape, arrays[1].shape)))
        return np.asarray(function(arrays[0], arrays[1]))

    return evaluate


def _filled(node: ir.Node, arrays: list[Any]) -> Array:
    sizes = [int(size) for size in arrays[0].reshape(-1)]
    _bounded(query.product(sizes))
    value = query.tensor_attribute(node, "value")
    return np.full(sizes, np.float32(0) if value is None else value.numpy().reshape(-1)[0])


def _unary(function: Callable[[Any], Any]) -> Callable[[ir.Node, list[Any]], Array]:
    return lambda node, arrays: np.asarray(function(arrays[0]))


def _divide(left: Array, right: Array) -> Any:
    return left // right if np.asarray(left).dtype.kind in "iu" else left / right


_EVALUATE: dict[str, Callable[[ir.Node, list[Any]], Array]] = {
    "Identity": _unary(np.asarray),
    "Cast": _cast,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": lambda node, arrays: arrays[0].reshape(
        query.product(arrays[0].shape[: query.integer(node, "axis", 1)]), -1
    ),
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Slice": _slice,
    "Gather": _gather,
    "DequantizeLinear": _dequantise,
    "QuantizeLinear": _quantise,
    "Shape": _shape,
    "ConstantOfShape": _filled,
    "Neg": _unary(np.negative),
    "Sqrt": _unary(np.sqrt),
    "Exp": _unary(np.exp),
    "Reciprocal": _unary(np.reciprocal),
    "Add": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
    "Div": _binary(_divide),
}
EVALUATED = frozenset(_EVALUATE)
"""Operators whose constants can be computed from those that they read."""

_SAME_ELEMENTS = ("Identity", "Cast", "DequantizeLinear", "Transpose")
