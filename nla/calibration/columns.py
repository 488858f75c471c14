"""Columns: arrays whose leading axis is the sample, read a few rows at a time.

A reader gives columns and nothing else, so that every format behaves alike: nothing larger than a batch is
held, and two threads may read one column at once.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nla.errors import DataError

Rows = NDArray[np.int64]
Shape = tuple[int | None, ...]

_LAST_CHARACTER = 0x10FFFF
SUPPORTED_KINDS = "biufUS"
"""dtype.kind of what can be calibration data: bool, integers, floats, strings. Objects are pickles."""


class Column(Protocol):
    """Samples of one array."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of what `read` gives."""

    @property
    def shape(self) -> Shape:
        """[n, …]; None marks an axis whose length changes from batch to batch; () holds one value for all."""

    def read(self, rows: Rows) -> NDArray[Any]:
        """[b, …] the samples `rows`, int64 [b] in 0..n-1, any order. A column of shape () gives its value."""


class Handle:
    """A file descriptor that closes with its last user; positioned reads only, so that threads share it."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.descriptor = descriptor
        self.name = name
        weakref.finalize(self, os.close, descriptor)

    @property
    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self.descriptor).st_size

    def read_into(self, target: NDArray[Any], offset: int) -> None:
        """Fill `target` (contiguous) with the bytes at `offset`; DataError where the file is shorter."""
        raw = target.reshape(-1).view(np.uint8).data
        while raw.nbytes:
            with self._reading():
                count = os.preadv(self.descriptor, [raw[: 1 << 30]], offset)
            if count == 0:
                raise DataError(
                    f"{self.name}: the file ended while it was read. Did another program change it?"
                )
            raw, offset = raw[count:], offset + count

    def read(self, count: int, offset: int) -> bytes:
        """Up to `count` bytes from `offset` on."""
        with self._reading():
            return os.pread(self.descriptor, count, offset)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # a failing disk, a file of /proc
            raise DataError(f"{self.name}: cannot be read: {error.strerror}") from None


@dataclass(frozen=True)
class FileColumn:
    """An array that lies uncompressed, in C order, in a file.

    Read with `pread` and not through a memory map: a map counts in full against a limit on address space,
    its pages count as memory of ours, and a file that shrinks meanwhile kills the process with SIGBUS.
    """

    handle: Handle
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self, rows: Rows) -> NDArray[Any]:
        """As in Column."""
        if not self.shape:
            return self._span(0, ())
        runs = list(contiguous_runs(rows))
        if len(runs) == 1:
            first, _, count = runs[0]
            return self._span(first, (count, *self.shape[1:]))
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if out.nbytes:
            for first, at, count in runs:
                self.handle.read_into(out[at : at + count], self.offset + first * self._row_bytes)
        return out

    @property
    def _row_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))

    def _span(self, first: int, shape: tuple[int, ...]) -> NDArray[Any]:
        out = np.empty(shape, self.dtype)
        if out.nbytes:
            self.handle.read_into(out, self.offset + first * self._row_bytes)
        return out


@dataclass(frozen=True)
class MemoryColumn:
    """An array in memory."""

    array: NDArray[Any]

    @property
    def dtype(self) -> np.dtype[Any]:
        """As in Column."""
        return self.array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """As in Column."""
        return self.array.shape

    def read(self, rows: Rows) -> NDArray[Any]:
        """As in Column; consecutive rows are a view."""
        if not self.array.shape:
            return self.array
        runs = list(contiguous_runs(rows))
        if len(runs) == 1:
            first, _, count = runs[0]
            return self.array[first : first + count]
        taken: NDArray[Any] = self.array[rows]
        return taken


class LazyColumn:
    """A column that costs something to open: opened by the first read, once, whichever thread comes first."""

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, ...], open_: Callable[[], Column]) -> None:
        self.dtype = dtype
        self.shape: Shape = shape
        self._open = open_
        self._lock = threading.Lock()
        self._column: Column | None = None

    def read(self, rows: Rows) -> NDArray[Any]:
        """As in Column."""
        with self._lock:
            if self._column is None:
                self._column = self._open()
        return self._column.read(rows)


@dataclass(frozen=True)
class LoneColumn:
    """A single sample without a sample axis, given one."""

    column: Column
    samples: int = 1
    """Above 1, the same sample stands for each of so many."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """As in Column."""
        return self.column.dtype

    @property
    def shape(self) -> Shape:
        """As in Column."""
        return (self.samples, *self.column.shape)

    def read(self, rows: Rows) -> NDArray[Any]:
        """As in Column."""
        sample = read_whole(self.column)
        return np.broadcast_to(sample, (len(rows), *sample.shape))


def read_whole(column: Column) -> NDArray[Any]:
    """All of a column: for what is small (labels, one sample)."""
    return column.read(np.arange(column.shape[0] or 0) if column.shape else np.empty(0, np.int64))


def contiguous_runs(rows: Rows) -> Iterator[tuple[int, int, int]]:
    """(first row, position of that row in `rows`, number) of each run of consecutive rows.

    >>> list(contiguous_runs(np.array([4, 5, 9])))
    [(4, 0, 2), (9, 2, 1)]
    """
    count = len(rows)
    if count == 0:
        return
    if int(rows[-1]) - int(rows[0]) == count - 1 and (count < 3 or bool((np.diff(rows) == 1).all())):
        yield int(rows[0]), 0, count
        return
    starts = np.concatenate(([0], np.flatnonzero(np.diff(rows) != 1) + 1, [count]))
    for at, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        yield int(rows[at]), at, end - at


def check_text(values: NDArray[Any], what: str) -> None:
    """Raises DataError where an array of text holds what is no character: NumPy stores numbers, unchecked."""
    if values.dtype.kind == "U" and values.size:
        native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
        if int(native.reshape(-1).view(np.uint32).max()) > _LAST_CHARACTER:
            raise DataError(f"{what}: its text holds what is no Unicode character; the file is damaged")


def why_unsupported(dtype: np.dtype[Any]) -> str | None:
    """Why an array of this element type cannot be calibration data; None where it can.

    >>> why_unsupported(np.dtype(object))
    'it holds pickled Python objects, which nla never unpickles'
    """
    if dtype.hasobject:
        return "it holds pickled Python objects, which nla never unpickles"
    if dtype.names is not None:
        return "it is a structured array: save its fields as arrays of their own"
    if dtype.kind == "V":
        return f"its elements are {dtype.itemsize} bytes without a type (bfloat16? save it as float32)"
    if dtype.kind not in SUPPORTED_KINDS or dtype.itemsize == 0:
        return f"its element type {dtype} is neither a number nor a string"
    return None
