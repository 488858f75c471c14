"""The fused pass compiled by numba (the extra `fast`): one pass over memory, at 10 to 35 GB/s a core."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nla.replay.kernels.compiled import TERMS, quiet_rows, rows, strips
from nla.replay.kernels.numpy_kernel import as_float32, silent_rows
from nla.replay.kernels.sums import (
    Array,
    Runs,
    exact_blocked,
    exact_columns,
    exact_maps,
    float32_bounds,
)
from nla.replay.kernels.vectors import LANES
from nla.statistics.summary import Summary, Thresholds


class NumbaKernel:
    """See `nla.replay.kernels.Kernel`."""

    name = "numba"

    def silent(self, a: Array, threshold: float) -> NDArray[np.bool_]:
        if a.dtype != np.float32 or not a.flags.c_contiguous:
            return silent_rows(a, threshold)
        quiet = np.empty(len(a), np.bool_)
        quiet_rows(a, np.float32(threshold), quiet)
        return quiet

    def columns(self, a: Array, runs: Runs, groups: int, thresholds: Thresholds, per_sample: bool) -> Summary:
        values = as_float32(a)
        if values is None:
            return exact_columns(a, runs, groups, thresholds, per_sample)
        channels = a.shape[1]
        values = _at_least_a_strip(values)
        stride = values.shape[1]
        out = _Outputs(groups, channels, thresholds)
        runs, positions = np.ascontiguousarray(runs, np.int64), np.zeros(groups, np.int64)
        geometry = (stride, LANES, stride - LANES, None, TERMS, 3 * LANES)
        if not strips(_flat(values), runs, len(values), positions, *geometry, *out.arguments):
            return exact_columns(a, runs, groups, thresholds, per_sample)
        return out.summary(positions, per_sample, channels)

    def maps(self, a: Array, thresholds: Thresholds) -> Summary:
        values = as_float32(a)
        if values is None:
            return exact_maps(a, thresholds)
        groups, channels, positions = a.shape
        if positions < LANES:
            columns = np.ascontiguousarray(values.transpose(0, 2, 1)).reshape(groups * positions, channels)
            return self.columns(columns, _whole(groups, positions, positions), groups, thresholds, True)
        out = _Outputs(groups, channels, thresholds)
        if not rows(_flat(values), groups, channels, positions, *out.arguments):
            return exact_maps(a, thresholds)
        return out.summary(np.full(groups, positions, np.int64), True, channels)

    def blocked(self, a: Array, channels: int, thresholds: Thresholds) -> Summary:
        values = as_float32(a)
        if values is None:
            return exact_blocked(a, channels, thresholds)
        groups, blocks, positions, block = a.shape
        padded = blocks * block
        if block not in (LANES, LANES // 2) or padded < LANES:
            flat = values.transpose(0, 2, 1, 3).reshape(groups * positions, padded)[:, :channels]
            return self.columns(flat, _whole(groups, positions, positions), groups, thresholds, True)
        out = _Outputs(groups, padded, thresholds)
        slab = positions * block  # a row is one position of one block, and a strip holds one block, or two
        last = padded * positions - slab * LANES // block
        half = None if block == LANES else slab
        runs = _whole(groups, positions, blocks * positions)
        done = np.zeros(groups, np.int64)
        geometry = (block, slab * LANES // block, last, half, max(positions, 1), 64 * LANES)
        finite = strips(_flat(values), runs, values.size // block, done, *geometry, *out.arguments)
        if not finite:  # perhaps in the padding only
            return exact_blocked(a, channels, thresholds)
        return out.summary(done, True, channels)


@lru_cache(maxsize=256)
def _whole(groups: int, length: int, stride: int) -> Runs:
    """Runs of `length` rows that begin `stride` rows apart, each its own group."""
    group = np.arange(groups, dtype=np.int64)
    return np.stack([group * stride, group * stride + length, group], axis=1)


def _flat(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """All values in memory order, read-only whether they were or not: numba would compile once for each."""
    flat = values.reshape(-1)
    flat.flags.writeable = False
    return flat


def _at_least_a_strip(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """[R, C] padded with zeros to 16 columns."""
    count, channels = values.shape
    if channels >= LANES:
        return values
    wide = np.zeros((count, LANES), np.float32)
    wide[:, :channels] = values
    return wide


class _Outputs:
    """What a compiled pass adds to: channels in strips of 16, of which the last overlaps the one before."""

    def __init__(self, groups: int, channels: int, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._channels = channels
        width = -(-channels // LANES) * LANES
        signed, flat = not thresholds.nonnegative, thresholds.low is not None or thresholds.high is not None
        self._shift = np.zeros(width, np.float32)
        self._sums = np.zeros((3 if signed else 2, groups, width))
        self._counts = np.zeros((4 if flat else 2, groups, width), np.int32)
        self._extremes = np.empty((2, groups, width), np.float32)
        self._extremes[0], self._extremes[1] = np.inf, -np.inf
        self.arguments = (
            float32_bounds(thresholds),
            self._shift,
            self._sums.reshape(-1),
            self._counts.reshape(-1),
            self._extremes.reshape(-1),
            1 if signed else None,
            1 if flat else None,
        )

    def summary(self, positions: NDArray[np.int64], per_sample: bool, channels: int) -> Summary:
        """The sums of the first `channels` as a Summary."""
        sums = self._by_channel(self._sums, channels)
        counts = self._by_channel(self._counts, channels).astype(np.int64)
        extremes = self._by_channel(self._extremes, channels).astype(np.float64)
        return Summary(
            per_sample=per_sample,
            positions=positions,
            positive=counts[0],
            fired=counts[1],
            low=None if self._thresholds.low is None else counts[2],
            high=None if self._thresholds.high is None else counts[3],
            nonfinite=None,
            shift=self._by_channel(self._shift, channels).astype(np.float64),
            total=sums[0],
            total_sq=sums[1],
            total_abs=None if self._thresholds.nonnegative else sums[2],
            min=extremes[0],
            max=extremes[1],
        )

    def _by_channel(self, raw: Array, channels: int) -> Array:
        """[…, strips * 16] without what the last strip repeats, and without padding."""
        if channels == raw.shape[-1]:
            return raw
        odd = self._channels % LANES
        if odd and self._channels > LANES:
            raw = np.concatenate([raw[..., : self._channels - odd], raw[..., -odd:]], axis=-1)
        return raw[..., :channels]
