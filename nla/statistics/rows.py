"""The row sample: positions drawn by a hash of their place, for effective rank and histograms.

Every sample offers some of its positions, each with a key; the rows with the smallest keys are kept
(bottom-k). Keys depend on the sample's place in the whole calibration set and on nothing else, so that
shards, batches and workers draw the same rows, and the sample of a merged recording is the sample of one
pass, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nla.statistics.base import Accumulator, Array, Field, State
from nla.statistics.summary import Observation

Keys = NDArray[np.uint64]
Rows = NDArray[np.float32]
Indices = NDArray[np.int64]

SLOTS = 32
"""Positions that one sample offers at most: a few images still fill a sample of rows."""
SAMPLE_BYTES = 4 << 20
"""A site keeps at most this much, but never fewer than FEWEST_ROWS nor more than MOST_ROWS rows."""
FEWEST_ROWS, MOST_ROWS = 256, 2048

NOTHING_KEPT = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
"""The threshold of a sample that is not full yet; also the key of a slot that offers no row."""

_SECOND = np.uint64(1 << 63)
"""Bit of the keys of rows that come after all others, see `ranked`."""


def capacity(neurons: int, sample_bytes: int = SAMPLE_BYTES) -> int:
    """Rows that a site of so many neurons keeps.

    >>> [capacity(n) for n in (8, 256, 512, 2048, 16384)]
    [2048, 2048, 2048, 512, 256]
    """
    return min(max(sample_bytes // (4 * max(neurons, 1)), FEWEST_ROWS), MOST_ROWS)


def splitmix64(x: Keys) -> Keys:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014), a bijection on uint64, of any shape."""
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def keys(samples: Indices, slots: Indices) -> Keys:
    """uint64 of the arguments' common shape; distinct for distinct (sample, slot), slots below SLOTS."""
    place = np.atleast_1d(samples).astype(np.uint64) * np.uint64(SLOTS) + np.atleast_1d(slots).astype(
        np.uint64
    )
    return splitmix64(place)


