"""Inputs that a search keeps: one place for each that some neuron holds, however many neurons hold it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nla.certificates.rooms import Singles

_BYTES = 1 << 28
_FEWEST = 64


class Points:
    """Distinct inputs; those that no neuron holds make room for others."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """`shapes`: of one sample of each input."""
        size = 4 * sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes.values())
        self._most = max(_FEWEST, _BYTES // max(size, 1))
        self._holders = np.zeros(0, np.int64)
        self.values = {name: np.zeros((0, *shape), np.float32) for name, shape in shapes.items()}
        """[places, *shape] by input."""

    def exchange(
        self, old: NDArray[np.int64], points: Mapping[str, Singles], rows: NDArray[np.int64], share: float
    ) -> NDArray[np.int64]:
        """[k] the place of `points[rows]` for each of k holders that let go of `old` (-1: of nothing).

        -1 where there is no room, and the holder keeps what it had. Beyond a `share` of all places none is taken.
        """
        distinct, inverse, count = np.unique(rows, return_inverse=True, return_counts=True)
        order = np.argsort(-count, kind="stable")
        free = self._free(len(distinct), share)
        placed = np.full(len(distinct), -1)
        placed[order[: len(free)]] = free
        for name, value in self.values.items():
            value[free] = points[name][distinct[order[: len(free)]]]
        now = placed[inverse]
        np.add.at(self._holders, now[now >= 0], 1)
        np.subtract.at(self._holders, old[(now >= 0) & (old >= 0)], 1)
        return np.asarray(now)

    def join(self, old: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        """[k] holders let go of `old` (-1: of nothing) and hold these places with others."""
        np.add.at(self._holders, places, 1)
        np.subtract.at(self._holders, old[old >= 0], 1)

    def _free(self, count: int, share: float) -> NDArray[np.int64]:
        """Up to `count` places that nobody holds."""
        used = int((self._holders > 0).sum())
        count = max(0, min(count, int(share * self._most) - used))
        missing = used + count - len(self._holders)
        if missing > 0:
            grown = min(self._most, max(len(self._holders) + missing, 2 * len(self._holders)))
            self._holders = np.pad(self._holders, (0, grown - len(self._holders)))
            for name, value in self.values.items():
                more = np.zeros((grown - len(value), *value.shape[1:]), np.float32)
                self.values[name] = np.concatenate([value, more])
        return np.flatnonzero(self._holders == 0)[:count]
