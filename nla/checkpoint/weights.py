"""A weight as it is to be written: where its values come from, and what is done to them on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, SparseTensorProto, TensorProto

from nla.checkpoint.external import ExternalRange, Place, open_external, read_range
from nla.checkpoint.skeleton import weight_tensors
from nla.checkpoint.tensors import dense_array, named, size_bytes
from nla.checkpoint.values import (
    AS_RAW,
    NUMBER_ATTRIBUTES,
    field_of,
    from_attribute,
    from_bytes,
    from_field,
    numpy_type,
    onnx_type,
    to_bytes,
    to_entries,
)
from nla.checkpoint.wire import Buffer, Piece, ready, serialised, varints
from nla.errors import ModelError, printable

Array = NDArray[Any]
Change = Callable[[Array], Array]
Base = TensorProto | SparseTensorProto | AttributeProto | Array

_PIECE_BYTES = 4 << 20
_EXPONENTS = {"float16": np.uint16(0x7C00), "bfloat16": np.uint16(0x7F80)}
"""All bits of the exponent, which only infinity and NaN set: numpy compares numbers of two bytes one by one."""
_COMPARED = 1 << 20


@dataclass(frozen=True)
class Content:
    """What is written for a tensor: its values, or the whole of it as it stood in a protobuf."""

    field: str | None
    """Of the TensorProto: one of `values.FIELDS`, "external_data", or None: the piece is the whole TensorProto."""
    piece: Piece
    range: ExternalRange | None = None
    """Where an external tensor lay before: it keeps its place among the others, and its alignment."""
    as_it_was: bool = True
    """False where the values are others than those at `range`."""


@dataclass(frozen=True)
class Weight:
    """A tensor of numbers in the main graph, with the changes that are applied when it is read or written."""

    name: str
    place: Place
    """Where the external data of its checkpoint lies."""
    base: Base
    data_type: int
    shape: tuple[int, ...]
    external: bool
    """Whether it is written to the external file."""
    changes: tuple[Change, ...] = ()
    copied: bool = False
    """Whether it is one that the checkpoint does not have, with the values of one that it has."""

    @property
    def changed(self) -> bool:
        """Whether its values are not those of the checkpoint."""
        return bool(self.changes) or isinstance(self.base, np.ndarray)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its elements. Raises ModelError for types that numpy and ml_dtypes do not have."""
        try:
            return numpy_type(self.data_type)
        except ModelError as error:
            raise named("weight", self.name, error) from None

    def values(self) -> Array:
        """Its values with all changes, in new memory. Raises ModelError."""
        dtype, held = self.dtype, [self._read()]
        for (
            change
        ) in self.changes:  # popped, so that a function that works in steps can let go of what it was given
            held.append(np.asarray(change(held.pop())))
        array = held.pop()
        if array.shape != self.shape:
            raise AssertionError(
                f"weight {self.name!r} came out as {array.shape}, announced was {self.shape}"
            )
        with np.errstate(over="ignore"):
            array = array.astype(dtype, copy=False)
        if (
            self.changed
            and not is_finite(array)
            and (isinstance(self.base, np.ndarray) or is_finite(self._read()))
        ):
            raise ModelError(
                f"weight '{printable(self.name)}' would hold values that {dtype} cannot: strike the action that asks "
                "for them from the manifest, or plan it again"
            )
        return array

    def with_change(self, change: Change, shape: tuple[int, ...]) -> Weight:
        """The weight with one more change, after which it has this shape."""
        return replace(self, changes=(*self.changes, change), shape=shape)

    def _read(self) -> Array:
        if isinstance(self.base, np.ndarray):
            return self.base.copy()
        if isinstance(self.base, AttributeProto):
            return from_attribute(self.base)
        if isinstance(self.base, SparseTensorProto):
            return dense_array(self.base)
        if self.base.data_location != TensorProto.EXTERNAL:
            return from_field(self.base)
        return read_external(self.place, self.base)

    def content(self) -> Content:
        """What is written for it; the values are computed when their turn comes."""
        base = self.base if isinstance(self.base, TensorProto) else None
        if self.external:
            where = read_range(base) if base is not None else None
            if where is not None and not self.changed:
                return Content("external_data", range_piece(self.place, where), where)
            return Content("external_data", self._piece(), where, as_it_was=False)
        if base is not None and not self.changed and not self.copied:
            return Content(None, message_piece(base))
        field = (
            field_of(base) if base is not None and base.data_location != TensorProto.EXTERNAL else "raw_data"
        )
        if base is None or field in AS_RAW:
            return Content(field, self._piece())
        return Content(field, ready(varints(to_entries(self.values(), base))))

    def _piece(self) -> Piece:
        length = size_bytes(TensorProto(data_type=self.data_type, dims=self.shape))

        def read() -> Iterator[Buffer]:
            yield to_bytes(self.values(), self.data_type).data

        return Piece(length, read)


