"""What small integer and boolean tensors hold, as far as a graph decides it without data.

A value may be known in part: `Shape` of `[batch, 128]` is (unknown, 128). Only an allowlist of operators is
evaluated, in numpy, on at most 1024 elements, so that nothing here can crash, hang or grow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

_LARGEST = 1024
_SAFE = 2**31 - 1
"""Beyond this magnitude a product could overflow int64, and so could -2^31 in int32: such a value is left unknown."""


@dataclass(frozen=True)
class Known:
    """A tensor known in part."""

    data: np.ndarray
    mask: np.ndarray
    """bool, shape of `data`: True where `data` is what the graph will compute."""
    from_shape: bool = False
    """Whether it stems from the shape of another tensor, and so changes with the data."""

    @property
    def complete(self) -> bool:
        """Whether every element is known."""
        return bool(self.mask.all())


def known_values(graph: ir.Graph) -> dict[ir.Value, Known]:
    """What is known of the tensors of a graph (not of its subgraphs), from constants and inferred shapes."""
    known: dict[ir.Value, Known] = {}
    for value in graph.initializers.values():
        _note(known, value, value.const_value)
    for node in graph:
        if node.domain in ("", "ai.onnx") and len(node.outputs) == 1:
            found = _evaluate(node, known)
            if found is not None and found.data.size <= _LARGEST:
                known[node.outputs[0]] = found
    return known


def _note(known: dict[ir.Value, Known], value: ir.Value, tensor: object) -> None:
    if isinstance(tensor, ir.TensorProtocol) and tensor.size <= _LARGEST and tensor.dtype in _READ:
        known[value] = _whole(tensor.numpy())


_READ = frozenset(
    getattr(ir.DataType, name)
    for name in ("BOOL", "INT8", "UINT8", "INT16", "UINT16", "INT32", "INT64", "FLOAT", "DOUBLE")
)


def _whole(data: np.ndarray, from_shape: bool = False) -> Known:
    array = np.asarray(data)
    return Known(array, np.ones(array.shape, bool), from_shape)


def _evaluate(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    """What is known of the node's output; None where the operator or its inputs say nothing."""
    if node.op_type == "Constant":
        return _constant(node)
    if node.op_type in ("Shape", "Size"):
        return _of_shape(node, known)
    rule = _RULES.get(node.op_type)
    if rule is None:
        return None
    inputs = [None if value is None else known.get(value) for value in node.inputs]
    if any(value is not None and found is None for value, found in zip(node.inputs, inputs, strict=True)):
        return None
    try:
        with np.errstate(all="ignore"):
            return rule(node, inputs)
    except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError, MemoryError):
        return None  # malformed: onnxruntime will say so, with a message of its own


def _constant(node: ir.Node) -> Known | None:
    for name, attribute in node.attributes.items():
        value = attribute.value
        if name == "value" and isinstance(value, ir.TensorProtocol):
            found: dict[ir.Value, Known] = {}
            _note(found, node.outputs[0], value)
            return found.get(node.outputs[0])
        if name in ("value_int", "value_ints"):
            return _whole(np.array(value, np.int64))
        if name in ("value_float", "value_floats"):
            return _whole(np.array(value, np.float32))
    return None


