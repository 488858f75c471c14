"""Hidden states between two stages, on disk: a file that one stage writes and the next one reads, row by row.

Written and read with `pwrite` and `preadv`, not through a memory map: on a full disk a map ends the process.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nla.errors import OutputError, printable

Array = NDArray[Any]
Indices = NDArray[np.int64]

_ABSENT = -1
_MOST_AXES = 8


@dataclass
class Table:
    """Where each sample's tensor lies in the file, and how large it is."""

    offsets: Indices
    """[samples] first byte; -1 where the sample was never written."""
    shapes: NDArray[np.int32]
    """[samples, axes]"""
    sizes: NDArray[np.int32]
    """[samples, k] the sizes of the varying inputs of the run that the sample was in."""
    dtype: str = "float32"

    @classmethod
    def empty(cls, samples: int) -> Table:
        """Nothing written yet."""
        return cls(
            np.full(samples, _ABSENT, np.int64),
            np.zeros((samples, 0), np.int32),
            np.zeros((samples, 0), np.int32),
        )

    def arrays(self) -> dict[str, Array]:
        """The table as arrays by name, for `of`."""
        kind = np.frombuffer(self.dtype.encode("ascii"), np.uint8)
        return {"offsets": self.offsets, "shapes": self.shapes, "sizes": self.sizes, "dtype": kind}

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Table:
        """The inverse of `arrays`."""
        kind = arrays["dtype"].tobytes().decode("ascii")
        return cls(arrays["offsets"].copy(), arrays["shapes"].copy(), arrays["sizes"].copy(), kind)

    def tracked(self) -> list[tuple[int, int, int]]:
        """(axis of a row, varying input, difference) where the axis is as long as that input, plus a constant."""
        there = self.offsets >= 0
        shapes, sizes = self.shapes[there].astype(np.int64), self.sizes[there].astype(np.int64)
        found = []
        for axis in range(shapes.shape[1]):
            for k in range(sizes.shape[1]):
                more = shapes[:, axis] - sizes[:, k]
                if len(more) and (more == more[0]).all() and not (sizes[:, k] == sizes[0, k]).all():
                    found.append((axis, k, int(more[0])))
                    break
        return found


@dataclass
class Hidden:
    """One cut's tensor for every sample of a split. Written by many threads, then read by many."""

    file: BinaryIO
    where: str
    """The folder, for errors."""
    table: Table
    by_row: bool
    """Whether the leading axis of a run counts its samples; otherwise a run has one sample, kept whole."""
    _end: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _tracked: list[tuple[int, int, int]] | None = None

    def write(self, rows: Indices, value: Array, sizes: Sequence[int]) -> None:
        """The cut's tensor of a run of these samples, with the sizes of the varying inputs that it was fed.

        Raises OutputError: the disk is full, or fails.
        """
        value = np.ascontiguousarray(value)
        shape = value.shape[1:] if self.by_row else value.shape
        size = value.nbytes // len(rows)
        with self._lock:
            if self._end == 0:
                axes = (len(self.table.offsets), len(shape))
                self.table.shapes, self.table.dtype = np.zeros(axes, np.int32), str(value.dtype)
                self.table.sizes = np.zeros((axes[0], len(sizes)), np.int32)
            begin, self._end = self._end, self._end + max(value.nbytes, 1)
            self.table.shapes[rows], self.table.sizes[rows] = shape, sizes
            self.table.offsets[rows] = begin + size * np.arange(len(rows))
        try:
            _write(self.file.fileno(), value, begin)
        except OSError as error:
            raise failed(self.where, error) from error

    def sync(self) -> None:
        """What was written is on the disk when this returns. Raises OutputError."""
        try:
            os.fdatasync(self.file.fileno())
        except OSError as error:
            raise failed(self.where, error) from error

    def read(self, rows: Indices, sizes: Sequence[int]) -> Array:
        """The tensor for a run of these samples whose varying inputs have these sizes.

        Samples that were run beside longer ones are cut; the positions beyond those of a shorter run are zero: both
        are padding. So are samples that were never written, because their input is not finite.
        """
        table = self.table
        there = rows[table.offsets[rows] >= 0]
        kind = np.dtype(table.dtype)
        if not len(there):
            return np.zeros((len(rows), *table.shapes.max(axis=0, initial=1)), kind)
        shape = self._wanted(int(there[0]), sizes)
        whole = np.zeros((len(rows), *shape), kind)
        offsets = table.offsets[rows]
        step = whole[0].nbytes
        if (table.shapes[rows] == shape).all() and (offsets >= 0).all() and (np.diff(offsets) == step).all():
            self._fill(whole, int(offsets[0]))
        else:
            for at, row in enumerate(rows.tolist()):
                if offsets[at] >= 0:
                    self._place(whole[at], row)
        return whole if self.by_row else whole[0]

    def _wanted(self, row: int, sizes: Sequence[int]) -> tuple[int, ...]:
        """The shape of one sample's part of a run of such inputs."""
        if self._tracked is None:
            self._tracked = self.table.tracked()
        shape = self.table.shapes[row].tolist()
        for axis, k, more in self._tracked:
            shape[axis] = sizes[k] + more
        return tuple(shape)

    def _place(self, target: Array, row: int) -> None:
        stored = np.empty(self.table.shapes[row], target.dtype)
        self._fill(stored, int(self.table.offsets[row]))
        common = tuple(slice(min(a, b)) for a, b in zip(stored.shape, target.shape, strict=True))
        target[common] = stored[common]

    def _fill(self, target: Array, offset: int) -> None:
        raw = target.reshape(-1).view(np.uint8).data
        while raw.nbytes:
            try:
                count = os.preadv(self.file.fileno(), [raw[: 1 << 30]], offset)
            except OSError as error:
                raise failed(self.where, error) from error
            if not count:
                raise OutputError(
                    f"{printable(self.where)}: the hidden states kept there ended early; did another program change "
                    "them? remove the folder and start again"
                )
            raw, offset = raw[count:], offset + count


def _write(descriptor: int, value: Array, offset: int) -> None:
    raw = value.reshape(-1).view(np.uint8).data
    while raw.nbytes:
        count = os.pwrite(descriptor, raw[: 1 << 30], offset)
        raw, offset = raw[count:], offset + count


def failed(where: str, error: OSError) -> OutputError:
    """A disk that is full or fails, in one line."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    why = "the disk is full" if full else (error.strerror or str(error)).lower()
    return OutputError(
        f"cannot keep hidden states in {printable(where)}: {why}; free some space, or name a folder with room in "
        "TMPDIR (in -o, where a recording is written)"
    )


def check_room(folder: str, needed: int, there: int = 0) -> None:
    """Raises OutputError where the folder's disk has no room for `needed` bytes, of which `there` lie there already."""
    try:
        status = os.statvfs(folder)
    except OSError as error:
        raise failed(folder, error) from error
    free = status.f_bavail * status.f_frsize + there
    if needed > free:
        raise OutputError(
            f"cannot keep hidden states in {printable(folder)}: {needed:,} bytes are needed, {free:,} are free; free "
            "some space, name a folder with room in TMPDIR (in -o, where a recording is written), or use --shard"
        )
