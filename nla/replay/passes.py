"""One split of the data, replayed: the main pass over every site, then what the dead need to be judged by.

The post-activation is enough for almost every statistic, and seeing the pre-activation z breaks the runtime's
fusions. So z is observed afterwards, and only where it is worth its price: on all samples at sites that hold a
candidate for death (their margin needs the largest z), on a fixed sixty-fourth of the samples elsewhere (the
histogram of z).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration import Calibration
from nla.replay import kernels
from nla.replay.engine import Progress, replay
from nla.replay.kernels import Kernel
from nla.replay.opening import Model, Opened, open_taps
from nla.replay.probe import Probe
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
_BATCH_BYTES = 2 << 20
"""A batch's largest tensor should stay in a core's second-level cache, where the kernel is twice as fast."""
_RUN_BYTES = 64 << 20
_LARGEST_BATCH = 1024
_WORTH_BLOCKED = 64
"""Samples from which on the second pass looks for the blocked layout too."""
_SAMPLES_A_CHUNK = 8
_SINGLES_A_CHUNK = 64


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
    model: Model,
    sites: Sequence[Site],
    data: Calibration,
    settings: Settings,
    progress: Callable[[str, int, int], None],
    *,
    observe_pre: bool = True,
) -> SplitResult:
    """All statistics of all sites over one split of the data."""
    result = _observe(model, sites, data, settings, _phase(progress, "replaying"))
    give_memory_back()
    if observe_pre:
        _observe_pre(model, sites, data, settings, result, progress)
    return result


def _observe(
    model: Model, sites: Sequence[Site], data: Calibration, settings: Settings, progress: Progress
) -> SplitResult:
    """The main pass; its session is gone when this returns, before the second pass makes another."""
    readings = [_reading(site, settings) for site in sites]
    opened = open_taps(model, sites, data, [reading.reads_pre for reading in readings])
    give_memory_back()
    labels = None if data.labels is None else data.labels.codes
    result = SplitResult(
        [
            _statistics(s, r, layout.per_sample, data, settings)
            for s, r, layout in _each(sites, readings, opened)
        ],
        Liveness(len(sites)),
        batch_size=_batch_size(opened.probe, settings),
        one_by_one=opened.probe.reason,
        blocked_sites=len(opened.taps.blocked or {}),
    )
    kernel = _kernel(opened, data, settings)
    result.kernel = kernel.name
    reader = Reader(
        opened.taps,
        data,
        readings,
        kernel,
        batch_size=result.batch_size,
        labels=labels,
        row_threshold=lambda k: result.statistics[k].row_threshold,
        keep_full=settings.exact_rank or settings.exact_histogram,
    )

    def commit(chunk: ChunkResult) -> None:
        for k, observation in enumerate(chunk.observations):
            result.statistics[k].update(observation, chunk.full[k])
        result.liveness.update(chunk.alive)
        result.left_out += chunk.left_out
        result.unmasked |= chunk.unmasked

    replay(reader, data.samples, _chunk(opened, result.batch_size), settings.workers, commit, progress)
    return result


def _each(
    sites: Sequence[Site], readings: Sequence[SiteReading], opened: Opened
) -> zip[tuple[Site, SiteReading, Any]]:
    return zip(sites, readings, opened.taps.layouts, strict=True)


def _reading(site: Site, settings: Settings) -> SiteReading:
    reads_pre = site.activation.positive_threshold is None and site.pre is not None
    return SiteReading(thresholds_of(site, settings), reads_pre, site.activation.reaches_zero)


def _statistics(
    site: Site, reading: SiteReading, per_sample: bool, data: Calibration, settings: Settings
) -> SiteStatistics:
    return SiteStatistics(
        site.neurons,
        thresholds=reading.thresholds,
        labels=0 if data.labels is None else len(data.labels.names),
        exact_rank=settings.exact_rank,
        exact_histogram=settings.exact_histogram,
        per_sample=per_sample,
    )


def _kernel(opened: Opened, data: Calibration, settings: Settings) -> Kernel:
    return kernels.load(settings.kernel, data.samples * opened.probe.bytes_per_sample // 4)


def _batch_size(probe: Probe, settings: Settings) -> int:
    """Samples of a run; depends on the model and the data's shape only, so that every shard agrees."""
    if not probe.batched:
        return 1
    if settings.batch_size is not None:
        return settings.batch_size
    fits = min(_BATCH_BYTES // max(probe.largest_site_bytes, 1), _RUN_BYTES // max(probe.bytes_per_sample, 1))
    return int(min(max(fits, 1), _LARGEST_BATCH))


def _chunk(opened: Opened, batch_size: int) -> int:
    """Samples between two commits: enough to spread the cost of a commit, few enough to share out and to hold."""
    several = any(layout.per_sample for layout in opened.taps.layouts)
    return max(batch_size, _SAMPLES_A_CHUNK if several else _SINGLES_A_CHUNK)


def _phase(progress: Callable[[str, int, int], None], name: str) -> Progress:
    return lambda done, total: progress(name, done, total)


def _observe_pre(
    model: Model,
    sites: Sequence[Site],
    data: Calibration,
    settings: Settings,
    result: SplitResult,
    progress: Callable[[str, int, int], None],
) -> None:
    """The second pass: z on all samples where a neuron may be dead, on a fixed share of them elsewhere."""
    with_pre = [k for k, site in enumerate(sites) if site.pre is not None]
    result.pre_sites = [
        k for k in with_pre if settings.pre_activations or _may_be_dead(result.statistics[k], settings)
    ]
    others = [k for k in with_pre if k not in result.pre_sites]
    if result.pre_sites:
        _pass_over_pre(
            model, sites, result.pre_sites, data, settings, result, _phase(progress, "replaying for margins")
        )
    share = data.subset(np.flatnonzero(in_pre_share(data.indices)))
    if others and share.samples:
        _pass_over_pre(
            model, sites, others, share, settings, result, _phase(progress, "replaying for pre-activations")
        )


def _may_be_dead(statistics: SiteStatistics, settings: Settings) -> bool:
    """Whether a neuron of the site stayed within the tolerance throughout."""
    least, largest = statistics.extremes
    return bool((np.maximum(np.abs(least), np.abs(largest)) <= settings.dead_tolerance_abs).any())


def in_pre_share(samples: Indices) -> NDArray[np.bool_]:
    """Which samples the histogram of z is taken from: the first, and one in `PRE_SHARE` by a hash of the index."""
    hashed = rows.splitmix64(rows.splitmix64(samples.astype(np.uint64)))
    chosen: NDArray[np.bool_] = (samples == 0) | (hashed % np.uint64(PRE_SHARE) == 0)
    return chosen


def _pass_over_pre(
    model: Model,
    sites: Sequence[Site],
    places: Sequence[int],
    data: Calibration,
    settings: Settings,
    result: SplitResult,
    progress: Progress,
) -> None:
    pre = [replace(sites[k], name=str(sites[k].pre)) for k in places]
    opened = open_taps(model, pre, data, [False] * len(pre), blocked=data.samples >= _WORTH_BLOCKED)
    per_sample = [result.statistics[k].per_sample for k in places]
    layouts = tuple(
        replace(layout, per_sample=bool(known))
        for layout, known in zip(opened.taps.layouts, per_sample, strict=True)
    )
    opened = replace(opened, taps=replace(opened.taps, layouts=layouts))
    batch_size = _batch_size(opened.probe, settings)
    reader = Reader(
        opened.taps,
        data,
        [SiteReading(Thresholds(fired=settings.firing_threshold), False, False)] * len(pre),
        _kernel(opened, data, settings),
        batch_size=batch_size,
        labels=None,
        row_threshold=lambda k: result.statistics[places[k]].pre_row_threshold,
        drawn=in_pre_share,
    )

    def commit(chunk: ChunkResult) -> None:
        for k, observation in zip(places, chunk.observations, strict=False):
            result.statistics[k].update_pre(observation)

    replay(reader, data.samples, _chunk(opened, batch_size), settings.workers, commit, progress)
