"""Survival: curves against powers by SciPy, half-lives and lives worked out by hand, the absorbing chain simulated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import linalg

from nla.lifecycle.results import STATES
from nla.tracking.survival import absorbing, complete, expected_life, half_life, powers, survival
from nla.tracking.transitions import count

DEAD, DORMANT, ACTIVE = (STATES.index(state) for state in ("dead", "dormant", "active"))
SATURATED = STATES.index("saturated")


def steps(*rows: str) -> np.ndarray:
    """int8 [steps, neurons] of d (dead), o (dormant), t (saturated), a (active)."""
    codes = {"d": DEAD, "o": DORMANT, "a": ACTIVE, "t": SATURATED}
    return np.array([[codes[letter] for letter in row] for row in rows], np.int8)


SERIES = steps("aaaaaaao", "aaaadddo", "aaoodado", "aaddddad", "oaddadao")


def test_what_was_seen_is_counted() -> None:
    found = survival([SERIES], count([SERIES]))
    dead = SERIES == DEAD
    ever = [dead[: step + 1].any(axis=0).mean() for step in range(len(SERIES))]
    assert found.alive.tolist() == pytest.approx((1 - dead.mean(axis=1)).tolist())
    assert found.never_dead.tolist() == pytest.approx([1 - share for share in ever])


def test_the_markov_curves_are_powers_of_the_matrix() -> None:
    transitions = count([SERIES])
    found = survival([SERIES], transitions)
    P = np.nan_to_num(transitions.matrix)
    final = P.copy()
    final[DEAD] = np.eye(len(STATES))[DEAD]
    start, active = np.zeros(len(STATES)), np.eye(len(STATES))[ACTIVE]
    start[ACTIVE], start[DORMANT] = 7 / 8, 1 / 8
    for t in range(len(SERIES)):
        Pt, finalt = linalg.fractional_matrix_power(P, t), linalg.fractional_matrix_power(final, t)
        assert found.markov[t] == pytest.approx(1 - (start @ Pt)[DEAD])
        assert found.absorbing[t] == pytest.approx(1 - (start @ finalt)[DEAD])
        assert found.markov_from_active[t] == pytest.approx(1 - (active @ Pt)[DEAD])
        assert found.printed[t] == pytest.approx((active @ Pt)[ACTIVE])
        assert found.printed_absorbing[t] == pytest.approx((active @ finalt)[ACTIVE])


def test_the_expected_life_is_what_a_simulation_takes() -> None:
    matrix, _ = complete(count([SERIES]), SERIES)
    found = expected_life(matrix, np.unique(SERIES))
    assert set(found) == {"dormant", "active"}
    generator = np.random.default_rng(0)
    final = absorbing(matrix)
    state, life = np.full(20_000, ACTIVE), np.zeros(20_000)
    cumulated = final.cumsum(axis=1)
    while (state != DEAD).any():
        life += state != DEAD
        state = (generator.random(len(state))[:, None] > cumulated[state]).sum(axis=1)
    assert found["active"] == pytest.approx(life.mean(), rel=0.03)


def test_a_chain_worked_out_by_hand() -> None:
    """Of active half die, half stay: life 2, half-life 1, alive after t 2^-t."""
    series = steps("aa", "ad")
    found = survival([series], count([series]))
    assert found.life == {"active": pytest.approx(2)}
    assert found.half_life_markov == pytest.approx(1)
    assert found.half_life_from_active == pytest.approx(1)
    assert found.half_life == pytest.approx(1)
    longer = powers(np.eye(len(STATES))[ACTIVE], absorbing(complete(count([series]), series)[0]), 5)
    assert (1 - longer[:, DEAD]).tolist() == pytest.approx([2.0**-t for t in range(5)])


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([1, 0.5], 1),
        ([1, 0.75, 0.25], 1.5),
        ([0.8, 0.4, 0.1], 1),  # of those alive at first
        ([1, 1, 0.2], 1.625),
        ([1, 0.9, 0.51], math.nan),
        ([0, 0], math.nan),
        ([1], math.nan),
    ],
)
def test_half_lives(curve: list[float], expected: float) -> None:
    assert half_life(np.array(curve, float)) == pytest.approx(expected, nan_ok=True)


def test_where_death_may_never_come_life_is_infinite_and_a_state_of_the_last_step_stays() -> None:
    series = steps("aaaa", "aoda", "adda", "addt")  # saturated is seen last: what follows is not known
    found = survival([series], count([series]))
    assert found.staying == ("saturated",)
    assert found.life == {"saturated": math.inf, "dormant": 1.0, "active": math.inf}
    assert math.isfinite(found.half_life_markov)
    assert not np.isnan(found.markov).any()


def test_a_series_without_a_death_has_no_half_life() -> None:
    series = steps("aao", "aoo", "oaa")
    found = survival([series], count([series]))
    assert math.isnan(found.half_life)
    assert math.isnan(found.half_life_markov)
    assert set(found.life.values()) == {math.inf}
    assert found.markov.tolist() == [1, 1, 1]


def test_without_an_active_neuron_to_begin_with_its_curves_are_not_defined() -> None:
    series = steps("oo", "od")
    found = survival([series], count([series]))
    assert np.isnan(found.printed).all()
    assert np.isnan(found.markov_from_active).all()
    assert math.isnan(found.half_life_from_active)
    assert found.markov.tolist() == [1, 0.5]


def test_a_network_that_is_dead_from_the_first_step_on() -> None:
    series = steps("dd", "dd")
    found = survival([series], count([series]))
    assert found.never_dead.tolist() == [0, 0]
    assert math.isnan(found.half_life)
    assert math.isnan(found.half_life_markov)
    assert found.life == {}
