"""Eq. 4 over all paths of networks with branches: by hand, and above every measured gradient."""

from __future__ import annotations

import math

import builders
import numpy as np
import onnx_ir as ir
import pytest

import nla
from nla.weights.chains import Ends, factor_of_kept

RNG = np.random.default_rng(3)
X = RNG.standard_normal((13, 4)).astype(np.float32)


def measured(text, weights, tmp_path, data=X):
    path = tmp_path / "m.onnx"
    path.write_bytes(builders.model(text, weights, opset=17).SerializeToString())
    return nla.gradient(path, data, loss="mean-square", in_process=True)


def weights(**shapes):
    return {name: builders.normal(RNG, *shape) for name, shape in shapes.items()}


def norm(matrix):
    return float(np.linalg.norm(matrix, 2))


def test_a_skip_adds_one_to_the_product_of_its_block(tmp_path):
    given = weights(w1=(4, 5), w2=(5, 6), w3=(6, 5), w4=(5, 3))
    found = measured(
        """m (float[n, 4] x) => (float[n, 3] y) {
            z1 = MatMul (x, w1)  a1 = Relu (z1)
            z2 = MatMul (a1, w2) a2 = Tanh (z2)
            m3 = MatMul (a2, w3) z3 = Add (m3, a1) a3 = Relu (z3)
            y = MatMul (a3, w4) }""",
        given,
        tmp_path,
    )
    first, second, third, _ = found.layers
    block = 1 + norm(given["w2"]) * norm(given["w3"])
    assert 10**first.bound.log10 == pytest.approx(norm(given["w4"]) * block, rel=1e-6)
    assert 10**second.bound.log10 == pytest.approx(norm(given["w4"]) * norm(given["w3"]), rel=1e-6)
    assert 10**third.bound.log10 == pytest.approx(norm(given["w4"]), rel=1e-6)
    assert (first.bound.reader, first.bound.kind, first.bound.end) == ("several paths", "bound", "y")
    assert not any(layer.unbounded for layer in found.layers)


BRANCHED = {
    "identity, pre-activated, scaled": """m (float[n, 4] x) => (float[n, 3] y) {
        z0 = MatMul (x, w1)
        a0 = Gelu <approximate = "none"> (z0)
        z1 = MatMul (a0, v1) a1 = LeakyRelu <alpha = 0.3> (z1) b1 = MatMul (a1, v2)
        h = Mul (b1, half)
        s = Add (h, a0)
        a2 = Relu (s) z3 = MatMul (a2, v3) t = Sub (s, z3)
        a4 = Softplus (t)
        y = MatMul (a4, w4) }""",
    "side by side": """m (float[n, 4] x) => (float[n, 3] y) {
        z1 = MatMul (x, w1) a1 = Relu (z1)
        z2 = MatMul (a1, v1) a2 = Tanh (z2)
        c = Concat <axis = 1> (a1, a2, a1)
        z3 = MatMul (c, w15) a3 = Sigmoid (z3)
        y = MatMul (a3, w4) }""",
}


@pytest.mark.parametrize("text", BRANCHED.values(), ids=BRANCHED)
def test_every_layer_has_a_bound_that_holds(text, tmp_path):
    shapes = {"w1": (4, 5), "v1": (5, 5), "v2": (5, 5), "v3": (5, 5), "w4": (5, 3), "w15": (15, 5)}
    for _ in range(3):
        given = {**weights(**shapes), "half": np.full(5, -0.5, np.float32)}
        text17 = text.replace('Gelu <approximate = "none">', "Selu")
        found = measured(text17, {name: w for name, w in given.items() if name in text17}, tmp_path)
        assert len(found.layers) >= 4
        for layer in found.layers[:-1]:
            assert layer.bound is not None, layer.unbounded
            assert layer.bound.log10_apart >= -1e-6
            assert math.isfinite(layer.bound.log10)


