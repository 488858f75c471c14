"""One split of the data, replayed: the main pass over every site, then what the dead need to be judged by.

The post-activation is enough for almost every statistic, and seeing the pre-activation z breaks the runtime's
fusions. So z is observed afterwards, and only where it is worth its price: on all samples at sites that hold a
candidate for death (their margin needs the largest z, and their repair the mean of what their producer reads), on a
fixed sixty-fourth of the samples elsewhere (the histogram of z).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.replay.engine import Progress, replay
from nla.replay.feeds import SplitData
from nla.replay.inputs import InputTap, input_taps, take_from_sites
from nla.replay.opening import Opened, Tappable
from nla.replay.pace import Pace, settle
from nla.replay.reading import ChunkResult, Reader, SiteReading
from nla.replay.session import give_memory_back
from nla.site import Site
from nla.statistics import rows
from nla.statistics.liveness import Liveness
from nla.statistics.site import SiteStatistics
from nla.statistics.summary import Thresholds

Indices = NDArray[np.int64]

PRE_SHARE = 64
"""One sample in so many is observed for the histogram of z, chosen by the hash of its index: shards agree on it."""
_WORTH_BLOCKED = 64
"""Samples from which on the second pass looks for the blocked layout too."""
_NO_ROWS = np.uint64(0)
"""The threshold that no key is below: of inputs, no rows are kept."""


@dataclass(frozen=True)
class Settings:
    """How a replay gathers; everything here that changes a number is part of the recording."""

    firing_threshold: float
    flat_derivative: float
    dead_tolerance_abs: float
    kernel: str
    """A name of `kernels.NAMES`."""
    workers: int
    batch_size: int | None
    """None: chosen from the size of the tapped tensors."""
    exact_rank: bool = False
    exact_histogram: bool = False
    pre_activations: bool = False

    @property
    def keeps_rows(self) -> bool:
        """Whether every row of a chunk is kept until the chunk's turn."""
        return self.exact_rank or self.exact_histogram


@dataclass
class SplitResult:
    """What one split leaves."""

    statistics: list[SiteStatistics]
    liveness: Liveness
    left_out: int = 0
    """Samples whose input holds NaN or infinity."""
    unmasked: set[int] = field(default_factory=set)
    """Sites that the mask did not fit."""
    pre_sites: list[int] = field(default_factory=list)
    """Sites whose z was observed on all samples."""
    unmasked_inputs: set[int] = field(default_factory=set)
    """Sites whose producer reads a tensor that the mask does not fit."""
    batch_size: int = 1
    one_by_one: str = ""
    """Why samples were run one by one; empty where they were not."""
    blocked_sites: int = 0
    kernel: str = ""


def thresholds_of(site: Site, settings: Settings) -> Thresholds:
    """The comparisons that the kernel counts at a site."""
    low, high = site.activation.plateaus(settings.flat_derivative)
    positive = site.activation.positive_threshold
    return Thresholds(
        positive=0.0 if positive is None else positive,
        fired=settings.firing_threshold,
        low=low,
        high=high,
        nonnegative=site.activation.nonnegative or site.role == "head",
    )


def replay_split(
    model: Tappable,
    sites: Sequence[Site],
    data: SplitData,
    settings: Settings,
    progress: Callable[[str, int, int], None],
    *,
    observe_pre: bool = True,
    liveness: Liveness | None = None,
    before: Sequence[tuple[Site, SiteStatistics]] = (),
) -> SplitResult:
    """All statistics of all sites over one split of the data.

    Where the model is a stage of a larger one, `before` are sites of the stage before whose tensors this one reads,
    and `liveness` takes, chunk by chunk, which samples were alive.
    """
    result = _observe(model, sites, data, settings, liveness, _phase(progress, "replaying"))
    give_memory_back()
    if observe_pre:
        _observe_pre(model, sites, data, settings, result, before, progress)
    return result


def _observe(
    model: Tappable,
    sites: Sequence[Site],
    data: SplitData,
    settings: Settings,
    liveness: Liveness | None,
    progress: Progress,
) -> SplitResult:
    """The main pass; its session is gone when this returns, before the second pass makes another."""
    readings = [reading_of(site, settings) for site in sites]
    opened = model.open(sites, data, [reading.reads_pre for reading in readings])
    pace = _pace(opened, data, settings)
    labels = None if data.labels is None else data.labels.codes
    result = SplitResult(
        [
            _statistics(s, r, layout.per_sample, data, settings)
            for s, r, layout in _each(sites, readings, opened)
        ],
        Liveness(len(sites)) if liveness is None else liveness,
        batch_size=pace.batch_size,
        one_by_one=opened.probe.reason,
        blocked_sites=len(opened.taps.blocked or {}),
        kernel=pace.kernel.name,
    )
    reader = Reader(
        opened.taps,
        data,
        readings,
        pace.kernel,
        batch_size=result.batch_size,
        labels=labels,
        row_threshold=lambda k: result.statistics[k].row_threshold,
        keep_full=settings.keeps_rows,
    )

    def commit(chunk: ChunkResult) -> None:
        for k, observation in enumerate(chunk.observations):
            result.statistics[k].update(observation, chunk.full[k])
        result.liveness.update(chunk.alive)
        result.left_out += chunk.left_out
        result.unmasked |= chunk.unmasked

    chunk = pace.batch_size if settings.keeps_rows else pace.chunk
    replay(reader, data.samples, chunk, settings.workers, commit, progress)
    return result


def _each(
    sites: Sequence[Site], readings: Sequence[SiteReading], opened: Opened
) -> zip[tuple[Site, SiteReading, Any]]:
    return zip(sites, readings, opened.taps.layouts, strict=True)


