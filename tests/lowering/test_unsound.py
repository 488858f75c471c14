"""What a runtime computes otherwise than real numbers would have it: no bound is claimed there."""

from __future__ import annotations

import re

import numpy as np
import pytest
from lowering_graphs import lowered, model, weights
from operator_cases import Graph, case, f

from nla.certificates.ops.smooth import Smooth
from nla.certificates.rounding import HALF, SINGLE
from nla.certificates.sets import Box

INT = "int32[1, 4] x"
ROW = "float[1, 1, 4] x"
SQUARE = "s = Mul(x, x)\n m = ReduceMean<axes=[1], keepdims=1>(s)\n"
UNSOUND = [
    (case("wraps", "s = Sub(x, c)\n h = Cast<to=1>(s)", "uint8[1, 4] x", c=np.array([3], np.uint8)), "uint8"),
    (case("cut short", "s = Div(x, c)\n h = Cast<to=1>(s)", INT, c=np.array([3], np.int32)), "int32"),
    (
        case(
            "int mean",
            "s = ReduceMean<axes=[1]>(x)\n t = Cast<to=1>(s)\n h = Expand(t, c)",
            INT,
            c=np.array([1, 4]),
        ),
        "",
    ),
    (case("at random", "h = Dropout(x, r, t)", r=f(0.5), t=np.array(True)), "at random"),
    (
        case("by size", "h = ConvTranspose<strides=[2], output_shape=[4]>(x, w)", ROW, w=weights(1, 1, 3)),
        "by itself",
    ),
    (
        case("negative ε", "h = LayerNormalization<epsilon=-0.1>(x, g)", g=np.ones(4, np.float32)),
        "does not outweigh",
    ),
    (
        case("no ε", "h = LayerNormalization<epsilon=0.0>(x, g)", g=np.ones(4, np.float32)),
        "does not outweigh",
    ),
    (
        case(
            "no ε by channel",
            "h = InstanceNormalization<epsilon=0.0>(x, g, b)",
            ROW,
            g=f(1).ravel(),
            b=f(0).ravel(),
        ),
        "does not outweigh",
    ),
    (
        case("2.1 times", 'h = Resize<mode="nearest">(x, , s)', "float[1, 1, 9] x", s=f(1, 1, 2.1)),
        "no repetition",
    ),
    *(
        (
            case(
                f"{wrong} before a norm",
                "m = MatMul(x, w)\n h = LayerNormalization(m, g)",
                w=np.where(np.eye(4, dtype=bool), np.float32(wrong), weights(4, 4)),
                g=np.ones(4, np.float32),
            ),
            "not finite",
        )
        for wrong in (np.nan, np.inf, -np.inf)
    ),
]
"""h, of four elements or 18, is what a ReLU layer reads."""


@pytest.mark.parametrize(("graph", "why"), UNSOUND, ids=lambda value: getattr(value, "name", ""))
def test_no_bound_is_claimed(graph: Graph, why: str, tmp_path):
    size = 18 if "2.1" in graph.name else 4
    arrays = {**graph.arrays, "v": weights(size, 3)}
    body = f"{graph.body}\n k = Flatten(h)\n z = MatMul(k, v)\n y = Relu(z)"
    network = lowered(model(body, graph.inputs, "y", graph.opset, **arrays), tmp_path).network
    assert not network.targets
    (reason,) = network.reasons.values()
    assert re.search(why, reason), reason


@pytest.mark.parametrize(
    ("form", "opset"),
    [
        ("h = ReduceL2<axes=[1], keepdims=1>(x)\n n = Div(x, h)", 13),
        ("l = ReduceL2<axes=[1], keepdims=1>(x)\n h = Clip<min=1e-6, max=0.1>(l)\n n = Div(x, h)", 10),
        ("l = ReduceL2<axes=[1], keepdims=1>(x)\n h = Add(l, tiny)\n n = Div(x, h)", 13),
        (f"{SQUARE} r = Sqrt(m)\n n = Div(x, r)", 13),
        (f"{SQUARE} a = Add(m, tiny)\n r = Sqrt(a)\n n = Div(x, r)", 13),
    ],
)
def test_squares_that_underflow_make_no_ball(form, opset, tmp_path):
    """Where nothing keeps the divisor from zero, x = 1e-30 makes an infinite quotient."""
    body = f"{form}\n z = MatMul(n, v)\n y = Relu(z)"
    made = model(body, "float[1, 4] x", "y", opset, v=weights(4, 3), tiny=f(1e-35))
    network = lowered(made, tmp_path).network
    assert "n" not in network.given or not np.isfinite(network.given["n"].box.largest).any()


def test_weights_made_of_half_precision_round_in_it(tmp_path):
    made = model("c = Cast<to=10>(w)\n z = MatMul(x, c)\n y = Relu(z)", "float16[1, 4] x", w=weights(4, 3))
    assert lowered(made, tmp_path).network.unit == HALF


def test_windows_that_pad_nothing_ignore_pads(tmp_path):
    """Valid windows over four elements begin at the first, whatever `pads` says."""
    form = 'h = MaxPool<auto_pad="VALID", kernel_shape=[2], strides=[2], pads=[1, 0]>(x)'
    made = model(f"{form}\n k = Flatten(h)\n z = MatMul(k, v)\n y = Relu(z)", ROW, v=weights(2, 3))
    network = lowered(made, tmp_path).network
    assert network.forward({"x": np.arange(4.0).reshape(1, 1, 4)}, ["h"])["h"].ravel().tolist() == [1, 3]


@pytest.mark.parametrize("low", [-2.6e-40, -1e-17, 1e-17, np.pi - 1e-12])
def test_a_sine_keeps_its_sign_where_it_is_small(low):
    box, _ = Smooth(("x",), "y", "Sin").interval(Box(np.array([low]), np.array([low])), unit=SINGLE)
    assert box.lo <= np.sin(low) <= box.hi
