"""The interface of an operator of a certified network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nla.certificates.envelopes import Lines
from nla.certificates.rounding import Floats, own, summed_product
from nla.certificates.sets import Box


@dataclass(frozen=True)
class Context:
    """What a backward step may lean on: bounds of the tensors around the operator, and chosen slopes."""

    inputs: tuple[Box, ...]
    output: Box
    error: Floats | None = None
    """[*shape] how far rounding may move the output from the exact value of the operator."""
    slopes: Floats | None = None
    """Slopes of the lines below an activation, [*shape] or [rows, *shape]; None: its own choice."""


@dataclass(frozen=True)
class Back:
    """A linear upper bound of A·output by the inputs: Σ parts·inputs + constant."""

    parts: tuple[Floats, ...]
    """For each input, [rows, *shape of the input]."""
    constant: Floats
    """[rows]"""


class Bent:
    """Mark of an operator whose linear bounds are the closer, the narrower the ranges of its inputs are known."""


class Op(Protocol):
    """One operator: from tensors of the shapes of one sample to one output. Float64 throughout."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that it reads."""
        ...

    @property
    def output(self) -> str:
        """Name of the tensor that it makes."""
        ...

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the output for one sample."""
        ...

    def forward(self, *values: Floats) -> Floats:
        """The exact operator on [rows, *shape] values (float64): for witnesses and checks."""
        ...

    def interval(self, *boxes: Box, unit: float) -> tuple[Box, Floats | None]:
        """The range of the output, rounding in arithmetic of roundoff `unit` included, and how much of it is rounding
        ([*shape]; None where the operator is exact)."""
        ...

    def back(self, A: Floats, context: Context) -> Back | None:
        """A linear upper bound of Σ A·output, A [rows, *shape]; None where there is none but that of the box."""
        ...


def rounding_cost(A: Floats, error: Floats | None) -> Floats:
    """[rows] Σ |A|·error: what rounding may add to A·output; infinite where an error that is read is."""
    if error is None:
        return np.zeros(len(A))
    rows, each = np.abs(A.reshape(len(A), -1)), error.ravel()
    if np.isfinite(each).all():
        return np.asarray(rows @ each)
    unbounded = (rows[:, ~np.isfinite(each)] > 0).any(axis=1)
    return np.where(unbounded, np.inf, rows @ np.where(np.isfinite(each), each, 0.0))


def between_lines(A: Floats, found: Lines, context: Context) -> Back:
    """The bound of A·f(x) where f lies between two lines, element by element: above where A is positive, else below."""
    (x,) = context.inputs
    above, below = np.maximum(A, 0), np.minimum(A, 0)
    part = above * found.upper_slope + below * found.lower_slope
    reach = np.where(np.isfinite(x.largest), x.largest, 0.0)
    size = np.maximum(np.abs(found.upper_slope), np.abs(found.lower_slope)) * reach
    over, under = found.upper_offset, found.lower_offset
    offsets = summed_product(above, over) + summed_product(below, under)
    terms = summed_product(above, np.abs(over)) - summed_product(below, np.abs(under))
    constant = offsets + own(x.lo.size) * (summed_product(above - below, size) + terms)
    return Back((part,), constant + rounding_cost(A, context.error))


def lifted(values: Sequence[Floats]) -> list[Floats]:
    """[rows, *shape] values with axes of size one after the rows, so that shapes broadcast sample by sample."""
    rank = max(value.ndim for value in values)
    return [value.reshape(len(value), *(1,) * (rank - value.ndim), *value.shape[1:]) for value in values]