def reading_of(site: Site, settings: Settings) -> SiteReading:
    """How a site's tensor is read: beside its z, where the sign of z cannot be seen in it."""
    reads_pre = site.activation.positive_threshold is None and site.pre is not None
    return SiteReading(thresholds_of(site, settings), reads_pre, site.activation.reaches_zero)


def _statistics(
    site: Site, reading: SiteReading, per_sample: bool, data: SplitData, settings: Settings
) -> SiteStatistics:
    return SiteStatistics(
        site.neurons,
        thresholds=reading.thresholds,
        labels=0 if data.labels is None else len(data.labels.names),
        exact_rank=settings.exact_rank,
        exact_histogram=settings.exact_histogram,
        per_sample=per_sample,
    )


def _pace(opened: Opened, data: SplitData, settings: Settings) -> Pace:
    return opened.pace or settle(opened.taps.layouts, opened.probe, data, settings)


def _phase(progress: Callable[[str, int, int], None], name: str) -> Progress:
    return lambda done, total: progress(name, done, total)


def _observe_pre(
    model: Tappable,
    sites: Sequence[Site],
    data: SplitData,
    settings: Settings,
    result: SplitResult,
    before: Sequence[tuple[Site, SiteStatistics]],
    progress: Callable[[str, int, int], None],
) -> None:
    """The second pass: z and producers' inputs where a neuron may be dead, z on a share of the samples elsewhere."""
    settled = take_from_sites(sites, result.statistics, before)
    places = range(len(sites))
    wanted = [k for k in places if settings.pre_activations or _may_be_dead(result.statistics[k], settings)]
    result.pre_sites = [k for k in wanted if sites[k].pre is not None]
    inputs = input_taps(sites, [k for k in wanted if k not in settled])
    if result.pre_sites or inputs:
        seen = _Second(result.pre_sites, inputs)
        _second_pass(model, sites, seen, data, settings, result, _phase(progress, "replaying for margins"))
    share = data.subset(np.flatnonzero(in_pre_share(data.indices)))
    others = [k for k in places if sites[k].pre is not None and k not in result.pre_sites]
    if others and share.samples:
        named = _phase(progress, "replaying for pre-activations")
        _second_pass(model, sites, _Second(others, share=True), share, settings, result, named)


def _may_be_dead(statistics: SiteStatistics, settings: Settings) -> bool:
    """Whether a neuron of the site stayed within the tolerance throughout."""
    least, largest = statistics.extremes
    return bool((np.maximum(np.abs(least), np.abs(largest)) <= settings.dead_tolerance_abs).any())


def in_pre_share(samples: Indices) -> NDArray[np.bool_]:
    """Which samples the histogram of z is taken from: the first, and one in `PRE_SHARE` by a hash of the index.

    Where z is observed on all samples, the rows of these still come before all others: see `statistics.pre`.
    """
    hashed = rows.splitmix64(rows.splitmix64(samples.astype(np.uint64)))
    chosen: NDArray[np.bool_] = (samples == 0) | (hashed % np.uint64(PRE_SHARE) == 0)
    return chosen


@dataclass(frozen=True)
class _Second:
    """What a second pass looks at."""

    pre: Sequence[int]
    """Sites whose z it observes."""
    inputs: Sequence[InputTap] = ()
    share: bool = False
    """True where it sees the fixed share of the samples only."""

    def tapped(self, sites: Sequence[Site]) -> list[Site]:
        """The tensors, z first."""
        z = [replace(sites[k], name=str(sites[k].pre)) for k in self.pre]
        return [*z, *(tap.as_site() for tap in self.inputs)]

    def commit(self, chunk: ChunkResult, result: SplitResult) -> None:
        """Adds what a chunk of samples left; nothing where all of them were left out."""
        if not chunk.observations:
            return
        of_z, of_inputs = chunk.observations[: len(self.pre)], chunk.observations[len(self.pre) :]
        for k, observation in zip(self.pre, of_z, strict=True):
            result.statistics[k].update_pre(observation, share=self.share)
        for place, (tap, observation) in enumerate(zip(self.inputs, of_inputs, strict=True), len(self.pre)):
            for k in tap.readers:
                result.statistics[k].update_inputs(observation)
            if place in chunk.unmasked:
                result.unmasked_inputs.update(tap.readers)


def _second_pass(
    model: Tappable,
    sites: Sequence[Site],
    seen: _Second,
    data: SplitData,
    settings: Settings,
    result: SplitResult,
    progress: Progress,
) -> None:
    tapped = seen.tapped(sites)
    opened = model.open(tapped, data, [False] * len(tapped), blocked=data.samples >= _WORTH_BLOCKED)
    per_sample = [result.statistics[k].per_sample for k in seen.pre]
    found = opened.taps.layouts
    layouts = tuple(
        replace(layout, per_sample=bool(known))
        for layout, known in zip(found[: len(seen.pre)], per_sample, strict=True)
    )
    taps = replace(opened.taps, layouts=layouts + found[len(seen.pre) :])
    opened = replace(opened, taps=taps)
    pace = _pace(opened, data, settings)
    reader = Reader(
        taps,
        data,
        [SiteReading(Thresholds(fired=settings.firing_threshold), False, False)] * len(tapped),
        pace.kernel,
        batch_size=pace.batch_size,
        labels=None,
        row_threshold=lambda k: (
            result.statistics[seen.pre[k]].pre_row_threshold if k < len(seen.pre) else _NO_ROWS
        ),
        drawn_first=in_pre_share,
    )
    if pace.kernel.name == "numba" and data.samples > 1:
        reader.read(np.arange(1))  # compiled now, and not while every worker holds its tensors
        give_memory_back()
    replay(
        reader, data.samples, pace.chunk, settings.workers, lambda done: seen.commit(done, result), progress
    )
