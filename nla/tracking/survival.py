"""How long neurons stay alive: what was seen, and what the matrix P says (lifecycle paper, eq. 17).

Eq. 17 as printed, e_A P^t e_A, is the probability of being Active after t intervals and loses whoever became
specialised or dormant: it is given under that name. Survival is 1 - (e P^t)[dead]. With P as it is estimated that is
the share alive at t, for the dead may revive; with dead made absorbing it is the share that was never dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.results import STATES
from nla.tracking.trajectories import CODES, DEAD, States
from nla.tracking.transitions import Transitions

Floats = NDArray[np.float64]
_ACTIVE = CODES["active"]
_MOST_INTERVALS = 10_000
"""A half-life beyond it is not looked for."""


@dataclass(frozen=True)
class Survival:
    """Shares of all neurons, each curve float64 [steps] in [0, 1]; NaN where it is not defined."""

    alive: Floats
    """Seen: neurons not dead at the step."""
    never_dead: Floats
    """Seen: neurons not dead at the step nor at one before."""
    markov: Floats
    """1 - (e P^t)[dead] with e the states of the first step."""
    markov_from_active: Floats
    """The same for a neuron that is active at first."""
    absorbing: Floats
    """As `markov`, but nothing leaves dead: what P says of `never_dead`."""
    absorbing_from_active: Floats
    printed: Floats
    """Eq. 17 as printed, (e_A P^t)[A]: being active at the step, not survival."""
    printed_absorbing: Floats
    """The same where nothing leaves dead, as eq. 16 demands."""
    half_life: float
    """Intervals until `never_dead` has fallen to half of what it was at the first step; NaN where it never does."""
    half_life_markov: float
    """The same of `absorbing`, carried on beyond the last step."""
    half_life_from_active: float
    """The same of `absorbing_from_active`."""
    life: dict[str, float]
    """By state that occurs, intervals until death expected from it, (I - Q)^-1 1; infinite where it may never come."""
    staying: tuple[str, ...]
    """States that occur at the last step only: what follows them is not known, and the curves let them stay."""


def survival(states: Sequence[States], transitions: Transitions) -> Survival:
    """Seen and expected survival of trajectories, each int8 [steps, neurons], at least one neuron in all."""
    every = np.concatenate(states, axis=1)
    steps = len(every)
    dead = every == DEAD
    never = 1 - np.logical_or.accumulate(dead, axis=0).mean(axis=1)
    matrix, staying = complete(transitions, every)
    final = absorbing(matrix)
    start = np.bincount(every[0], minlength=len(STATES)) / every.shape[1]
    active = np.eye(len(STATES))[_ACTIVE]
    known = transitions.counts[_ACTIVE].sum() > 0
    from_active, from_active_final = (
        powers(active, P, steps) if known else np.full((steps, len(STATES)), np.nan) for P in (matrix, final)
    )
    return Survival(
        alive=1 - dead.mean(axis=1),
        never_dead=never,
        markov=_alive(powers(start, matrix, steps)),
        markov_from_active=_alive(from_active),
        absorbing=_alive(powers(start, final, steps)),
        absorbing_from_active=_alive(from_active_final),
        printed=np.clip(from_active[:, _ACTIVE], 0, 1),
        printed_absorbing=np.clip(from_active_final[:, _ACTIVE], 0, 1),
        half_life=half_life(never),
        half_life_markov=_expected_half_life(start, final),
        half_life_from_active=_expected_half_life(active, final) if known else np.nan,
        life=expected_life(matrix, np.unique(every)),
        staying=staying,
    )


def _alive(shares: Floats) -> Floats:
    """1 - the share of dead, [steps]; what rounding leaves beyond [0, 1] is cut."""
    return np.clip(1 - shares[:, DEAD], 0, 1)


def complete(transitions: Transitions, states: States) -> tuple[Floats, tuple[str, ...]]:
    """P with a row of its own, staying, for each state that nothing was seen to follow; which of these occur."""
    matrix = transitions.matrix
    empty = np.isnan(matrix[:, 0])
    matrix[empty] = np.eye(len(STATES))[empty]
    return matrix, tuple(STATES[code] for code in np.unique(states[-1]) if empty[code])


def absorbing(matrix: Floats) -> Floats:
    """P with the row of dead replaced: nothing leaves it."""
    final = matrix.copy()
    final[DEAD] = np.eye(len(STATES))[DEAD]
    return final


def powers(start: Floats, matrix: Floats, steps: int) -> Floats:
    """start P^t for t = 0 … steps - 1: float64 [steps, states]."""
    rows = [start]
    for _ in range(steps - 1):
        rows.append(rows[-1] @ matrix)
    return np.stack(rows)


def half_life(curve: Floats) -> float:
    """Intervals until a falling curve is at half of its first value, between two steps by a straight line; else NaN.

    >>> half_life(np.array([1.0, 0.75, 0.25])), half_life(np.array([1.0, 0.9]))
    (1.5, nan)
    """
    half = curve[0] / 2
    below = np.flatnonzero(curve <= half)
    if not len(below) or half == 0:
        return float("nan")
    after = int(below[0])
    high, low = curve[after - 1], curve[after]
    return after - 1 + float((high - half) / (high - low))


def _expected_half_life(start: Floats, final: Floats) -> float:
    """`half_life` of 1 - (start P^t)[dead], dead absorbing, as far as it takes; NaN where it never comes."""
    state, half = start, (1 - start[DEAD]) / 2
    if half == 0:
        return float("nan")
    for interval in range(_MOST_INTERVALS):
        following = state @ final
        alive, then = 1 - state[DEAD], 1 - following[DEAD]
        if then <= half:
            return interval + float((alive - half) / (alive - then))
        if then == alive and np.array_equal(state, following):
            break
        state = following
    return float("nan")


def expected_life(matrix: Floats, occurring: NDArray[np.int8]) -> dict[str, float]:
    """By state that occurs, dead left out: the intervals until death expected from it, (I - Q)^-1 1.

    Q is P among the states from which death is certain; from the others the expectation is infinite.
    """
    reach = _reachable(matrix > 0)
    living = np.arange(len(STATES)) != DEAD
    certain = np.array(
        [living[code] and bool(reach[reach[code] & living, DEAD].all()) for code in range(len(STATES))]
    )
    life = np.full(len(STATES), np.inf)
    if certain.any():
        Q = matrix[np.ix_(certain, certain)]
        life[certain] = np.linalg.solve(np.eye(len(Q)) - Q, np.ones(len(Q)))
    return {STATES[code]: float(life[code]) for code in occurring if code != DEAD}


def _reachable(edges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool [states, states]: where a walk of any length leads, none included."""
    reach = edges | np.eye(len(edges), dtype=bool)
    for _ in range(len(edges).bit_length()):
        reach = (reach.astype(np.int64) @ reach.astype(np.int64)) > 0
    return np.asarray(reach)
