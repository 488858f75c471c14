"""Statistics of the pre-activation z, where z was observed: margins, rows of z, and the histogram of z."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nla.statistics import rows
from nla.statistics.base import Accumulator, Array, Field, State
from nla.statistics.moments import Moments
from nla.statistics.rows import RowSample, capacity
from nla.statistics.summary import Observation

SHARE_BYTES = 1 << 20
"""Row sample of z where z was observed on a share of the samples, for its histogram."""

Rows = NDArray[np.float32]


class Pre(Accumulator[Observation]):
    """Moments, extremes and a row sample of z: an observation's summary and rows are z's here.

    A neuron's numbers hold only if z was observed at every position at which a was counted (`holds`): a shard
    that did not look at z leaves them unknown in the merged recording, not wrong.

    z is observed on all samples of some sites, and on a fixed share of the samples of others (`share` True). The
    rows of that share come first in either row sample (`rows.ranked`), so that what the two have in common is drawn
    by one rule: it is what a histogram is taken of, and all that is left where shards of both kinds merge. The
    other rows only fill what the share leaves free.
    """

    name = "pre"

    def __init__(self, neurons: int, *, share: bool = False) -> None:
        super().__init__(neurons=neurons, share=share)
        self.moments = Moments(neurons)
        self.rows = RowSample(neurons, capacity=_capacity(neurons, share))
        self.positions = 0

    @classmethod
    def layout(cls, neurons: int, *, share: bool = False) -> dict[str, Field]:
        sample = RowSample.layout(neurons, capacity=_capacity(neurons, share))
        return {"positions": Field("int64"), **Moments.layout(neurons), **sample}

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

    def of_share(self) -> Pre:
        """The same, with only those rows that an observation of the share would have left too."""
        made = Pre(self.config["neurons"], share=True)
        made.positions = self.positions
        made.moments = self.moments
        keys, values = self.rows.view()
        first = rows.is_first(keys)
        made.rows.offer(keys[first], values[first])
        return made

    def holds(self, positions: int, counted: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool [neurons]: z was finite at each of the `counted` positions of a, out of `positions`."""
        holds: NDArray[np.bool_] = (self.moments.count == counted) & (counted > 0)
        return holds & (self.positions == positions)

    def sampled(self, positions: int) -> tuple[Rows, Rows]:
        """Rows of z, float32 [rows, neurons] each: those that stand for all counted positions, and the share's.

        The first are all that were kept if z was observed at each of the `positions` of a, else the share's too;
        NaN and infinity included, in no order, and not to be written to.
        """
        keys, values = self.rows.view()
        first = rows.is_first(keys)
        share = values if first.all() else values[first]
        return (values if self.positions == positions else share), share


def _capacity(neurons: int, share: bool) -> int:
    return capacity(neurons, SHARE_BYTES) if share else capacity(neurons)
