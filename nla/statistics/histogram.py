"""Counts in fixed bins, signed and logarithmic, the same for every site, so that histograms can be added."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.statistics.base import Additive, Field, add

_POWERS = 10.0 ** (np.arange(-24, 25) / 4)
EDGES: NDArray[np.float64] = np.concatenate([[-np.inf], -_POWERS[::-1], _POWERS, [np.inf]])
"""float64 [100]: quarter decades from 1e-6 to 1e6 of either sign, a bin around zero, one beyond each end."""
BINS = len(EDGES) - 1


class Histogram(Additive[NDArray[Any]]):
    """Counts of all finite values seen, over all neurons; a bin holds its lower edge, not its upper one."""

    name = "histogram"
    counts: NDArray[np.int64]

    def __init__(self) -> None:
        super().__init__()

    @classmethod
    def layout(cls) -> dict[str, Field]:
        return {"counts": Field("int64", (BINS,))}

    def update(self, seen: NDArray[Any]) -> None:
        """Adds all values of an array of any shape and float type; NaN and infinity are left out."""
        add(self.counts, bin_counts(seen))


def bin_counts(values: NDArray[Any]) -> NDArray[np.int64]:
    """int64 [BINS], how many of the finite values lie in each bin of `EDGES`.

    >>> counts = bin_counts(np.array([0.0, -0.0, 1e9, np.nan]))
    >>> int(counts[BINS // 2]), int(counts[-1]), int(counts.sum())
    (2, 1, 3)
    """
    flat = np.asarray(values, np.float64).ravel()
    finite = np.isfinite(flat)
    flat = flat if finite.all() else flat[finite]
    return np.bincount(np.searchsorted(EDGES[1:-1], flat, side="right"), minlength=BINS).astype(np.int64)
