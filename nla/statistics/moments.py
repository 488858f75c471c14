"""Mean, variance, mean |a| and extremes, merged by the formula of Chan, Golub and LeVeque (1983)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.statistics.base import Accumulator, Field, State, add
from nla.statistics.summary import Observation, Summary

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class Moments(Accumulator[Observation]):
    """First and second moments and extremes over the finite values, each [neurons].

    `mean` and `m2` (the sum of squared deviations from the mean) come from sums about a value in the data, so
    that a large mean does not swallow the variance. A constant neuron has `m2` exactly 0. -0.0 counts as 0.0.
    """

    name = "moments"
    count: Counts
    mean: Floats
    m2: Floats
    total_abs: Floats
    min: Floats
    max: Floats

    def __init__(self, neurons: int) -> None:
        super().__init__(neurons=neurons)
        self.min.fill(np.inf)
        self.max.fill(-np.inf)

    @classmethod
    def layout(cls, neurons: int) -> dict[str, Field]:
        floats = {name: Field("float64", (neurons,)) for name in ("mean", "m2", "total_abs", "min", "max")}
        return {"count": Field("int64", (neurons,)), **floats}

    def update(self, seen: Observation) -> None:
        summary = seen.summary
        count: Any = int(summary.positions.sum())
        if count == 0:
            return
        mean, m2, count = _batch(summary, count)
        self._combine(count, mean, m2)
        add(self.total_abs, _absolute(summary, count, mean))
        np.minimum(self.min, np.minimum.reduce(summary.min, axis=0), out=self.min)
        np.maximum(self.max, np.maximum.reduce(summary.max, axis=0), out=self.max)

    def merge(self, other: Moments) -> None:
        self.check_same(other)
        self._combine(other.count, other.mean, other.m2)
        self.total_abs = self.total_abs + other.total_abs
        self.min = np.minimum(self.min, other.min)
        self.max = np.maximum(self.max, other.max)

    def state(self) -> State:
        return {name: array + 0 for name, array in super().state().items()}  # folds -0.0

    def _combine(self, count: Any, mean: Floats, m2: Floats) -> None:
        """Adds `count` values (one number, or [neurons]) of that mean and sum of squared deviations."""
        both = self.count + count
        weight = count / np.maximum(both, 1)
        delta = mean - self.mean
        # delta last: its square could overflow, and infinity times a count of 0 is NaN
        self.m2 += m2 + self.count * weight * delta * delta
        self.mean += delta * weight
        self.count = both

    @property
    def mean_abs(self) -> Floats:
        """E|a|; NaN where nothing finite was counted."""
        return _over(self.total_abs, self.count)

    @property
    def std(self) -> Floats:
        """Population standard deviation (ddof 0); NaN where nothing finite was counted."""
        return np.sqrt(_over(self.m2, self.count))

    @property
    def total_sq(self) -> Floats:
        """Σ a², from two non-negative terms, so that nothing cancels."""
        return self.m2 + self.count * self.mean * self.mean

    def where_counted(self, values: Floats) -> Floats:
        """`values` with NaN where nothing finite was counted."""
        return np.where(self.count > 0, values + 0.0, np.nan)


def _batch(summary: Summary, positions: int) -> tuple[Floats, Floats, Any]:
    """Mean, sum of squared deviations and count of one batch over its groups."""
    total = np.add.reduce(summary.total, axis=0)
    total_sq = np.add.reduce(summary.total_sq, axis=0)
    if summary.nonfinite is None:
        offset = total / positions
        return summary.shift + offset, np.maximum(total_sq - total * offset, 0.0), positions
    count = positions - np.add.reduce(summary.nonfinite, axis=0)
    offset = total / np.maximum(count, 1)
    mean = np.where(count > 0, summary.shift + offset, 0.0)
    return mean, np.maximum(total_sq - total * offset, 0.0), count


def _absolute(summary: Summary, count: Any, mean: Floats) -> Floats:
    """Σ |a| of one batch over its groups."""
    total: Floats = count * mean if summary.total_abs is None else np.add.reduce(summary.total_abs, axis=0)
    return total


def _over(total: Floats, count: Counts) -> Floats:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
