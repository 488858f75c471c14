"""The fused pass in plain NumPy: about ten passes over pieces that stay in the second-level cache.

What is fast was measured: einsum over the bytes of a comparison counts at 50 to 100 GB/s of input where
count_nonzero along an axis reaches 8; sums and extremes are quick down columns and slow along short rows, so
that maps are transposed piece by piece unless their rows are long. No BLAS: it would start threads of its own
in each worker.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nla.replay.kernels.sums import (
    Array,
    Fields,
    Runs,
    checked,
    counted,
    exact_blocked,
    exact_columns,
    exact_maps,
    float32_bounds,
    probes,
    reference,
)
from nla.statistics.summary import Summary, Thresholds, concatenate

_PIECE = 1 << 16
"""Values handled at a time: 256 KB."""
_TERMS = 49
"""Terms of one float32 partial sum down a column."""
_LARGEST_CHUNK = 255
"""Terms of one along a row, and the most that a byte counts."""
_PROBES = 8
_COPIED = 512
_LONG = 1024
"""Positions from which a map is not transposed."""


class NumpyKernel:
    """See `nla.replay.kernels.Kernel`."""

    name = "numpy"

    def sums(self, thresholds: Thresholds, per_sample: bool) -> _Sums:
        return _Sums(self, thresholds, per_sample)

    def silent(self, a: Array, threshold: float) -> NDArray[np.bool_]:
        return silent_rows(a, threshold)

    def columns(self, a: Array, runs: Runs, groups: int, thresholds: Thresholds, per_sample: bool) -> Summary:
        runs = checked(runs, len(a), groups)
        values = as_float32(a)
        if values is None:
            return exact_columns(a, runs, groups, thresholds, per_sample)
        with np.errstate(all="ignore"):
            sums = Fields(groups, reference(probes(values, runs, _PROBES)), thresholds)
            shift, every = sums.shift.astype(np.float32), slice(None)
            for first, end, group in runs:
                _columns(values[first:end], shift, thresholds).add_to(sums, group, every)
        if not sums.finite:
            return exact_columns(a, runs, groups, thresholds, per_sample)
        return sums.summary(counted(runs, groups), per_sample)

    def maps(self, a: Array, thresholds: Thresholds) -> Summary:
        values = as_float32(a)
        if values is None:
            return exact_maps(a, thresholds)
        groups, _, positions = values.shape
        with np.errstate(all="ignore"):
            sums = Fields(groups, _amid(values[..., None]), thresholds)
            for g in range(groups):
                _add_maps(sums, g, values[g])
        if not sums.finite:
            return exact_maps(a, thresholds)
        return sums.summary(np.full(groups, positions, np.int64), True)

    def blocked(self, a: Array, channels: int, thresholds: Thresholds) -> Summary:
        values = as_float32(a)
        if values is None:
            return exact_blocked(a, channels, thresholds)
        groups, _, positions, _ = values.shape
        with np.errstate(all="ignore"):
            sums = Fields(groups, _amid(values), thresholds)
            for g in range(groups):
                _add_slabs(sums, g, values[g])
        if not sums.finite:  # perhaps in the padding only
            return exact_blocked(a, channels, thresholds)
        return first_channels(sums.summary(np.full(groups, positions, np.int64), True), channels)


class _Sums:
    """See `nla.replay.kernels.Sums`."""

    def __init__(self, kernel: NumpyKernel, thresholds: Thresholds, per_sample: bool) -> None:
        self._kernel = kernel
        self._thresholds = thresholds
        self._per_sample = per_sample
        self._summaries: list[Summary] = []

    def columns(self, a: Array, runs: Runs, groups: int) -> None:
        self._summaries.append(self._kernel.columns(a, runs, groups, self._thresholds, self._per_sample))

    def maps(self, a: Array) -> None:
        self._summaries.append(self._kernel.maps(a, self._thresholds))

    def blocked(self, a: Array, channels: int) -> None:
        self._summaries.append(self._kernel.blocked(a, channels, self._thresholds))

    def summary(self) -> Summary:
        return concatenate(self._summaries)


def as_float32(a: Array) -> NDArray[np.float32] | None:
    """`a` as C-contiguous float32; None where that would lose precision."""
    if a.dtype not in (np.float32, np.float16):
        return None
    return np.ascontiguousarray(a, np.float32)


def first_channels(summary: Summary, channels: int) -> Summary:
    """The summary of the first `channels` neurons: NCHWc pads the last block."""
    if channels == summary.neurons:
        return summary
    cut: dict[str, Any] = {"shift": summary.shift[:channels]}
    for name in ("positive", "fired", "low", "high", "total", "total_sq", "total_abs", "min", "max"):
        field = getattr(summary, name)
        cut[name] = None if field is None else field[:, :channels]
    return replace(summary, **cut)


def _amid(maps: Array) -> Array:
    """[B * b] a value of each channel of maps [G, B, P, b]: the nearest to zero amid some maps."""
    groups, blocks, positions, block = maps.shape
    middle = positions // 2
    near = maps[:: max(groups // _PROBES, 1), :, middle : middle + _PROBES]
    return reference(np.ascontiguousarray(near.transpose(0, 2, 1, 3)).reshape(-1, blocks * block))


class _Part(NamedTuple):
    """The sums over one piece of one group: what is added to `Fields`."""

    floats: Array
    """[2 or 3, channels] float64"""
    counts: Array
    """[2 or 4, channels] int64"""
    least: Array
    most: Array

    def add_to(self, sums: Fields, g: int, at: slice) -> None:
        """Add this to group g and the channels `at`."""
        sums.floats[:, g, at] += self.floats
        sums.counts[:, g, at] += self.counts
        sums.least[g, at] = np.minimum(sums.least[g, at], self.least)
        sums.most[g, at] = np.maximum(sums.most[g, at], self.most)

    def folded(self, across: int) -> _Part:
        """The sums where every channel stands there `across` times."""
        floats, counts = (field.reshape(len(field), across, -1).sum(axis=1) for field in self[:2])
        least, most = self.least.reshape(across, -1), self.most.reshape(across, -1)
        return _Part(floats, counts, least.min(axis=0), most.max(axis=0))


def _columns(x: Array, shift: Array, thresholds: Thresholds) -> _Part:
    """The sums down the columns of x [n, C], in pieces of about `_PIECE` values."""
    count, channels = x.shape
    terms = _terms(count)
    whole = count - count % terms
    step = max(_PIECE // max(channels, 1) // terms, 1) * terms
    pieces = [x[top : min(top + step, whole)].reshape(-1, terms, channels) for top in range(0, whole, step)]
    if whole < count:
        pieces.append(x[None, whole:])
    floats, counts = _room(thresholds, -(-count // terms), channels)
    extremes = np.empty((2, len(pieces), channels), np.float32)
    done = 0
    for k, piece in enumerate(pieces):
        rows = slice(done, done + len(piece))
        _reduce(piece, "knc->kc", shift, thresholds, (floats[:, rows], counts[:, rows]))
        for extreme, ufunc in zip(extremes, (np.minimum, np.maximum), strict=True):
            # The first axis alone is reduced over long rows, however few the channels.
            ufunc.reduce(piece[0] if len(piece) == 1 else ufunc.reduce(piece), out=extreme[k])
        done += len(piece)
    return _Part(
        floats.sum(axis=1, dtype=np.float64),
        counts.sum(axis=1, dtype=np.int64),
        extremes[0].min(axis=0, initial=np.inf),
        extremes[1].max(axis=0, initial=-np.inf),
    )


def _rows(x: Array, chunk: int, shift: Array, thresholds: Thresholds) -> _Part:
    """The sums along the rows of x [C, P], in partial sums of `chunk` terms."""
    channels, positions = x.shape
    floats, counts = _room(thresholds, channels, positions // chunk)
    piece = x.reshape(channels, -1, chunk)
    _reduce(piece, "cdn->cd", shift[:, None, None], thresholds, (floats, counts))
    return _Part(
        floats.sum(axis=2, dtype=np.float64), counts.sum(axis=2, dtype=np.int64), x.min(axis=1), x.max(axis=1)
    )


def _room(thresholds: Thresholds, *shape: int) -> tuple[Array, Array]:
    """Where partial sums go, float32, and partial counts, bytes."""
    flat = thresholds.low is not None or thresholds.high is not None
    floats = np.empty((2 if thresholds.nonnegative else 3, *shape), np.float32)
    return floats, np.empty((4 if flat else 2, *shape), np.uint8)


def _reduce(x: Array, way: str, shift: Array, thresholds: Thresholds, out: tuple[Array, Array]) -> None:
    """Sum x along the axis that `way`, for einsum, leaves out."""
    floats, counts = out
    centred = x - shift if shift.any() else x
    size = x if thresholds.nonnegative else np.abs(x)
    operands, result = way.split("->")
    np.einsum(way, centred, out=floats[0])
    np.einsum(f"{operands},{operands}->{result}", centred, centred, out=floats[1])
    if len(floats) > 2:
        np.einsum(way, size, out=floats[2])
    positive, fired, low, high = float32_bounds(thresholds)
    np.einsum(way, (x > positive).view(np.uint8), out=counts[0])
    np.einsum(way, (size > fired).view(np.uint8), out=counts[1])
    if len(counts) > 2:
        np.einsum(way, (x <= low).view(np.uint8), out=counts[2])
        np.einsum(way, (x >= high).view(np.uint8), out=counts[3])


@lru_cache(maxsize=256)
def _terms(count: int) -> int:
    """Terms of a partial sum: few enough for float32, and a divisor of `count` if there is one near."""
    if count <= _TERMS:
        return max(count, 1)
    return max((d for d in range(_TERMS // 2, _TERMS + 1) if count % d == 0), default=_TERMS)


@lru_cache(maxsize=256)
def _divisor(count: int, least: int, most: int) -> int:
    """The largest divisor of `count` from `least` to `most`, 0 where there is none."""
    return max((d for d in range(least, most + 1) if count % d == 0), default=0)


def _add_maps(sums: Fields, g: int, x: Array) -> None:
    """Add x [C, P] to group g: along the rows where they are long, else transposed."""
    channels, positions = x.shape
    chunk = _divisor(positions, 32, _LARGEST_CHUNK) if positions >= _LONG else 0
    if not chunk:
        _add_transposed(sums, g, x[:, :, None])
        return
    shift = sums.shift.astype(np.float32)
    step = max(_PIECE // positions, 1)
    for first in range(0, channels, step):
        at = slice(first, min(first + step, channels))
        _rows(x[at], chunk, shift[at], sums.thresholds).add_to(sums, g, at)


def _add_slabs(sums: Fields, g: int, x: Array) -> None:
    """Add x [B, P, b] to group g: neighbouring positions are summed apart, as if they were channels."""
    blocks, positions, block = x.shape
    across = _divisor(positions, 16, 64) if positions >= _LONG else 0
    if not across:
        _add_transposed(sums, g, x)
        return
    shift = sums.shift.astype(np.float32)
    for k in range(blocks):
        at = slice(k * block, (k + 1) * block)
        slab = x[k].reshape(positions // across, across * block)
        _columns(slab, np.tile(shift[at], across), sums.thresholds).folded(across).add_to(sums, g, at)


def _add_transposed(sums: Fields, g: int, x: Array) -> None:
    """Add x [B, P, b] to group g, whose channels are B × b: transposed in pieces to [P, channels]."""
    blocks, positions, block = x.shape
    shift = sums.shift.astype(np.float32)
    wide = max(_PIECE // max(positions * block, 1), 64 // block)
    tall = max(_PIECE // (min(wide, blocks) * block) // _TERMS, 1) * _TERMS
    for first in range(0, blocks, wide):
        part = x[first : first + wide]
        at = slice(first * block, (first + len(part)) * block)
        for top in range(0, positions, tall):
            rows = _transposed(part[:, top : top + tall])
            _columns(rows, shift[at], sums.thresholds).add_to(sums, g, at)


def _transposed(x: Array) -> Array:
    """x [B, P, b] as [P, B * b], 512 channels at a time: more are copied three times as slowly."""
    blocks, positions, block = x.shape
    rows = np.empty((positions, blocks, block), x.dtype)
    step = _COPIED // block
    for first in range(0, blocks, step):
        part = slice(first, first + step)
        if block == 1:  # NumPy is quicker with two axes than with three
            rows[:, part, 0] = x[part, :, 0].T
        else:
            rows[:, part] = x[part].transpose(1, 0, 2)
    return rows.reshape(positions, blocks * block)


_GLANCES = (8, 64)


def silent_rows(a: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """bool [R]: rows of a [R, C] in which every value is <= threshold; a row with NaN is not silent.

    Most rows are settled by their first few columns, and only the others are looked at further.

    >>> silent_rows(np.array([[0.0, -1.0], [0.0, 2.0], [np.nan, 0.0]]), 0.0).tolist()
    [True, False, False]
    """
    quiet = np.arange(len(a))
    first = 0
    for last in (*_GLANCES, a.shape[1]):
        part = a[:, first:last] if len(quiet) == len(a) else a[quiet, first:last]
        quiet = quiet[(part <= threshold).all(axis=1)]
        first = last
        if not len(quiet) or last >= a.shape[1]:
            break
    result = np.zeros(len(a), np.bool_)
    result[quiet] = True
    return result
