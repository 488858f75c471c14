"""What is settled before the first stage: how each treats its batch, and the pace that all of them keep.

Stages of equal structure are tried once. Each is fed what a stage before it gave for the first samples: whose hidden
states they are makes no difference to where the samples lie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.graph.given import ConstantFeed
from nla.replay.feeds import SplitData
from nla.replay.pace import Wishes, settle
from nla.replay.probe import Probe, batch_axis
from nla.replay.streaming.sessions import Sessions, StageSession
from nla.replay.streaming.stage import TOGETHER, Known, shape_of, with_pre
from nla.site import Site

Array = NDArray[Any]
Indices = NDArray[np.int64]
_MIXED = f"{TOGETHER} samples together do not give what they give one by one"
Held = dict[bytes, Array]
"""A cut's tensor by the places of the samples of a run."""


@dataclass(frozen=True)
class Planned:
    """A stage as the main pass runs it."""

    sites: Sequence[Site]
    pre: Sequence[bool]
    before: str | None
    after: str | None
    """The cut to compute; None where no later stage is run."""


@dataclass
class _Walk:
    """One way through all stages with the first samples."""

    sessions: Sessions
    constants: Mapping[str, ConstantFeed]
    data: SplitData
    known: Known
    probes: list[Probe] = field(default_factory=list)
    row_bytes: int = 0
    _tried: dict[tuple[Any, ...], tuple[Probe, Held]] = field(default_factory=dict)

    def fault(self, stages: Sequence[Planned]) -> str:
        """Why samples must be run one by one; empty where they need not."""
        held: Held = {}
        for stage in stages:
            tapped, _ = with_pre(stage.sites, stage.pre)
            names = [site.name for site in tapped]
            cut = () if stage.after is None else (stage.after,)
            graph = self.sessions.stage(list(dict.fromkeys([*names, *cut])), stage.before)
            key = (graph.content, *map(shape_of, tapped))
            if key not in self._tried:
                weights = self.sessions.bind()
                session = StageSession(
                    self.sessions.session(graph.content), graph, weights.feeds(graph.weights)
                )
                left: Held = {}
                seen = self.known.probe(tapped, self.data, self._run(session, names, stage, held, left))
                if seen.batched and cut and not _first_axis(left, min(TOGETHER, self.data.samples)):
                    seen = replace(seen, batched=False, reason=_MIXED)
                self._tried[key] = seen, left
                self.known.probes[key] = seen
                self.row_bytes = max([self.row_bytes, *(v.nbytes for k, v in left.items() if len(k) == 8)])
            seen, held = self._tried[key]
            self.probes.append(seen)
            if not seen.batched and self.known.batchable:
                return seen.reason
        return ""

    def _run(
        self, session: StageSession, names: list[str], stage: Planned, held: Held, left: Held
    ) -> Callable[[Indices], list[Array]]:
        def run(where: Indices) -> list[Array]:
            feeds: dict[str, Array] = {name: c.of(len(where)) for name, c in self.constants.items()}
            feeds.update(self.data.feeds(where))
            if stage.before is not None:
                feeds[stage.before] = held[where.tobytes()]
            fetched = names if stage.after is None else [*names, stage.after]
            values = [np.array(value) for value in session.run(fetched, feeds, shrink=len(where) > 1)]
            if stage.after is not None:
                left[where.tobytes()] = values.pop()
            return values

        return run


def settled(
    sessions: Sessions,
    constants: Mapping[str, ConstantFeed],
    stages: Sequence[Planned],
    data: SplitData,
    wishes: Wishes,
) -> tuple[Known, bool, str, int]:
    """What is known of all stages; whether samples are run together, and else why not; bytes of a hidden state.

    Raises ModelError: onnxruntime does not load or run a stage, or a tensor is not what the graph promised.
    """
    walk = _Walk(sessions, constants, data, Known())
    reason = walk.fault(stages)
    if reason:
        walk = _Walk(sessions, constants, data, Known(batchable=False, reason=reason))
        walk.fault(stages)
    # One stage's tensors are in memory at a time.
    largest = Probe(
        (),
        not reason,
        reason,
        max((seen.bytes_per_sample for seen in walk.probes), default=0),
        max((seen.largest_site_bytes for seen in walk.probes), default=0),
    )
    layouts = [layout for seen in walk.probes for layout in seen.layouts]
    walk.known.pace = settle(layouts, largest, data, wishes)
    return walk.known, not reason, reason, walk.row_bytes


def _first_axis(left: Held, count: int) -> bool:
    """Whether the first axis of a cut's tensor counts the samples, and nothing else."""
    singles = [left[np.array([k], np.int64).tobytes()] for k in range(count)]
    axis = batch_axis(singles, left[np.arange(count, dtype=np.int64).tobytes()])
    return axis is not None and axis.axis == 0 and not axis.flattened
