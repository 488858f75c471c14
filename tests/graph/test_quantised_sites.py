"""Quantised graphs: sites are named by tensors of floats, and folded rectifiers are found."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper
from site_graphs import feeds, find, loaded, model, run

from nla.graph.find import find_sites
from nla.graph.quantised import add_dequantised

ROWS = "float[N,5] x => float[P,Q] y"
Q = {
    **{"xs": np.float32(0.05), "xz": np.uint8(128), "ws": np.float32(0.02), "wz": np.int8(0)},
    **{"as": np.float32(0.03), "bottom": np.uint8(0), "middle": np.uint8(128)},
    **{"w": np.random.default_rng(2).integers(-127, 127, (5, 4)).astype(np.int8)},
    **{"v": (4, 2)},
}


def qdq(zero: str, tail: str = "y = MatMul(a, v)") -> ModelProto:
    body = (
        "qx = QuantizeLinear(x, xs, xz)\ndx = DequantizeLinear(qx, xs, xz)\ndw = DequantizeLinear(w, ws, wz)\n"
        f"z = MatMul(dx, dw)\nq = QuantizeLinear(z, as, {zero})\na = DequantizeLinear(q, as, {zero})\n{tail}"
    )
    return model(ROWS, body, Q)


def test_a_quantisation_with_its_zero_at_the_bottom_is_a_relu() -> None:
    proto = qdq("bottom")
    sites, left_alone = find(proto)
    assert not left_alone
    assert list(sites) == ["a"]
    site = sites["a"]
    assert (site.activation.name, site.neurons, site.channel_axes, site.pre) == ("Relu", 4, (-1,), "z")
    assert site.producers[0].weight == "w"
    z, a = run(proto, feeds(proto, 50), ["z", "a"])
    assert z.min() < 0
    np.testing.assert_allclose(a, np.clip(z, 0, 255 * 0.03), atol=0.016)


def test_a_quantisation_with_its_zero_in_the_middle_is_none() -> None:
    assert find(qdq("middle")) == ({}, {})


def test_a_relu_before_the_quantisation_is_the_only_site() -> None:
    body = (
        "z = MatMul(x, f)\nr = Relu(z)\nq = QuantizeLinear(r, as, bottom)\n"
        "a = DequantizeLinear(q, as, bottom)\ny = MatMul(a, v)"
    )
    sites, left_alone = find(model(ROWS, body, {**Q, "f": (5, 4)}))
    assert list(sites) == ["r"]
    assert not left_alone
    assert sites["r"].consumers[0].weight == "v"


def test_an_activation_after_the_quantisation_is_the_site() -> None:
    sites, _ = find(qdq("bottom", "s = Sigmoid(a)\ny = MatMul(s, v)"))
    assert {name: site.activation.name for name, site in sites.items()} == {"s": "Sigmoid"}


def test_values_that_cannot_be_negative_are_no_rectifier() -> None:
    body = (
        "z = MatMul(x, f)\ne = Exp(z)\nq = QuantizeLinear(e, as, bottom)\n"
        "a = DequantizeLinear(q, as, bottom)\ny = MatMul(a, v)"
    )
    sites, left_alone = find(model(ROWS, body, {**Q, "f": (5, 4)}))
    assert not sites
    assert list(left_alone) == ["e"]


def test_decomposed_forms_are_seen_through_quantisations() -> None:
    body = (
        "z = MatMul(x, f)\nq1 = QuantizeLinear(z, as, middle)\nd1 = DequantizeLinear(q1, as, middle)\n"
        "s = Sigmoid(d1)\nq2 = QuantizeLinear(s, as, bottom)\nd2 = DequantizeLinear(q2, as, bottom)\n"
        "a = Mul(d1, d2)\ny = MatMul(a, v)"
    )
    sites, left_alone = find(model(ROWS, body, {**Q, "f": (5, 4)}))
    assert not left_alone
    assert {name: site.activation.name for name, site in sites.items()} == {"a": "Swish"}


QLINEAR = (
    "qx = QuantizeLinear(x, xs, xz)\nq = QLinearMatMul(qx, xs, xz, w, ws, wz, as, bottom)\n"
    "r = QLinearMatMul(q, as, bottom, u, ws, wz, as, middle)\ny = DequantizeLinear(r, as, middle)"
)
QOPERATOR = {**Q, "u": np.random.default_rng(3).integers(-127, 127, (4, 2)).astype(np.int8)}


def test_an_activation_that_stays_quantised_is_listed() -> None:
    sites, left_alone = find(model(ROWS, QLINEAR, QOPERATOR))
    assert not sites
    assert "stays quantised" in left_alone["q"].reason


def test_an_activation_that_stays_quantised_is_a_site_once_it_is_dequantised_beside_the_graph() -> None:
    graph = loaded(model(ROWS, QLINEAR, QOPERATOR))
    assert add_dequantised(graph) == ("q_dequantized",)
    sites, left_alone = find_sites(graph)
    assert not left_alone
    assert [(s.name, s.activation.name, s.neurons, s.pre) for s in sites] == [
        ("q_dequantized", "Relu", 4, None)
    ]
    assert sites[0].consumers[0].weight == "u"


def test_dynamically_quantised_layers_are_followed_to_their_floats() -> None:
    body = (
        "qx, sx, zx = DynamicQuantizeLinear(x)\ni = MatMulInteger(qx, w, zx)\nf = Cast<to=1>(i)\n"
        "k = Mul(sx, ws)\nm = Mul(f, k)\nz = Add(m, b)\na = Relu(z)\ny = MatMul(a, v)"
    )
    sites, left_alone = find(model(ROWS, body, {**Q, "b": (4,)}))
    assert not left_alone
    assert (sites["a"].neurons, sites["a"].channel_axes, sites["a"].pre) == (4, (-1,), "z")


def test_a_cut_before_the_bias_is_a_part_of_the_pre_activation() -> None:
    """The product alone happened to be positive on the calibration data: the layer's Relu, if any, comes later."""
    proto = qdq(
        "bottom",
        "b = Add(a, c)\nq2 = QuantizeLinear(b, as, bottom)\nr = DequantizeLinear(q2, as, bottom)\ny = Neg(r)",
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.float32([1, 2, 3, 4]), "c"))
    sites, left_alone = find(proto)
    assert list(sites) == ["r"]
    assert not left_alone


