"""The likelihood-ratio tests, against SciPy's and against series that were drawn to keep or break the assumption."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nla.tracking.assumptions import assumptions, g_test


def chain(matrices: list[np.ndarray], neurons: int, seed: int = 0) -> np.ndarray:
    """int8 [steps, neurons] drawn from a Markov chain, one matrix for each interval."""
    generator = np.random.default_rng(seed)
    size = len(matrices[0])
    states = [generator.integers(0, size, neurons)]
    for matrix in matrices:
        states.append(np.array([generator.choice(size, p=matrix[state]) for state in states[-1]]))
    return np.array(states, np.int8)


MIXING = np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.1, 0.3, 0.6]])
OTHER = np.array([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.1, 0.3, 0.6]])


@pytest.mark.parametrize("shape", [(2, 3), (4, 4), (2, 8)])
def test_g_of_one_table_is_scipys(shape: tuple[int, int]) -> None:
    table = np.random.default_rng(1).integers(1, 50, shape)
    expected = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    found = g_test(table[None])
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.degrees == expected.dof
    assert found.p_value == pytest.approx(expected.pvalue)


def test_tables_add_up_and_rows_and_columns_without_counts_take_no_part() -> None:
    small, large = np.array([[3, 5], [8, 1]]), np.array([[20, 2, 9], [4, 30, 1], [0, 0, 0]])
    padded = np.zeros((2, 3, 3), int)
    padded[0, :2, :2], padded[1] = small, large
    apart = [
        stats.chi2_contingency(t, correction=False, lambda_="log-likelihood") for t in (small, large[:2])
    ]
    found = g_test(padded)
    assert found.statistic == pytest.approx(sum(each.statistic for each in apart))
    assert found.degrees == sum(each.dof for each in apart)
    assert found.p_value == pytest.approx(stats.chi2.sf(found.statistic, found.degrees))


def test_a_chain_of_one_matrix_is_found_to_be_one() -> None:
    found = assumptions([chain([MIXING] * 6, 400)])
    assert found is not None
    assert found.same_throughout.p_value > 0.01
    assert found.memoryless.p_value > 0.01
    assert found.same_throughout.degrees == 3 * 1 * 2
    assert found.memoryless.degrees == 3 * 2 * 2


def test_a_matrix_that_changes_on_the_way_is_seen() -> None:
    found = assumptions([chain([MIXING] * 3 + [OTHER] * 3, 400)])
    assert found is not None
    assert found.split == 3
    assert found.same_throughout.p_value < 1e-6


def test_a_chain_that_remembers_is_seen() -> None:
    generator = np.random.default_rng(2)
    states = [generator.integers(0, 2, 500), generator.integers(0, 2, 500)]
    for _ in range(5):  # the state before the last comes back
        states.append(np.where(generator.random(500) < 0.8, states[-2], 1 - states[-2]))
    found = assumptions([np.array(states, np.int8)])
    assert found is not None
    assert found.memoryless.p_value < 1e-12
    assert found.same_throughout.p_value > 1e-3


def test_every_interval_is_in_one_half() -> None:
    states = [chain([MIXING] * 4, 20, seed) for seed in (3, 4)]
    found = assumptions(states)
    assert found is not None
    assert found.first.counts.sum() == found.second.counts.sum() == 2 * 2 * 20


def test_two_steps_are_too_few_to_test_anything() -> None:
    assert assumptions([np.zeros((2, 3), np.int8)]) is None


def test_a_series_in_which_nothing_happens_leaves_nothing_to_test() -> None:
    found = assumptions([np.full((4, 5), 6, np.int8)])
    assert found is not None
    assert (found.same_throughout.degrees, found.same_throughout.p_value) == (0, 1.0)
