"""How far the outputs of two models are apart: summed batch by batch, so that no batch outlives its sums."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.verification.results import Accuracy, OutputResult

Array = NDArray[Any]
Bools = NDArray[np.bool_]

TOLERANCE = 1e-5
"""For models that compute in float32 or float64: the order of summation moves an output by less."""
_TOLERANCES = {"bfloat16": 4e-2, "float16": 5e-3}
"""For narrower types, a few units in their last place: 2^-8 and 2^-11 are half of one."""
_FEWEST_TOKENS = 100
"""A last axis of a three-dimensional output that is so long is a vocabulary; shorter ones may be coordinates."""


def default_tolerance(types: Iterable[str]) -> float:
    """The tolerance for a model whose weights have these NumPy types: that of the narrowest of them.

    >>> default_tolerance(["float32", "float16"]), default_tolerance([])
    (0.005, 1e-05)
    """
    return max((_TOLERANCES.get(name, TOLERANCE) for name in types), default=TOLERANCE)


class OutputDifferences:
    """The differences of one output over all batches."""

    def __init__(self, name: str, tolerance: float) -> None:
        self._name = name
        self._given_tolerance = tolerance
        self._dtype = ""
        self._values = self._within = self._nonfinite = 0
        self._largest_value = self._largest_absolute = 0.0
        self._by_sample: list[NDArray[np.float64]] | None = []
        self._positions = self._agreed = 0
        self.classes: int | None = None
        """Entries of the last axis where these are class scores; None where they are not."""

    def update(self, before: Array, after: Array, samples: int) -> None:
        """Add one batch of so many samples."""
        if not self._dtype:
            self._dtype = str(before.dtype)
            self.classes = _classes(before)
        self._values += before.size
        self._nonfinite += _nonfinite(before)
        if before.shape != after.shape or before.dtype != after.dtype:
            self._differ(np.full(samples, math.inf))
            return
        numbers = before.dtype.kind in "biuf" or before.dtype.name in _TOLERANCES
        moved, size = _moved(before, after) if numbers else (_told_apart(before, after), np.zeros(()))
        self._within += int(np.count_nonzero(moved <= self._tolerance * np.maximum(1.0, size)))
        self._largest_value = max(self._largest_value, float(size.max(initial=0.0)))
        self._differ(_per_sample(moved, samples))
        if self.classes is not None and before.size:
            same = np.argmax(before, axis=-1) == np.argmax(after, axis=-1)
            self._positions += same.size
            self._agreed += int(np.count_nonzero(same))

    def result(self) -> OutputResult:
        """What all batches come to."""
        bound = self._tolerance * max(1.0, self._largest_value)
        largest = self._largest_absolute
        changed = None
        if self._by_sample is not None:
            changed = int(sum(np.count_nonzero(part > bound) for part in self._by_sample))
        return OutputResult(
            name=self._name,
            dtype=self._dtype,
            values=self._values,
            nonfinite=self._nonfinite,
            largest_value=self._largest_value,
            largest_absolute=largest,
            tolerance=self._tolerance,
            within=self._within,
            unchanged=largest <= bound,
            samples_changed=changed,
            top1=self._agreed / self._positions if self._positions else None,
        )

    @property
    def _tolerance(self) -> float:
        """Whole numbers and texts are equal or not."""
        inexact = self._dtype.startswith(("float", "bfloat"))
        return self._given_tolerance if inexact else 0.0

    def _differ(self, by_sample: NDArray[np.float64] | float) -> None:
        self._largest_absolute = max(self._largest_absolute, float(np.max(by_sample, initial=0.0)))
        if isinstance(by_sample, float):
            self._by_sample = None
        elif self._by_sample is not None:
            self._by_sample.append(by_sample)


def _nonfinite(values: Array) -> int:
    """Values that are NaN or infinite."""
    if values.dtype.kind != "f" and values.dtype.name not in _TOLERANCES:
        return 0
    return int(values.size - np.count_nonzero(np.isfinite(values)))


def _moved(before: Array, after: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """|after - before| and |before|, [shape]; infinite and 0 where only one is finite, 0 where both agree that not."""
    a, b = before.astype(np.float64), after.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    same = np.asarray(before == after, np.bool_) | (np.isnan(a) & np.isnan(b))
    least = 1.0 if before.dtype.kind in "biu" else 0.0  # large whole numbers round to the same float
    with np.errstate(invalid="ignore", over="ignore"):
        moved = np.where(same, 0.0, np.where(finite, np.maximum(np.abs(b - a), least), math.inf))
    return moved, np.where(np.isfinite(a), np.abs(a), 0.0)


def _told_apart(before: Array, after: Array) -> NDArray[np.float64]:
    """For texts: 0 where they are equal, infinite where not."""
    return np.where(np.asarray(before == after, np.bool_), 0.0, math.inf)


def _per_sample(moved: NDArray[np.float64], samples: int) -> NDArray[np.float64] | float:
    """[samples] the largest difference of each; one number where no axis counts the samples."""
    if samples == 1:
        return np.array([moved.max(initial=0.0)])
    if moved.ndim and moved.shape[0] == samples:
        largest: NDArray[np.float64] = moved.reshape(samples, -1).max(axis=1, initial=0.0)
        return largest
    return float(moved.max(initial=0.0))


def _classes(values: Array) -> int | None:
    """Entries of the last axis where it looks like classes: a row of scores a sample, a distribution, a vocabulary."""
    if values.ndim < 2 or values.shape[-1] < 2 or not values.size:
        return None
    if values.dtype.kind != "f" and values.dtype.name not in _TOLERANCES:
        return None
    rows = values.reshape(-1, values.shape[-1]).astype(np.float64)
    distribution = bool((rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-2))
    vocabulary = values.ndim == 3 and values.shape[-1] >= _FEWEST_TOKENS
    return values.shape[-1] if values.ndim == 2 or distribution or vocabulary else None


class AccuracyCount:
    """Samples that each model classifies as they are labelled."""

    def __init__(self, output: str) -> None:
        self._output = output
        self._samples = self._before = self._after = 0

    def update(self, before: Array, after: Array, classes: NDArray[np.int64]) -> None:
        """Add one batch of scores [samples, classes], labelled by class index [samples]."""
        self._samples += len(classes)
        self._before += int(np.count_nonzero(np.argmax(before, axis=-1) == classes))
        self._after += int(np.count_nonzero(np.argmax(after, axis=-1) == classes))

    def result(self) -> Accuracy:
        """What all batches come to."""
        return Accuracy(self._output, self._samples, self._before, self._after)


def class_indices(codes: NDArray[np.int64], names: Sequence[str], classes: int) -> NDArray[np.int64] | None:
    """[samples] the class index that each label stands for; None where the labels do not fit so many classes.

    Labels that are whole numbers name their class; others count the classes in their own order.

    >>> class_indices(np.array([0, 1]), ["3", "7"], 10).tolist()
    [3, 7]
    >>> class_indices(np.array([0, 1]), ["cat", "dog"], 2).tolist()
    [0, 1]
    >>> class_indices(np.array([0, 1]), ["3", "70"], 10) is None
    True
    """
    indices = [int(name) for name in names if name.isdecimal()]
    if len(indices) != len(names):
        indices = list(range(len(names)))
        if len(names) != classes:
            return None
    if not indices or max(indices) >= classes:
        return None
    return np.asarray(indices, np.int64)[codes]
