"""Special functions against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from nla.lifecycle.special import binomial_upper_bound, chi_square_survival, joint_upper_bound


def test_chi_square_survival_equals_scipys() -> None:
    random = np.random.default_rng(0)
    statistic, degrees = 10 ** random.uniform(-3, 4, 4000), random.integers(1, 8000, 4000)
    expected = stats.chi2.sf(statistic, degrees)
    np.testing.assert_allclose(chi_square_survival(statistic, degrees), expected, rtol=1e-10, atol=1e-12)


def test_chi_square_survival_keeps_its_digits_in_the_tail() -> None:
    statistic = np.array([50.0, 200.0, 700.0])
    np.testing.assert_allclose(chi_square_survival(statistic, 9), stats.chi2.sf(statistic, 9), rtol=1e-11)


def test_chi_square_survival_at_its_borders() -> None:
    np.testing.assert_array_equal(chi_square_survival([0.0, 0.0, 5.0, 1e6], [3, 0, 0, 1]), [1, 1, 1, 0])


@given(trials=st.integers(1, 3000), share=st.floats(0, 1), alpha=st.sampled_from([0.001, 0.05, 0.5, 0.95]))
def test_binomial_bound_equals_scipys(trials: int, share: float, alpha: float) -> None:
    successes = round(share * trials)
    expected = (
        1.0 if successes == trials else special.betaincinv(successes + 1, trials - successes, 1 - alpha)
    )
    assert binomial_upper_bound(successes, trials, alpha) == pytest.approx(expected, rel=1e-9)


def test_binomial_bound_of_many_neurons_equals_one_by_one() -> None:
    successes = np.array([[0, 1, 5], [99, 100, 5]])
    many = binomial_upper_bound(successes, 100, 0.05)
    assert many.shape == (2, 3)
    for index, k in np.ndenumerate(successes):
        assert many[index] == pytest.approx(float(binomial_upper_bound(k, 100, 0.05)), rel=1e-10)


def test_binomial_bound_of_large_samples() -> None:
    successes = np.array([1, 17, 300_000, 999_999])
    expected = special.betaincinv(successes + 1, 1_000_000 - successes, 0.95)
    np.testing.assert_allclose(binomial_upper_bound(successes, 1_000_000, 0.05), expected, rtol=1e-9)


@pytest.mark.parametrize("samples", [1, 10, 10_000])
def test_nothing_seen_in_n_samples_bounds_the_rate(samples: int) -> None:
    """Rule of three: 1 - 0.05^(1/n), about 3/n."""
    assert binomial_upper_bound(0, samples, 0.05) == pytest.approx(1 - 0.05 ** (1 / samples), rel=1e-12)
    assert joint_upper_bound(1, samples, 0.05) == pytest.approx(1 - 0.05 ** (1 / samples), rel=1e-12)


def test_joint_bound_is_bonferronis() -> None:
    """1,000 images and 1,280 neurons: 0.30 % each, 1.0 % jointly."""
    assert round(joint_upper_bound(1, 1000, 0.05), 4) == 0.0030
    assert round(joint_upper_bound(1280, 1000, 0.05), 3) == 0.010
    rate = joint_upper_bound(1280, 1000, 0.05)
    assert 1280 * (1 - rate) ** 1000 == pytest.approx(0.05)
