"""Closed-form suprema: attained, never exceeded; of LayerNorm and RMSNorm in float32 as well."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nla.certificates.sets import MEAN_TO_SPREAD, Box, Hull, Normalised


def norm(x, centred, epsilon=1e-5):
    x = x - x.mean(axis=-1, keepdims=True) if centred else x
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon)


def drawn(rng, n, centred):
    scale = np.where(rng.random(n) < 0.2, 0.0, rng.normal(size=n))
    return Normalised((n,), 1, scale, rng.normal(size=n) if centred else np.zeros(n), centred)


def test_box_reads_infinite_ends_only_where_a_coefficient_does():
    box = Box(np.array([0.0, -1.0, -np.inf]), np.array([np.inf, 2.0, np.inf]))
    A = np.array([[-1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, -1.0, 1e-300], [0.0, 0.0, 0.0]])
    sup = box.sup(A)
    assert sup[0] == pytest.approx(2.0, rel=1e-12)
    assert sup[0] >= 2.0
    assert list(sup[1:]) == [np.inf, np.inf, 0.0]


def test_box_rounds_the_finite_end_of_a_half_line_too():
    box = Box(np.array([3.0, 1e16]), np.array([np.inf, np.inf]))
    assert box.sup(np.array([[-1.0, -1.0]]))[0] > -1e16 - 3 + 1e-12


def test_boxes_that_miss_each_other_keep_the_first():
    kept = Box(np.array([0.0]), np.array([1.0])).meet(Box(np.array([1.5]), np.array([2.0])))
    assert (kept.lo, kept.hi) == (0.0, 1.0)


@pytest.mark.parametrize("radius", [0.0, 0.25])
def test_hull_is_largest_at_a_point(radius):
    rng = np.random.default_rng(3)
    points = rng.normal(size=(40, 2, 3))
    hull = Hull(points, radius)
    A = rng.normal(size=(20, 2, 3))
    weights = rng.dirichlet(np.ones(40), size=3000)
    mixed = np.tensordot(weights, points, 1) + radius * rng.uniform(-1, 1, size=(3000, 2, 3))
    reached = A.reshape(20, -1) @ mixed.reshape(3000, -1).T
    assert (reached.max(axis=1) <= hull.sup(A)).all()
    corners = A.reshape(20, -1) @ points.reshape(40, -1).T
    exact = corners.max(axis=1) + radius * np.abs(A).sum(axis=(1, 2))
    np.testing.assert_allclose(hull.sup(A), exact, rtol=1e-10)
    assert (hull.sup(A) >= exact).all()
    assert ((mixed >= hull.box.lo) & (mixed <= hull.box.hi)).all()


@pytest.mark.parametrize("centred", [True, False], ids=["LayerNorm", "RMSNorm"])
@pytest.mark.parametrize("n", [3, 16, 768])
def test_ball_of_a_norm_is_attained_and_never_exceeded(n, centred):
    rng = np.random.default_rng(n)
    domain = drawn(rng, n, centred)
    A = rng.normal(size=(6, n))
    sup = domain.sup(A)
    v = A * domain.scale
    direction = v - v.mean(axis=1, keepdims=True) if centred else v
    there = norm(1e6 * direction, centred) * domain.scale + domain.shift
    attained = (A * there).sum(axis=1)
    assert (attained <= sup).all()
    # to 5 digits of the ball's own size: what is left is the room for float32
    size = np.sqrt(n) * np.sqrt((v * v).sum(axis=1)) + np.abs(A) @ np.abs(domain.shift)
    assert (sup - attained <= 5e-5 * size).all()
    np.testing.assert_allclose(domain.attained(A), there, rtol=0, atol=1e-4 * np.sqrt(n))
    x = rng.normal(size=(20_000 if n < 100 else 1_000, n)) * np.exp(rng.normal(size=n) * 2)
    y = norm(x, centred) * domain.scale + domain.shift
    assert (y @ A.T <= sup).all()
    assert ((y >= domain.box.lo) & (y <= domain.box.hi)).all()


@pytest.mark.parametrize("centred", [True, False], ids=["LayerNorm", "RMSNorm"])
def test_ball_holds_a_million_random_inputs(centred):
    rng = np.random.default_rng(0)
    domain = drawn(rng, 6, centred)
    A = rng.normal(size=(4, 6))
    for _ in range(10):
        x = rng.normal(size=(100_000, 6)) * np.exp(3 * rng.normal(size=(100_000, 1)))
        assert ((norm(x, centred) * domain.scale + domain.shift) @ A.T <= domain.sup(A)).all()


def test_positions_are_normalised_apart():
    rng = np.random.default_rng(1)
    one = drawn(rng, 5, True)
    two = Normalised((3, 5), 1, one.scale, one.shift, True)
    A = rng.normal(size=(4, 3, 5))
    np.testing.assert_allclose(two.sup(A), sum(one.sup(A[:, k]) for k in range(3)), rtol=1e-5)
    assert two.box.shape == (3, 5)


def run_norm(kind, n, x):
    """onnxruntime's float32 norm."""
    ones = numpy_helper.from_array(np.ones(n, np.float32), "g")
    node = helper.make_node(kind, ["x", "g"], ["y"], epsilon=1e-5)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", n]) for name in ("x", "y")]
    graph = helper.make_graph([node], "norm", ends[:1], ends[1:], [ones])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0].astype(np.float64)


@pytest.mark.parametrize("kind", ["LayerNormalization", "RMSNormalization"])
@pytest.mark.parametrize("n", [2, 5, 8, 768])
def test_float32_norms_stay_in_the_set_up_to_the_stated_mean(kind, n):
    rng = np.random.default_rng(n)
    centred = kind == "LayerNormalization"
    domain = Normalised((n,), 1, np.ones(n), np.zeros(n), centred)
    A = np.concatenate([np.ones((1, n)), -np.ones((1, n)), np.eye(n)[:1], rng.normal(size=(3, n))])
    ratios = (0, 1, 8, MEAN_TO_SPREAD) if centred else (0, 8, 1e4)
    for ratio in ratios:
        x = rng.normal(size=(500, n))
        x = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
        x = ((x + ratio) * np.exp(rng.normal(size=(500, 1)) * 3 + 5)).astype(np.float32)
        assert (run_norm(kind, n, x) @ A.T <= domain.sup(A)).all()


def test_float32_layernorm_leaves_the_set_where_the_mean_swamps_the_spread():
    """Why `assumptions` names a limit: the sum of a rounded LayerNorm is not zero."""
    n = 64
    x = (np.random.default_rng(0).normal(size=(200, n)) + 1e4).astype(np.float32)
    A = np.ones((1, n))
    assert (
        run_norm("LayerNormalization", n, x) @ A.T > Normalised((n,), 1, np.ones(n), np.zeros(n), True).sup(A)
    ).any()


def test_what_is_no_number_narrows_nothing():
    met = Box(np.zeros(2), np.ones(2)).meet(Box(np.array([np.nan, 0.5]), np.array([0.25, np.nan])))
    assert met.lo.tolist() == [0, 0.5]
    assert met.hi.tolist() == [0.25, 1]
