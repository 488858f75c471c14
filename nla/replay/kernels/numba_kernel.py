"""The fused pass compiled by numba (the extra `fast`): one pass over memory, at 10 to 35 GB/s a core."""

from __future__ import annotations

from collections.abc import Sequence
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
from nla.statistics.summary import Summary, Thresholds, about_one_shift, concatenate


class NumbaKernel:
    """See `nla.replay.kernels.Kernel`."""

    name = "numba"

    def sums(self, thresholds: Thresholds, per_sample: bool) -> _Sums:
        return _Sums(thresholds, per_sample)

    def columns(self, a: Array, runs: Runs, groups: int, thresholds: Thresholds, per_sample: bool) -> Summary:
        sums = self.sums(thresholds, per_sample)
        sums.columns(a, runs, groups)
        return sums.summary()

    def maps(self, a: Array, thresholds: Thresholds) -> Summary:
        sums = self.sums(thresholds, True)
        sums.maps(a)
        return sums.summary()

    def blocked(self, a: Array, channels: int, thresholds: Thresholds) -> Summary:
        sums = self.sums(thresholds, True)
        sums.blocked(a, channels)
        return sums.summary()

    def silent(self, a: Array, threshold: float) -> NDArray[np.bool_]:
        if a.dtype != np.float32 or not a.flags.c_contiguous:
            return silent_rows(a, threshold)
        quiet = np.empty(len(a), np.bool_)
        quiet_rows(a, np.float32(threshold), quiet)
        return quiet


class _Sums:
    """See `nla.replay.kernels.Sums`: what the compiled passes leave stays raw until all calls are made."""

    def __init__(self, thresholds: Thresholds, per_sample: bool) -> None:
        self._thresholds = thresholds
        self._per_sample = per_sample
        self._parts: list[_Outputs | Summary] = []

    def columns(self, a: Array, runs: Runs, groups: int) -> None:
        values = as_float32(a)
        if values is None:
            self._parts.append(exact_columns(a, runs, groups, self._thresholds, self._per_sample))
            return
        channels = a.shape[1]
        values = _at_least_a_strip(values)
        stride = values.shape[1]
        out = _Outputs(np.zeros(groups, np.int64), channels, channels, self._thresholds)
        runs = np.ascontiguousarray(runs, np.int64)
        geometry = (stride, LANES, stride - LANES, None, TERMS, 3 * LANES)
        if strips(_flat(values), runs, len(values), out.positions, *geometry, *out.arguments):
            self._parts.append(out)
        else:
            self._parts.append(exact_columns(a, runs, groups, self._thresholds, self._per_sample))

    def maps(self, a: Array) -> None:
        values = as_float32(a)
        if values is None:
            self._parts.append(exact_maps(a, self._thresholds))
            return
        groups, channels, positions = a.shape
        if positions < LANES:
            columns = np.ascontiguousarray(values.transpose(0, 2, 1)).reshape(groups * positions, channels)
            self.columns(columns, _whole(groups, positions, positions), groups)
            return
        out = _Outputs(np.full(groups, positions, np.int64), channels, channels, self._thresholds)
        if rows(_flat(values), groups, channels, positions, *out.arguments):
            self._parts.append(out)
        else:
            self._parts.append(exact_maps(a, self._thresholds))

    def blocked(self, a: Array, channels: int) -> None:
        values = as_float32(a)
        if values is None:
            self._parts.append(exact_blocked(a, channels, self._thresholds))
            return
        groups, blocks, positions, block = a.shape
        padded = blocks * block
        if block not in (LANES, LANES // 2) or padded < LANES:
            flat = values.transpose(0, 2, 1, 3).reshape(groups * positions, padded)[:, :channels]
            self.columns(flat, _whole(groups, positions, positions), groups)
            return
        out = _Outputs(np.zeros(groups, np.int64), padded, channels, self._thresholds)
        slab = positions * block  # a row is one position of one block, and a strip holds one block, or two
        last = padded * positions - slab * LANES // block
        half = None if block == LANES else slab
        runs = _whole(groups, positions, blocks * positions)
        geometry = (block, slab * LANES // block, last, half, max(positions, 1), 64 * LANES)
        if strips(_flat(values), runs, values.size // block, out.positions, *geometry, *out.arguments):
            self._parts.append(out)
        else:  # perhaps in the padding only
            self._parts.append(exact_blocked(a, channels, self._thresholds))

    def summary(self) -> Summary:
        raw = [part for part in self._parts if isinstance(part, _Outputs)]
        if len(raw) == len(self._parts):
            return _summary(raw, self._per_sample)
        return concatenate([self._alone(part) for part in self._parts])

    def _alone(self, part: _Outputs | Summary) -> Summary:
        return part if isinstance(part, Summary) else _summary([part], self._per_sample)


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
    """What a compiled pass adds to: channels in strips of 16, of which the last overlaps the one before.

    `positions` int64 [groups]; of `channels` passed over, the first `kept` count.
    """

    def __init__(
        self, positions: NDArray[np.int64], channels: int, kept: int, thresholds: Thresholds
    ) -> None:
        self.positions = positions
        self.thresholds = thresholds
        self._channels = channels
        self._kept = kept
        groups, width = len(positions), -(-channels // LANES) * LANES
        signed, flat = not thresholds.nonnegative, thresholds.low is not None or thresholds.high is not None
        self.shift = np.zeros(width, np.float32)
        self.sums = np.zeros((3 if signed else 2, groups, width))
        self.counts = np.zeros((4 if flat else 2, groups, width), np.int32)
        self.extremes = np.empty((2, groups, width), np.float32)
        self.extremes[0], self.extremes[1] = np.inf, -np.inf
        self.arguments = (
            float32_bounds(thresholds),
            self.shift,
            self.sums.reshape(-1),
            self.counts.reshape(-1),
            self.extremes.reshape(-1),
            1 if signed else None,
            1 if flat else None,
        )

    def by_channel(self, raw: Array) -> Array:
        """[…, strips * 16] without what the last strip repeats, and without padding."""
        if self._kept == raw.shape[-1]:
            return raw
        odd = self._channels % LANES
        if odd and self._channels > LANES:
            raw = np.concatenate([raw[..., : self._channels - odd], raw[..., -odd:]], axis=-1)
        return raw[..., : self._kept]


def _summary(parts: Sequence[_Outputs], per_sample: bool) -> Summary:
    """The groups of all parts, converted and joined in one step, about one shift."""
    first = parts[0]
    thresholds = first.thresholds
    sums = first.by_channel(np.concatenate([part.sums for part in parts], axis=1))
    counts = first.by_channel(np.concatenate([part.counts for part in parts], axis=1, dtype=np.int64))
    extremes = first.by_channel(np.concatenate([part.extremes for part in parts], axis=1, dtype=np.float64))
    shifts = first.by_channel(np.stack([part.shift for part in parts], dtype=np.float64))
    joint = Summary(
        per_sample=per_sample,
        positions=np.concatenate([part.positions for part in parts]),
        positive=counts[0],
        fired=counts[1],
        low=None if thresholds.low is None else counts[2],
        high=None if thresholds.high is None else counts[3],
        nonfinite=None,
        shift=shifts[0],
        total=sums[0],
        total_sq=sums[1],
        total_abs=None if thresholds.nonnegative else sums[2],
        min=extremes[0],
        max=extremes[1],
    )
    return about_one_shift(joint, shifts, [len(part.positions) for part in parts])