def is_finite(array: Array) -> bool:
    """Whether no value is NaN or infinite, without an array of its size."""
    if array.dtype.kind in "biuS" or not array.size:
        return True
    exponent = _EXPONENTS.get(array.dtype.name)
    if exponent is not None:
        bits = array.reshape(-1).view(np.uint16)
        parts = (bits[at : at + _COMPARED] for at in range(0, bits.size, _COMPARED))
        return all(bool(((part & exponent) != exponent).all()) for part in parts)
    return bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def message_piece(message: TensorProto) -> Piece:
    """The whole tensor, serialised when its turn comes (and once before, as protobuf tells no sizes)."""
    return Piece(len(serialised(message)), lambda: (serialised(message),))


def range_piece(place: Place, where: ExternalRange) -> Piece:
    """The bytes of a range of an external file, a few MB at a time."""
    return Piece(where.length, partial(_stream, place, where))


def _stream(place: Place, where: ExternalRange) -> Iterator[Buffer]:
    buffer = memoryview(bytearray(min(_PIECE_BYTES, where.length)))
    with open_external(place, where.location) as (file, _):
        file.seek(where.offset)
        left = where.length
        while left:
            count = file.readinto(buffer[: min(left, len(buffer))])  # type: ignore[attr-defined]
            if not count:
                raise _changed(where.location)
            yield buffer[:count]
            left -= count


def read_external(place: Place, tensor: TensorProto) -> Array:
    """The values of an external tensor, in memory of their own. Raises ModelError."""
    where = read_range(tensor)
    raw = np.empty(where.length, np.uint8)
    with open_external(place, where.location) as (file, _):
        file.seek(where.offset)
        if file.readinto(raw.data) != where.length:  # type: ignore[attr-defined]
            raise _changed(where.location)
    return from_bytes(raw, tensor.data_type, tuple(tensor.dims))


def _changed(location: str) -> ModelError:
    return ModelError(f"external data '{printable(location)}' was cut short while it was read")


def weights_of(graph: GraphProto, place: Place) -> dict[str, Weight]:
    """Every tensor of numbers that the main graph holds, by name: initializers and outputs of Constant nodes."""
    found: dict[str, Weight] = {}
    for name, tensor in weight_tensors(graph).items():
        external = tensor.data_location == TensorProto.EXTERNAL
        found[name] = Weight(name, place, tensor, tensor.data_type, tuple(tensor.dims), external)
    for sparse in graph.sparse_initializer:
        found[sparse.values.name] = _sparse(sparse.values.name, place, sparse)
    for node in graph.node:
        constant = node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(node.attribute) == 1
        if constant and len(node.output) == 1 and node.output[0] not in found:
            found |= _from_attribute(node.output[0], place, node.attribute[0])
    return found


def _sparse(name: str, place: Place, sparse: SparseTensorProto) -> Weight:
    return Weight(name, place, sparse, sparse.values.data_type, tuple(sparse.dims), False)


def _from_attribute(name: str, place: Place, attribute: AttributeProto) -> dict[str, Weight]:
    if attribute.name == "sparse_value" and attribute.HasField("sparse_tensor"):
        return {name: _sparse(name, place, attribute.sparse_tensor)}
    if attribute.name not in NUMBER_ATTRIBUTES:
        return {}
    array = from_attribute(attribute)
    return {name: Weight(name, place, attribute, onnx_type(array.dtype), array.shape, False)}


def given(name: str, place: Place, array: Array, *, external: bool) -> Weight:
    """A weight that no file holds yet."""
    array = np.array(array)
    return Weight(name, place, array, onnx_type(array.dtype), array.shape, external)
