"""Calibration data with one more input: the class of each sample, as the loss wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration.labels import Labels
from nla.errors import DataError, printable
from nla.replay.feeds import Data
from nla.site import Input

Array = NDArray[Any]


class Labelled:
    """The data, and a one-hot row for each sample under the name of `target`."""

    def __init__(self, data: Data, target: Input | None, classes: NDArray[np.int64] | None) -> None:
        self._data = data
        self._target = target
        self.classes = classes
        """[samples], None where the loss asks for no labels."""

    @property
    def samples(self) -> int:
        """Number of samples."""
        return self._data.samples

    @property
    def indices(self) -> NDArray[np.int64]:
        """Global index of each sample."""
        return self._data.indices

    @property
    def data_inputs(self) -> tuple[str, ...]:
        """Inputs that `feeds` fills."""
        own = () if self._target is None else (self._target.name,)
        return (*self._data.data_inputs, *own)

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """By fed input, the sizes that every run has."""
        return self._data.shapes

    @property
    def batchable(self) -> bool:
        """Whether a run takes several samples."""
        return self._data.batchable

    def feeds(self, where: NDArray[np.int64]) -> dict[str, Array]:
        """Every input for the samples at these places."""
        fed = self._data.feeds(where)
        if self._target is not None and self.classes is not None:
            assert self._target.shape is not None
            rows = np.zeros((len(where), int(self._target.shape[1] or 0)), np.dtype(self._target.dtype))
            rows[np.arange(len(where)), self.classes[where]] = 1
            fed[self._target.name] = rows
        return fed

    def finite(self, feeds: Mapping[str, Array], samples: int) -> NDArray[np.bool_]:
        """bool [samples]"""
        return self._data.finite(feeds, samples)

    def mask(self, where: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """No position is left out."""
        return None


def classes_of(labels: Labels, outputs: int) -> tuple[NDArray[np.int64], str]:
    """[samples] the output that stands for each sample's label, and a note where that had to be guessed.

    Labels that are whole numbers are numbers of outputs; names are taken in their order, if there are as many.

    Raises:
        DataError: a number that is none of the outputs, or another number of names.
    """
    numbers = [_whole(name) for name in labels.names]
    if all(number is not None for number in numbers):
        wrong = next((n for n in numbers if n is not None and not 0 <= n < outputs), None)
        if wrong is not None:
            raise DataError(f"label {wrong}: the model tells {outputs} classes apart, 0 to {outputs - 1}")
        return np.array(numbers, np.int64)[labels.codes], ""
    if len(labels.names) != outputs:
        raise DataError(
            f"{len(labels.names)} labels ({', '.join(printable(name) for name in labels.names[:3])}, …) for "
            f"{outputs} outputs: give numbers of outputs as labels"
        )
    return labels.codes, "labels are names: they are taken for the outputs in the order of their spelling"


def _whole(name: str) -> int | None:
    try:
        return int(name)
    except ValueError:
        return None
