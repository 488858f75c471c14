"""Statistics of the pre-activation z, where z was observed: margins, and the histogram of z."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nla.statistics.base import Accumulator, Array, Field, State
from nla.statistics.moments import Moments
from nla.statistics.rows import RowSample, capacity
from nla.statistics.summary import Observation

SAMPLE_BYTES = 1 << 20
"""Row sample of z, for its histogram only."""


class Pre(Accumulator[Observation]):
    """Moments, extremes and a row sample of z: an observation's summary and rows are z's here.

    A neuron's numbers hold only if z was observed at every position at which a was counted (`holds`): a shard
    that did not look at z leaves them unknown in the merged recording, not wrong.
    """

    name = "pre"

    def __init__(self, neurons: int) -> None:
        super().__init__(neurons=neurons)
        self.moments = Moments(neurons)
        self.rows = RowSample(neurons, capacity=capacity(neurons, SAMPLE_BYTES))
        self.positions = 0

    @classmethod
    def layout(cls, neurons: int) -> dict[str, Field]:
        moments = Moments.layout(neurons)
        rows = RowSample.layout(neurons, capacity=capacity(neurons, SAMPLE_BYTES))
        return {"positions": Field("int64"), **moments, **rows}

    def update(self, seen: Observation) -> None:
        self.positions += int(seen.summary.positions.sum())
        self.moments.update(seen)
        self.rows.update(seen)

    def merge(self, other: Pre) -> None:
        self.check_same(other)
        self.positions += other.positions
        self.moments.merge(other.moments)
        self.rows.merge(other.rows)

    def state(self) -> State:
        return {"positions": np.array(self.positions, np.int64), **self.moments.state(), **self.rows.state()}

    def restore(self, state: Mapping[str, Array]) -> None:
        self.positions = int(state["positions"])
        self.moments.restore({name: state[name] for name in Moments.layout(**self.moments.config)})
        self.rows.restore({name: state[name] for name in ("keys", "rows")})

    def holds(self, positions: int, counted: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool [neurons]: z was finite at each of the `counted` positions of a, out of `positions`."""
        holds: NDArray[np.bool_] = (self.moments.count == counted) & (counted > 0)
        return holds & (self.positions == positions)
