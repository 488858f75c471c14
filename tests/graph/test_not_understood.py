"""What was not understood is left alone and listed, with the reason; nothing is guessed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import parser
from site_graphs import find, model

ROWS = "float[N,5] x => float[P,Q] y"
IMAGE = "float[N,3,8,8] x => float[P,Q,R,S] y"

CASES = {
    "graph input": (ROWS, "a = Relu(x)\ny = Gemm(a, w)", {"w": (5, 4)}, "graph input 'x'"),
    "scaled graph input": (
        ROWS,
        "s = Mul(x, k)\na = Clip(s, k, l)\ny = Gemm(a, w)",
        {"w": (5, 4), "k": np.float32(-1), "l": np.float32(1)},
        "graph input 'x'",
    ),
    "computed weights": (
        "float[N,5] x, float[5,4] w => float[P,Q] y",
        "z = MatMul(x, w)\na = Relu(z)\ny = Neg(a)",
        {},
        "both computed",
    ),
    "computed kernel": (
        "float[N,3,8,8] x, float[2,3,1,1] w => float[P,Q,R,S] y",
        "z = Conv(x, w)\na = Relu(z)\ny = Neg(a)",
        {},
        "weights are computed",
    ),
    "stack of matrices": (
        "float[2,N,5] x => float[P,Q,R] y",
        "z = MatMul(x, w)\na = Relu(z)\ny = Neg(a)",
        {"w": (2, 5, 4)},
        "stack of matrices",
    ),
    "statistic over channels": (
        ROWS,
        "z = Gemm(x, w)\nm = ReduceMean(z, axes)\na = Relu(m)\ny = Add(a, z)",
        {"w": (5, 4), "axes": np.int64([1])},
        "a statistic taken over the channels",
    ),
    "flattened before the activation": (
        "float[N,3,8,8] x => float[P,Q] y",
        "c = Conv(x, w)\nf = Flatten(c)\na = Relu(f)\ny = Gemm(a, v)",
        {"w": (2, 3, 1, 1), "v": (128, 2)},
        "several of its channels",
    ),
    "unknown sizes flattened": (
        "float[N,3,H,W] x => float[P,Q] y",
        "c = Conv(x, w)\nf = Flatten(c)\na = Relu(f)\ny = Neg(a)",
        {"w": (2, 3, 1, 1)},
        "axes of unknown size",
    ),
    "depth to space": (
        IMAGE,
        "c = Conv(x, w)\nd = DepthToSpace<blocksize=2>(c)\na = Relu(d)\ny = Neg(a)",
        {"w": (4, 3, 1, 1)},
        "spreads several channels over the pixels",
    ),
    "partly from the input": (
        IMAGE,
        "c = Conv(x, w)\nj = Concat<axis=1>(c, x)\na = Relu(j)\ny = Neg(a)",
        {"w": (2, 3, 1, 1)},
        "3 of its 5 channels come from no weighted layer",
    ),
    "another activation": (
        ROWS,
        "z = Gemm(x, w)\nt = Tanh(z)\na = Relu(t)\ny = Gemm(a, v)",
        {"w": (5, 4), "v": (4, 2)},
        "follows another activation",
    ),
    "bounds that are computed": (
        "float[N,5] x, float low => float[P,Q] y",
        "z = Gemm(x, w)\na = Clip(z, low)\ny = Neg(a)",
        {"w": (5, 4)},
        "bounds are not constant",
    ),
    "slope that is computed": (
        "float[N,5] x, float[4] s => float[P,Q] y",
        "z = Gemm(x, w)\na = PRelu(z, s)\ny = Neg(a)",
        {"w": (5, 4)},
        "slope is not a finite constant",
    ),
    "random": (
        ROWS,
        "z = Gemm(x, w)\nn = RandomNormalLike(z)\ns = Add(z, n)\na = Relu(s)\ny = Neg(a)",
        {"w": (5, 4)},
        "differ from run to run",
    ),
    "table": (
        "int64[N] x => float[P,Q] y",
        "e = Gather(w, x)\na = Relu(e)\ny = Neg(a)",
        {"w": (5, 4)},
        "a table that is looked up",
    ),
    "only channel axis dropped": (
        ROWS,
        "z = Gemm(x, w)\ns = Squeeze(z, axes)\na = Sigmoid(s)\ny = Unsqueeze(a, axes)",
        {"w": (5, 1), "axes": np.int64([1])},
        "drops the only channel axis",
    ),
    "foreign operator": (
        ROWS,
        "z = Gemm(x, w)\nt = other.Twist(z)\na = Relu(t)\ny = Gemm(a, v)",
        {"w": (5, 4), "v": (4, 2)},
        "an operator that nla does not know",
    ),
    "axes disagree": (
        "float[4,N,5] x => float[P,Q,R] y",
        "p = MatMul(x, w)\nq = MatMul(v, x)\nr = Transpose<perm=[0,2,1]>(q)\ns = Add(p, q)\na = Relu(s)\ny = Neg(a)",
        {"w": (5, 5), "v": (5, 5)},
        "channels on different axes",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_activation_is_listed_with_its_reason(case: str) -> None:
    head, body, weights, reason = CASES[case]
    sites, left_alone = find(model(head, body, weights))
    assert "a" not in sites
    assert reason in left_alone["a"].reason
    assert left_alone["a"].reason.endswith(".")


def test_a_foreign_operator_between_layers_is_listed_itself() -> None:
    body = "z = Gemm(x, w)\na = Relu(z)\nt = other.Twist(a)\ny = Gemm(t, v)"
    sites, left_alone = find(model(ROWS, body, {"w": (5, 4), "v": (4, 2)}))
    assert list(sites) == ["a"]
    assert "domain 'other'" in left_alone["t"].reason
    assert left_alone["t"].op_type == "other.Twist"


def test_a_foreign_operator_far_from_any_layer_is_not_listed() -> None:
    assert find(model(ROWS, "y = other.Twist(x)")) == ({}, {})


def test_control_flow_is_listed_with_what_is_inside() -> None:
    text = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (float[N,5] x, bool c) => (float[N,4] y) <float[5,4] w> {
        z = Gemm(x, w)
        r = If (c) <
            then_branch = t () => (float[N,4] p) { p = Relu(z) },
            else_branch = e () => (float[N,4] q) { q = Tanh(z) }
        >
        y = Relu(r)
    }
    """
    proto = parser.parse_model(text)
    del proto.graph.value_info[:]
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((5, 4), np.float32), "w"))
    sites, left_alone = find(proto)
    assert not sites
    assert "Relu, Tanh" in left_alone["r"].reason
    assert "If" in left_alone["y"].reason


def test_constant_activations_are_no_candidates() -> None:
    body = "k = Relu(c)\nz = Gemm(x, w)\ny = Add(z, k)"
    assert find(model(ROWS, body, {"c": (4,), "w": (5, 4)})) == ({}, {})


def test_bounds_of_integers_are_shape_arithmetic() -> None:
    body = "s = Shape(x)\nm = Max(s, one)\nc = Clip(m, one0)\ny = Cast<to=1>(c)"
    given = {"one": np.int64([1]), "one0": np.int64(1)}
    assert find(model("float[N,5] x => float[P] y", body, given)) == ({}, {})


def test_a_model_without_any_site_has_none() -> None:
    assert find(model(ROWS, "y = Neg(x)")) == ({}, {})
