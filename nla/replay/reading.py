"""From samples to observations: run the model, and sum each site's tensor before the next run is made.

Only the sums of a run outlive it (and, where a sample is one position, a few dozen rows), so that memory is bounded by
one batch for each worker, however many runs make a chunk.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.replay.feeds import Data
from nla.replay.kernels import Kernel, Sums
from nla.replay.masks import lay_mask, masked_runs
from nla.replay.taps import Taps
from nla.replay.views import View
from nla.statistics import rows
from nla.statistics.summary import Observation, Summary, Thresholds

Array = NDArray[Any]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]
Keys = NDArray[np.uint64]

_ROWS_AT_ONCE = 64
"""Rows of samples of one position that are worth a call of the kernel."""


@dataclass(frozen=True)
class SiteReading:
    """How one site's tensor is read during a replay."""

    thresholds: Thresholds
    reads_pre: bool
    """True where z > 0 cannot be read off a, so that z is tapped beside it."""
    counts_alive: bool
    """True where φ reaches zero, so that a sample can be silenced here."""


@dataclass(frozen=True)
class ChunkResult:
    """What one chunk of samples leaves: an observation for each site, and who was alive."""

    observations: list[Observation]
    full: list[Array | None]
    alive: Flags
    """[sites, samples]: some neuron of the site fired in the sample."""
    left_out: int
    """Samples left out because their input holds NaN or infinity."""
    unmasked: frozenset[int]
    """Sites whose positions the mask does not fit, so that all of them were counted."""


class Reader:
    """Turns chunks of samples into observations; holds no state of its own, so that workers share it."""

    def __init__(
        self,
        taps: Taps,
        data: Data,
        readings: Sequence[SiteReading],
        kernel: Kernel,
        *,
        batch_size: int,
        labels: Indices | None,
        row_threshold: Callable[[int], np.uint64],
        keep_full: bool = False,
        drawn_first: Callable[[Indices], Flags] | None = None,
    ) -> None:
        """`drawn_first` says whose rows come before all others in the row sample; None: all rows are alike."""
        self._taps = taps
        self._data = data
        self._readings = readings
        self._kernel = kernel
        self._batch_size = batch_size
        self._labels = labels
        self._row_threshold = row_threshold
        self._keep_full = keep_full
        self._drawn_first = drawn_first

    def read(self, where: Indices) -> ChunkResult:
        """Runs the samples at these places and sums what came out."""
        if self._labels is not None:  # neighbours of one label make one group where a sample is one position
            where = where[np.argsort(self._labels[where], kind="stable")]
        sites = [self._site(k) for k in range(len(self._readings))]
        kept, left_out = [where[:0]], 0
        for start in range(0, len(where), self._batch_size):
            part, lost = self._run(where[start : start + self._batch_size], sites)
            kept.append(part)
            left_out += lost
        return self._result(sites, np.concatenate(kept), left_out)

    def _site(self, k: int) -> _Site:
        kind = _SeveralPositions if self._taps.layouts[k].per_sample else _OnePosition
        return kind(self._readings[k], self._kernel, self._row_threshold(k), self._keep_full)

    def _run(self, where: Indices, sites: Sequence[_Site]) -> tuple[Indices, int]:
        """One run, summed into the sites: the samples that were used, and how many were left out."""
        feeds = self._data.feeds(where)
        good = self._data.finite(feeds, len(where))
        lost = int(len(where) - np.count_nonzero(good))
        if lost:
            where, feeds = where[good], {name: value[good] for name, value in feeds.items()}
        if len(where):
            values, mask = self._taps.run(feeds, len(where)), self._data.mask(where)
            labels = None if self._labels is None else self._labels[where]
            draws = _Draws(self._data.indices[where], self._drawn_first)
            for k, site in enumerate(sites):
                site.add(self._part(k, values, mask, len(where)), labels, draws)
        return where, lost

    def _part(self, k: int, values: list[Array], mask: Flags | None, samples: int) -> _Part:
        """Site k's view of one run, with the mask laid over its positions."""
        seen = self._taps.view(k, values, samples)
        pre = self._taps.pre_view(k, values, samples) if self._readings[k].reads_pre else None
        if mask is None or seen.positions == 1:
            return _Part(seen, pre)
        valid = lay_mask(mask, self._taps.position_shape(k, values, samples))
        return _Part(seen, pre, valid, unmasked=valid is None)

    def _result(self, sites: Sequence[_Site], where: Indices, left_out: int) -> ChunkResult:
        samples = self._data.indices[where]
        if not len(where):
            return ChunkResult([], [], np.ones((len(sites), 0), np.bool_), left_out, frozenset())
        labels = None if self._labels is None else self._labels[where]
        alive = np.ones((len(sites), len(where)), np.bool_)
        observations = []
        for k, site in enumerate(sites):
            observation, living = site.observation(samples, labels)
            observations.append(observation)
            if self._readings[k].counts_alive:
                alive[k] = living
        unmasked = frozenset(k for k, site in enumerate(sites) if site.unmasked)
        return ChunkResult(observations, [site.full() for site in sites], alive, left_out, unmasked)


