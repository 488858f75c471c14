"""Counts of positions and samples: how often a neuron fires, and how often it lies on a plateau."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nla.statistics.base import Additive, Field, add
from nla.statistics.summary import Observation

Counts = NDArray[np.int64]


class Firing(Additive[Observation]):
    """Counts per neuron, all int64 [neurons] but `samples` and `positions`.

    `samples` counts those with one counted position at least: a sample that is all padding is no evidence.
    """

    name = "firing"
    samples: int
    positions: int
    positive: Counts
    fired: Counts
    fired_samples: Counts
    nonfinite: Counts
    low: Counts
    high: Counts

    def __init__(self, neurons: int, *, low: bool = False, high: bool = False) -> None:
        super().__init__(neurons=neurons, low=low, high=high)

    @classmethod
    def layout(cls, neurons: int, *, low: bool = False, high: bool = False) -> dict[str, Field]:
        each = Field("int64", (neurons,))
        plateaus = {"low": each} if low else {}
        plateaus |= {"high": each} if high else {}
        per_neuron = dict.fromkeys(("positive", "fired", "fired_samples", "nonfinite"), each)
        return {"samples": Field("int64"), "positions": Field("int64"), **per_neuron, **plateaus}

    def update(self, seen: Observation) -> None:
        summary = seen.summary
        positions = int(summary.positions.sum())
        positive = np.add.reduce(summary.positive, axis=0)
        self.positions += positions
        add(self.positive, positive)
        add(self.fired, np.add.reduce(summary.fired, axis=0))
        if summary.per_sample:
            self.samples += int(np.count_nonzero(summary.positions))
            add(self.fired_samples, np.count_nonzero(summary.positive, axis=0))
        else:
            self.samples += positions
            add(self.fired_samples, positive)
        if summary.nonfinite is not None:
            add(self.nonfinite, np.add.reduce(summary.nonfinite, axis=0))
        for name, counts in (("low", summary.low), ("high", summary.high)):
            if self.config[name] and counts is not None:
                add(getattr(self, name), np.add.reduce(counts, axis=0))

    @property
    def counted(self) -> Counts:
        """int64 [neurons], finite values behind each neuron's numbers."""
        return self.positions - self.nonfinite
