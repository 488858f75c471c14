"""What travels between parent and child: JSON and raw arrays, never pickles.

A frame is eight bytes of little-endian header length, a JSON header, and the arrays it announces, one after
the other in C order. The reader checks each size before it takes memory: the writer may be a hijacked
process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
_LARGEST_HEADER = 256 << 20
_LARGEST_ARRAYS = 64 << 30
_KINDS = "biufcSU"


class BadFrame(Exception):  # noqa: N818 - the peer is at fault, or a defect of ours
    """What arrived is no frame."""


@dataclass(frozen=True)
class Frame:
    """One message: its kind, plain values, and arrays."""

    kind: str
    body: dict[str, Any]
    arrays: dict[str, Array] = field(default_factory=dict)


def encode(kind: str, body: Mapping[str, Any], arrays: Mapping[str, Array]) -> Iterator[bytes | memoryview]:
    """The bytes of a frame, in pieces. Raises TypeError for Python objects that cannot travel."""
    plain = {name: _plain(name, array) for name, array in arrays.items()}
    listing = [[name, array.dtype.str, list(array.shape)] for name, array in plain.items()]
    header = json.dumps({"kind": kind, "body": body, "arrays": listing}).encode()
    yield len(header).to_bytes(8, "little") + header
    for array in plain.values():
        if array.size:
            yield array.reshape(-1).view(np.uint8).data


class Decoder:
    """Takes bytes as they come and gives frames as they are complete."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._header: dict[str, Any] | None = None
        self._needed = 8

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes. Raises BadFrame."""
        self._buffer += data
        while len(self._buffer) >= self._needed:
            if self._header is None:
                self._read_header()
            else:
                frame = _decode(self._header, memoryview(bytes(self._take(self._needed))))
                self._header, self._needed = None, 8
                yield frame

    def _read_header(self) -> None:
        length = int.from_bytes(self._buffer[:8], "little")
        if length > _LARGEST_HEADER:
            raise BadFrame(f"a header of {length} bytes")
        if len(self._buffer) < 8 + length:
            self._needed = 8 + length
            return
        self._take(8)
        self._header = _checked(bytes(self._take(length)))
        self._needed = sum(_size(entry) for entry in self._header["arrays"])

    def _take(self, count: int) -> bytearray:
        taken = self._buffer[:count]
        del self._buffer[:count]
        return taken


def decode_whole(content: memoryview) -> Frame:
    """The one frame that `content` (mapped, say) holds; its arrays are views of it. Raises BadFrame."""
    length = int.from_bytes(content[:8], "little")
    header = _checked(bytes(content[8 : 8 + length]))
    return _decode(header, content[8 + length :])


def _plain(name: str, array: Array) -> Array:
    contiguous = np.ascontiguousarray(array).reshape(np.shape(array))
    if contiguous.dtype.kind not in _KINDS:
        raise TypeError(f"array {name!r} of {contiguous.dtype} cannot travel to another process")
    return contiguous


def _checked(header: bytes) -> dict[str, Any]:
    try:
        values = json.loads(header)
        total = sum(_size(entry) for entry in values["arrays"])
        well_formed = isinstance(values["kind"], str) and isinstance(values["body"], dict)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadFrame(f"a header that is not ours ({error!r})") from None
    if not well_formed or total > _LARGEST_ARRAYS:
        raise BadFrame(f"a header that announces {total} bytes")
    return dict(values)


def _size(entry: Any) -> int:
    _, dtype, shape = entry
    kind = np.dtype(dtype)
    if kind.kind not in _KINDS or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"{dtype} {shape}")
    return int(kind.itemsize * prod(shape))


def _decode(header: dict[str, Any], content: memoryview) -> Frame:
    arrays: dict[str, Array] = {}
    start = 0
    for name, dtype, shape in header["arrays"]:
        kind, count = np.dtype(dtype), prod(shape)
        if kind.itemsize == 0 or count == 0:
            arrays[name] = np.zeros(shape, kind)
            continue
        arrays[name] = np.frombuffer(content, kind, count, start).reshape(shape)
        start += kind.itemsize * count
    return Frame(header["kind"], header["body"], arrays)
