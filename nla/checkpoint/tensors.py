"""Checks of one tensor in the protobuf: its type, its size, and that its data is there once and fits."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np
import onnx
from onnx import TensorProto

from nla.errors import ModelError, printable

# Bits an element takes in raw and external data, and the typed field that may hold it instead.
_BITS: dict[int, tuple[int, str]] = {
    TensorProto.FLOAT: (32, "float_data"),
    TensorProto.UINT8: (8, "int32_data"),
    TensorProto.INT8: (8, "int32_data"),
    TensorProto.UINT16: (16, "int32_data"),
    TensorProto.INT16: (16, "int32_data"),
    TensorProto.INT32: (32, "int32_data"),
    TensorProto.INT64: (64, "int64_data"),
    TensorProto.BOOL: (8, "int32_data"),
    TensorProto.FLOAT16: (16, "int32_data"),
    TensorProto.DOUBLE: (64, "double_data"),
    TensorProto.UINT32: (32, "uint64_data"),
    TensorProto.UINT64: (64, "uint64_data"),
    TensorProto.COMPLEX64: (64, "float_data"),
    TensorProto.COMPLEX128: (128, "double_data"),
    TensorProto.BFLOAT16: (16, "int32_data"),
    TensorProto.FLOAT8E4M3FN: (8, "int32_data"),
    TensorProto.FLOAT8E4M3FNUZ: (8, "int32_data"),
    TensorProto.FLOAT8E5M2: (8, "int32_data"),
    TensorProto.FLOAT8E5M2FNUZ: (8, "int32_data"),
    TensorProto.UINT4: (4, "int32_data"),
    TensorProto.INT4: (4, "int32_data"),
}
# Types that older releases of onnx do not know: number in onnx.proto, bits.
_NEWER_BITS = {23: 4, 24: 8, 25: 2, 26: 2, 27: 6, 28: 6}
_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_LARGEST_EMPTY = 2**48
_LARGEST_DENSE_BYTES = 2**31


def type_name(data_type: int) -> str:
    """The ONNX name of an element type, in lower case: float, int64, bfloat16.

    >>> type_name(1), type_name(99)
    ('float', 'type 99')
    """
    try:
        return str(TensorProto.DataType.Name(data_type)).lower()
    except ValueError:
        return f"type {data_type}"


def size_bytes(tensor: TensorProto) -> int:
    """Bytes that the dims and the element type ask for. Raises ModelError where they make no sense."""
    dims = _checked_dims(tensor.dims)
    bits = _bits(tensor.data_type)
    return -(-prod(dims) * bits // 8)


def check_tensor(tensor: TensorProto) -> None:
    """Check a dense tensor; where its data is external, everything but the data. Raises ModelError."""
    if tensor.HasField("segment"):
        raise ModelError("the tensor is split into segments, which no ONNX tool reads")
    fields = [field for field in _FIELDS if len(getattr(tensor, field))]
    raw_bytes = len(tensor.raw_data)
    if raw_bytes:
        fields.append("raw_data")
    if tensor.data_location == TensorProto.EXTERNAL:
        fields.append("external data")
    elif len(tensor.external_data):
        raise ModelError("it names external data and says that its data is inline")
    if len(fields) > 1:
        raise ModelError(f"its data is given more than once: in {' and in '.join(fields)}")
    if tensor.data_type == TensorProto.STRING:
        return _check_strings(tensor, fields)
    if fields == ["external data"]:
        size_bytes(tensor)
        return None
    return _check_inline(tensor, fields, raw_bytes)


def _check_inline(tensor: TensorProto, fields: list[str], raw_bytes: int) -> None:
    needed = size_bytes(tensor)
    shape = f"{type_name(tensor.data_type)} {list(tensor.dims)}"
    if not fields:
        if needed:
            raise ModelError(
                f"{shape} has no data: the weights were stripped from this file; export it with its weights"
            )
        return
    if fields == ["raw_data"]:
        if raw_bytes != needed:
            raise ModelError(f"{shape} takes {needed:,} bytes, and {raw_bytes:,} are there")
        return
    field = _BITS.get(tensor.data_type, (0, "int32_data"))[1]
    if fields != [field]:
        raise ModelError(f"{shape} keeps its data in {field}, and {fields[0]} is there")
    allowed, there = _entries(tensor), len(getattr(tensor, field))
    if there not in allowed:
        raise ModelError(f"{shape} takes {max(allowed):,} entries of {field}, and {there:,} are there")


def _entries(tensor: TensorProto) -> set[int]:
    """Numbers of entries that the typed field may have; most writers pack types below a byte."""
    elements, bits = prod(tensor.dims), _bits(tensor.data_type)
    if tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        return {2 * elements}
    return {elements} if bits >= 8 else {elements, -(-elements * bits // 8)}


def _check_strings(tensor: TensorProto, fields: list[str]) -> None:
    elements = prod(_checked_dims(tensor.dims))
    if fields not in ([], ["string_data"]) or len(tensor.string_data) != elements:
        raise ModelError(f"string {list(tensor.dims)} takes {elements:,} strings, and they are not there")


def _bits(data_type: int) -> int:
    if data_type in _BITS:
        return _BITS[data_type][0]
    if data_type in _NEWER_BITS:
        return _NEWER_BITS[data_type]
    raise ModelError(f"unknown element type ({type_name(data_type)})")


def _checked_dims(dims: Iterable[int]) -> list[int]:
    sizes = list(dims)
    if any(size < 0 for size in sizes):
        raise ModelError(f"negative size in its shape {sizes}")
    if 0 in sizes and prod(size or 1 for size in sizes) > _LARGEST_EMPTY:
        raise ModelError(f"shape {sizes}: empty, and yet of sizes that no library can multiply")
    if len(sizes) > 64:
        raise ModelError(f"{len(sizes)} dimensions")
    return sizes


def check_sparse(tensor: onnx.SparseTensorProto) -> None:
    """Check a sparse tensor: values, indices in range and in order, and the size of its dense form."""
    dims = _checked_dims(tensor.dims)
    for part in (tensor.values, tensor.indices):
        if part.data_location == TensorProto.EXTERNAL:
            raise ModelError("a sparse tensor with external data, which onnxruntime does not read either")
        check_tensor(part)
    dense_bytes = prod(dims) * max(_bits(tensor.values.data_type), 8) // 8
    if dense_bytes > _LARGEST_DENSE_BYTES:
        raise ModelError(f"sparse {dims} takes {dense_bytes:,} bytes in its dense form")
    if len(tensor.values.dims) != 1 or tensor.indices.data_type != TensorProto.INT64:
        raise ModelError("a sparse tensor needs values of one dimension and int64 indices")
    flat = _linear_indices(tensor, dims)
    if len(flat) and (flat[0] < 0 or flat[-1] >= prod(dims) or np.any(np.diff(flat) <= 0)):
        raise ModelError(f"its indices are out of range for {dims}, unsorted, or not unique")


def _linear_indices(tensor: onnx.SparseTensorProto, dims: list[int]) -> np.ndarray:
    """int64 [nnz]: positions in the flattened dense tensor."""
    indices = onnx.numpy_helper.to_array(tensor.indices)
    count = tensor.values.dims[0]
    if indices.shape == (count,):
        return indices
    if indices.shape != (count, len(dims)):
        raise ModelError(f"{count} values and indices of shape {list(indices.shape)}")
    if np.any(indices < 0) or np.any(indices >= np.array(dims)):
        raise ModelError(f"its indices are out of range for {dims}")
    strides = [prod(dims[axis + 1 :]) for axis in range(len(dims))]
    return np.asarray(indices @ np.array(strides, np.int64).reshape(len(dims)), np.int64)


def dense_array(tensor: onnx.SparseTensorProto) -> np.ndarray:
    """The dense form of a checked sparse tensor."""
    dims = list(tensor.dims)
    values = onnx.numpy_helper.to_array(tensor.values)
    dense = np.zeros(prod(dims), values.dtype)
    dense[_linear_indices(tensor, dims)] = values
    return dense.reshape(dims)


def named(kind: str, name: object, error: ModelError) -> ModelError:
    """The error with the tensor's kind and name before it."""
    return ModelError(f"{kind} '{printable(name)}': {error}")
