"""Duplicates are merged: equal up to a factor before what keeps factors, equal outright before anything else."""

from __future__ import annotations

import numpy as np
import pytest
from cuts import bias, model, operate, random

from nla.manifest.document import Action


def merge(site: str, **into: int) -> list[Action]:
    """u3=1: unit 3 is a duplicate of unit 1."""
    units = tuple(int(name[1:]) for name in into)
    parameters = {"into": list(into.values()), "scales": [1.0] * len(into)}
    return [Action("merge", "merge", site, units, parameters)]


def twins(w: np.ndarray, b: np.ndarray, unit: int, other: int, factor: float) -> None:
    """Make a unit (first axis) a multiple of another, in place."""
    w[unit], b[unit] = factor * w[other], factor * b[other]


@pytest.mark.parametrize(
    ("activation", "factor"), [("Relu", 2.5), ("LeakyRelu", 0.5), ("Tanh", 1), ("Sigmoid", 1)]
)
def test_the_readers_columns_are_added_up(activation, factor, tmp_path):
    w1, b1 = random(6, 4), bias(6)
    twins(w1, b1, 4, 1, factor)
    proto = model(
        "float[N,4] x => float[N,3] y",
        f"a = Gemm <transB=1> (x, w1, b1)\n h = {activation}(a)\n y = Gemm(h, w2, b2)",
        {"w1": w1, "b1": b1, "w2": random(6, 3), "b2": bias(3)},
    )
    out = operate(proto, tmp_path, merge("h", u4=1))
    assert out.done == {"h": (4,)}
    assert (out.shape("w1"), out.shape("w2")) == ((5, 4), (5, 3))


@pytest.mark.parametrize(
    ("activation", "factor", "shift"),
    [("Tanh", 2, 0), ("Relu", -1, 0), ("Relu", 1, 0.1), ("Clip(a, lo, hi)", 2, 0)],
)
def test_what_is_no_duplicate_stays(activation, factor, shift, tmp_path):
    w1, b1 = random(6, 4), bias(6)
    twins(w1, b1, 4, 1, factor)
    b1[4] += shift
    call = activation if "(" in activation else f"{activation}(a)"
    limits = {"lo": np.float32(0), "hi": np.float32(1)} if "Clip" in call else {}
    proto = model(
        "float[N,4] x => float[N,3] y",
        f"a = Gemm <transB=1> (x, w1, b1)\n h = {call}\n y = Gemm(h, w2)",
        {"w1": w1, "b1": b1, "w2": random(6, 3), **limits},
    )
    out = operate(proto, tmp_path, merge("h", u4=1))
    assert out.done == {}
    assert "their value is not known" in out.reasons


def test_duplicates_are_followed_through_norms_pooling_and_flattening(tmp_path):
    w1, b1 = random(6, 3, 3, 3), bias(6)
    twins(w1, b1, 4, 1, 2)
    norm = {"s": random(6) + 1.5, "b": bias(6), "m": np.zeros(6, np.float32), "v": np.ones(6, np.float32)}
    norm["s"][4], norm["b"][4] = 0.75 * norm["s"][1], 1.5 * norm["b"][1]
    proto = model(
        "float[N,3,8,8] x => float[N,2] y",
        """a = Conv <pads=[1,1,1,1]> (x, w1, b1)
        n = BatchNormalization(a, s, b, m, v)
        h = Relu(n)
        p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (h)
        q = AveragePool <kernel_shape=[2,2], pads=[1,1,1,1], count_include_pad=1> (p)
        c = Conv <pads=[1,1,1,1]> (q, w2)
        g = Relu(c)
        f = Flatten(h)
        y1 = Gemm(f, w3)
        k = Flatten(g)
        y2 = Gemm(k, w4)
        y = Add(y1, y2)""",
        {"w1": w1, "b1": b1, **norm, "w2": random(5, 6, 3, 3), "w3": random(384, 2), "w4": random(125, 2)},
    )
    out = operate(proto, tmp_path, merge("h", u4=1))
    assert out.done == {"h": (4,)}
    assert (out.shape("w2"), out.shape("w3")) == ((5, 5, 3, 3), (320, 2))


def test_an_affine_step_behind_the_site_leaves_a_constant_to_the_bias(tmp_path):
    w1, b1 = random(6, 4), bias(6)
    twins(w1, b1, 4, 1, 3)
    proto = model(
        "float[N,4] x => float[N,3] y",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n n = BatchNormalization(h, s, b, m, v)\n y = Gemm(n, w2)",
        {
            **{"w1": w1, "b1": b1, "s": random(6) + 2, "b": bias(6), "m": bias(6, seed=2)},
            **{"v": random(6) ** 2 + 1, "w2": random(6, 3)},
        },
    )
    out = operate(proto, tmp_path, merge("h", u4=1))
    assert out.done == {"h": (4,)}
    assert len(out.nodes("Gemm")[1].input) == 3


def test_duplicates_of_a_gated_product_need_equal_gates(tmp_path):
    gate, up = random(4, 6), random(4, 6, seed=3)
    gate[:, 4], up[:, 4] = gate[:, 1], 2 * up[:, 1]
    gate[:, 5], up[:, 5] = 2 * gate[:, 0], up[:, 0]
    proto = model(
        "float[N,7,4] x => float[N,7,4] y",
        "g = MatMul(x, wg)\n s = Sigmoid(g)\n q = Mul(g, s)\n u = MatMul(x, wu)\n p = Mul(q, u)\n y = MatMul(p, wd)",
        {"wg": gate, "wu": up, "wd": random(6, 4)},
    )
    out = operate(proto, tmp_path, merge("p", u4=1, u5=0))
    assert out.done == {"p": (4,)}
    assert out.shape("wd") == (5, 4)


def test_a_depthwise_convolution_carries_duplicates_on(tmp_path):
    w1, b1, w2, b2 = random(6, 3, 1, 1), bias(6), random(6, 1, 3, 3), bias(6)
    twins(w1, b1, 4, 1, 2)
    twins(w2, b2, 4, 1, 1)
    b2[4] = 2 * b2[1]
    proto = model(
        "float[N,3,8,8] x => float[N,2,8,8] y",
        "a = Conv(x, w1, b1)\n h = Relu(a)\n d = Conv <group=6, pads=[1,1,1,1]> (h, w2, b2)\n g = Relu(d)\n"
        "y = Conv(g, w3)",
        {"w1": w1, "b1": b1, "w2": w2, "b2": b2, "w3": random(2, 6, 1, 1)},
    )
    both = [*merge("h", u4=1), Action("again", "merge", "g", (4,), {"into": [1], "scales": [2.0]})]
    out = operate(proto, tmp_path, both)
    assert out.done == {"h": (4,), "g": (4,)}
    assert out.shape("w2") == (5, 1, 3, 3)


def test_a_duplicate_of_a_unit_that_leaves_stays(tmp_path):
    w1, b1 = random(6, 4), bias(6, 1, 4)
    proto = model(
        "float[N,4] x => float[N,3] y",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n y = Gemm(h, w2)",
        {"w1": w1, "b1": b1, "w2": random(6, 3)},
    )
    out = operate(proto, tmp_path, [*merge("h", u4=1), Action("r", "remove", "h", (1,))])
    assert out.done == {"h": (1,)}
    assert "leaves too" in out.reasons