def _of_shape(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    source = node.inputs[0] if node.inputs else None
    if source is None:
        return None
    shape = known[source].data.shape if source in known else source.shape
    if shape is None:
        return None
    varies = known[source].from_shape if source in known else source.const_value is None
    sizes = [size if isinstance(size, int) else None for size in shape]
    if node.op_type == "Size":
        return None if None in sizes else _whole(np.array(prod(s or 0 for s in sizes), np.int64), varies)
    begin, end = _integer(node, "start", 0), _integer(node, "end", len(sizes))
    chosen = sizes[begin:end]
    data = np.array([size or 0 for size in chosen], np.int64)
    return Known(data, np.array([size is not None for size in chosen], bool), varies)


Inputs = Sequence[Known | None]
Rule = Callable[[ir.Node, Inputs], Known | None]


def _integer(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else int(attribute.value)


def _given(inputs: Inputs, index: int) -> Known:
    """An input that must be there and wholly known."""
    found = inputs[index]
    if found is None or not found.complete:
        raise ValueError("not known")
    return found


def _optional(inputs: Inputs, index: int) -> list[int] | None:
    """The elements of an optional integer input."""
    if index >= len(inputs) or inputs[index] is None:
        return None
    return [int(x) for x in _given(inputs, index).data.reshape(-1)]


def _axes(node: ir.Node, inputs: Inputs, index: int = 1) -> list[int] | None:
    """Axes as older opsets (attribute) or newer ones (input) give them."""
    attribute = node.attributes.get("axes")
    return [int(x) for x in attribute.value] if attribute is not None else _optional(inputs, index)


def _moved(source: Known, move: Callable[[np.ndarray], np.ndarray], *others: Known) -> Known:
    """An operator that moves elements moves what is known of them in the same way."""
    from_shape = source.from_shape or any(other.from_shape for other in others)
    return Known(move(source.data), move(source.mask), from_shape)


def _first(inputs: Inputs) -> Known:
    if inputs[0] is None:
        raise ValueError("an input is missing")
    return inputs[0]


def _identity(node: ir.Node, inputs: Inputs) -> Known:
    return _first(inputs)


def _cast(node: ir.Node, inputs: Inputs) -> Known | None:
    target = ir.DataType(_integer(node, "to", 0))
    source = _first(inputs)
    if target not in _READ or (source.data.dtype.kind == "f" and not np.isfinite(source.data).all()):
        return None
    return Known(source.data.astype(target.numpy()), source.mask, source.from_shape)


def _gather(node: ir.Node, inputs: Inputs) -> Known:
    indices = _given(inputs, 1).data
    axis = _integer(node, "axis", 0)
    return _moved(_first(inputs), lambda x: np.take(x, indices, axis))


def _squeeze(node: ir.Node, inputs: Inputs) -> Known:
    axes = _axes(node, inputs)
    return _moved(_first(inputs), lambda x: np.squeeze(x, None if axes is None else tuple(axes)))


def _unsqueeze(node: ir.Node, inputs: Inputs) -> Known:
    axes = _axes(node, inputs) or []
    return _moved(_first(inputs), lambda x: np.expand_dims(x, tuple(axes)))


def _concat(node: ir.Node, inputs: Inputs) -> Known:
    parts = [part for part in inputs if part is not None]
    axis = _integer(node, "axis", 0)
    data = np.concatenate([part.data for part in parts], axis)
    mask = np.concatenate([part.mask for part in parts], axis)
    return Known(data, mask, any(part.from_shape for part in parts))


def _slice(node: ir.Node, inputs: Inputs) -> Known:
    if "starts" in node.attributes:
        starts, ends = ([int(x) for x in node.attributes[name].value] for name in ("starts", "ends"))
        axes, steps = _axes(node, (), 3), None
    else:
        starts, ends = ([int(x) for x in _given(inputs, k).data] for k in (1, 2))
        axes, steps = _optional(inputs, 3), _optional(inputs, 4)
    source = _first(inputs)
    where = [slice(None)] * source.data.ndim
    for k, (begin, end) in enumerate(zip(starts, ends, strict=True)):
        axis, step = (k if axes is None else axes[k]), (1 if steps is None else steps[k])
        # A negative step that runs to the front says so with an end below -size, which Python would wrap.
        stop = None if step < 0 and end < -source.data.shape[axis] else end
        where[axis] = slice(begin, stop, step)
    return _moved(source, lambda x: x[tuple(where)])


def _reshape(node: ir.Node, inputs: Inputs) -> Known:
    source = _first(inputs)
    target = [int(x) for x in _given(inputs, 1).data]
    if not _integer(node, "allowzero", 0):
        target = [source.data.shape[k] if size == 0 else size for k, size in enumerate(target)]
    return _moved(source, lambda x: x.reshape(target))


def _transpose(node: ir.Node, inputs: Inputs) -> Known:
    perm = node.attributes.get("perm")
    return _moved(_first(inputs), lambda x: np.transpose(x, None if perm is None else list(perm.value)))


def _constant_of_shape(node: ir.Node, inputs: Inputs) -> Known | None:
    shape = [int(x) for x in _given(inputs, 0).data]
    if prod(shape) > _LARGEST or any(size < 0 for size in shape):
        return None
    attribute = node.attributes.get("value")
    value = np.float32(0) if attribute is None else attribute.value.numpy().reshape(-1)[0]
    return _whole(np.full(shape, value), _first(inputs).from_shape)


def _range(node: ir.Node, inputs: Inputs) -> Known | None:
    begin, end, step = (_given(inputs, k).data.item() for k in range(3))
    if step == 0 or abs(end - begin) / abs(step) > _LARGEST:
        return None
    data = np.arange(begin, end, step, dtype=_given(inputs, 0).data.dtype)
    return _whole(data, any(part.from_shape for part in inputs if part))


def _is_safe(data: np.ndarray) -> bool:
    """Whether arithmetic stays far from the ends of int64 (whose absolute value is no int64)."""
    return data.dtype.kind not in "iu" or not np.any((data > _SAFE) | (data < -_SAFE))


def _elementwise(function: Callable[..., np.ndarray]) -> Rule:
    def rule(node: ir.Node, inputs: Inputs) -> Known | None:
        parts = [part for part in inputs if part is not None]
        if not all(_is_safe(part.data) for part in parts):
            return None
        data = np.asarray(function(*(part.data for part in parts)))
        mask = np.ones(data.shape, bool)
        for part in parts:
            mask = mask & part.mask
        return Known(data, mask, any(part.from_shape for part in parts))

    return rule


def _divide(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """ONNX truncates towards zero where numpy rounds down."""
    if np.any(right == 0):
        raise ValueError("division by zero")
    if left.dtype.kind == "f":
        return np.asarray(left / right)
    return np.asarray(np.sign(left) * np.sign(right) * (np.abs(left) // np.abs(right)), left.dtype)


def _modulo(node: ir.Node, inputs: Inputs) -> Known | None:
    if np.any(_given(inputs, 1).data == 0):
        return None
    return _elementwise(np.fmod if _integer(node, "fmod", 0) else np.mod)(node, inputs)


def _reduced(function: Callable[..., np.ndarray]) -> Rule:
    def rule(node: ir.Node, inputs: Inputs) -> Known | None:
        source = _given(inputs, 0)
        if source.data.dtype.kind not in "iu" or not _is_safe(source.data):
            return None
        axes = _axes(node, inputs)
        if not axes and _integer(node, "noop_with_empty_axes", 0):
            return source
        keep = bool(_integer(node, "keepdims", 1))
        data = np.asarray(
            function(source.data.astype(object), axis=tuple(axes) if axes else None, keepdims=keep)
        )
        if any(abs(x) > _SAFE for x in data.reshape(-1)):
            return None
        return _whole(data.astype(source.data.dtype), source.from_shape)

    return rule


_RULES: dict[str, Rule] = {
    "Identity": _identity,
    "Cast": _cast,
    "Gather": _gather,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Slice": _slice,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Equal": _elementwise(np.equal),
    "Not": _elementwise(np.logical_not),
    "And": _elementwise(np.logical_and),
    "Or": _elementwise(np.logical_or),
    "Xor": _elementwise(np.logical_xor),
    "Less": _elementwise(np.less),
    "LessOrEqual": _elementwise(np.less_equal),
    "Greater": _elementwise(np.greater),
    "GreaterOrEqual": _elementwise(np.greater_equal),
    "Add": _elementwise(np.add),
    "Sub": _elementwise(np.subtract),
    "Mul": _elementwise(np.multiply),
    "Div": _elementwise(_divide),
    "Mod": _modulo,
    "Neg": _elementwise(np.negative),
    "Abs": _elementwise(np.abs),
    "Floor": _elementwise(np.floor),
    "Ceil": _elementwise(np.ceil),
    "Min": _elementwise(lambda *x: np.minimum.reduce(np.broadcast_arrays(*x))),
    "Max": _elementwise(lambda *x: np.maximum.reduce(np.broadcast_arrays(*x))),
    "Where": _elementwise(np.where),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
}
