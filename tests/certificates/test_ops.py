"""Each operator: W and its transpose, infinite ends, signs that rounding keeps."""

from __future__ import annotations

import numpy as np
import pytest
from certified_networks import WINDOWS, normal

from nla.activations import Activation
from nla.certificates.backward import tighten, upper
from nla.certificates.interval import ranges, settled
from nla.certificates.network import Network
from nla.certificates.ops.elementwise import Activate
from nla.certificates.ops.joining import Product, Sum
from nla.certificates.ops.linear import Dense, Gathering, Scale
from nla.certificates.ops.pooling import MaxPool
from nla.certificates.ops.windows import Conv, Window, average
from nla.certificates.rounding import BRAIN, HALF, SINGLE
from nla.certificates.sets import Box, Hull

RNG = np.random.default_rng(0)
LINEAR = {
    "dense": (Dense(("x",), "y", normal(RNG, 4, 6), normal(RNG, 4)), (6,)),
    "dense of rows": (Dense(("x",), "y", normal(RNG, 4, 6)), (3, 6)),
    "scale by channel": (Scale(("x",), "y", normal(RNG, 3, 1), normal(RNG, 3, 1)), (3, 5)),
    "scale that stretches": (Scale(("x",), "y", normal(RNG, 3, 5), normal(RNG, 2, 3, 5)), (3, 1)),
    "gathering": (Gathering(("x",), "y", np.array([[3, -1, 0], [1, 2, 5]]), 0.5), (2, 3)),
    "gathering twice": (Gathering(("x",), "y", np.array([0, 0, 1, -1, 1, 1])), (2,)),
    "average": (
        average(("x",), "y", 3, Window((2, 3), (1, 2), (1, 1), (1, 0, 0, 1)), (4, 6), True),
        (3, 4, 6),
    ),
    **{
        f"conv, {name}": (
            Conv(("x",), "y", normal(RNG, 6, 2, *window.kernel), window, groups, normal(RNG, 6)),
            (2 * groups, height, 7),
        )
        for name, (window, groups, height) in WINDOWS.items()
    },
}


@pytest.mark.parametrize("kind", LINEAR)
def test_transposed_is_the_adjoint(kind):
    op, shape = LINEAR[kind]
    rng = np.random.default_rng(1)
    x, A = rng.normal(size=(3, *shape)), rng.normal(size=(3, *op.shape(shape)))
    A[:, ..., :1] = 0  # rows with zeros at the edge: what is cropped
    left = (op.apply(x) * A).reshape(3, -1).sum(axis=1)
    right = (x * op.transposed(A, shape)).reshape(3, -1).sum(axis=1)
    np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-12)
    assert not op.transposed(np.zeros_like(A), shape).any()
    np.testing.assert_allclose(op.apply(x, "pos") + op.apply(x, "neg"), op.apply(x), atol=1e-12)