def test_convolutions_with_a_projection_and_a_normalisation(tmp_path):
    given = weights(w1=(3, 2, 3, 3), w2=(4, 3, 3, 3), w3=(4, 3, 1, 1), w4=(4, 3))
    given |= {"g": RNG.random(4).astype(np.float32) + 1, "v": RNG.random(4).astype(np.float32) + 0.5}
    given |= {"o": np.zeros(4, np.float32)}
    found = measured(
        """m (float[n, 2, 6, 6] x) => (float[n, 3] y) {
            z1 = Conv <pads = [1, 1, 1, 1]> (x, w1) a1 = Relu (z1)
            c2 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (a1, w2)
            n2 = BatchNormalization (c2, g, o, o, v)
            c3 = Conv <strides = [2, 2]> (a1, w3)
            z3 = Add (n2, c3) a3 = Relu (z3)
            p = AveragePool <kernel_shape = [2, 2], pads = [1, 1, 1, 1]> (a3)
            q = GlobalAveragePool (p) f = Flatten (q)
            y = MatMul (f, w4) }""",
        given,
        tmp_path,
        RNG.standard_normal((9, 2, 6, 6)).astype(np.float32),
    )
    first = found.layers[0].bound
    assert first is not None
    assert first.reader == "several paths"
    assert first.log10_apart >= -1e-6
    assert first.kind == "estimate"  # convolutions' norms are iterated


def test_windows_that_are_cut_off_do_not_average_to_a_norm_of_one():
    """Three numbers, windows of three with a border that is not counted: rows sum to 1, the middle column to 7/6."""
    matrix = np.array([[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 2, 1 / 2]])
    pool = {"kernel_shape": [3], "pads": [1, 1]}
    assert 1 < norm(matrix) <= factor_of_kept(ir.node("AveragePool", [None], pool))
    assert factor_of_kept(ir.node("AveragePool", [None], {**pool, "count_include_pad": 1})) == 1
    assert factor_of_kept(ir.node("Pad", [None], {"mode": "constant"})) == 1
    with pytest.raises(Ends):  # what a border repeats counts several times
        factor_of_kept(ir.node("Pad", [None], {"mode": "edge"}))


def test_a_chain_ends_where_a_constant_repeats_what_a_layer_makes(tmp_path):
    """One number becomes seven: the gradient there is √7 times that of a norm of one."""
    ones = {name: np.ones((1, 1), np.float32) for name in ("w1", "w2", "w3")}
    found = measured(
        """m (float[n, 1] x) => (float[n, 7, 1] y) {
            z1 = MatMul (x, w1) a1 = Relu (z1)
            m2 = MatMul (a1, w2) u = Unsqueeze (m2, axis) z2 = Add (u, seven) a2 = Relu (z2)
            y3 = MatMul (a2, w3) y = Identity (y3) }""",
        {**ones, "axis": np.array([1]), "seven": np.zeros((1, 7, 1), np.float32)},
        tmp_path,
        np.abs(X[:, :1]) + 1,
    )
    first, second, _ = found.layers
    assert first.mean / second.mean == pytest.approx(math.sqrt(7))
    assert first.bound is None
    assert "repeated" in first.unbounded


def test_nothing_is_claimed_where_a_path_is_not_understood(tmp_path):
    """A smaller tensor that is added to a larger one arrives several times; a product of two has no fixed norm."""
    for last in ("t = Mul (s, a1)", "m = ReduceMean <axes = [1]> (s) t = Add (a1, m)"):
        found = measured(
            f"""m (float[n, 4] x) => (float[n, 3] y) {{
                z1 = MatMul (x, w1) a1 = Relu (z1) z2 = MatMul (a1, v1) a2 = Relu (z2)
                s = Add (a2, a1) {last}
                y = MatMul (t, w4) }}""",
            weights(w1=(4, 5), v1=(5, 5), w4=(5, 3)),
            tmp_path,
        )
        assert found.layers[0].bound is None
        assert found.layers[0].unbounded
