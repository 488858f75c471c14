"""`.h5`: every dataset that lies whole in the file itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration.columns import Column, Rows, contiguous_runs, why_unsupported
from nla.calibration.files import blaming, open_regular
from nla.calibration.source import Request, Source
from nla.errors import DataError, printable

_MAGIC = b"\x89HDF\r\n\x1a\n"
_SUFFIXES = (".h5", ".hdf5", ".he5", ".hdf")
_CHUNK_CACHE_BYTES = 64 << 20
"""HDF5 unpacks a whole chunk for one row of it; without a cache that holds a chunk, once for every batch."""
_LARGEST_CHUNK_BYTES = 1 << 30
_DEEPEST, _MOST_OBJECTS = 16, 10_000
_DENSE = 4
"""Rows spread over less than so many times their number are read in one piece and picked out."""


@dataclass(frozen=True)
class Hdf5Column:
    """A dataset. h5py holds a lock of its own around every call, so threads may share it."""

    name: str
    dataset: Any
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self, rows: Rows) -> NDArray[Any]:
        """As in Column."""
        with blaming(f"{self.name}: cannot be read"):
            if not self.shape:
                return np.asarray(self._span(()))
            if len(rows) == 0:
                return np.empty((0, *self.shape[1:]), self.dtype)
            first, last = int(rows.min()), int(rows.max())
            if last - first < _DENSE * len(rows):
                values = self._span(slice(first, last + 1))
                return values if len(values) == len(rows) and _rising(rows) else values[rows - first]
            return np.concatenate([self._span(slice(f, f + c)) for f, _, c in contiguous_runs(rows)])

    def _span(self, selection: Any) -> NDArray[Any]:
        values = self.dataset.asstr()[selection] if self.dtype.kind == "U" else self.dataset[selection]
        return np.asarray(values, self.dtype) if self.dtype.kind == "U" else np.asarray(values)


def _rising(rows: Rows) -> bool:
    return bool((np.diff(rows) == 1).all())


class Hdf5:
    """HDF5, as h5py, Keras and MATLAB 7.3 write it."""

    kind = "hdf5"

    def recognises(self, path: Path, head: bytes) -> bool:
        """By its first bytes or its suffix."""
        return head.startswith(_MAGIC) or path.suffix.lower() in _SUFFIXES

    def open(self, path: Path, request: Request) -> Source:
        """A column per dataset, named by its path in the file; what lies outside is refused by name."""
        import h5py

        shown = open_regular(path).name
        arrays: dict[str, Column] = {}
        refused: dict[str, str] = {}
        with blaming(f"{shown}: not a readable HDF5 file"):
            # "best-effort": a file on a file system without locks can still be read.
            file = h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE_BYTES, locking="best-effort")
            for name, found in _walk(file, h5py, shown):
                try:
                    arrays[name] = _column(f"{shown}: {printable(name)}", found)
                except ValueError as error:
                    refused[name] = str(error)
        return Source(self.kind, arrays, refused=refused)


def _walk(file: Any, h5py: Any, shown: str) -> Iterator[tuple[str, Any]]:
    """(path, dataset) along hard links only, each group once; for any other link (path, the link itself)."""
    pending, seen, count = [("", file, 0)], set(), 0
    while pending:
        prefix, group, depth = pending.pop()
        for key in sorted(group):
            count += 1
            if count > _MOST_OBJECTS or depth > _DEEPEST:
                raise DataError(
                    f"{shown}: more than {_MOST_OBJECTS} objects, or groups deeper than {_DEEPEST}"
                )
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                yield prefix + key, link
                continue
            item = group[key]
            if isinstance(item, h5py.Dataset):
                yield prefix + key, item
            elif isinstance(item, h5py.Group) and (token := h5py.h5o.get_info(item.id).addr) not in seen:
                seen.add(token)
                pending.append((f"{prefix}{key}/", item, depth + 1))


def _column(shown: str, found: Any) -> Column:
    """A column for a dataset; ValueError with the reason where it is not one, or not what it seems."""
    if not hasattr(found, "is_virtual"):
        raise ValueError(f"it is a link ({type(found).__name__}), and links are not followed")
    if found.is_virtual:
        raise ValueError(
            "it is a virtual dataset: where its sources are missing it reads as zeros, which look dead"
        )
    if found.external:
        raise ValueError("its data lies in other files (external storage)")
    if found.shape is None:
        raise ValueError("it is empty (a null dataspace)")
    dtype = found.dtype
    if found.id.get_type().get_class() == _string_class() and dtype.hasobject:
        dtype = _text_type(found)
    if reason := why_unsupported(dtype):
        raise ValueError(
            reason.replace("pickled Python objects, which nla never unpickles", "variable-length items")
        )
    _check_storage(found)
    return Hdf5Column(shown, found, dtype, found.shape)


def _string_class() -> int:
    import h5py

    return int(h5py.h5t.STRING)


def _text_type(found: Any) -> np.dtype[Any]:
    """Variable-length strings are read whole, once, to know their width: they are labels."""
    if math.prod(found.shape) > 1 << 20:
        raise ValueError("it holds more than a million variable-length strings")
    values = found.asstr()[()]
    width = max((len(v) for v in np.asarray(values, object).reshape(-1)), default=1)
    return np.dtype(f"U{max(1, width)}")


def _check_storage(found: Any) -> None:
    """ValueError where parts were never written: HDF5 reads them as zeros, and zeros look like death."""
    size_bytes = math.prod(found.shape) * found.dtype.itemsize
    if size_bytes == 0:
        return
    if found.chunks is None:
        if found.id.get_storage_size() < size_bytes:
            raise ValueError(f"{found.id.get_storage_size()} of its {size_bytes} bytes were ever written")
        return
    if math.prod(found.chunks) * found.dtype.itemsize > _LARGEST_CHUNK_BYTES:
        raise ValueError(f"its chunks {list(found.chunks)} are larger than {_LARGEST_CHUNK_BYTES} bytes")
    expected = math.prod(-(-size // chunk) for size, chunk in zip(found.shape, found.chunks, strict=True))
    written = found.id.get_num_chunks()
    if written < expected:
        raise ValueError(
            f"{written} of its {expected} chunks were ever written; the rest would read as zeros"
        )
