"""Transitions: counts against a plain loop, the matrix, Wilson's intervals against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nla.lifecycle.results import STATES
from nla.theory.intervals import wilson
from nla.tracking.transitions import count


def looped(states: np.ndarray) -> np.ndarray:
    """Transitions one by one."""
    counts = np.zeros((len(STATES), len(STATES)), int)
    for neuron in range(states.shape[1]):
        for step in range(len(states) - 1):
            counts[states[step, neuron], states[step + 1, neuron]] += 1
    return counts


@pytest.mark.parametrize("shape", [(2, 1), (3, 17), (13, 40), (2, 0)])
def test_transitions_are_counted_over_neurons_steps_and_sites(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    sites = [generator.integers(0, 8, shape).astype(np.int8) for _ in range(3)]
    found = count(sites)
    assert np.array_equal(found.counts, sum(looped(site) for site in sites))
    assert found.counts.sum() == 3 * (shape[0] - 1) * shape[1]


def test_rows_of_the_matrix_sum_to_one_and_a_row_without_counts_is_unknown() -> None:
    found = count([np.array([[0, 6, 6, 6], [0, 6, 0, 3]], np.int8)])
    matrix, (lower, upper) = found.matrix, found.bounds()
    seen = found.counts.sum(axis=1) > 0
    assert np.flatnonzero(seen).tolist() == [0, 6]
    assert np.allclose(matrix[seen].sum(axis=1), 1)
    assert matrix[6, [0, 3, 6]].tolist() == [1 / 3, 1 / 3, 1 / 3]
    for each in (matrix, lower, upper):
        assert np.isnan(each[~seen]).all()
        assert np.isfinite(each[seen]).all()
    assert (lower[seen] <= matrix[seen]).all()
    assert (matrix[seen] <= upper[seen]).all()


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 500), (3, 7), (4000, 5000), (500, 500)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_intervals_are_wilsons(k: int, n: int, confidence: float) -> None:
    expected = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    lower, upper = wilson(np.array([k]), np.array([float(n)]), confidence)
    assert float(lower[0]) == pytest.approx(expected.low, abs=1e-12)
    assert float(upper[0]) == pytest.approx(expected.high, abs=1e-12)


def test_intervals_without_a_trial_are_unknown() -> None:
    lower, upper = wilson(np.array([0]), np.array([0.0]))
    assert np.isnan(lower[0])
    assert np.isnan(upper[0])
