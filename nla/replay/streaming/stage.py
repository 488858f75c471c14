"""A stage that can be observed as a model can, and what is settled about all stages before the first begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.graph.given import ConstantFeed
from nla.replay.feeds import SplitData
from nla.replay.opening import Opened, varying
from nla.replay.pace import Pace
from nla.replay.probe import Probe, Runner, probe
from nla.replay.session import Runnable
from nla.replay.streaming.sessions import Sessions, Sink, StageSession
from nla.replay.streaming.stage_data import StageData
from nla.replay.streaming.weights import BoundWeights
from nla.replay.taps import Taps
from nla.site import Site

Array = NDArray[Any]
Indices = NDArray[np.int64]

TOGETHER = 2
"""Samples that are run one by one and together to see how each stage treats its batch."""


@dataclass
class Known:
    """What was found about stages of one structure, good for all of them."""

    pace: Pace | None = None
    probes: dict[tuple[Any, ...], Probe] = field(default_factory=dict)
    batchable: bool = True
    reason: str = ""
    """Why samples are run one by one, where that is known."""

    def probe(self, tapped: Sequence[Site], data: SplitData, run: Runner) -> Probe:
        """The layouts of these taps, and whether samples may be run together."""
        able = data.batchable and self.batchable
        seen = probe(tapped, data.samples, run, batchable=able, varying=varying(data), together=TOGETHER)
        return replace(seen, reason=self.reason) if self.reason and not seen.batched else seen


@dataclass
class Stage:
    """One stage, its weights bound. `open` is what the passes over a split ask of a model."""

    sessions: Sessions
    weights: BoundWeights
    constants: Mapping[str, ConstantFeed]
    before: str | None
    """The cut that it reads."""
    known: Known
    sink: tuple[str, Sink] | None = None
    """The cut that it computes, and what takes it, in the main pass."""

    def open(
        self, sites: Sequence[Site], data: StageData, pre: Sequence[bool], *, blocked: bool = True
    ) -> Opened:
        """A session that gives the tensor of every site, and z too where `pre` says so.

        The main pass opens first, and only that one feeds the sink. Raises ModelError.
        """
        sink, self.sink = self.sink, None
        tapped, z_sites = with_pre(sites, pre)
        key, session = self.session([s.name for s in tapped], sink)
        seen = self._seen((key, *map(shape_of, tapped)), tapped, session, data)
        layouts = iter(seen.layouts[len(sites) :])
        taps = Taps(
            session,
            tuple(s.name for s in sites),
            seen.layouts[: len(sites)],
            self.constants,
            tuple(None if s is None else s.name for s in z_sites),
            tuple(None if s is None else next(layouts) for s in z_sites),
        )
        pace = self.known.pace
        assert pace is not None
        return Opened(taps, seen, pace if seen.batched else replace(pace, batch_size=1))

    def session(self, taps: Sequence[str], sink: tuple[str, Sink] | None) -> tuple[bytes, StageSession]:
        """A session on the stage that gives these tensors, and the bytes that stand for its structure."""
        fetched = list(dict.fromkeys([*taps, *(() if sink is None else (sink[0],))]))
        graph = self.sessions.stage(fetched, self.before)
        return graph.content, StageSession(
            self.sessions.session(graph.content), graph, self.weights.feeds(graph.weights), sink
        )

    def _seen(
        self, key: tuple[Any, ...], tapped: Sequence[Site], session: StageSession, data: StageData
    ) -> Probe:
        """What the first samples show of these taps; once for each structure."""
        if key not in self.known.probes:
            run = _runner(session.without_sink(), [site.name for site in tapped], data, self.constants)
            self.known.probes[key] = self.known.probe(tapped, data, run)
        return self.known.probes[key]


def with_pre(sites: Sequence[Site], pre: Sequence[bool]) -> tuple[list[Site], list[Site | None]]:
    """All tensors to tap, those of z behind the others, and z's by the place of its site."""
    z_sites = [replace(s, name=s.pre) if want and s.pre else None for s, want in zip(sites, pre, strict=True)]
    return [*sites, *(s for s in z_sites if s is not None)], z_sites


def shape_of(site: Site) -> tuple[Any, ...]:
    """What the layout of a site's tensor depends on, beside the graph."""
    return site.neurons, site.channel_axes, site.unit_size


def _runner(
    session: Runnable, names: Sequence[str], data: StageData, constants: Mapping[str, ConstantFeed]
) -> Runner:
    """Runs the samples at some places."""

    def run(where: Indices) -> list[Array]:
        feeds: dict[str, Array] = {name: c.of(len(where)) for name, c in constants.items()}
        feeds.update(data.feeds(where))
        return [np.array(value) for value in session.run(names, feeds, shrink=len(where) > 1)]

    return run
