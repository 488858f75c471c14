"""The one interface of all accumulators: update, merge, state, and back from the state.

An accumulator keeps only what can be added or merged again: counts, sums, means with second moments,
extremes, a sample of rows. Ratios are derived when it is read out. Its state is a dict of arrays whose names,
types and shapes follow from its configuration alone (`layout`), so that a stranger's file can be checked
before it is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
State = dict[str, Array]
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Field:
    """Type and shape of one array of a state; `longest` bounds an axis whose size (None) the data decide."""

    dtype: str
    shape: tuple[int | None, ...] = ()
    longest: int = 0

    @property
    def largest_bytes(self) -> int:
        """Size of the largest array that fits."""
        return prod(self.longest if n is None else n for n in self.shape) * np.dtype(self.dtype).itemsize

    def empty(self) -> Array:
        """Zeros of the shape; a free axis has size 0."""
        return np.zeros(tuple(0 if n is None else n for n in self.shape), self.dtype)

    def fault(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> str | None:
        """What is wrong with an array of that shape and type; None where it fits."""
        fits = len(shape) == len(self.shape) and all(
            n <= self.longest if expected is None else n == expected
            for n, expected in zip(shape, self.shape, strict=True)
        )
        if fits and dtype == np.dtype(self.dtype):
            return None
        expected = ", ".join(f"0..{self.longest}" if n is None else str(n) for n in self.shape)
        return f"{dtype} {list(shape)}, expected {self.dtype} [{expected}]"


class Accumulator(ABC, Generic[Seen]):
    """A statistic that is updated with batches and merged with others of the same configuration."""

    name: ClassVar[str]

    def __init__(self, **config: Any) -> None:
        self.config = config
        for field, spec in self.layout(**config).items():
            array = spec.empty()
            setattr(self, field, array.item() if spec.shape == () else array)

    @classmethod
    @abstractmethod
    def layout(cls, *args: Any, **config: Any) -> dict[str, Field]:
        """Names, types and shapes of the state's arrays for that configuration; takes no memory."""

    @abstractmethod
    def update(self, seen: Seen) -> None:
        """Adds one batch."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Adds all that `other` has seen; `other` is left as it was.

        Raises:
            ValueError: another kind or configuration.
        """

    def state(self) -> State:
        """Copies of the arrays that `layout` names; with the configuration they are the accumulator."""
        return {
            field: np.array(getattr(self, field), spec.dtype)
            for field, spec in self.layout(**self.config).items()
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Array], **config: Any) -> Self:
        """The accumulator that had this state.

        Raises:
            ValueError: an array is missing, unknown, of another type or shape, or holds a negative count.
        """
        layout = cls.layout(**config)
        if state.keys() != layout.keys():
            raise ValueError(f"{cls.name} holds {sorted(state)}, expected {sorted(layout)}")
        for field, spec in layout.items():
            fault = spec.fault(state[field].shape, state[field].dtype) or _negative(state[field])
            if fault is not None:
                raise ValueError(f"{cls.name}.{field} is {fault}")
        made = cls(**config)
        made.restore(state)
        return made

    def restore(self, state: Mapping[str, Array]) -> None:
        """Takes over the arrays of a state that fits the layout."""
        for field, array in state.items():
            setattr(self, field, array.item() if array.shape == () else array.copy())

    def check_same(self, other: Accumulator[Seen]) -> None:
        """Raises ValueError unless `other` is of the same kind and configuration."""
        if type(other) is not type(self) or other.config != self.config:
            raise ValueError(f"cannot merge {self.name} {self.config} with {other.name} {other.config}")


class Additive(Accumulator[Seen]):
    """An accumulator whose every number is a count or a sum, so that merging is addition."""

    def merge(self, other: Self) -> None:
        self.check_same(other)
        for field in self.layout(**self.config):
            setattr(self, field, getattr(self, field) + getattr(other, field))


def _negative(array: Array) -> str | None:
    """Integers of a state are counts."""
    return "negative somewhere, expected counts" if array.dtype.kind == "i" and (array < 0).any() else None


def add(target: Array, values: Array) -> None:
    """target += values, in place."""
    np.add(target, values, out=target)
