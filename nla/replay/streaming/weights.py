"""The weights of a stage as arrays to be fed: views of mapped files, or float32 copies made once for the stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.checkpoint.external import ExternalFile
from nla.graph.loading import ExternalWeight
from nla.replay.session import load_onnxruntime
from nla.replay.streaming.stage_graph import Weight

Array = NDArray[Any]


class BoundWeights:
    """The weights of one stage, for as long as this lives: each made when it is first asked for, then kept.

    Files are mapped anew for every stage, so that the pages of a stage that is done no longer count as this
    process's memory.
    """

    def __init__(self, files: Iterable[ExternalFile]) -> None:
        self._files = {file.location: file for file in files}
        self._mapped: dict[str, Array] = {}
        self._made: dict[tuple[str, bool], Any] = {}

    def feeds(self, weights: Mapping[str, Weight]) -> dict[str, Any]:
        """What to feed for each weight, by its name: NumPy arrays, and OrtValues for types that NumPy lacks.

        Raises ModelError: a file was changed meanwhile.
        """
        return {name: self._value(name, weight) for name, weight in weights.items()}

    def _value(self, name: str, weight: Weight) -> Any:
        key = (name, weight.cast)
        if key not in self._made:
            raw = self._stored(weight.tensor)
            self._made[key] = (
                as_float32(raw, weight.tensor.dtype) if weight.cast else _fed(raw, weight.tensor.dtype)
            )
        return self._made[key]

    def _stored(self, tensor: ir.TensorProtocol) -> Array:
        """The tensor as it is stored, a view where it lies in a file; bfloat16 as uint16."""
        if not isinstance(tensor, ExternalWeight):
            return _bits(np.ascontiguousarray(tensor.numpy()), tensor.dtype)
        if tensor.location not in self._mapped:
            self._mapped[tensor.location] = self._files[tensor.location].map()
        raw = self._mapped[tensor.location]
        kind = (
            np.dtype("<u2")
            if tensor.dtype == ir.DataType.BFLOAT16
            else tensor.dtype.numpy().newbyteorder("<")
        )
        shape = tuple(tensor.shape.numpy())
        return np.ndarray(shape, kind, raw.data, tensor.offset) if tensor.length else np.zeros(shape, kind)


def _bits(array: Array, dtype: ir.DataType) -> Array:
    return array.view(np.uint16) if dtype == ir.DataType.BFLOAT16 else array


def _fed(raw: Array, dtype: ir.DataType) -> Any:
    """The array itself; one at an odd place in its file is copied: not every kernel reads such."""
    aligned: Array = np.require(raw, requirements="A")
    if dtype == ir.DataType.BFLOAT16:
        return load_onnxruntime().OrtValue.ortvalue_from_numpy_with_onnx_type(aligned, dtype.value)
    return aligned


def as_float32(raw: Array, dtype: ir.DataType) -> NDArray[np.float32]:
    """The values as float32; bfloat16 is given as its bits, uint16.

    >>> as_float32(np.array([0x3F80, 0xC000], np.uint16), ir.DataType.BFLOAT16).tolist()
    [1.0, -2.0]
    """
    if dtype != ir.DataType.BFLOAT16:
        with np.errstate(over="ignore"):
            return raw.astype(np.float32)
    wide = raw.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)
