"""`.npy`: one array without a name."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nla.calibration.columns import Column, FileColumn, Handle, LazyColumn, MemoryColumn, why_unsupported
from nla.calibration.files import open_regular
from nla.calibration.source import Request, Source
from nla.errors import DataError, one_line

MAGIC = b"\x93NUMPY"
HEADER_BYTES = 1 << 14
"""Enough of a file to hold any header that we accept (numpy itself stops at 10,000 characters)."""
_LARGEST_FORTRAN_BYTES = 1 << 30


@dataclass(frozen=True)
class Header:
    """What a .npy file says of itself."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    offset: int
    """Bytes before the data."""

    @property
    def data_bytes(self) -> int:
        """Bytes of data that must follow; exact, however large."""
        return self.dtype.itemsize * math.prod(self.shape)


def parse_header(first: bytes) -> Header:
    """The header at the start of `first`; ValueError that says what is wrong. Nothing is unpickled."""
    stream = io.BytesIO(first)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            major, _ = np.lib.format.read_magic(stream)
            if major > 2:
                raise ValueError(f"format version {major} is only used for structured arrays")
            read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(stream, max_header_size=10_000)
    except (
        Exception
    ) as error:  # literal_eval of a stranger's text: SyntaxError, RecursionError, MemoryError, …
        raise ValueError(f"not a valid .npy header ({one_line(error, 120)})") from None
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"its header declares the shape {one_line(shape, 80)}")
    return Header(dtype, shape, fortran, stream.tell())


def column(handle: Handle, header: Header, begin: int) -> Column:
    """The array whose .npy image starts at byte `begin`; in Fortran order it is loaded and turned.

    Raises ValueError where it is in Fortran order and too large for that.
    """
    if not header.fortran or len(header.shape) < 2:
        return FileColumn(handle, begin + header.offset, header.dtype, header.shape)
    if header.data_bytes > _LARGEST_FORTRAN_BYTES:
        raise ValueError("in Fortran order and too large to turn: save it with np.ascontiguousarray")
    turned = FileColumn(handle, begin + header.offset, header.dtype, header.shape[::-1])

    def load() -> Column:
        return MemoryColumn(np.ascontiguousarray(turned.read(np.arange(header.shape[-1])).T))

    return LazyColumn(header.dtype, header.shape, load)


class Npy:
    """numpy.save's format."""

    kind = "npy"

    def recognises(self, path: Path, head: bytes) -> bool:
        """By its first bytes, or its suffix (so that a faulty file is named for what it should be)."""
        return head.startswith(MAGIC) or path.suffix.lower() == ".npy"

    def open(self, path: Path, request: Request) -> Source:
        """One anonymous array; DataError where the header disagrees with the file's size."""
        handle = open_regular(path)
        try:
            header = parse_header(handle.read(HEADER_BYTES, 0))
            if reason := why_unsupported(header.dtype):
                raise ValueError(reason)
            if handle.size != header.offset + header.data_bytes:
                there = handle.size - header.offset
                raise ValueError(
                    f"the header declares {header.data_bytes} bytes of data, the file holds {there}"
                )
            return Source(self.kind, {"array": column(handle, header, 0)}, anonymous=True)
        except ValueError as error:
            raise DataError(f"{handle.name}: {error}") from None