def draw(samples: Indices, positions_per_sample: int | Indices) -> tuple[Indices, Keys]:
    """Positions that the samples offer, and their keys: int64 and uint64, both [S, K].

    `samples` [S] are indices in the whole calibration set; `positions_per_sample` is the number of counted
    positions, one for all or [S]. A sample offers min(its positions, SLOTS) of them, one from each of as many
    equal strata; the result holds the place *among the counted positions* of the sample. Slots that a sample
    does not fill hold -1 and the largest key, which no threshold admits. A key is a hash divided by the
    positions that its row stands for, so that long samples weigh as much as their positions (priority
    sampling; Duffield, Lund and Thorup, 2007).

    >>> within, keys = draw(np.array([0, 1]), np.array([2, 1]))
    >>> within.tolist()
    [[0, 1], [0, -1]]
    """
    if isinstance(positions_per_sample, int) and positions_per_sample == 1:
        hashes = keys(samples, np.zeros(1, np.int64))[:, None]
        return np.zeros(hashes.shape, np.int64), hashes
    positions = np.broadcast_to(np.asarray(positions_per_sample, np.int64), samples.shape)
    offered = np.minimum(positions, SLOTS)
    most = int(offered.max(initial=0))
    slots = np.arange(most, dtype=np.int64)[None, :]
    hashes = keys(samples[:, None], slots)
    positions, offered = positions[:, None], np.maximum(offered, 1)[:, None]
    first = slots * positions // offered
    width = np.maximum((slots + 1) * positions // offered - first, 1)
    within = first + (splitmix64(hashes) % width.astype(np.uint64)).astype(np.int64)
    ordered = hashes // np.maximum(positions, 1).astype(np.uint64) * offered.astype(np.uint64)
    absent = slots >= np.minimum(positions, offered)
    return np.where(absent, -1, within), np.where(absent, NOTHING_KEPT, ordered)


def ranked(keys: Keys, first: NDArray[np.bool_]) -> Keys:
    """The keys, changed so that rows of `first` come before all others; the order within each part stays.

    `first` is of the keys' shape, or broadcasts to it. The smallest keys of any union are then those of the rows
    of `first`, whatever else was offered, and the rest fills what these leave free.

    >>> keys = ranked(np.array([8, 6, 4], np.uint64), np.array([True, False, True]))
    >>> np.argsort(keys).tolist(), is_first(keys).tolist()
    ([2, 0, 1], [True, False, True])
    """
    halved = keys >> np.uint64(1)
    moved = np.where(first, halved, halved | _SECOND)
    return np.where(keys == NOTHING_KEPT, keys, moved)


def is_first(keys: Keys) -> NDArray[np.bool_]:
    """Which of the keys that `ranked` gave are of rows that come first."""
    first: NDArray[np.bool_] = keys < _SECOND
    return first


class RowSample(Accumulator[Observation]):
    """The `capacity` rows of smallest key, float32 [rows, neurons], NaN and infinity included.

    The state is sorted by key. Memory is taken whole at the start, so that it does not grow with the data.
    """

    name = "rows"
    keys: Keys
    rows: Rows

    def __init__(self, neurons: int, *, capacity: int) -> None:
        super().__init__(neurons=neurons, capacity=capacity)
        slots = capacity + max(capacity // 4, 32)  # room to append, so that most updates need no selection
        self.rows = np.full((slots, neurons), 0.0, np.float32)
        self.keys = np.full(slots, NOTHING_KEPT, np.uint64)
        self._used = 0
        self._threshold = NOTHING_KEPT

    @classmethod
    def layout(cls, neurons: int, *, capacity: int) -> dict[str, Field]:
        return {
            "keys": Field("uint64", (None,), capacity),
            "rows": Field("float32", (None, neurons), capacity),
        }

    @property
    def threshold(self) -> np.uint64:
        """Rows whose key is not below this need not be gathered: they would not be kept."""
        return self._threshold

    def update(self, seen: Observation) -> None:
        self.offer(seen.row_keys, seen.rows)

    def offer(self, keys: Keys, rows: Rows) -> None:
        """Keeps the rows [R, neurons] whose keys [R] are among the smallest so far."""
        while len(keys):
            wanted = keys < self._threshold
            if not wanted.all():
                keys, rows = keys[wanted], rows[wanted]
            start = self._used
            self._used = min(start + len(keys), len(self.keys))
            taken = self._used - start
            self.keys[start : self._used] = keys[:taken]
            self.rows[start : self._used] = rows[:taken]
            keys, rows = keys[taken:], rows[taken:]
            if self._used == len(self.keys):
                self._select()

    def merge(self, other: RowSample) -> None:
        self.check_same(other)
        self.offer(other.keys[: other._used], other.rows[: other._used])

    def state(self) -> State:
        self._select()
        order = np.argsort(self.keys[: self._used], kind="stable")
        return {"keys": self.keys[order], "rows": self.rows[order]}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Takes over the rows; raises ValueError unless keys and rows pair up and the keys increase."""
        keys, rows = state["keys"], state["rows"]
        if len(keys) != len(rows) or (keys[1:] <= keys[:-1]).any():
            raise ValueError(
                f"rows: {len(keys)} keys for {len(rows)} rows, expected a pair each and increasing keys"
            )
        self.offer(keys, rows)

    def values(self) -> Rows:
        """float32 [rows, neurons], the rows kept, ordered by key."""
        rows: Rows = self.state()["rows"]
        return rows

    def view(self) -> tuple[Keys, Rows]:
        """Keys and rows kept, [rows] and [rows, neurons], in no order, not copied: good until the next update."""
        self._select()
        return self.keys[: self._used], self.rows[: self._used]

    def _select(self) -> None:
        """Moves the `capacity` rows of smallest key to the front and lets the others go."""
        size = self.config["capacity"]
        if self._used <= size:
            return
        smallest = np.argpartition(self.keys[: self._used], size - 1)[:size]
        kept = np.zeros(self._used, np.bool_)
        kept[smallest] = True
        holes, movers = np.flatnonzero(~kept[:size]), size + np.flatnonzero(kept[size:])
        self.keys[holes], self.rows[holes] = self.keys[movers], self.rows[movers]
        self._used = size
        self._threshold = self.keys[:size].max()
