"""What a reader of a series must know beside its numbers, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nla.lifecycle.results import STATES
from nla.tracking.results import Tracking
from nla.tracking.trajectories import CODES
from nla.tracking.transitions import DEPENDENT

_UNEVEN = 1.01


def remarks(tracking: Tracking) -> Iterator[str]:
    """The notes of a series: those of its making, and what the numbers themselves give cause to."""
    yield from tracking.notes
    yield from _unknown(tracking)
    yield from _spacing(tracking)
    staying = tracking.survival.staying
    if staying:
        are = "is" if len(staying) == 1 else "are"
        yield (
            f"{_listed(staying)} {are} seen at the last step only: what follows is not known, and the Markov curves "
            "let such neurons stay as they are"
        )
    yield DEPENDENT


def _unknown(tracking: Tracking) -> Iterator[str]:
    number = sum(int((states == CODES["unknown"]).any(axis=0).sum()) for states in tracking.states)
    if number:
        yield (
            f"{number:,} neurons have no finite value at some step: they count as not dead there, and neither as died "
            "nor as revived"
        )


def _spacing(tracking: Tracking) -> Iterator[str]:
    numbers = tracking.numbers
    if numbers is None:
        if len(tracking.steps) > 2:
            yield (
                "the training step of some checkpoint is not known: an interval of the transition matrix may be any "
                "amount of training; --steps names them"
            )
        return
    gaps = np.diff(numbers)
    if gaps.max() > gaps.min() * _UNEVEN:
        yield (
            f"checkpoints lie {gaps.min():,.0f} to {gaps.max():,.0f} training steps apart: an interval of the "
            "transition matrix is no fixed amount of training"
        )


def _listed(states: Sequence[str]) -> str:
    ordered = [state for state in STATES if state in states]
    return " and ".join(filter(None, [", ".join(ordered[:-1]), ordered[-1]]))