@dataclass(frozen=True)
class _Part:
    """One site's tensor of one run."""

    view: View
    pre: View | None
    valid: Flags | None = None
    """[samples, positions]; None where all are counted."""
    unmasked: bool = False

    def counted_rows(self) -> Array:
        """[R, neurons] every counted row."""
        values = self.view.columns().values
        return values if self.valid is None else values[self.valid.reshape(-1)]


class _Draws:
    """The positions of one run's samples that are offered to the row samples; many sites share them."""

    def __init__(self, samples: Indices, first: Callable[[Indices], Flags] | None) -> None:
        self._samples = samples
        self._first = None if first is None else first(samples)[:, None]
        self._known: dict[int, tuple[Indices, Keys]] = {}

    def of(self, part: _Part) -> tuple[Indices, Keys]:
        """Places among the counted positions, and keys, both [S, K]."""
        positions = part.view.positions
        if part.valid is None and positions in self._known:
            return self._known[positions]
        within, keys = rows.draw(self._samples, positions if part.valid is None else part.valid.sum(axis=1))
        if self._first is not None:
            keys = rows.ranked(keys, self._first)
        if part.valid is None:
            self._known[positions] = within, keys
        return within, keys


class _Site(ABC):
    """One site's sums over the runs of a chunk."""

    def __init__(
        self, reading: SiteReading, kernel: Kernel, row_threshold: np.uint64, keep_full: bool
    ) -> None:
        self.reading = reading
        self.kernel = kernel
        self.unmasked = False
        self._row_threshold = row_threshold
        self._picked: list[tuple[NDArray[np.float32], Keys]] = []
        self._full: list[Array] | None = [] if keep_full else None

    def add(self, part: _Part, labels: Indices | None, draws: _Draws) -> None:
        """Sums one run; its tensor is not kept."""
        self.unmasked |= part.unmasked
        self._add(part, labels)
        self._picked.append(_picked(part, *draws.of(part), self._row_threshold))
        if self._full is not None:
            self._full.append(part.counted_rows())

    def observation(self, samples: Indices, labels: Indices | None) -> tuple[Observation, Flags]:
        """The observation, and which samples were alive."""
        summary, group_samples, group_labels, alive = self._grouped(labels)
        picked = np.concatenate([values for values, _ in self._picked])
        keys = np.concatenate([keys for _, keys in self._picked])
        self._picked = []  # the rows of all sites would else be held twice
        return Observation(summary, samples, group_samples, group_labels, picked, keys), alive

    def full(self) -> Array | None:
        """[R, neurons] every counted row of the chunk, where that was asked for."""
        return None if self._full is None else np.concatenate(self._full)

    def _new_sums(self, per_sample: bool) -> tuple[Sums, Sums | None]:
        """For a, and for z where its sign is read."""
        pre = self.kernel.sums(Thresholds(), per_sample) if self.reading.reads_pre else None
        return self.kernel.sums(self.reading.thresholds, per_sample), pre

    @abstractmethod
    def _add(self, part: _Part, labels: Indices | None) -> None: ...

    @abstractmethod
    def _grouped(self, labels: Indices | None) -> tuple[Summary, Indices, Indices | None, Flags]: ...


