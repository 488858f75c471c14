"""What a stage leaves, in a file: plain values and arrays that are mapped and not read when they are wanted again."""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from functools import cached_property
from math import prod
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nla.statistics.base import Accumulator, State
from nla.statistics.configuration import Config
from nla.statistics.site import SiteStatistics

Array = NDArray[Any]
Plain = dict[str, Any]

_KINDS = "biufU"
_ALIGNED = 64
_LARGEST_HEADER = 64 << 20


class StoredStatistics(SiteStatistics):
    """The statistics of a site that lie in a file: their state is mapped, and they are built when more is asked."""

    def __init__(self, config: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        self._config: Config = dict(config)
        self._arrays = dict(arrays)

    @cached_property
    def _parts(self) -> dict[str, Accumulator[Any]]:  # type: ignore[override]
        return SiteStatistics.from_state(self._arrays, self._config)._parts

    def state(self) -> State:
        """Every accumulator's state, mapped; a copy where the statistics were built."""
        return super().state() if "_parts" in self.__dict__ else dict(self._arrays)


def put(file: BinaryIO, document: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write plain values and arrays. Raises OSError."""
    places, at = {}, 0
    for name, array in arrays.items():
        places[name] = [array.dtype.str, list(array.shape), at]
        at += -(-array.nbytes // _ALIGNED) * _ALIGNED
    header = json.dumps({"document": document, "arrays": places}).encode("ascii")
    start = _start(len(header))
    file.write(len(header).to_bytes(8, "little") + header.ljust(start - 8))
    for array in arrays.values():
        file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        file.write(bytes(-array.nbytes % _ALIGNED))
    file.flush()


def take(file: BinaryIO) -> tuple[Plain, dict[str, Array]]:
    """What `put` wrote; the arrays are read-only views of the mapped file, which may be closed, or removed.

    Raises ValueError: the file is cut short, or is not of this kind.
    """
    try:
        raw = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        size = int.from_bytes(raw[:8].tobytes(), "little")
        if size > min(_LARGEST_HEADER, len(raw)):
            raise ValueError("cut short")
        header = json.loads(raw[8 : 8 + size].tobytes())
        start, arrays = _start(size), {}
        for name, (dtype, shape, at) in header["arrays"].items():
            kind = np.dtype(dtype)
            if kind.kind not in _KINDS or start + at + kind.itemsize * prod(shape) > len(raw):
                raise ValueError("cut short")
            arrays[name] = np.ndarray(tuple(shape), kind, raw.data, start + at)
        return dict(header["document"]), arrays
    except (KeyError, TypeError, OSError) as error:
        raise ValueError(str(error)) from error


def _start(header: int) -> int:
    """Where the arrays begin."""
    return -(-(8 + header) // _ALIGNED) * _ALIGNED
