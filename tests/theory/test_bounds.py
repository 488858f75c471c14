"""The bounds of being born alive against exact rational arithmetic, the errata's values and plain Monte Carlo."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from nla.errors import UsageError
from nla.theory.bounds import bounds
from nla.theory.chances import Chance, surviving
from nla.theory.intervals import mean_interval, wilson
from nla.theory.layers import Layer, alike, stacked
from nla.theory.living import expected, guaranteed
from nla.theory.widths import width_for


def log2_of(number: Fraction) -> float:
    """log2 of a positive rational, however small."""
    top, bottom = number.numerator, number.denominator
    shift = top.bit_length() - bottom.bit_length()
    scaled = number / (Fraction(2) ** shift)
    return shift + math.log2(float(scaled))


@pytest.mark.parametrize("depth", [1, 2, 7, 100])
@pytest.mark.parametrize("width", [1, 2, 5, 16, 53, 54, 60, 300])
def test_both_bounds_are_those_of_exact_arithmetic(width, depth):
    for bias in (True, False):
        for non_negative in (True, False):
            found = bounds(alike(width, depth, bias=bias), non_negative=non_negative)
            lower = (1 - Fraction(1, 2**width)) ** depth
            counted = depth if non_negative else depth - 1
            upper = (1 - Fraction(1, 2 ** (width * width + bias * width))) ** counted if width < 60 else None
            for chance, exact in ((found.lower, lower), (found.upper, upper)):
                if exact is None:
                    continue
                assert chance.alive == pytest.approx(float(exact), rel=1e-12)
                if exact < 1:
                    assert chance.log2_dead == pytest.approx(log2_of(1 - exact), abs=1e-12, rel=1e-14)
                else:
                    assert chance == Chance(0.0, -math.inf)
                if exact > 0:
                    assert chance.log2_alive == pytest.approx(log2_of(exact), rel=1e-12, abs=1e-15)
                if chance.dead < 1e-20:
                    assert chance.log2_alive == pytest.approx(-chance.dead / math.log(2), rel=1e-12)


def test_death_is_known_where_float64_ends():
    assert bounds(alike(1000, 8)).lower.dead == pytest.approx(8 * 2.0**-1000, rel=1e-12)
    assert bounds(alike(32, 2)).upper.log2_dead == -(32 * 33)
    huge = bounds(alike(10**9, 10**12))
    assert huge.lower.log2_dead == pytest.approx(-(10**9) + math.log2(10**12))
    assert huge.upper.log2_dead == pytest.approx(-float(10**18 + 10**9), rel=1e-12)
    never = bounds(alike(1, 10**9)).lower
    assert never.alive == 0
    assert never.log2_alive == pytest.approx(-(10**9))
    assert never.dead == 1
    assert never.to_dict() == {"alive": 0.0, "dead": 1.0, "log2_alive": pytest.approx(-1e9), "log2_dead": 0.0}
    assert surviving([]).to_dict() == {"alive": 1.0, "dead": 0.0, "log2_alive": 0.0, "log2_dead": None}


def test_unequal_widths_multiply_layer_by_layer():
    found = bounds(stacked([3, 1, 2, 1], inputs=2), non_negative=True)
    lower = math.prod(1 - Fraction(1, 2**n) for n in (3, 1, 2, 1))
    parameters = [3 * (2 + 1), 1 * (3 + 1), 2 * (1 + 1), 1 * (2 + 1)]
    upper = math.prod(1 - Fraction(1, 2**n) for n in parameters)
    assert found.lower.alive == pytest.approx(float(lower), rel=1e-14)
    assert found.upper.alive == pytest.approx(float(upper), rel=1e-14)
    free = bounds(stacked([3, 1, 2, 1], inputs=2))
    assert free.upper.alive == pytest.approx(float(upper / (1 - Fraction(1, 2**9))), rel=1e-14)


@pytest.mark.parametrize(
    ("layer", "parameters", "most"),
    [
        (Layer.convolution(2, 2, (1, 1)), 6, 2),  # the print has 4: N(M² + 1)
        (Layer.convolution(3, 3, (1, 1), bias=False), 9, 3),
        (Layer.convolution(2, 2, (2, 2)), 18, 2),
        (Layer.convolution(2, 2, (2, 2), bias=False), 16, 2),
        (Layer.convolution(1, 1, (2, 2)), 5, 1),
        (Layer.convolution(4, 4, (3, 3), groups=4, bias=False), 36, 1),  # depthwise: 2^-(N/g) without bias
        (Layer.convolution(4, 4, (3, 3), groups=4), 40, 4),
        (Layer.convolution(8, 4, (3,), groups=2), 8 * 7, 8),
    ],
)
def test_a_convolution_counts_the_weights_of_all_its_input_channels(layer, parameters, most):
    assert layer.parameters == parameters
    assert layer.log2_death_at_least == -parameters
    assert layer.log2_death_at_most == -most


def test_the_corrected_convolution_holds_where_the_print_does_not():
    """N = 2, M = 1, k = 2 with bias: dead by plain Monte Carlo, against 2^-6 (corrected) and 2^-4 (printed)."""
    rng, dead, networks = np.random.default_rng(0), 0, 4000
    image = rng.standard_normal((networks, 2, 96)) / np.abs(rng.standard_normal((networks, 1, 96)))
    for _ in range(2):
        weights, bias = rng.standard_normal((networks, 2, 2)), rng.standard_normal((networks, 2, 1))
        image = weights @ image + bias
        silent = (image <= 0).all(axis=(1, 2))
        image = np.maximum(image, 0)
    dead = int(silent.sum())
    low, high = wilson(dead, networks)
    assert low > 2.0**-6
    assert high < 2.0**-4


@pytest.mark.parametrize(
    ("channels", "kernel", "size", "groups", "depth", "print_holds"),
    [
        ((2, 1), 2, 2, 1, 1, True),
        ((1, 1), 3, 4, 1, 2, True),
        ((2, 2), 3, 4, 2, 2, True),
        ((4, 4), 1, 3, 2, 2, False),
    ],
)
def test_convolutional_networks_die_between_the_corrected_bounds(
    channels, kernel, size, groups, depth, print_holds
):
    """Non-negative images, no biases, zeros around larger kernels: counted in slow windows."""
    inputs, outputs = channels
    networks, images = 2500, 10
    rng = np.random.default_rng(2)
    x = np.abs(rng.standard_normal((networks, images, inputs, size, size)))
    living = np.ones((networks, images), bool)
    pad = kernel // 2 if kernel % 2 else 0
    for layer in range(depth):
        read = (inputs if layer == 0 else outputs) // groups
        weights = rng.standard_normal((networks, groups, outputs // groups, read * kernel**2))
        padded = np.pad(x, [(0, 0)] * 3 + [(pad, pad)] * 2)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(3, 4))
        patches = windows.reshape(networks, images, groups, read, *windows.shape[3:])
        flat = patches.transpose(0, 2, 3, 6, 7, 1, 4, 5).reshape(networks, groups, read * kernel**2, -1)
        z = (weights @ flat).reshape(networks, outputs, images, *windows.shape[3:5]).swapaxes(1, 2)
        living &= (z > 0).any(axis=(2, 3, 4))
        x = np.maximum(z, 0)
    square = (kernel, kernel)
    first = Layer.convolution(outputs, inputs, square, groups=groups, bias=False)
    rest = Layer.convolution(outputs, outputs, square, groups=groups, bias=False)
    both = bounds([first, *[rest] * (depth - 1)], non_negative=True)
    assert both.upper is not None
    low, high = wilson((~living.any(axis=1)).sum(), networks, 0.999)
    assert high >= both.upper.dead
    assert low <= both.lower.dead
    printed = 1 - (1 - 2.0 ** -(outputs * kernel**2)) ** depth
    assert (high >= printed) == print_holds


def test_depthwise_without_bias_kills_a_point_of_one_group_with_one_half():
    weights = np.random.default_rng(1).standard_normal((20_000, 4))
    dead = np.mean((weights * np.array([1.0, 0, 0, 0]) <= 0).all(axis=1))
    assert dead == pytest.approx(2.0 ** Layer(4, 1, bias=False, groups=4).log2_death_at_most, abs=0.02)


def test_orthogonal_weights_break_the_upper_bound_and_keep_the_lower():
    rng, networks = np.random.default_rng(2), 2000
    weights = np.linalg.qr(rng.standard_normal((2 * networks, 2, 2)))[0]
    weights *= rng.choice([-1.0, 1.0], (2 * networks, 1, 2))
    angles = np.linspace(0, 2 * np.pi, 128, endpoint=False)
    h, living = np.stack([np.cos(angles), np.sin(angles)]), np.ones((networks, 128), bool)
    for layer in range(2):
        z = weights[layer::2] @ h
        living &= (z > 0).any(axis=1)
        h = np.maximum(z, 0)
    assert living.any(axis=1).all()
    assert living.mean() == pytest.approx(bounds(alike(2, 2, bias=False)).lower.alive, abs=0.02)
    assert bounds(alike(2, 2, bias=False)).upper.alive == 0.9375
    assert bounds(alike(2, 2, bias=False), orthogonal=True).upper is None


def test_non_negative_data_count_the_first_layer_too():
    """Widths 2-1-1-1 on the positive quadrant: .75, .375, .1875 against .748, .374, .187 in the study."""
    rng, networks = np.random.default_rng(3), 8000
    h = np.broadcast_to(np.array([[1.0, 0.0], [0.0, 1.0]]), (networks, 2, 2))  # the corners decide
    living = np.ones((networks, 2), bool)
    for depth, fan_in in enumerate((2, 1, 1), 1):
        z = rng.standard_normal((networks, 1, fan_in)) @ h
        living &= z[:, 0] > 0
        h = np.maximum(z, 0)
        layers = stacked([1] * depth, inputs=2, bias=False)
        assert living.any(axis=1).mean() == pytest.approx(
            bounds(layers, non_negative=True).upper.alive, abs=0.02
        )


def test_widths_at_exact_boundaries_and_one_side_of_them():
    for width in range(1, 40):
        for depth in (1, 3, 5, 100, 1000):
            exact = (1 - Fraction(1, 2**width)) ** depth
            if 0 < float(exact) < 1:
                assert width_for(float(exact), depth).enough == width
    found = width_for(1 - 1e-12, 10)
    assert found.exact == pytest.approx(43.18510, abs=5e-6)
    assert found.enough == 44


@pytest.mark.parametrize("probability", [1e-300, 0.1, 0.5, 0.99, 1 - 1e-9])
@pytest.mark.parametrize("depth", [1, 2, 10, 256, 10**9])
def test_the_width_is_the_least_that_the_bounds_allow(probability, depth):
    for bias in (True, False):
        found = width_for(probability, depth, bias=bias)
        slack = 1 - 1e-14
        assert bounds(alike(found.enough, depth)).lower.alive >= probability * slack
        if found.enough > 1:
            assert bounds(alike(found.enough - 1, depth)).lower.alive < probability
        assert bounds(alike(found.needed, depth, bias=bias)).upper.alive >= probability * slack
        if found.needed > 1:
            assert bounds(alike(found.needed - 1, depth, bias=bias)).upper.alive < probability


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: alike(0, 4),
        lambda: alike(4, 0),
        lambda: alike(4, 2.5),  # type: ignore[arg-type]
        lambda: alike(True, 4),
        lambda: stacked([]),
        lambda: stacked([4, 0]),
        lambda: stacked([4], inputs=0),
        lambda: alike(10**13, 1),
        lambda: Layer(4, 4, groups=3),
        lambda: Layer.convolution(4, 3, (3, 3), groups=2),
        lambda: Layer.convolution(4, 3, (0, 3)),
        lambda: width_for(0.0, 3),
        lambda: width_for(1.0, 3),
        lambda: width_for(math.nan, 3),
        lambda: width_for(0.5, 0),
        lambda: guaranteed(0, 3),
        lambda: guaranteed(3, 0),
    ],
)
def test_sizes_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError, match=r"expected|cannot stand"):
        wrong()


def test_sign_flips_keep_nested_ceilings():
    for points in (1, 7, 1000, 1024):
        left = points
        for depth in range(1, 80):
            left = -(-left // 2)
            assert guaranteed(points, depth) == left
    assert guaranteed(10**12, 10**12) == 1
    assert expected(alike(8, 256)).alive == pytest.approx((1 - 2.0**-8) ** 256)


def test_wilsons_interval_is_where_the_score_test_turns():
    for trials in (1, 20, 1024):
        counts = np.unique(np.linspace(0, trials, 7).astype(int))
        low, high = wilson(counts, trials)
        for count, ends in zip(counts, zip(low, high, strict=True), strict=True):
            for end in ends:
                if 0 < end < 1:
                    score = (count / trials - end) / math.sqrt(end * (1 - end) / trials)
                    assert abs(score) == pytest.approx(1.959964, abs=1e-5)
        assert (low <= counts / trials).all()
        assert (counts / trials <= high).all()
    shares = np.random.default_rng(0).random(400)
    low, high = mean_interval(shares.sum(), (shares**2).sum(), 400)
    half = 1.959964 * shares.std(ddof=1) / 20
    assert [low, high] == pytest.approx([shares.mean() - half, shares.mean() + half], abs=1e-9)
