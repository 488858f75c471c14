"""What the members share: thresholds that float32 compares exactly, and sums added up in float64."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.statistics.summary import Summary, Thresholds

Array = NDArray[Any]
Runs = NDArray[np.int64]

_ROWS = 16
_CHUNK = 1 << 17
"""Values converted to float64 at a time."""


@lru_cache(maxsize=64)
def float32_bounds(thresholds: Thresholds) -> NDArray[np.float32]:
    """float32 [4]: positive, fired, low, high, rounded so that float32 values compare as they would in
    float64.

    A plateau that is not counted gets a bound that no finite value reaches.

    >>> bounds = float32_bounds(Thresholds(fired=0.001, high=0.1))
    >>> [float(bounds[0]), float(bounds[1]) <= 0.001, float(bounds[2]), float(bounds[3]) >= 0.1]
    [0.0, True, -inf, True]
    """
    low = -np.inf if thresholds.low is None else thresholds.low
    high = np.inf if thresholds.high is None else thresholds.high
    below = [_at_most(bound) for bound in (thresholds.positive, thresholds.fired, low)]
    bounds = np.array([*below, -_at_most(-high)], np.float32)
    bounds.flags.writeable = False
    return bounds


def _at_most(bound: float) -> np.float32:
    """The largest float32 that is not above `bound`."""
    with np.errstate(over="ignore"):
        rounded = np.float32(bound)
    return rounded if float(rounded) <= bound else np.nextafter(rounded, np.float32(-np.inf))


def counted(runs: Runs, groups: int) -> NDArray[np.int64]:
    """int64 [groups], rows of each group."""
    positions = np.zeros(groups, np.int64)
    np.add.at(positions, runs[:, 2], np.maximum(runs[:, 1] - runs[:, 0], 0))
    return positions


def checked(runs: Runs, rows: int, groups: int) -> Runs:
    """`runs` as contiguous int64 [K, 3].

    Raises:
        IndexError: a run outside the rows or groups; compiled code would read and write beyond the arrays.
    """
    runs = np.ascontiguousarray(runs, np.int64)
    if len(runs):
        (first, last, group), (_, end, most) = runs.min(axis=0), runs.max(axis=0)
        if first < 0 or last < 0 or end > rows or group < 0 or most >= groups:
            raise IndexError("a run lies outside the rows or the groups")
    return runs


class Fields:
    """The fields of a Summary while they are added up; arrays [field, groups, channels]."""

    def __init__(self, groups: int, shift: Array, thresholds: Thresholds) -> None:
        shape = (groups, len(shift))
        self.thresholds = thresholds
        self.shift = shift.astype(np.float64)
        self.floats = np.zeros((2 if thresholds.nonnegative else 3, *shape))
        """Σ(a - shift), Σ(a - shift)² and, unless a >= 0 is promised, Σ|a|."""
        flat = thresholds.low is not None or thresholds.high is not None
        self.counts = np.zeros((4 if flat else 2, *shape), np.int64)
        """positive, fired and, where one of them counts, low, high."""
        self.nonfinite = np.zeros(shape, np.int64)
        self.least, self.most = np.full(shape, np.inf), np.full(shape, -np.inf)

    @property
    def finite(self) -> bool:
        """Whether no sum overflowed or met a value that is not finite: its sum of squares would tell."""
        return isfinite(float(self.floats[1:].sum()))

    def summary(self, positions: NDArray[np.int64], per_sample: bool) -> Summary:
        """The sums as a Summary."""
        return Summary(
            per_sample=per_sample,
            positions=positions,
            positive=self.counts[0],
            fired=self.counts[1],
            low=None if self.thresholds.low is None else self.counts[2],
            high=None if self.thresholds.high is None else self.counts[3],
            nonfinite=self.nonfinite if self.nonfinite.any() else None,
            shift=self.shift,
            total=self.floats[0],
            total_sq=self.floats[1],
            total_abs=None if self.thresholds.nonnegative else self.floats[2],
            min=self.least,
            max=self.most,
        )


def reference(rows: Array) -> Array:
    """[C] the value nearest to zero in each column of rows [R, C] where they lie close together, else 0.

    Where values differ by a twentieth of their size or more, sums about zero keep the variance to 1e-4, and a
    kernel that needs no shift at all saves a pass.
    """
    if not len(rows):
        return np.zeros(rows.shape[1], rows.dtype)
    with np.errstate(all="ignore"):
        least, most = rows.min(axis=0), rows.max(axis=0)
        nearest = np.where(least > 0, least, most)
        close = (most - least < np.abs(nearest) / 20) & np.isfinite(nearest)
    picked: Array = np.where(close, nearest, rows.dtype.type(0))
    return picked


def probes(a: Array, runs: Runs, count: int) -> Array:
    """[<= count, C] rows of a [R, C] that lie in the runs, spread over them."""
    kept = runs[runs[:, 1] > runs[:, 0]]
    picked = kept[np.arange(min(count, len(kept))) * len(kept) // max(min(count, len(kept)), 1)]
    share = np.arange(max(count // max(len(picked), 1), 1))
    lengths = picked[:, 1] - picked[:, 0]
    places = picked[:, :1] + lengths[:, None] * (2 * share + 1) // (2 * len(share))
    rows: Array = a[np.unique(places)]
    return rows


def exact(parts: Iterator[tuple[int, Array]], sums: Fields) -> Fields:
    """`sums` with every (group, [n, C]) part added in float64, non-finite values counted and left out."""
    with np.errstate(over="ignore", under="ignore"):
        for group, part in parts:
            step = max(_CHUNK // max(part.shape[1], 1), 1)
            for first in range(0, len(part), step):
                _add_exact(sums, group, part[first : first + step].astype(np.float64))
    return sums


def _add_exact(sums: Fields, g: int, x: NDArray[np.float64]) -> None:
    good = np.isfinite(x)
    sums.nonfinite[g] += (~good).sum(axis=0)
    x = np.where(good, x, np.nan)  # every comparison with NaN is False
    size, centred = np.where(good, np.abs(x), 0.0), np.where(good, x - sums.shift, 0.0)
    for field, terms in zip(sums.floats, (centred, centred * centred, size), strict=False):
        field[g] += terms.sum(axis=0)
    for tally, mask in zip(sums.counts, _comparisons(sums.thresholds, x, np.abs(x)), strict=False):
        tally[g] += mask.sum(axis=0)
    sums.least[g] = np.minimum(sums.least[g], np.min(x, axis=0, where=good, initial=np.inf))
    sums.most[g] = np.maximum(sums.most[g], np.max(x, axis=0, where=good, initial=-np.inf))


def _comparisons(thresholds: Thresholds, x: Array, size: Array) -> Iterator[Array]:
    yield x > thresholds.positive
    yield size > thresholds.fired
    yield x <= (-np.inf if thresholds.low is None else thresholds.low)
    yield x >= (np.inf if thresholds.high is None else thresholds.high)


def exact_columns(a: Array, runs: Runs, groups: int, thresholds: Thresholds, per_sample: bool) -> Summary:
    """`Kernel.columns` in float64, for any float dtype and any value."""
    runs = checked(runs, len(a), groups)
    sums = Fields(groups, reference(probes(a, runs, _ROWS)), thresholds)
    parts = ((int(group), a[first:end]) for first, end, group in runs)
    return exact(parts, sums).summary(counted(runs, groups), per_sample)


def exact_maps(a: Array, thresholds: Thresholds) -> Summary:
    """`Kernel.maps` in float64, for any float dtype and any value."""
    groups, channels, positions = a.shape
    rows = np.zeros((0, channels), a.dtype)
    if groups and positions:  # some positions of the first map, and one of each of some maps
        rows = np.concatenate([a[0, :, :_ROWS].T, a[:_ROWS, :, 0]])
    sums = exact(((g, a[g].T) for g in range(groups)), Fields(groups, reference(rows), thresholds))
    return sums.summary(np.full(groups, positions, np.int64), True)


def exact_blocked(a: Array, channels: int, thresholds: Thresholds) -> Summary:
    """`Kernel.blocked` in float64, for any float dtype and any value."""
    groups, blocks, positions, block = a.shape
    maps = a.transpose(0, 1, 3, 2).reshape(groups, blocks * block, positions)
    return exact_maps(maps[:, :channels], thresholds)
