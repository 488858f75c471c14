"""Initialisation schemes against SciPy's distributions and against draws that others' formulas make."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from nla.theory.initialisation import SCHEMES, Fans, ks_distance, likenesses, nearest, normal_cdf, power

BY_NAME = {scheme.name: scheme for scheme in SCHEMES}
LAYER = Fans(160, 120, 120, 160)


def drawn(name: str, rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """[rows, columns] float32, drawn as PyTorch, Keras and SciPy have it; written without the table under test."""
    shape = (rows, columns)
    spread = {
        "he": math.sqrt(2 / columns),
        "glorot": math.sqrt(2 / (rows + columns)),
        "lecun": math.sqrt(1 / columns),
    }
    family, _, kind = name.partition("-")
    if name == "torch-default":
        return rng.uniform(-1 / math.sqrt(columns), 1 / math.sqrt(columns), shape).astype(np.float32)
    if name == "normal-0.02":
        return (0.02 * rng.standard_normal(shape)).astype(np.float32)
    if name == "he-fan-out":
        return (math.sqrt(2 / rows) * rng.standard_normal(shape)).astype(np.float32)
    if family == "orthogonal":
        gain = math.sqrt(2) if kind else 1.0
        return (gain * stats.ortho_group.rvs(columns, random_state=rng)[:rows]).astype(np.float32)
    std = spread[family]
    if kind == "normal":
        made = std * rng.standard_normal(shape)
    elif kind == "uniform":
        made = rng.uniform(-math.sqrt(3) * std, math.sqrt(3) * std, shape)
    else:
        wide = std / stats.truncnorm.std(-2, 2)
        made = stats.truncnorm.rvs(-2, 2, scale=wide, size=shape, random_state=rng)
    return made.astype(np.float32)


@pytest.mark.parametrize("name", BY_NAME)
def test_weights_fresh_from_a_scheme_are_nearest_to_it(name):
    rng = np.random.default_rng(11)
    weights = drawn(name, rng, 120, 160).astype(np.float64)
    singular = np.linalg.svd(weights, compute_uv=False)
    found = likenesses(weights, LAYER, float(singular[0] / np.sqrt(np.mean(singular**2))))
    told = power(weights.size)
    assert name in nearest(found, told)
    mine = next(one for one in found if one.scheme == name)
    assert not mine.rejected
    assert mine.distance <= told.critical
    assert mine.std_ratio == pytest.approx(1, abs=0.03)


def test_trained_weights_are_like_no_scheme():
    rng = np.random.default_rng(3)
    weights = rng.standard_t(3, (120, 160)) * 0.3
    found = likenesses(weights, LAYER)
    assert all(one.rejected for one in found)


def test_a_few_large_weights_betray_themselves_by_the_standard_deviation():
    weights = 0.02 * np.random.default_rng(4).standard_normal(400)
    weights[:3] = 5  # no distribution function of so few weights shows them
    first = next(one for one in likenesses(weights, LAYER) if one.scheme == "normal-0.02")
    assert first.distance < power(400).critical
    assert first.rejected


@pytest.mark.parametrize("name", BY_NAME)
def test_the_distribution_functions_are_scipys(name):
    scheme, std = BY_NAME[name], BY_NAME[name].std(LAYER)
    x = np.linspace(-5, 5, 2001) * std
    size = max(LAYER.rows, LAYER.columns)
    expected = {
        "normal": stats.norm(scale=std).cdf(x),
        "uniform": stats.uniform(-math.sqrt(3) * std, 2 * math.sqrt(3) * std).cdf(x),
        "truncated": stats.truncnorm(-2, 2, scale=std / stats.truncnorm.std(-2, 2)).cdf(x),
        # a coordinate of a point on the sphere: its square is beta distributed
        "orthogonal": 0.5
        + 0.5
        * np.sign(x)
        * stats.beta(0.5, (size - 1) / 2).cdf(np.minimum((x / (std * math.sqrt(size))) ** 2, 1)),
    }[scheme.family]
    assert np.abs(scheme.cdf(x, LAYER) - expected).max() < 2e-6


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_small_orthogonal_matrices_have_the_law_of_a_coordinate_on_a_small_sphere(size):
    scheme = BY_NAME["orthogonal"]
    x = np.linspace(-0.99, 0.99, 101)
    beta = stats.beta(0.5, (size - 1) / 2).cdf(x**2) if size > 1 else np.zeros_like(x)
    expected = 0.5 + 0.5 * np.sign(x) * beta
    assert np.abs(scheme.cdf(x, Fans(size, size, size, size)) - expected).max() < 2e-3


def test_variances_are_those_of_table_2_and_gains_those_of_the_errata():
    wide, square = Fans(100, 300, 300, 100), Fans(100, 100, 100, 100)
    assert BY_NAME["he-normal"].variance(wide) == 2 / 100
    assert BY_NAME["glorot-uniform"].variance(wide) == 2 / 400
    assert BY_NAME["lecun-normal"].variance(wide) == 1 / 100
    assert BY_NAME["torch-default"].variance(wide) == pytest.approx(1 / 300)
    assert BY_NAME["he-normal"].gain(wide) == pytest.approx(math.sqrt(2))
    assert BY_NAME["lecun-normal"].gain(wide) == pytest.approx(1)
    assert BY_NAME["glorot-normal"].gain(square) == pytest.approx(1)  # not 1/√2, as Table 2 prints
    assert BY_NAME["glorot-normal"].gain(wide) == pytest.approx(math.sqrt(200 / 400))


def test_the_distance_is_that_of_kolmogorov_and_smirnov():
    rng = np.random.default_rng(0)
    sample = np.sort(rng.standard_normal(500) * 1.2)
    assert ks_distance(sample, stats.norm.cdf(sample)) == pytest.approx(
        stats.kstest(sample, "norm").statistic
    )


def test_the_power_is_what_draws_show():
    told, many, steps = power(500), 6000, np.arange(501) / 500
    drawn = np.sort(np.random.default_rng(1).standard_normal((many, 500)), axis=1)
    cdf = stats.norm.cdf(drawn)
    over = np.maximum(steps[1:] - cdf, cdf - steps[:-1]).max(axis=1) > told.critical
    off = np.abs(np.sqrt(np.mean(drawn**2, axis=1)) - 1) > told.detectable
    assert 0.002 < np.mean(over) < 0.008  # 0.5 % of independent draws each
    assert 0.002 < np.mean(off) < 0.008
    assert np.mean(over | off) < 0.0125  # 1 % together; 1.9 % were each at 1 %


def test_all_zero_weights_have_no_size():
    found = likenesses(np.zeros(100), LAYER)
    assert all(one.std_ratio == 0 and one.distance >= 0.5 for one in found)


def test_the_normal_distribution_is_right_to_a_millionth():
    z = np.linspace(-12, 12, 9999)
    assert np.abs(normal_cdf(z) - stats.norm.cdf(z)).max() < 1e-6
