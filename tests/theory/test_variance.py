"""How sizes propagate, against closed forms, the errata's figures and drawn networks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nla.activations import Activation
from nla.errors import UsageError
from nla.theory.initialisation import SCHEMES, Fans
from nla.theory.simulation.sizes import drawn, sizes
from nla.theory.variance import correlation, moments, propagated

RELU = Activation.named("Relu")


def test_he_and_relu_keep_the_mean_square_at_2_and_lose_variance_over_the_data():
    found = propagated("he-normal", RELU, 512, 12)
    assert found.mean_square == pytest.approx(np.full(12, 2.0), rel=1e-4)
    assert found.over_data[:5] == pytest.approx([2, 1.363, 1.013, 0.790, 0.638], abs=6e-4)
    assert found.as_printed[1:] / found.as_printed[:-1] == pytest.approx(
        np.full(11, 1 - 1 / math.pi), rel=1e-3
    )
    assert propagated("glorot-normal", RELU, 64, 4).mean_square == pytest.approx(
        [1, 0.5, 0.25, 0.125], rel=1e-3
    )
    torch = propagated("torch-default", RELU, 64, 3).mean_square
    assert torch == pytest.approx([1 / 3, 1 / 18, 1 / 108], rel=1e-3)


@pytest.mark.parametrize("alike", [0.0, 0.2, 0.7, 0.99, 1.0])
def test_the_correlation_of_relu_is_the_arc_cosine_kernel(alike):
    exact = (math.sqrt(1 - alike**2) + alike * (math.pi - math.acos(alike))) / math.pi
    for variance in (1e-6, 1.0, 50.0):
        assert correlation(RELU, variance, alike) == pytest.approx(exact, abs=2e-4)


@pytest.mark.parametrize("name", ["Gelu", "Tanh", "Sigmoid", "LeakyRelu"])
def test_moments_are_those_of_a_large_sample(name):
    activation, rng = Activation.named(name), np.random.default_rng(0)
    sample = activation.value(1.5 * rng.standard_normal(60_000))
    mean, square = moments(activation, 1.5**2)
    assert mean == pytest.approx(sample.mean(), abs=0.03)
    assert square == pytest.approx(np.mean(sample**2), rel=0.03)


def test_predictions_hold_for_drawn_networks():
    for name in ("Relu", "Tanh"):
        found = sizes(["he-normal", "lecun-normal"], Activation.named(name), 128, 5, networks=8, points=64)
        for each in found.schemes:
            columns = {key: np.array(values) for key, values in each.columns().items()}
            for key in ("mean_square", "over_data"):
                wide = 4 * columns[f"{key}_error"] + 0.12 * columns[key]
                assert (np.abs(columns[f"{key}_measured"] - columns[key]) < wide).all()
    again = sizes(["he-normal"], RELU, 32, 3, networks=2, points=8)
    assert again.to_dict() == sizes(["he-normal"], RELU, 32, 3, networks=2, points=8).to_dict()
    assert len(again.rows()) == 3


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_drawn_weights_have_the_variance_of_their_scheme(scheme):
    width = 96
    weights = np.stack([drawn(scheme, width, np.random.default_rng(seed)) for seed in range(4)])
    std = scheme.std(Fans(width, width, width, width))
    assert weights.std() == pytest.approx(std, rel=0.03)
    if scheme.family == "orthogonal":
        product = weights[0] @ weights[0].T
        assert product == pytest.approx(np.eye(width) * std**2 * width, abs=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: propagated("he", RELU, 4, 4),
        lambda: propagated("he-normal", RELU, 0, 4),
        lambda: propagated("he-normal", RELU, 4, 0),
        lambda: propagated("he-normal", RELU, 4, 10**6),
        lambda: propagated("he-normal", Activation.named("SwiGLU"), 4, 4),
        lambda: sizes((), RELU, 4, 4, networks=-1),
        lambda: sizes((), RELU, 4, 4, points=0),
        lambda: sizes((), RELU, 10**6, 4),
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(UsageError):
        wrong()