class _SeveralPositions(_Site):
    """A sample has several positions (pixels, tokens) and is a group of its own."""

    def __init__(self, *how: Any) -> None:
        super().__init__(*how)
        self._sums, self._pre_sums = self._new_sums(per_sample=True)

    def _add(self, part: _Part, labels: Indices | None) -> None:
        runs = None if part.valid is None else masked_runs(part.valid)
        for seen, sums in ((part.view, self._sums), (part.pre, self._pre_sums)):
            if seen is None or sums is None:
                continue
            if runs is None:
                seen.add_to(sums)
            else:
                sums.columns(seen.columns().values, runs, seen.samples)

    def _grouped(self, labels: Indices | None) -> tuple[Summary, Indices, Indices | None, Flags]:
        joint = _with_pre(self._sums, self._pre_sums)
        alive: Flags = np.any(joint.positive, axis=1)
        return joint, np.ones(len(joint.positions), np.int64), labels, alive


class _OnePosition(_Site):
    """A sample is one row; rows of one label lie side by side and make one group.

    Runs of few samples are summed together: a call costs as much as some dozens of rows.
    """

    def __init__(self, *how: Any) -> None:
        super().__init__(*how)
        self._sums, self._pre_sums = self._new_sums(per_sample=False)
        self._waiting: list[tuple[Array, Array | None, Indices | None]] = []
        self._sizes: list[Indices] = []
        self._group_labels: list[Indices] = []
        self._alive: list[Flags] = []

    def _add(self, part: _Part, labels: Indices | None) -> None:
        pre = None if part.pre is None else part.pre.columns().values
        self._waiting.append((part.view.columns().values, pre, labels))
        if sum(len(values) for values, _, _ in self._waiting) >= _ROWS_AT_ONCE:
            self._sum()

    def _sum(self) -> None:
        """Sums what waits."""
        if not self._waiting:
            return
        values, pre, labels = (_joined(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting = []
        assert values is not None
        runs, group_labels = _label_runs(labels, len(values))
        self._sums.columns(values, runs, len(runs))
        if pre is None or self._pre_sums is None:
            silent = self.kernel.silent(values, self.reading.thresholds.positive)
        else:
            self._pre_sums.columns(pre, runs, len(runs))
            silent = self.kernel.silent(pre, 0.0)
        self._alive.append(np.logical_not(silent))
        self._sizes.append(runs[:, 1] - runs[:, 0])
        if group_labels is not None:
            self._group_labels.append(group_labels)

    def _grouped(self, labels: Indices | None) -> tuple[Summary, Indices, Indices | None, Flags]:
        self._sum()
        group_labels = None if labels is None else np.concatenate(self._group_labels)
        summary = _with_pre(self._sums, self._pre_sums)
        return summary, np.concatenate(self._sizes), group_labels, np.concatenate(self._alive)


def _with_pre(sums: Sums, pre: Sums | None) -> Summary:
    """The sums of a, whose signs of z are counted on z where z is tapped."""
    summary = sums.summary()
    return summary if pre is None else replace(summary, positive=pre.summary().positive)


def _joined(parts: Sequence[Array | None]) -> Array | None:
    """The arrays one behind the other; None where they are None."""
    arrays = [part for part in parts if part is not None]
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else None


def _label_runs(labels: Indices | None, samples: int) -> tuple[Indices, Indices | None]:
    """Runs (first sample, one past the last, group) of equal labels, and the label of each."""
    if labels is None:
        return np.array([[0, samples, 0]], np.int64), None
    first = np.flatnonzero(np.append(True, labels[1:] != labels[:-1])).astype(np.int64)
    last = np.append(first[1:], samples)
    return np.stack([first, last, np.arange(len(first))], axis=1), labels[first]


def _picked(
    part: _Part, within: Indices, keys: Keys, threshold: np.uint64
) -> tuple[NDArray[np.float32], Keys]:
    """The activations and keys of the drawn positions of one run whose key is below the threshold."""
    wanted = keys < threshold
    if not wanted.any():  # the usual case, once the row sample is full
        return np.empty((0, part.view.neurons), np.float32), keys[:0].reshape(0)
    sample, slot = np.nonzero(wanted)
    place = within[sample, slot]
    if part.valid is not None:
        place = np.array(
            [np.flatnonzero(part.valid[s])[w] for s, w in zip(sample, place, strict=True)], np.int64
        )
    return part.view.rows(sample, place), keys[sample, slot]
