"""The methods by which z is bounded, from cheap to sharp: one interface, one row each.

A method is asked for upper bounds of some elements of a pre-activation; each is at most what a cheaper one gave.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from nla.certificates import backward, slopes
from nla.certificates.backward import AT_ONCE, nearby, units
from nla.certificates.interval import Ranges, settled
from nla.certificates.network import Network
from nla.certificates.rounding import Floats


@dataclass
class Budget:
    """Seconds that the work may take; None: no end."""

    seconds: float | None = None
    started: float = field(default_factory=time.monotonic)

    def spent(self) -> bool:
        """Whether the time is over."""
        left = self.remaining()
        return left is not None and left <= 0

    def remaining(self) -> float | None:
        """Seconds that are left; None: no end."""
        return None if self.seconds is None else self.seconds - (time.monotonic() - self.started)


Progress = Callable[[int, int], None]
"""Told what is done of all."""


@dataclass(frozen=True)
class Method:
    """One way to bound z from above."""

    name: str
    about: str
    bound: Callable[[Network, Ranges, str, np.ndarray, float, Budget, Progress], Floats]
    """(network, ranges, tensor, flat places [k], enough, budget, progress) -> [k] upper bounds; rows at or below
    `enough` need no more work."""
    tightens: bool = False
    """Whether the boxes of the tensors before are to be tightened by backward bounds first."""
    extra: str | None = None
    """The optional libraries that it needs."""
    applies: Callable[[Network, Ranges, str], bool] = lambda network, known, tensor: True
    """Whether it can give more than `linear`: (network, ranges, tensor)."""


def _interval(
    network: Network,
    known: Ranges,
    tensor: str,
    places: np.ndarray,
    enough: float,
    budget: Budget,
    progress: Progress,
) -> Floats:
    return np.asarray(known.boxes[tensor].hi.ravel()[places])


def _by_rows(
    network: Network,
    known: Ranges,
    tensor: str,
    places: np.ndarray,
    budget: Budget,
    progress: Progress,
    bound: Callable[[Floats], Floats],
) -> Floats:
    """`bound` of coefficients [rows, *shape] for all places, those that lie close to each other together."""
    box = known.boxes[tensor].hi.ravel()
    if settled(network, known.domains, tensor):
        return np.asarray(box[places])
    found = box.copy()
    shape = network.shapes[tensor]
    ordered = nearby(places, shape)
    for start in range(0, len(ordered), AT_ONCE):
        if budget.spent():
            break
        progress(start, len(ordered))
        some = ordered[start : start + AT_ONCE]
        found[some] = np.fmin(found[some], bound(units(some, shape)))
    return np.asarray(found[places])


def _linear(
    network: Network,
    known: Ranges,
    tensor: str,
    places: np.ndarray,
    enough: float,
    budget: Budget,
    progress: Progress,
) -> Floats:
    def bound(A: Floats) -> Floats:
        return backward.upper(network, known, tensor, A)

    return _by_rows(network, known, tensor, places, budget, progress, bound)


def _slopes(
    network: Network,
    known: Ranges,
    tensor: str,
    places: np.ndarray,
    enough: float,
    budget: Budget,
    progress: Progress,
) -> Floats:
    def bound(A: Floats) -> Floats:
        return slopes.upper(network, known, tensor, A, enough=enough, stop=budget.spent)

    return _by_rows(network, known, tensor, places, budget, progress, bound)


def _lp(
    network: Network,
    known: Ranges,
    tensor: str,
    places: np.ndarray,
    enough: float,
    budget: Budget,
    progress: Progress,
) -> Floats:
    from nla.certificates.exact import linear_program

    return linear_program.upper(network, known, tensor, places, budget.remaining, progress)


def _milp(
    network: Network,
    known: Ranges,
    tensor: str,
    places: np.ndarray,
    enough: float,
    budget: Budget,
    progress: Progress,
) -> Floats:
    from nla.certificates.exact import milp

    return milp.upper(network, known, tensor, places, enough, budget.remaining, progress)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("interval", "ranges carried forward; exact for the first layer over a box", _interval),
        Method("linear", "linear bounds carried backward (CROWN)", _linear, tightens=True),
        Method(
            "slopes",
            "the same, with slopes found by descent (α-CROWN)",
            _slopes,
            tightens=True,
            applies=slopes.applies,
        ),
        Method("lp", "a linear program each neuron (the triangle relaxation)", _lp, True, "exact"),
        Method("milp", "branch and bound over such programs; small networks", _milp, True, "exact"),
    )
}
