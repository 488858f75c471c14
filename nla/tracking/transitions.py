"""How often neurons go from one state to another between two checkpoints (lifecycle paper, eq. 16).

Eq. 16 prints a matrix with zeros where the paper expects no transition. Here it is estimated in full from counts and
nothing is imposed: networks are born with dead neurons, and dead ones fire again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.results import STATES
from nla.theory.intervals import CONFIDENCE, wilson
from nla.tracking.trajectories import States

Floats = NDArray[np.float64]
DEPENDENT = (
    "neurons of a layer share their inputs and are not independent, so that intervals are too narrow, and p-values too "
    "small, if anything"
)


@dataclass(frozen=True)
class Transitions:
    """Transitions between consecutive steps, counted over neurons and steps."""

    counts: NDArray[np.int64]
    """[states, states] in the order of STATES, rows from, columns to."""

    @property
    def matrix(self) -> Floats:
        """P, float64 [states, states]: each row sums to 1, the estimate of largest likelihood; NaN in a row without
        counts."""
        totals = self.counts.sum(axis=1, keepdims=True)
        return np.where(totals > 0, self.counts / np.maximum(totals, 1), np.nan)

    def bounds(self, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
        """Wilson's interval of every cell, each [states, states] in [0, 1]; NaN in a row without counts.

        As if neurons were independent, see DEPENDENT. Source: Wilson 1927.
        """
        totals = self.counts.sum(axis=1, keepdims=True).astype(np.float64)
        return wilson(self.counts, np.broadcast_to(totals, self.counts.shape), confidence)


def count(states: Iterable[States]) -> Transitions:
    """The transitions of trajectories, each int8 [steps, neurons]: steps - 1 for each neuron.

    >>> count([np.array([[0, 6], [6, 6]], np.int8)]).counts[6, 6]
    np.int64(1)
    """
    size = len(STATES)
    total = np.zeros(size * size, np.int64)
    for each in states:
        pairs = each[:-1].astype(np.int64) * size + each[1:]
        total += np.bincount(pairs.ravel(), minlength=size * size)
    return Transitions(total.reshape(size, size))
