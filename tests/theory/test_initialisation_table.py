"""Table 2 as numbers, and what tells of a checkpoint's layers that they are as they were drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nla.errors import UsageError
from nla.theory.initialisation import SCHEMES, Fans
from nla.theory.initialisation_table import gains, schemes_for

BY_NAME = {scheme.name: scheme for scheme in SCHEMES}


def test_gains_of_a_square_layer_and_of_another():
    square = {row.name: row for row in schemes_for(256, 256)}
    gain = {name: row.gain for name, row in square.items()}
    assert gain["he-normal"] == gain["he-uniform"] == pytest.approx(math.sqrt(2))
    assert gain["glorot-normal"] == gain["lecun-truncated"] == gain["orthogonal"] == pytest.approx(1)
    assert gain["torch-default"] == pytest.approx(1 / math.sqrt(3))
    assert square["torch-default"].bound == pytest.approx(1 / 16)
    assert square["glorot-uniform"].bound == pytest.approx(math.sqrt(6 / 512))
    assert square["he-truncated"].bound == pytest.approx(2 * math.sqrt(2 / 256) / 0.87962566)
    assert square["he-normal"].bound is None
    other = {row.name: row for row in schemes_for(784, 128)}
    assert other["glorot-normal"].gain == pytest.approx(math.sqrt(2 * 784 / 912))
    assert other["he-fan-out"].variance == 2 / 128


def test_gains_of_activations():
    found = {row.activation: (round(row.forward, 4), round(row.backward, 4)) for row in gains()}
    assert found["Relu"] == (1.4142, 1.4142)
    assert found["Elu"] == (1.2452, 1.2234)
    assert found["Gelu"] == (1.5335, 1.4811)
    assert found["Swish"] == (1.6765, 1.6233)
    assert found["Tanh"] == (1.5925, 1.4674)
    assert found["Sigmoid"] == (1.8462, 4.7226)


@pytest.mark.parametrize("fans", [(0, 4), (4, 0), (10**13, 4), (2.5, 4), (True, 4)])
def test_sizes_that_are_none_are_refused(fans):
    with pytest.raises(UsageError):
        schemes_for(*fans)


@pytest.mark.parametrize("name", ["torch-default", "he-uniform", "he-truncated"])
def test_99_in_100_fresh_draws_fill_their_range_and_moved_weights_do_not(name):
    rng, fans, scheme = np.random.default_rng(0), Fans(64, 64, 64, 64), BY_NAME[name]
    weights, std = 4096, BY_NAME[name].std(Fans(64, 64, 64, 64))
    filled = 0
    for _ in range(300):
        if scheme.family == "uniform":
            drawn = rng.uniform(-1, 1, weights) * std * math.sqrt(3)
        else:
            drawn = rng.standard_normal(2 * weights)
            drawn = drawn[np.abs(drawn) <= 2][:weights] * std / 0.87962566
        filled += scheme.filled(float(np.abs(drawn).max()), weights, fans)
    assert filled >= 291
    moved = drawn + rng.standard_normal(weights) * 0.02 * std
    assert not scheme.filled(float(np.abs(moved).max()), weights, fans)
    assert not scheme.filled(float(np.abs(drawn).max()) * 0.97, weights, fans)
    assert not scheme.filled(scheme.bound(fans), 100, fans)
    assert not BY_NAME["he-normal"].filled(3 * std, weights, fans)
