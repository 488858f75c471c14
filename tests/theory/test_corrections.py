"""The prints of both papers that do not hold, and what does, counted with plain numpy: as the page on theory says."""

from __future__ import annotations

import numpy as np
import pytest

from nla.theory.bounds import bounds
from nla.theory.layers import Layer, alike

CIRCLE = np.linspace(0, 2 * np.pi, 240, endpoint=False)
PLANE = np.stack([np.cos(CIRCLE), np.sin(CIRCLE)])


def orthogonal(rng: np.random.Generator, many: int) -> np.ndarray:
    """[many, 2, 2], uniformly drawn."""
    q, r = np.linalg.qr(rng.standard_normal((many, 2, 2)))
    return q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]


def test_the_upper_bound_fails_for_orthogonal_layers_and_the_lower_one_holds():
    rng = np.random.default_rng(0)
    h, living = np.broadcast_to(PLANE, (2000, *PLANE.shape)), np.ones((2000, len(CIRCLE)), bool)
    for _ in range(2):
        z = orthogonal(rng, 2000) @ h
        living = living & (z > 1e-12).any(axis=1)
        h = np.maximum(z, 0)
    printed = bounds(alike(2, 2, bias=False))
    assert printed.upper is not None
    assert printed.upper.alive == 0.9375
    assert living.any(axis=1).all()
    assert living.mean() == pytest.approx(printed.lower.alive, abs=0.03)
    assert bounds(alike(2, 2, bias=False), orthogonal=True).upper is None


def test_lemma_5_7_lacks_half_the_mean_of_squares():
    """Width 6, second layer: E σ²(F) by the print is less than half of what is counted."""
    rng = np.random.default_rng(0)
    h = rng.standard_normal((800, 6, 600))
    for _ in range(2):
        z = rng.standard_normal((800, 6, 6)) / np.sqrt(6) @ h
        a = np.maximum(z, 0)
        h = a * np.sqrt(2)
    found, before = a.var(axis=2).sum(axis=1).mean(), z.var(axis=2).sum(axis=1).mean()
    mean, mean_before = (np.square(each.mean(axis=2)).sum(axis=1).mean() for each in (a, z))
    assert before / 2 - mean < 0.6 * found
    assert before / 2 + mean_before / 2 - mean == pytest.approx(found, rel=0.08)
    assert mean >= mean_before / 2 * 0.9  # so that at most half is left, as the lemma concludes
    assert found <= before / 2 * 1.05


def test_eq_17_for_two_orthogonal_points():
    weights = np.random.default_rng(0).standard_normal((40_000, 2, 2))
    alive = (weights > 0).any(axis=(1, 2)).mean()
    assert alive == pytest.approx(15 / 16, abs=0.005)
    assert abs(alive - 0.8436) > 0.08


def test_a_point_in_one_group_dies_by_that_group_alone():
    weights = np.random.default_rng(0).standard_normal(20_000)  # depthwise: one weight reads it
    died = (weights <= 0).mean()
    layer = Layer(4, 1, bias=False, groups=4)
    assert died == pytest.approx(2.0**layer.log2_death_at_most, abs=0.015)
    assert died > 2.0**-4 * 4


@pytest.mark.parametrize(("bias", "counted"), [(True, 365 / 20_000), (False, 0.0642)])
def test_the_exponent_of_the_convolution_is_that_of_its_parameters(bias, counted):
    """Two channels, 1×1, two layers: the print demands 1/16 with biases; the layer's parameters allow what happens."""
    layer = Layer.convolution(2, 2, (1, 1), bias=bias)
    both = bounds([layer, layer])
    assert both.upper is not None
    assert both.upper.dead <= counted
    assert 2.0 ** -(2 * (1 + 1)) > 365 / 20_000
