"""The values of a tensor in the protobuf, as arrays and back, in every field that may hold them."""

from __future__ import annotations

from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from nla.checkpoint.tensors import type_name
from nla.errors import ModelError

Array = NDArray[Any]

_DTYPES: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.UINT8: np.uint8,
    TensorProto.INT8: np.int8,
    TensorProto.UINT16: np.uint16,
    TensorProto.INT16: np.int16,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
    TensorProto.BOOL: np.bool_,
    TensorProto.FLOAT16: np.float16,
    TensorProto.DOUBLE: np.float64,
    TensorProto.UINT32: np.uint32,
    TensorProto.UINT64: np.uint64,
    TensorProto.COMPLEX64: np.complex64,
    TensorProto.COMPLEX128: np.complex128,
    TensorProto.BFLOAT16: ml_dtypes.bfloat16,
    TensorProto.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: ml_dtypes.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: ml_dtypes.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: ml_dtypes.float8_e5m2fnuz,
    TensorProto.UINT4: ml_dtypes.uint4,
    TensorProto.INT4: ml_dtypes.int4,
    # Numbers of types that older releases of onnx do not know.
    23: ml_dtypes.float4_e2m1fn,
    24: ml_dtypes.float8_e8m0fnu,
    25: ml_dtypes.uint2,
    26: ml_dtypes.int2,
}
_PACKED_BITS = {TensorProto.UINT4: 4, TensorProto.INT4: 4, 23: 4, 25: 2, 26: 2}
_SIGNED = (TensorProto.INT4, 26)
_MINIFLOAT = (23,)

NUMBER_ATTRIBUTES: dict[str, tuple[str, Any]] = {
    "value_float": ("f", np.float32),
    "value_floats": ("floats", np.float32),
    "value_int": ("i", np.int64),
    "value_ints": ("ints", np.int64),
}
"""Attributes of a Constant node that hold plain numbers: the field, and the type of the array."""
FIELDS = {
    "float_data": 4,
    "int32_data": 5,
    "int64_data": 7,
    "raw_data": 9,
    "double_data": 10,
    "uint64_data": 11,
}
"""The fields that may hold a tensor's numbers, with their numbers in onnx.proto."""
AS_RAW = ("raw_data", "float_data", "double_data")
"""Those whose content is written as the bare little-endian numbers; the others hold integers of varying length."""


def numpy_type(data_type: int) -> np.dtype[Any]:
    """The type of an element as an array has it, ml_dtypes for bfloat16 and below a byte. Raises ModelError."""
    if data_type not in _DTYPES:
        raise ModelError(f"element type {type_name(data_type)}, which nla does not change")
    dtype: np.dtype[Any] = np.dtype(_DTYPES[data_type])
    return dtype


def onnx_type(dtype: np.dtype[Any]) -> int:
    """ONNX's number of an array's element type. Raises ModelError."""
    for number, known in _DTYPES.items():
        if np.dtype(known) == dtype:
            return number
    raise ModelError(f"element type {dtype}, which no ONNX tensor has")


def field_of(tensor: TensorProto) -> str:
    """The field that holds the tensor's numbers; raw_data where it has none."""
    return next((field for field in FIELDS if len(getattr(tensor, field))), "raw_data")


def from_bytes(raw: Array, data_type: int, shape: tuple[int, ...]) -> Array:
    """uint8 [bytes], as raw_data and external files hold them, as an array of the shape; a view where it can be."""
    if data_type in _PACKED_BITS:
        return _from_bits(_unpacked(raw, _PACKED_BITS[data_type])[: prod(shape)], data_type).reshape(shape)
    return raw.view(numpy_type(data_type)).reshape(shape)


def to_bytes(array: Array, data_type: int) -> Array:
    """uint8 [bytes]: the array as raw_data and external files hold it; a view where it can be."""
    if data_type in _PACKED_BITS:
        return _packed(_to_bits(array.reshape(-1), data_type), _PACKED_BITS[data_type])
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def from_field(tensor: TensorProto) -> Array:
    """The array of an inline tensor, whichever field holds it: new memory, which may be written to."""
    field, shape = field_of(tensor), tuple(tensor.dims)
    if field == "raw_data":
        return from_bytes(np.frombuffer(tensor.raw_data, np.uint8).copy(), tensor.data_type, shape)
    dtype, entries = numpy_type(tensor.data_type), getattr(tensor, field)
    if field in AS_RAW:
        part = np.empty(0, dtype).real.dtype
        return np.fromiter(entries, part, len(entries)).view(dtype).reshape(shape)
    numbers = np.fromiter(entries, np.uint64 if field == "uint64_data" else np.int64, len(entries))
    if tensor.data_type in _PACKED_BITS:
        codes = numbers.astype(np.uint8)
        if len(entries) != prod(shape):
            return from_bytes(codes, tensor.data_type, shape)
        return _from_bits(codes, tensor.data_type).reshape(shape)
    if dtype == np.bool_:
        return np.asarray(numbers != 0).reshape(shape)
    return numbers.astype(f"u{dtype.itemsize}").view(dtype).reshape(shape)


def to_entries(array: Array, like: TensorProto) -> Array:
    """The integers that int32_data, int64_data or uint64_data of a tensor `like` that one hold for the array.

    Types below a byte are packed, as most writers do, unless `like` holds one element an entry.
    """
    flat, data_type = array.reshape(-1), like.data_type
    if data_type in _PACKED_BITS:
        apart = len(like.int32_data) == prod(like.dims) > 1
        return _signed(_to_bits(flat, data_type), data_type) if apart else to_bytes(flat, data_type)
    if flat.dtype.kind in "iu":
        return flat
    return np.ascontiguousarray(flat).view(f"u{flat.dtype.itemsize}")


def _from_bits(codes: Array, data_type: int) -> Array:
    """Codes, one a byte, as elements of a type below a byte."""
    if data_type in _MINIFLOAT:
        return (codes & 15).view(numpy_type(data_type))
    return _signed(codes & (1 << _PACKED_BITS[data_type]) - 1, data_type).astype(numpy_type(data_type))


def _to_bits(flat: Array, data_type: int) -> Array:
    """uint8: the codes of elements below a byte, one a byte."""
    flat = np.ascontiguousarray(flat)
    wide = flat.view(np.uint8) if data_type in _MINIFLOAT else flat.astype(np.int8).view(np.uint8)
    return wide & np.uint8((1 << _PACKED_BITS[data_type]) - 1)


def _signed(codes: Array, data_type: int) -> Array:
    if data_type not in _SIGNED:
        return codes
    spare = 8 - _PACKED_BITS[data_type]
    return (codes << spare).view(np.int8) >> spare


def _packed(codes: Array, bits: int) -> Array:
    """Codes side by side in bytes, the first in the lowest bits."""
    each = 8 // bits
    padded = np.zeros(-(-codes.size // each) * each, np.uint8)
    padded[: codes.size] = codes
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return np.asarray(np.bitwise_or.reduce(padded.reshape(-1, each) << shifts, axis=1), np.uint8)


def _unpacked(raw: Array, bits: int) -> Array:
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return (raw[:, None] >> shifts & np.uint8((1 << bits) - 1)).reshape(-1)


def from_attribute(attribute: onnx.AttributeProto) -> Array:
    """The array that a Constant node makes of its value_float, value_floats, value_int or value_ints."""
    field, dtype = NUMBER_ATTRIBUTES[attribute.name]
    return np.array(getattr(attribute, field), dtype)
