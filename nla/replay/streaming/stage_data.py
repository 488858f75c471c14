"""The data of one stage: the model's own inputs, and the hidden states that the stage before left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration.labels import Labels
from nla.replay.feeds import SplitData
from nla.replay.streaming.hidden import Hidden

Array = NDArray[Any]
Indices = NDArray[np.int64]

ROWS = "nla.rows"
"""Fed beside the inputs, and never an input itself: the places of a run's samples in the split."""


@dataclass
class StageData:
    """Calibration data as a stage is fed it; `splitting` makes one for each stage."""

    data: SplitData
    rows: Indices
    """[samples] the place of each sample in the whole split."""
    finite_inputs: NDArray[np.bool_]
    """[whole split] whether all inputs of the model are finite: found by the first stage, and good for all."""
    cut: str | None = None
    """The tensor that the stage before left, in `hidden`."""
    hidden: Hidden | None = None
    needs_inputs: bool = True
    """False where the stage reads nothing but the cut, so that images need not be decoded again."""

    @property
    def samples(self) -> int:
        """As in Data."""
        return self.data.samples

    @property
    def indices(self) -> Indices:
        """As in Data."""
        return self.data.indices

    @property
    def data_inputs(self) -> tuple[str, ...]:
        """As in Data: the model's own."""
        return self.data.data_inputs

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """As in Data."""
        return self.data.shapes

    @property
    def batchable(self) -> bool:
        """As in Data."""
        return self.data.batchable

    @property
    def labels(self) -> Labels | None:
        """As in SplitData."""
        return self.data.labels

    def subset(self, where: Indices) -> StageData:
        """The samples at these places only."""
        return replace(self, data=self.data.subset(where), rows=self.rows[where])

    def mask(self, where: Indices) -> NDArray[np.bool_] | None:
        """As in Data."""
        return self.data.mask(where)

    def feeds(self, where: Indices) -> dict[str, Array]:
        """The model's inputs, the cut's tensor, and the places of the samples."""
        rows = self.rows[where]
        fed = self.data.feeds(where) if self.needs_inputs or self.hidden is None else {}
        whole: dict[str, Array] = {**fed, ROWS: rows}
        if self.hidden is not None and self.cut is not None:
            whole[self.cut] = self.hidden.read(rows, sizes(self.data, fed))
        return whole

    def finite(self, feeds: Mapping[str, Array], samples: int) -> NDArray[np.bool_]:
        """Whether the model's inputs are finite for each sample, whatever became of them on the way."""
        rows = feeds[ROWS]
        if self.hidden is None:
            own = {name: feeds[name] for name in self.data_inputs if name in feeds}
            self.finite_inputs[rows] = self.data.finite(own, samples)
        return self.finite_inputs[rows]


def sizes(data: SplitData, feeds: Mapping[str, Array]) -> tuple[int, ...]:
    """The sizes, in these feeds, of what varies from batch to batch."""
    found = []
    for name, shape in data.shapes.items():
        if name in feeds:
            given = feeds[name].shape
            found += [given[axis] for axis, size in enumerate(shape) if axis and size is None]
    return tuple(found)
