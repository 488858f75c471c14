"""A split of the data through all stages, one after the other: what `passes.replay_split` is for a whole model."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.checkpoint.external import ExternalFile
from nla.graph.given import ConstantFeed
from nla.replay.feeds import SplitData
from nla.replay.passes import Settings, SplitResult, reading_of, replay_split
from nla.replay.session import give_memory_back
from nla.replay.streaming.cutting import Cutting
from nla.replay.streaming.hidden import Hidden, Table, check_room
from nla.replay.streaming.kept import StoredStatistics
from nla.replay.streaming.sessions import Sessions
from nla.replay.streaming.settling import Planned, settled
from nla.replay.streaming.stage import Known, Stage
from nla.replay.streaming.stage_data import ROWS, StageData, sizes
from nla.replay.streaming.work import Work
from nla.site import Site
from nla.statistics.liveness import Liveness
from nla.statistics.site import SiteStatistics

Array = NDArray[Any]
Progress = Callable[[str, int, int], None]

_PIECE = 1 << 16
"""Samples whose flags of all sites are unpacked at a time."""
_NUMBERS = ("left_out", "batch_size", "one_by_one", "kernel")
_PLACES = ("unmasked", "pre_sites", "unmasked_inputs")


class Streamed:
    """A checkpoint cut into stages, and where it keeps what one stage leaves for the next."""

    def __init__(
        self,
        graph: ir.Model,
        cut: Cutting,
        files: Sequence[ExternalFile],
        constants: Mapping[str, ConstantFeed],
        work: Work,
        providers: Sequence[str],
        verbose: bool = False,
    ) -> None:
        self._cut = cut
        self._constants = constants
        self._work = work
        self.sessions = Sessions(graph, files, providers, verbose)

    def replay_split(
        self,
        name: str,
        sites: Sequence[Site],
        data: SplitData,
        settings: Settings,
        progress: Progress,
        *,
        observe_pre: bool = True,
    ) -> SplitResult:
        """All statistics of all sites over the split `name`; goes on where an earlier process stopped.

        Raises:
            ModelError: onnxruntime does not load or run a stage, or a tensor is not what the graph promised.
            OutputError: the disk has no room for the hidden states.
        """
        split = _Split(self._cut, self.sessions, self._constants, self._work, name, sites, data, settings)
        give_memory_back()
        try:
            return split.run(progress, observe_pre)
        finally:
            gc.unfreeze()


class _Split:
    """One split on its way through the stages."""

    def __init__(
        self,
        cut: Cutting,
        sessions: Sessions,
        constants: Mapping[str, ConstantFeed],
        work: Work,
        name: str,
        sites: Sequence[Site],
        data: SplitData,
        settings: Settings,
    ) -> None:
        self._cut, self._sessions, self._constants = cut, sessions, constants
        self._work, self._name, self._data, self._settings = work, name, data, settings
        self._sites = sites
        at = [cut.stage_of(site.name) for site in sites]
        self._places = [
            [k for k, stage in enumerate(at) if stage == s] for s in range(max(at, default=0) + 1)
        ]
        self._finite = np.ones(data.samples, np.bool_)

    def run(self, progress: Progress, observe_pre: bool) -> SplitResult:
        stages = self._planned()
        done = self._work.finished(self._name, len(stages))
        if done < len(stages):
            known, by_row = self._settle(stages)
            gc.freeze()  # the graph is large, and else looked through for garbage after every pass of every stage
            for k in range(done, len(stages)):
                self._stage(
                    k,
                    stages[k],
                    known,
                    by_row,
                    _of_all(progress, k, len(stages), self._data.samples),
                    observe_pre,
                )
        progress("replaying", len(stages) * self._data.samples, len(stages) * self._data.samples)
        return self._joined(len(stages))

    def _planned(self) -> list[Planned]:
        last = len(self._places) - 1
        planned = []
        for k, places in enumerate(self._places):
            sites = [self._sites[place] for place in places]
            pre = [reading_of(site, self._settings).reads_pre for site in sites]
            after = self._cut.after(k) if k < last else None
            planned.append(Planned(sites, pre, self._cut.before(k), after))
        return planned

    def _settle(self, stages: Sequence[Planned]) -> tuple[Known, bool]:
        known, by_row, _, row_bytes = settled(
            self._sessions, self._constants, stages, self._data, self._settings
        )
        needed = min(len(stages) - 1, 2) * row_bytes * self._data.samples
        check_room(self._work.where, needed, self._work.held_bytes())
        return known, by_row

    def _stage(
        self, k: int, planned: Planned, known: Known, by_row: bool, progress: Progress, observe_pre: bool
    ) -> None:
        """One stage on all samples; what it leaves is kept before this returns."""
        reads = self._left_by(k - 1, by_row) if k else None
        writes = None
        if planned.after is not None:
            file = self._work.buffer(k, fresh=True)
            writes = Hidden(file, self._work.where, Table.empty(self._data.samples), by_row)
        stage = Stage(self._sessions, self._sessions.bind(), self._constants, planned.before, known)
        if writes is not None and planned.after is not None:
            stage.sink = planned.after, self._sink(writes)
        data = StageData(
            self._data,
            np.arange(self._data.samples),
            self._finite,
            planned.before,
            reads,
            self._needs_inputs(planned),
        )
        flags = _Flags(len(planned.sites))
        result = replay_split(
            stage,
            planned.sites,
            data,
            self._settings,
            progress,
            observe_pre=observe_pre and bool(k == 0 or self._finite.any()),
            liveness=flags,
            before=self._read_sites(k),
        )
        if writes is not None and self._work.resumable:
            writes.sync()
        self._keep(k, result, flags, Table.empty(0) if writes is None else writes.table)

    def _sink(self, writes: Hidden) -> Callable[[Mapping[str, Array], Array], None]:
        def sink(feeds: Mapping[str, Array], value: Array) -> None:
            writes.write(feeds[ROWS], value, sizes(self._data, feeds))

        return sink

    def _needs_inputs(self, planned: Planned) -> bool:
        """Whether a stage reads an input of the model, or the sizes of one tell those of the cut."""
        if any(size is None for shape in self._data.shapes.values() for size in shape[1:]):
            return True
        names = [site.name for site in planned.sites]
        names += [site.pre for site in planned.sites if site.pre]
        names += [str(p.data) for site in planned.sites for p in site.producers if p.data]
        cut = () if planned.after is None else (planned.after,)
        graph = self._sessions.stage(list(dict.fromkeys([*names, *cut])), planned.before)
        return any(name != planned.before for name in graph.inputs)

    def _left_by(self, k: int, by_row: bool) -> Hidden:
        _, arrays = self._taken(k)
        self._finite = arrays["finite"].copy()
        table = Table.of(
            {key.removeprefix("table/"): v for key, v in arrays.items() if key.startswith("table/")}
        )
        return Hidden(self._work.buffer(k, fresh=False), self._work.where, table, by_row)

    def _read_sites(self, k: int) -> list[tuple[Site, SiteStatistics]]:
        """The sites of earlier stages whose tensors the producers of this stage read, with their statistics."""
        read = {str(p.data) for place in self._places[k] for p in self._sites[place].producers}
        found: list[tuple[Site, SiteStatistics]] = []
        for earlier in range(k):
            places = self._places[earlier]
            if any(self._sites[place].name in read for place in places):
                stored = _statistics(*self._taken(earlier))
                pairs = zip(places, stored, strict=True)
                found += [(self._sites[at], each) for at, each in pairs if self._sites[at].name in read]
        return found

    def _keep(self, k: int, result: SplitResult, flags: _Flags, table: Table) -> None:
        document = {name: getattr(result, name) for name in _NUMBERS}
        document |= {name: sorted(getattr(result, name)) for name in _PLACES}
        document["configs"] = [statistics.config for statistics in result.statistics]
        arrays: dict[str, Array] = {
            "finite": self._finite,
            "alive": flags.packed(),
            "seen": np.array(flags.samples),
        }
        arrays |= {f"table/{name}": array for name, array in table.arrays().items()}
        for number, statistics in enumerate(result.statistics):
            arrays |= {f"{number}/{name}": array for name, array in statistics.state().items()}
        self._work.put(self._name, k, document, arrays)

    def _taken(self, k: int) -> tuple[dict[str, Any], dict[str, Array]]:
        found = self._work.get(self._name, k)
        assert found is not None
        return found

    def _joined(self, count: int) -> SplitResult:
        """What all stages left, in the order of the sites."""
        left = [self._taken(k) for k in range(count)]
        statistics: list[Any] = [None] * len(self._sites)
        places: dict[str, list[int]] = {name: [] for name in _PLACES}
        for own, (document, arrays) in zip(self._places, left, strict=True):
            for place, each in zip(own, _statistics(document, arrays), strict=True):
                statistics[place] = each
            for name in _PLACES:
                places[name] += [own[number] for number in document[name]]
        first = left[0][0]
        return SplitResult(
            statistics,
            self._liveness([arrays for _, arrays in left]),
            left_out=first["left_out"],
            unmasked=set(places["unmasked"]),
            pre_sites=sorted(places["pre_sites"]),
            unmasked_inputs=set(places["unmasked_inputs"]),
            batch_size=first["batch_size"],
            one_by_one=first["one_by_one"],
            kernel=first["kernel"],
        )

    def _liveness(self, left: Sequence[Mapping[str, Array]]) -> Liveness:
        liveness = Liveness(len(self._sites))
        samples = int(left[0]["seen"])
        for start in range(0, samples, _PIECE):
            count = min(_PIECE, samples - start)
            alive = np.ones((len(self._sites), count), np.bool_)
            for own, arrays in zip(self._places, left, strict=True):
                packed = arrays["alive"][:, start // 8 : (start + count + 7) // 8]
                alive[own] = np.unpackbits(packed, axis=1, count=count)
            liveness.update(alive)
        return liveness


class _Flags(Liveness):
    """Which samples were alive at the sites of one stage: what all stages together make of it is counted at the end."""

    def __init__(self, sites: int) -> None:
        super().__init__(sites)
        self._seen: list[NDArray[np.bool_]] = []

    def update(self, seen: NDArray[np.bool_]) -> None:
        """Keeps the flags of a chunk."""
        super().update(seen)
        self._seen.append(seen.copy())

    def packed(self) -> NDArray[np.uint8]:
        """uint8 [sites, samples / 8] the flags of all samples so far, in the order of the chunks."""
        none = np.ones((self.config["sites"], 0), np.bool_)
        return np.packbits(np.concatenate([none, *self._seen], axis=1), axis=1)


def _statistics(document: Mapping[str, Any], arrays: Mapping[str, Array]) -> list[StoredStatistics]:
    """The statistics of a stage's sites."""
    return [
        StoredStatistics(config, {name: arrays[f"{number}/{name}"] for name in SiteStatistics.layout(config)})
        for number, config in enumerate(document["configs"])
    ]


def _of_all(progress: Progress, k: int, stages: int, samples: int) -> Progress:
    """Progress of one stage as that of all: the main pass counts, the later ones only say that work goes on."""
    whole = stages * samples

    def told(phase: str, done: int, total: int) -> None:
        progress(
            "replaying", min(k * samples + (done if phase == "replaying" else samples), whole - 1), whole
        )

    return told
