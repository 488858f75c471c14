"""`.safetensors`: named arrays; the library says whether the file is sound and what lies where."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration.columns import Column, FileColumn, Handle, Rows
from nla.calibration.files import blaming, open_regular
from nla.calibration.source import Request, Source
from nla.errors import DataError, printable

_TYPES = {
    "BOOL": "bool",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class Bfloat16Column:
    """bfloat16 read as the float32 of the same value: its upper half."""

    halves: FileColumn

    @property
    def dtype(self) -> np.dtype[Any]:
        """As in Column."""
        return np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """As in Column."""
        return self.halves.shape

    def read(self, rows: Rows) -> NDArray[Any]:
        """As in Column."""
        return (self.halves.read(rows).astype(np.uint32) << 16).view(np.float32)


class Safetensors:
    """Hugging Face's format."""

    kind = "safetensors"

    def recognises(self, path: Path, head: bytes) -> bool:
        """By its suffix."""
        return path.suffix.lower() == ".safetensors"

    def open(self, path: Path, request: Request) -> Source:
        """A column per tensor; DataError where the library refuses the file or a name comes twice."""
        from safetensors import safe_open

        handle = open_regular(path)
        with blaming(f"{handle.name}: not a readable safetensors file"):
            with safe_open(
                path, framework="numpy"
            ) as checked:  # sizes, offsets, overlaps: the library's own checks
                names = set(checked.keys())
            length = int.from_bytes(handle.read(_LENGTH_BYTES, 0), "little")
            header = json.loads(handle.read(length, _LENGTH_BYTES), object_pairs_hook=_once)
        header.pop("__metadata__", None)
        if set(header) != names:
            raise DataError(f"{handle.name}: its header changed while it was read")
        arrays: dict[str, Column] = {}
        refused: dict[str, str] = {}
        for name in sorted(names):
            column = _column(handle, header[name], _LENGTH_BYTES + length)
            if column is None:
                refused[name] = (
                    f"its element type {printable(header[name]['dtype'])} is not one that nla reads"
                )
            else:
                arrays[name] = column
        return Source(self.kind, arrays, refused=refused)


def _column(handle: Handle, entry: dict[str, Any], begin: int) -> Column | None:
    shape, offset = tuple(entry["shape"]), begin + entry["data_offsets"][0]
    if entry["dtype"] == "BF16":
        return Bfloat16Column(FileColumn(handle, offset, np.dtype("<u2"), shape))
    if entry["dtype"] not in _TYPES:
        return None
    return FileColumn(handle, offset, np.dtype(_TYPES[entry["dtype"]]), shape)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice in its header")
    return found