QUANTISED_LAYER = "qx = QuantizeLinear(x, xs, xz)\nz = QLinearMatMul(qx, xs, xz, w, ws, wz, zs, middle)\n"


def quantised(tail: str) -> ModelProto:
    """A layer of quantised operators, and what follows its output `z` (scale `zs`, zero point `middle`)."""
    return model(ROWS, QUANTISED_LAYER + tail, {**Q, "zs": np.float32(0.1), "one": np.uint8(33)})


@pytest.mark.parametrize("order", ["z, zs, middle, s, as, bottom", "s, as, bottom, z, zs, middle"])
def test_a_silu_of_quantised_operators_is_one_site(order: str) -> None:
    proto = quantised(
        "s = com.microsoft.QLinearSigmoid(z, zs, middle, as, bottom)\n"
        f"t = com.microsoft.QLinearMul({order}, xs, middle)\na = DequantizeLinear(t, xs, middle)\ny = MatMul(a, v)"
    )
    sites, left_alone = find(proto)
    assert not left_alone
    assert {name: site.activation.name for name, site in sites.items()} == {"a": "Swish"}


def test_a_hard_swish_of_quantised_operators_is_one_site() -> None:
    proto = quantised(
        "d = DequantizeLinear(z, zs, middle)\nh = HardSigmoid<alpha=0.16666667, beta=0.5>(d)\n"
        "s = QuantizeLinear(h, as, bottom)\nt = com.microsoft.QLinearMul(z, zs, middle, s, as, bottom, xs, middle)\n"
        "a = DequantizeLinear(t, xs, middle)\ny = MatMul(a, v)"
    )
    sites, left_alone = find(proto)
    assert not left_alone
    assert {name: site.activation.name for name, site in sites.items()} == {"a": "HardSwish"}


def test_a_sum_that_cannot_be_negative_is_no_rectifier() -> None:
    """1 + erf, inside a GELU of quantised operators, has its zero at the bottom too: the form is listed."""
    proto = quantised(
        "d = DequantizeLinear(z, zs, middle)\ne = Erf(d)\nq = QuantizeLinear(e, as, middle)\n"
        "u = com.microsoft.QLinearAdd(q, as, middle, one, as, bottom, as, bottom)\n"
        "t = com.microsoft.QLinearMul(z, zs, middle, u, as, bottom, xs, middle)\n"
        "a = DequantizeLinear(t, xs, middle)\ny = MatMul(a, v)"
    )
    sites, left_alone = find(proto)
    assert not sites
    assert list(left_alone) == ["e"]
