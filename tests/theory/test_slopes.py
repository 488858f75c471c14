"""Slopes, gains and the bound of eq. 4 against the figures of the errata and against plain networks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from nla.activations import Activation
from nla.theory.gradient import log10_bounds
from nla.theory.slopes import backward_gain, forward_gain, largest_slope


@pytest.mark.parametrize(
    ("name", "slope"),
    [
        ("Relu", 1),
        ("LeakyRelu", 1),
        ("Elu", 1),
        ("Tanh", 1),
        ("Softplus", 1),
        ("Sigmoid", 0.25),
        ("Gelu", 1.12890),
        ("Swish", 1.09984),
    ],
)
def test_the_steepest_slopes_are_those_of_the_errata(name, slope):
    assert largest_slope(Activation.named(name)) == pytest.approx(slope, abs=5e-6)


def test_a_parametric_slope_above_1_counts():
    assert largest_slope(Activation.named("PRelu", slope_min=-0.5, slope_max=3.0)) == 3
    assert largest_slope(Activation.named("LeakyRelu", alpha=-2.0)) == 2
    assert largest_slope(Activation.named("Clip", min=20.0, max=30.0)) == 1  # far from where one looks first
    assert largest_slope(Activation.named("Clip", min=0.001, max=0.002)) == 1
    assert largest_slope(Activation.named("HardSigmoid", alpha=0.001, beta=-1.0)) == 0.001
    assert largest_slope(Activation.named("Swish", alpha=0.001)) == largest_slope(Activation.named("Swish"))
    assert largest_slope(Activation.named("HardSwish")) == 1.5
    assert largest_slope(Activation.named("SwiGLU")) is None


@pytest.mark.parametrize(
    ("name", "forward", "backward"),
    [
        ("Relu", 1.4142, 1.4142),
        ("Elu", 1.2452, 1.2234),
        ("Gelu", 1.5335, 1.4811),
        ("Swish", 1.6765, 1.6233),
        ("Tanh", 1.5925, 1.4674),
        ("Sigmoid", 1.8462, 4.7226),
    ],
)
def test_the_gains_are_those_of_the_errata(name, forward, backward):
    assert forward_gain(Activation.named(name)) == pytest.approx(forward, abs=6e-5)
    assert backward_gain(Activation.named(name)) == pytest.approx(backward, abs=6e-5)


def test_the_bound_holds_on_random_networks_and_products_do_not_overflow():
    rng = np.random.default_rng(0)
    phi = Activation.named("Gelu")
    for _ in range(50):
        widths = rng.integers(1, 9, 5)
        weights = [rng.standard_normal((after, before)) for before, after in itertools.pairwise(widths)]
        z = [rng.standard_normal(n) * 2 for n in widths]
        jacobian = np.eye(widths[0])
        for k, weight in enumerate(weights):
            jacobian = weight @ np.diag(phi.derivative(z[k])) @ jacobian
        factors = [float(largest_slope(phi)) * np.linalg.norm(w, 2) for w in weights]
        assert np.log10(np.linalg.norm(jacobian, 2)) <= log10_bounds(factors)[0] + 1e-9
    assert log10_bounds([1e200] * 10)[0] == pytest.approx(2000)
    assert log10_bounds([2.0, 0.0, 5.0]) == (-math.inf, -math.inf, pytest.approx(math.log10(5)))
