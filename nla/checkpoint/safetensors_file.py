"""safetensors files: written piece by piece with the same bytes each time, and read with their header checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from nla.checkpoint.opening import open_regular
from nla.checkpoint.safetensors_header import LARGEST_HEADER_BYTES, LENGTH_BYTES, METADATA, parse_header
from nla.checkpoint.wire import Buffer, Piece, ready
from nla.errors import ModelError, OutputError, printable

_PIECE_BYTES = 4 << 20
_NAMES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}


@dataclass(frozen=True)
class Entry:
    """A tensor to be written."""

    dtype: str
    shape: tuple[int, ...]
    piece: Piece


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: `length` bytes from `offset` of the file."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int

    def piece(self) -> Piece:
        """Its bytes, a few MB at a time."""
        return Piece(self.length, partial(_stream, self))

    def read(self) -> bytes:
        """Its bytes at once."""
        return b"".join(bytes(part) for part in self.piece().checked())


def entry(dtype: np.dtype[Any], shape: tuple[int, ...], piece: Piece) -> Entry:
    """An entry of the array's type and shape; bytes, where the format or a reader of it lacks the type."""
    name = _NAMES.get(dtype.name)
    if name is None or prod(shape) * dtype.itemsize != piece.length:
        return Entry("U8", (piece.length,), piece)
    return Entry(name, shape, piece)


def pieces(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> list[Piece]:
    """The whole file. Tensors with large elements come first, so that each is aligned to its elements.

    Raises OutputError where no reader would take it.
    """
    order = sorted(entries, key=lambda name: (-_item_bytes(entries[name]), name))
    header: dict[str, Any] = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in order:
        found = entries[name]
        begin, end = end, end + found.piece.length
        header[name] = {"dtype": found.dtype, "shape": list(found.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    if len(text) > LARGEST_HEADER_BYTES:
        raise OutputError(
            f"a safetensors file with a header of {len(text):,} bytes: the tensors' names are too long"
        )
    text += b" " * (-len(text) % LENGTH_BYTES)
    start = len(text).to_bytes(LENGTH_BYTES, "little") + text
    return [ready(start), *(entries[name].piece for name in order)]


def _item_bytes(found: Entry) -> int:
    return found.piece.length // prod(found.shape) if prod(found.shape) else 0


def read_header(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors of a file, by name, in the header's order, and its metadata. Raises ModelError, without the path."""
    with open_regular(path) as (file, status):
        ranges, metadata = parse_header(file, status.st_size)
    return {name: Stored(path, r.dtype, r.shape, r.offset, r.length) for name, r in ranges.items()}, metadata


def _stream(stored: Stored) -> Iterator[Buffer]:
    buffer = memoryview(bytearray(min(_PIECE_BYTES, stored.length)))
    with open_regular(stored.path) as (file, _):
        file.seek(stored.offset)
        left = stored.length
        while left:
            count = file.readinto(buffer[: min(left, len(buffer))])  # type: ignore[attr-defined]
            if not count:
                raise ModelError(f"{printable(stored.path)}: cut short while it was read")
            yield buffer[:count]
            left -= count
