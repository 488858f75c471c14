"""No method's bound is ever below what an input of the domain reaches, in exact arithmetic or in float32."""

from __future__ import annotations

import numpy as np
import pytest
from certified_networks import ACTIVATIONS, WINDOWS, around, climbed, dense, in_single, inside, joined, planes

from nla.certificates import backward, slopes
from nla.certificates.interval import ranges
from nla.certificates.proving import prove
from nla.certificates.rounding import SINGLE, slack
from nla.certificates.sets import Box

SHAPES = {
    "dense": lambda rng, activation: dense(rng, activation, (4, 6, 6, 5)),
    "joined": joined,
    **{name: lambda rng, activation, name=name: planes(rng, activation, *WINDOWS[name]) for name in WINDOWS},
}


def bounds(network, domains):
    """By tensor, boxes by interval and by backward bounds; and the upper ends that slopes give."""
    plain = ranges(network, domains)
    tensors = [op.output for op in network.ops]
    sharp = backward.tighten(network, plain, tensors)
    last = tensors[-1]
    unit = backward.units(np.arange(int(np.prod(network.shapes[last]))), network.shapes[last])
    best = slopes.upper(network, sharp, last, unit, rounds=8, enough=-np.inf)
    return plain.boxes, sharp.boxes, best


def held(box, values):
    return bool((values <= box.hi).all() and (values >= box.lo).all())


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_bounds_hold_what_inputs_reach(kind, activation):
    rng = np.random.default_rng([len(kind), len(activation.name)])
    network = SHAPES[kind](rng, activation)
    box = around(rng, network.inputs["x"])
    plain, sharp, best = bounds(network, {"x": box})
    points = inside(rng, box, 400)
    points = np.concatenate([points, climbed(network, network.targets[-1].pre, box, points)])
    tensors = [op.output for op in network.ops]
    exact = network.forward({"x": points}, tensors)
    rounded = in_single(network, {"x": points[::4]}, tensors, rng)
    for values in (exact, rounded):
        for name in tensors:
            assert held(plain[name], values[name])
            assert held(sharp[name], values[name])
        assert (values[tensors[-1]].reshape(-1, len(best)) <= best).all()


@pytest.mark.parametrize("size", [10, 300, 3000])
def test_slack_covers_float32_sums_that_cancel_in_any_order(size):
    rng = np.random.default_rng(size)
    network = dense(rng, ACTIVATIONS["Relu"], (size, 3))
    box = around(rng, (size,), 0.0)  # a point: all that the bound can differ by is rounding
    plain = ranges(network, {"x": box}).boxes["z0"]
    exact = network.forward({"x": box.lo[None]}, ["z0"])["z0"][0]
    reached = [in_single(network, {"x": box.lo[None]}, ["z0"], rng)["z0"][0] for _ in range(60)]
    assert (np.max(reached, axis=0) <= plain.hi).all()
    assert (np.min(reached, axis=0) >= plain.lo).all()
    assert (np.max(reached, axis=0) > exact).any()  # without slack the bound would be wrong
    terms = np.abs(network.ops[0].weight) @ np.abs(box.lo) + np.abs(network.ops[0].bias)
    assert (plain.hi - exact <= 1.01 * slack(size + 1, SINGLE) * terms + 1e-30).all()


def test_a_bound_is_no_further_from_the_truth_than_the_cheaper_ones():
    rng = np.random.default_rng(5)
    order = ("interval", "linear", "slopes")
    for activation in ("Relu", "Clip", "LeakyRelu", "Gelu"):
        network = dense(rng, ACTIVATIONS[activation], (5, 8, 8, 6), bias=0.8)
        domains = {"x": around(rng, (5,))}
        found = [prove(network, domains, {"site": range(6)}, order[: k + 1])["site"].upper for k in range(3)]
        assert (found[1] <= found[0]).all()
        assert (found[2] <= found[1]).all()
        assert found[2].sum() < found[0].sum()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_behind_weights_that_are_not_finite_nothing_is_proved(value):
    """A sigmoid of NaN is NaN, and lies in no range."""
    network = dense(np.random.default_rng(3), ACTIVATIONS["Sigmoid"], (3, 4, 4, 2), bias=0.0)
    network.ops[-1].bias[:] = -100.0
    box = {"x": Box(np.full(3, -1.0), np.ones(3))}
    methods = ("interval", "linear", "slopes", "lp")
    assert prove(network, box, {"site": [0, 1]}, methods)["site"].certified.all()
    network.ops[0].weight[1, 2] = value
    found = prove(network, box, {"site": [0, 1]}, methods)["site"]
    assert np.isposinf(found.upper).all()
