"""The methods by which z is bounded, from cheap to sharp: one interface, one row each.

A method is asked for upper bounds of some elements of a pre-activation; each is at most what a cheaper one gave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nla.certificates import backward, slopes
from nla.certificates.backward import at_once, nearby, units
from nla.certificates.interval import Ranges, settled
from nla.certificates.network import Network
from nla.certificates.question import Question
from nla.certificates.rounding import Floats


@dataclass(frozen=True)
class Method:
    """One way to bound z from above."""

    name: str
    about: str
    bound: Callable[[Question], Floats]
    """[k] upper bounds of the places that are asked about; never above those of the tensor's box."""
    tightens: bool = False
    """Whether the boxes of the tensors before are to be tightened by backward bounds first."""
    extra: str | None = None
    """The optional libraries that it needs."""
    applies: Callable[[Network, Ranges, str], bool] = lambda network, known, tensor: True
    """Whether it can give more than `linear`: (network, ranges, tensor)."""


def _interval(asked: Question) -> Floats:
    return asked.held


def _by_rows(asked: Question, bound: Callable[[Floats], Floats]) -> Floats:
    """`bound` of coefficients [rows, *shape] for all places, those that lie close to each other together."""
    if settled(asked.network, asked.known.domains, asked.tensor):
        return asked.held
    found = asked.known.boxes[asked.tensor].hi.ravel().copy()
    ordered, step = nearby(asked.places, asked.shape), at_once(asked.network, asked.tensor)
    for start in range(0, len(ordered), step):
        if asked.budget.spent():
            break
        asked.progress(start, len(ordered))
        some = ordered[start : start + step]
        found[some] = np.fmin(found[some], bound(units(some, asked.shape)))
    return np.asarray(found[asked.places])


def _linear(asked: Question) -> Floats:
    return _by_rows(asked, lambda A: backward.upper(asked.network, asked.known, asked.tensor, A))


def _slopes(asked: Question) -> Floats:
    def bound(A: Floats) -> Floats:
        return slopes.upper(
            asked.network, asked.known, asked.tensor, A, enough=asked.enough, stop=asked.budget.spent
        )

    return _by_rows(asked, bound)


def _lp(asked: Question) -> Floats:
    from nla.certificates.exact import linear_program

    return linear_program.upper(asked)


def _milp(asked: Question) -> Floats:
    from nla.certificates.exact import milp

    return milp.upper(asked)


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
        Method(
            "lp",
            "a linear program each neuron (the triangle relaxation)",
            _lp,
            tightens=True,
            extra="exact",
        ),
        Method(
            "milp",
            "branch and bound over such programs; small networks",
            _milp,
            tightens=True,
            extra="exact",
        ),
    )
}
