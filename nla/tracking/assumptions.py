"""Whether one matrix P describes the whole series: what every curve that is made of powers of P takes for granted.

Two likelihood-ratio tests (G = 2 Σ n ln(n / expected), chi-square where the assumption holds): that P is the same in
the first half of the steps and in the second, and that the next state depends on the present one only.
Source: Anderson and Goodman 1957, Statistical inference about Markov chains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.results import STATES
from nla.lifecycle.special import chi_square_survival
from nla.tracking.trajectories import States
from nla.tracking.transitions import Transitions, count

_FEWEST_STEPS = 3


@dataclass(frozen=True)
class Verdict:
    """One test of an assumption."""

    statistic: float
    """G, >= 0."""
    degrees: int
    """Of freedom; 0 where the counts leave nothing to compare."""
    p_value: float
    """Of such a G or a larger one, were the assumption true; in [0, 1]."""


@dataclass(frozen=True)
class Assumptions:
    """Both tests; None where there are fewer than three steps."""

    first: Transitions
    """Of the first half of the intervals between steps."""
    second: Transitions
    split: int
    """The step, counted from 0, at which the second half begins."""
    same_throughout: Verdict
    """P is the same in both halves."""
    memoryless: Verdict
    """The next state depends on the present one only, not on the one before."""


def assumptions(states: Sequence[States]) -> Assumptions | None:
    """Both tests on trajectories, each int8 [steps, neurons]."""
    steps = min((len(each) for each in states), default=0)
    if steps < _FEWEST_STEPS:
        return None
    middle = (steps - 1) // 2
    first, second = count(each[: middle + 1] for each in states), count(each[middle:] for each in states)
    halves = np.stack([first.counts, second.counts], axis=1)  # [from, half, to]
    return Assumptions(first, second, middle, g_test(halves), g_test(_triples(states)))


def g_test(tables: NDArray[np.int64]) -> Verdict:
    """Whether rows and columns are independent in every table of [tables, rows, columns]; G and degrees add up.

    Rows and columns without counts say nothing, and have no degree of freedom.
    """
    counts = tables.astype(np.float64)
    rows, columns = counts.sum(axis=2, keepdims=True), counts.sum(axis=1, keepdims=True)
    total = rows.sum(axis=1, keepdims=True)
    expected = np.divide(rows * columns, total, out=np.ones_like(counts), where=(rows * columns) > 0)
    seen = counts > 0
    ratio = np.log(np.divide(counts, expected, out=np.ones_like(counts), where=seen))
    statistic = max(float(2 * (counts * ratio).sum()), 0.0)
    free_rows = np.maximum((rows > 0).sum(axis=1) - 1, 0).ravel()
    free_columns = np.maximum((columns > 0).sum(axis=2) - 1, 0).ravel()
    degrees = int((free_rows * free_columns).sum())
    return Verdict(statistic, degrees, float(chi_square_survival(statistic, degrees)))


def _triples(states: Sequence[States]) -> NDArray[np.int64]:
    """int64 [present, before, next]: three steps in a row, counted."""
    size = len(STATES)
    total = np.zeros(size**3, np.int64)
    for each in states:
        wide = each.astype(np.int64)
        places = (wide[1:-1] * size + wide[:-2]) * size + wide[2:]
        total += np.bincount(places.ravel(), minlength=size**3)
    return total.reshape(size, size, size)
