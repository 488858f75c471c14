"""Effective rank against singular values from SciPy, and its edges; sparseness against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import svdvals
from scipy.stats import entropy

from nla.errors import UsageError
from nla.statistics.effective_rank import effective_capacity, effective_rank, rank_of_gram, rank_of_rows
from nla.statistics.gram import MOST_NEURONS, Gram
from nla.statistics.sample_moments import lifetime_sparseness


def _oracle(matrix):
    values = svdvals(matrix)
    return float(np.exp(entropy(values / values.sum())))


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30))
@settings(deadline=None)
def test_rows_give_the_rank_of_their_singular_values(seed, rows, columns):
    matrix = np.maximum(np.random.default_rng(seed).normal(size=(rows, columns)), 0)
    matrix[0, 0] = 1.0
    rank, counted = rank_of_rows(matrix)
    assert counted == rows
    assert rank == pytest.approx(_oracle(matrix), rel=1e-4)
    assert rank_of_gram(matrix.T @ matrix) == pytest.approx(rank, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-300, 1e-20, 1.0, 1e20, 1e300])
def test_scale_does_not_matter(scale):
    matrix = np.random.default_rng(1).normal(size=(40, 7))
    assert rank_of_rows(matrix * scale)[0] == pytest.approx(rank_of_rows(matrix)[0])
    assert effective_rank(svdvals(matrix) * scale) == pytest.approx(_oracle(matrix))


@pytest.mark.parametrize(
    ("matrix", "rank"),
    [
        (np.eye(8), 8),
        (np.diag([3.0, 1.0]), 1.75477),
        (np.ones((5, 3)), 1),
        (np.zeros((5, 3)), 0),
        (np.full((1, 1), 2.0), 1),
        (np.diag([1.0] * 4 + [0.0] * 4), 4),
    ],
)
def test_known_ranks(matrix, rank):
    assert rank_of_rows(matrix)[0] == pytest.approx(rank, abs=1e-5)
    assert rank_of_gram(matrix.T @ matrix) == pytest.approx(rank, abs=1e-5)


def test_the_matrix_is_not_centred():
    matrix = 100 + np.random.default_rng(2).normal(size=(300, 10))
    assert rank_of_rows(matrix)[0] < 2 < rank_of_rows(matrix - matrix.mean(axis=0))[0]


def test_rows_that_are_not_finite_are_left_out():
    matrix = np.array([[1.0, 0.0], [np.nan, 5.0], [0.0, 1.0], [np.inf, 0.0]])
    assert rank_of_rows(matrix) == (pytest.approx(2.0), 2)
    nothing, rows = rank_of_rows(np.full((2, 2), np.nan))
    assert np.isnan(nothing)
    assert rows == 0


def test_half_dead_network_has_half_the_rank_and_a_quarter_of_the_printed_capacity():
    rank = rank_of_rows(np.diag([1.0] * 4 + [0.0] * 4))[0]
    assert effective_capacity(rank, 0.5) == pytest.approx(2.0)


def test_a_gram_matrix_of_too_many_neurons_is_refused():
    with pytest.raises(UsageError, match="4097 neurons, at most 4096"):
        Gram(MOST_NEURONS + 1)


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=20))
def test_sparseness_is_that_of_vinje_and_gallant(responses):
    r = np.array(responses)
    got = float(lifetime_sparseness(len(r), r.sum(), (r**2).sum()))
    if not (r**2).sum() > 0:
        assert np.isnan(got)
        return
    n = len(r)
    want = (1 - (r.sum() / n) ** 2 / ((r**2).sum() / n)) / (1 - 1 / n)
    assert got == pytest.approx(want, abs=1e-6)
    assert 0 <= got <= 1


def test_the_sparseness_of_tiny_responses_does_not_underflow():
    assert lifetime_sparseness(2, 1e-150, 1e-300) == pytest.approx(1.0)
