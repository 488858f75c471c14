"""Softmax and products of two tensors that vary: bounds hold what inputs reach, and are no wider than they must be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from certified_networks import ACTIVATIONS, around, attention, climbed, in_single, inside, single

from nla.certificates import backward
from nla.certificates.gradients import by_inputs
from nla.certificates.interval import ranges
from nla.certificates.network import Network
from nla.certificates.ops import products
from nla.certificates.ops.joining import Sum
from nla.certificates.ops.linear import Dense, Gathering
from nla.certificates.ops.products import InnerProducts
from nla.certificates.ops.softmax import Softmax, fullest, strays
from nla.certificates.rounding import HALF, SINGLE
from nla.certificates.sets import Box, anywhere


def _softmax(z):
    raised = np.exp(z - z.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def _held(network, box, rows=40):
    """Assert that box and backward bounds of y hold what points of a box of x reach; A, A·y, its bounds, ranges."""
    rng = np.random.default_rng(0)
    known = ranges(network, {"x": box})
    x = inside(rng, box, 2000)
    A = rng.normal(size=(rows, *network.shapes["y"])) * (rng.random((rows, *network.shapes["y"])) < 0.7)
    middle = np.broadcast_to((box.lo + box.hi) / 2, (rows, *box.shape))
    values = {"x": middle, **network.forward({"x": middle}, [op.output for op in network.ops])}
    steepest = np.where(by_inputs(network, values, "y", A)["x"] > 0, box.hi, box.lo)
    x = np.concatenate([x, steepest, climbed(network, "y", box, x[:400])])
    bound = backward.upper(network, known, "y", A)
    exact, rounded = network.forward({"x": x}, ["y"])["y"], in_single(network, {"x": x}, ["y"], rng)["y"]
    for made in (exact, rounded):
        assert (known.boxes["y"].lo <= made).all()
        assert (made <= known.boxes["y"].hi).all()
        assert (made.reshape(len(made), -1) @ A.reshape(rows, -1).T <= bound + 1e-12).all()
    reached = (exact.reshape(len(exact), -1) @ A.reshape(rows, -1).T).max(axis=0)
    return A, reached, bound, known


@pytest.mark.parametrize("width", [0.0, 0.01, 0.5, 3.0, 60.0])
@pytest.mark.parametrize("axis", [-1, 0])
def test_softmax_over_boxes_of_every_width(width, axis):
    rng = np.random.default_rng(int(width * 100))
    box = around(rng, (3, 4), width)
    A, reached, bound, _ = _held(Network((Softmax(("x",), "y", axis),), {"x": (3, 4)}), box)
    if width <= 0.01:  # where it is nearly linear, so is the bound
        assert (
            bound - reached <= 0.01 * (1 + np.abs(A).reshape(len(A), -1).sum(axis=1)) * max(width, 1e-3)
        ).all()
    trivial = np.maximum(A, 0).reshape(len(A), -1).sum(axis=1)
    assert (bound <= trivial * (1 + 2.0**-9)).all()


def test_shares_of_unknown_inputs_sum_to_one():
    network = Network((Softmax(("x",), "y"),), {"x": (2, 5)})
    known = ranges(network, {"x": anywhere((2, 5))})
    assert known.boxes["y"].lo.min() == 0
    assert known.boxes["y"].hi.max() <= 1 + 2.0**-10
    A = np.random.default_rng(0).normal(size=(20, 2, 5))
    assert backward.upper(network, known, "y", A) == pytest.approx(A.max(axis=2).sum(axis=1), abs=1e-3)


def test_the_ends_of_a_softmax_are_reached_at_corners():
    box = around(np.random.default_rng(3), (4,), 0.7)
    made = ranges(Network((Softmax(("x",), "y"),), {"x": (4,)}), {"x": box}).boxes["y"]
    for k in range(4):
        corner = np.where(np.arange(4) == k, box.hi, box.lo)
        assert made.hi[k] == pytest.approx(_softmax(corner)[k], rel=1e-4)
        assert made.lo[k] == pytest.approx(_softmax(box.lo + box.hi - corner)[k], rel=1e-4)


def test_half_precision_gets_more_room():
    box = around(np.random.default_rng(3), (4,), 0.7)
    fine, coarse = (Softmax(("x",), "y").interval(box, unit=unit)[0] for unit in (SINGLE, HALF))
    assert (coarse.hi > fine.hi + HALF / 4).all()
    assert (coarse.lo < fine.lo).all()


def test_the_fullest_share_is_the_best_corner():
    """Brute force: the corners of {lo ≤ p ≤ hi, Σ p = 1} have all but one p at an end."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        lo = rng.dirichlet(np.ones(4)) * 0.6
        hi = lo + rng.random(4) * 0.6 + 0.1
        A, best = rng.normal(size=4), -np.inf
        for free in range(4):
            for ends in itertools.product(*[(lo[k], hi[k]) for k in range(4) if k != free]):
                p = np.insert(np.array(ends), free, 1 - sum(ends))
                if lo[free] <= p[free] <= hi[free]:
                    best = max(best, float(A @ p))
        assert fullest(A, lo, hi) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("width", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("few", [products._FEW, 0])
def test_products_of_boxes(width, square, few, monkeypatch):
    """Of a tensor by itself, or of one half by the other; term by term, or where there are many by their middles."""
    monkeypatch.setattr(products, "_FEW", few)
    rng = np.random.default_rng(7)
    shape = (2, 3, 3) if square else (2, 2, 3, 3)
    box = around(rng, shape, width)

    if square:
        ops = (InnerProducts(("x", "x"), "y"),)
    else:
        halves = np.arange(36).reshape(shape)
        ops = (
            Gathering(("x",), "a", halves[0]),
            Gathering(("x",), "b", halves[1]),
            InnerProducts(("a", "b"), "y"),
        )
    A, reached, bound, known = _held(Network(ops, {"x": shape}), box)
    if (
        width <= 0.05
    ):  # what is left open is of second order: Σ of three products of half-widths, above and below
        size = np.abs(A).reshape(len(A), -1).sum(axis=1)
        assert (bound - reached < size * (2 * 3 * width**2 + 1e-4)).all()
    assert (bound <= known.boxes["y"].sup(A)).all()


@pytest.mark.parametrize("few", [products._FEW, 0])
def test_what_shares_mix_stays_between_what_is_mixed(few, monkeypatch):
    """Sixty tokens of unknown scores: no more than the largest of them, not sixty times as much."""
    monkeypatch.setattr(products, "_FEW", few)
    op = InnerProducts(("p", "v"), "y", strays(60, SINGLE))
    rng = np.random.default_rng(0)
    v = Box(rng.normal(size=(1, 60, 3)) - 1, rng.normal(size=(1, 60, 3)) + 3)
    p = Box(np.zeros((1, 5, 60)), np.full((1, 5, 60), 1 + 2.0**-10))
    box, _ = op.interval(p, v, unit=SINGLE)
    assert box.hi == pytest.approx(np.broadcast_to(v.hi.max(axis=1, keepdims=True), (1, 5, 3)), rel=1e-3)
    assert box.lo == pytest.approx(np.broadcast_to(v.lo.min(axis=1, keepdims=True), (1, 5, 3)), rel=1e-3)
    unknown, _ = op.interval(p, anywhere((1, 60, 3)), unit=SINGLE)
    assert np.isneginf(unknown.lo).all()
    assert np.isposinf(unknown.hi).all()


def test_what_is_left_open_of_a_mixture_is_no_less_than_inputs_reach():
    """The linear part is taken away again, so that nothing but the product of both deviations is left."""
    rng, size, half = np.random.default_rng(1), 5, 0.1
    centre = single(np.concatenate([np.zeros(size), rng.normal(size=size)]))
    width = np.where(np.arange(2 * size) < size, 3.0, half)
    box = Box(centre - width, centre + width)
    mixed = InnerProducts(("p", "v"), "m", strays(size, SINGLE))
    shares = Softmax(("z",), "p").interval(
        Box(box.lo[:size], box.hi[:size]).reshape((1, 1, size)), unit=SINGLE
    )[0]
    p0, q = mixed._middle(shares)[0], centre[None, size:]
    ops = (
        Gathering(("x",), "z", np.arange(size).reshape(1, 1, size)),
        Gathering(("x",), "v", np.arange(size, 2 * size).reshape(1, size, 1)),
        Gathering(("x",), "w", np.arange(size, 2 * size).reshape(1, 1, size)),
        Softmax(("z",), "p"),
        mixed,
        Dense(("p",), "a", q),
        Dense(("w",), "b", p0),
        Sum(("m", "a"), "c", -1),
        Sum(("c", "b"), "y", -1),
    )
    network = Network(ops, {"x": (2 * size,)})
    bound = backward.upper(network, ranges(network, {"x": box}), "y", np.ones((1, 1, 1, 1)))
    z = np.where(np.eye(size) > 0, 3.0, -3.0)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    x = np.concatenate([z, q + half * np.sign(p - p0)], axis=1)
    reached = network.forward({"x": x}, ["y"])["y"].max()
    assert reached > 1.4 * half - (p0 @ q[0]).item()
    assert (reached <= bound).all()


def test_a_product_of_one_sign_keeps_it():
    low, high = np.zeros((1, 2, 3)), np.full((1, 2, 3), np.inf)
    box, _ = InnerProducts(("a", "b"), "y").interval(
        Box(low, high), Box(-np.ones((1, 3, 2)), np.zeros((1, 3, 2))), unit=SINGLE
    )
    assert (box.hi == 0).all()


@pytest.mark.parametrize("name", ["Relu", "Gelu", "Tanh"])
@pytest.mark.parametrize("width", [0.02, 0.3, 2.0])
def test_blocks_of_attention(name, width):
    rng = np.random.default_rng([len(name), int(100 * width)])
    network = attention(rng, ACTIVATIONS[name])
    box = around(rng, network.inputs["x"], width)
    tensors = [op.output for op in network.ops]
    plain = ranges(network, {"x": box})
    sharp = backward.tighten(network, plain, tensors)
    points = inside(rng, box, 300)
    points = np.concatenate([points, climbed(network, "z1", box, points)])
    for values in (
        network.forward({"x": points}, tensors),
        in_single(network, {"x": points[::3]}, tensors, rng),
    ):
        for known in (plain, sharp):
            for tensor in tensors:
                assert (known.boxes[tensor].lo <= values[tensor]).all(), tensor
                assert (values[tensor] <= known.boxes[tensor].hi).all(), tensor
    narrower = (sharp.boxes["z1"].hi - sharp.boxes["z1"].lo) / (plain.boxes["z1"].hi - plain.boxes["z1"].lo)
    assert (narrower <= 1).all()
    if width == 0.02:
        assert narrower.mean() < 0.95


def test_gradients_are_those_of_finite_differences():
    rng = np.random.default_rng(5)
    network = attention(rng, ACTIVATIONS["Tanh"])
    x, towards = rng.normal(size=(1, 3, 4)), rng.normal(size=(1, 3, 4))
    A = rng.normal(size=(1, *network.shapes["z1"]))
    names = [op.output for op in network.ops]
    held = {"x": x, **network.forward({"x": x}, names)}
    slope = (by_inputs(network, held, "z1", A)["x"] * towards).sum()
    step = 1e-6
    ends = [(network.forward({"x": x + s * towards}, ["z1"])["z1"] * A).sum() for s in (step, -step)]
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)