def test_convolution_is_what_its_definition_says():
    rng = np.random.default_rng(2)
    window, groups = Window((3, 2), (2, 1), (1, 2), (1, 2, 0, 1)), 2
    op = Conv(("x",), "y", rng.normal(size=(4, 3, 3, 2)), window, groups, rng.normal(size=4))
    x = rng.normal(size=(1, 6, 5, 6))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 0), (2, 1)))
    made = op.forward(x)
    for o, i, j in np.ndindex(*op.shape((6, 5, 6))):
        group = slice(3 * (o // 2), 3 * (o // 2) + 3)
        seen = padded[0, group, 2 * i : 2 * i + 3, j : j + 3 : 2]
        assert made[0, o, i, j] == pytest.approx((seen * op.weight[o]).sum() + op.bias[o], abs=1e-12)


def test_one_row_plane_is_a_convolution_of_one_dimension():
    weight = np.array([[[[1.0, -2.0, 0.5]]]])
    op = Conv(("x",), "y", weight, Window((1, 3), pads=(0, 1, 0, 1)))
    x = np.array([1.0, 2.0, 4.0, 8.0])
    np.testing.assert_array_equal(
        op.forward(x.reshape(1, 1, 1, 4))[0, 0, 0], np.correlate(x, weight.ravel(), "same")
    )


def first_layer(weight, bias, box):
    network = Network((Dense(("x",), "z", np.array(weight), np.array(bias)),), {"x": box.shape})
    return network, ranges(network, {"x": box})


def test_non_negative_inputs_of_unknown_size():
    box = Box(np.zeros(3), np.full(3, np.inf))
    weight = [[-1.0, -0.5, 0.0], [-1.0, 1e-30, 0.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -3.0]]
    network, known = first_layer(weight, [0.0, -5.0, 0.0, -2.0], box)
    assert list(known.boxes["z"].hi <= 0) == [True, False, True, True]
    assert known.boxes["z"].hi[1] == np.inf
    assert list(known.boxes["z"].lo) == [-np.inf, -np.inf, 0.0, -np.inf]
    assert not np.isnan(known.errors["z"]).any()
    back = upper(network, known, "z", np.eye(4))
    assert list(back <= 0) == [True, False, True, True]


def test_an_infinite_end_does_not_spoil_what_does_not_read_it():
    box = Box(np.array([0.0, -1.0]), np.array([np.inf, 1.0]))
    _, known = first_layer([[-1.0, 1.0], [0.0, 1.0]], [-2.0, 0.0], box)
    assert known.boxes["z"].hi[0] == pytest.approx(-1.0, rel=1e-5)
    assert known.boxes["z"].hi[0] < 0
    assert known.boxes["z"].hi[1] == pytest.approx(1.0, rel=1e-5)


def test_signs_are_kept_by_sums_of_one_sign_and_by_products():
    sum_, _ = Sum(("x", "y"), "s").interval(
        Box(np.array([-2.0]), np.array([0.0])), Box(np.array([-1.0]), np.array([-0.0])), unit=SINGLE
    )
    assert sum_.hi == 0
    cancels, _ = Sum(("x", "y"), "s", -1).interval(
        Box(np.array([1.0]), np.array([5.0])), Box(np.array([5.0]), np.array([6.0])), unit=SINGLE
    )
    assert cancels.hi > 0  # 5 - 5, each known only as it was rounded
    product, _ = Product(("x", "y"), "p").interval(
        Box(np.array([-2.0]), np.array([0.0])), Box(np.array([0.0]), np.array([np.inf])), unit=SINGLE
    )
    assert product.hi == 0
    assert product.lo == -np.inf


@pytest.mark.parametrize("unit", [HALF, BRAIN])
def test_coarser_arithmetic_gets_more_room(unit):
    weight, box = normal(RNG, 3, 50), Box(np.full(50, -1.0), np.full(50, 1.0))
    fine, coarse = (
        ranges(
            Network(
                (Dense(("x",), "z", weight), Activate(("z",), "a", Activation.named("Gelu"))),
                {"x": (50,)},
                unit=u,
            ),
            {"x": box},
        )
        for u in (SINGLE, unit)
    )
    for name in ("z", "a"):
        assert (coarse.boxes[name].hi > fine.boxes[name].hi + unit).all()


def test_an_offset_that_is_a_difference_is_rounded_like_its_parts():
    plain, cancelled = (
        Scale(("x",), "y", np.ones(1), np.array([-1e-6]), made).interval(
            Box(np.zeros(1), np.zeros(1)), unit=SINGLE
        )[0]
        for made in (None, np.array([1000.0]))
    )
    assert plain.hi < 0
    assert cancelled.hi > 1e-5


def test_max_pooling_routes_to_the_place_that_cannot_lose():
    rng = np.random.default_rng(4)
    op = MaxPool(("x",), "m", Window((2, 2), (1, 1), (1, 1), (1, 0, 0, 1)))
    centre = rng.normal(size=(2, 4, 4)) * 3
    network = Network((op,), {"x": (2, 4, 4)})
    known = ranges(network, {"x": Box(centre - 0.5, centre + 0.5)})
    A = rng.normal(size=(30, *op.shape((2, 4, 4))))
    bound = upper(network, known, "m", A)
    x = centre + rng.uniform(-0.5, 0.5, size=(2000, 2, 4, 4))
    made = op.forward(x).reshape(2000, -1)
    assert (made @ A.reshape(30, -1).T <= bound).all()
    # where every window's winner is known the bound is that of the winners: better than the box's
    assert (bound <= known.boxes["m"].sup(A)).all()
    assert bound.sum() < known.boxes["m"].sup(A).sum()


def test_interval_bounds_of_a_first_layer_are_exact_over_a_box_and_not_over_a_hull():
    points = np.array([[1.0, -1.0], [-1.0, 1.0]])
    network = Network(
        (
            Dense(("x",), "z", np.array([[1.0, 1.0]])),
            Activate(("z",), "a", Activation.named("Relu")),
            Dense(("a",), "w", np.eye(1)),
        ),
        {"x": (2,)},
    )
    assert settled(network, {"x": Box(-np.ones(2), np.ones(2))}, "z")
    assert not settled(network, {"x": Hull(points)}, "z")
    assert not settled(network, {"x": Box(-np.ones(2), np.ones(2))}, "w")
    known = ranges(network, {"x": Hull(points)})
    assert known.boxes["z"].hi == pytest.approx(2.0, rel=1e-4)
    assert tighten(network, known, ["z"]).boxes["z"].hi == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_weights_that_are_not_finite_certify_nothing_behind_them(poison):
    weight = np.array([[poison, 1.0], [-1.0, -1.0]])
    ops = (
        Dense(("x",), "z", weight, np.zeros(2)),
        Activate(("z",), "a", Activation.named("ThresholdedRelu")),
        Dense(("a",), "w", np.array([[-1.0, -1.0], [0.0, -1.0]]), np.array([1e-3, -1e-3])),
    )
    network = Network(ops, {"x": (2,)})
    known = ranges(network, {"x": Box(np.zeros(2), np.ones(2))})
    assert not np.isnan(known.boxes["w"].hi).any()
    assert known.boxes["w"].hi[0] > 0
    assert not (upper(network, known, "w", np.eye(2))[0] <= 0)
