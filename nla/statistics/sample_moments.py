"""Moments over samples of the sample's mean |a|, and the lifetime sparseness that they give."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nla.statistics.base import Additive, Field, add
from nla.statistics.summary import Observation

Floats = NDArray[np.float64]


class SampleMoments(Additive[Observation]):
    """Sums over samples of r, the sample's mean |a| over its counted positions, and of r², each [neurons].

    Only where a sample has several positions: where it is one, r is |a| itself, and `Moments` has both sums.
    """

    name = "sample_moments"
    count: NDArray[np.int64]
    """Samples in which the neuron had a finite value."""
    total: Floats
    total_sq: Floats

    def __init__(self, neurons: int) -> None:
        super().__init__(neurons=neurons)

    @classmethod
    def layout(cls, neurons: int) -> dict[str, Field]:
        each = Field("float64", (neurons,))
        return {"count": Field("int64", (neurons,)), "total": each, "total_sq": each}

    def update(self, seen: Observation) -> None:
        counted = seen.summary.each_counted
        response = seen.summary.absolute / np.maximum(counted, 1)
        add(self.count, np.count_nonzero(counted, axis=0))
        add(self.total, np.add.reduce(response, axis=0))
        add(self.total_sq, np.einsum("gc,gc->c", response, response))


def lifetime_sparseness(samples: ArrayLike, total: ArrayLike, total_sq: ArrayLike) -> Floats:
    """(1 - (Σr/n)² / (Σr²/n)) / (1 - 1/n), in [0, 1], over n samples' responses r >= 0.

    Vinje and Gallant (2000). 0: the same response to every sample; 1: a response to one sample only; NaN
    below two samples or without any response. All arguments and the result have one entry per neuron.

    >>> lifetime_sparseness([4, 4, 4, 1], [4.0, 1.0, 0.0, 1.0], [4.0, 1.0, 0.0, 1.0]).tolist()
    [0.0, 1.0, nan, nan]
    """
    n, total, total_sq = (np.asarray(x, np.float64) for x in (samples, total, total_sq))
    known = (n >= 2) & (total_sq > 0)
    n = np.where(known, n, 2.0)
    mean_sq = np.where(known, total_sq, 1.0) / n
    dense = (total / n) / np.sqrt(mean_sq)  # the root first: squares of tiny responses would underflow
    return np.where(known, np.clip((1.0 - dense * dense) / (1.0 - 1.0 / n), 0.0, 1.0), np.nan)
