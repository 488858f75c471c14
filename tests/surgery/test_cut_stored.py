"""What lies beside plain float layers: quantised weights, recurrent layers, functions, branches, half precision."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from cuts import bias, feeds, model, operate, outputs, random
from onnx import helper, numpy_helper, parser

from nla.manifest.document import Action


def quantised(weight: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(int8 numbers, scales, zero points), with one scale for each place of the axis, or one for all."""
    axes = None if axis is None else tuple(a for a in range(weight.ndim) if a != axis)
    scale = np.abs(weight).max(axes, keepdims=True) / 127
    steps = np.rint(weight / scale).astype(np.int8)
    scale = np.float32(scale.reshape(-1) if axis is not None else scale.reshape(()))
    return steps, scale, np.zeros(scale.shape, np.int8)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_scales_of_a_quantised_weight_are_cut_with_it(axis, tmp_path):
    w1, s1, z1 = quantised(random(6, 4), axis)
    w2, s2, z2 = quantised(random(3, 6, seed=2), axis)
    attribute = "" if axis is None else f" <axis={axis}>"
    proto = model(
        "float[N,4] x => float[N,3] y",
        f"""d1 = DequantizeLinear{attribute} (w1, s1, z1)
        a = Gemm <transB=1> (x, d1, b1)
        h = Relu(a)
        q = QuantizeLinear(h, s, z)
        p = DequantizeLinear(q, s, z)
        d2 = DequantizeLinear{attribute} (w2, s2, z2)
        t = Transpose(d2)
        c = MatMul(p, t)
        y = Add(c, b2)""",
        {
            **{
                "w1": w1,
                "s1": s1,
                "z1": z1,
                "b1": bias(6, 1, 4),
                "w2": w2,
                "s2": s2,
                "z2": z2,
                "b2": bias(3),
            },
            **{"s": np.float32(0.02), "z": np.uint8(0)},
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1, 4)}
    assert (out.shape("w1"), out.shape("w2")) == ((4, 4), (3, 4))
    assert out.shape("s1") == {None: (), 0: (4,), 1: (4,)}[axis]
    assert out.shape("s2") == out.shape("z2") == {None: (), 0: (3,), 1: (4,)}[axis]


def test_a_value_is_folded_into_a_quantised_bias_in_its_steps(tmp_path):
    w1, b1 = random(6, 3, 1, 1), bias(6)
    w1[2], b1[2] = 0, 0.75
    w2, s2, z2 = quantised(random(4, 6, 3, 3), 0)
    sb = s2 * np.float32(1e-3)
    proto = model(
        "float[N,3,5,5] x => float[N,4,3,3] y",
        """a = Conv(x, w1, b1)
        h = Relu(a)
        d2 = DequantizeLinear <axis=0> (w2, s2, z2)
        d3 = DequantizeLinear <axis=0> (b2, sb)
        y = Conv(h, d2, d3)""",
        {
            **{"w1": w1, "b1": b1, "w2": w2, "s2": s2, "z2": z2, "sb": sb},
            **{"b2": np.rint(bias(4) / sb).astype(np.int32)},
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (2,)}
    assert out.weight("b2").dtype == np.int32


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("directions", [1, 2])
def test_columns_that_read_what_leaves_leave_recurrent_weights(kind, directions, tmp_path):
    gates, hidden = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], 5
    w1, b1 = random(6, 4), bias(6, 1, 4)
    w1[2], b1[2] = 0, 0.75
    direction = '"bidirectional"' if directions == 2 else '"forward"'
    proto = model(
        f"float[7,N,4] x => float[7,{directions},N,{hidden}] y",
        f"a = MatMul(x, w1)\n b = Add(a, b1)\n h = Relu(b)\n"
        f"y = {kind} <hidden_size={hidden}, direction={direction}> (h, w, r)",
        {
            **{"w1": np.ascontiguousarray(w1.T), "b1": b1, "w": random(directions, gates * hidden, 6)},
            "r": random(directions, gates * hidden, hidden),
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1, 2, 4)}
    assert out.shape("w") == (directions, gates * hidden, 3)
    assert len(out.nodes(kind)[0].input) == 4


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("directions", [1, 2])
def test_hidden_units_that_are_zero_at_every_step_leave_recurrent_weights(kind, directions, tmp_path):
    gates, hidden = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], 5
    w, r = random(directions, gates * hidden, 4), random(directions, gates * hidden, hidden)
    b = random(directions, 2 * gates * hidden)
    for unit in (1, 3):  # GRU: the hidden gate is zero; LSTM: the cell gate; RNN: all
        rows = [gate * hidden + unit for gate in range(gates)]
        own = rows[-1]
        w[:, own], r[:, own], b[:, own], b[:, gates * hidden + own] = 0, 0, 0, 0
    direction = '"bidirectional"' if directions == 2 else '"forward"'
    proto = model(
        f"float[7,N,4] x => float[7,N,3] y{', float[1,N,2] z' if directions == 1 else ''}",
        f"""s, last = {kind} <hidden_size={hidden}, direction={direction}> (x, w, r, b)
        t = Transpose <perm=[0,2,1,3]> (s)
        f = Reshape(t, shape)
        y = MatMul(f, w2)
        {"z = MatMul(last, w3)" if directions == 1 else ""}""",
        {
            **{"w": w, "r": r, "b": b, "w2": random(directions * hidden, 3)},
            **({"w3": random(hidden, 2)} if directions == 1 else {}),
            "shape": np.array([7, -1, directions * hidden]),
        },
    )
    out = operate(proto, tmp_path)
    if directions == 1:
        assert list(out.done.values()) == [(1, 3)]
        assert out.shape("r") == (1, gates * 3, 3)
    else:
        assert list(out.done.values()) == [(1, 3, 6, 8)]
        assert out.shape("w2") == (6, 3)


def test_units_inside_a_function_of_the_file_stay(tmp_path):
    proto = parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 18, "own" : 1]>
        g (float[N,4] x) => (float[N,3] y) {
            a = own.layer(x, w1, b1)
            h = Relu(a)
            y = MatMul(h, w2)
        }
        <domain: "own", opset_import: ["" : 18]>
        layer (i, w, b) => (o) { m = MatMul(i, w) o = Add(m, b) }"""
    )
    for name, array in {"w1": random(4, 6), "b1": bias(6, 1), "w2": random(6, 3)}.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    out = operate(proto, tmp_path)
    assert out.done == {}
    assert "is inside a function" in out.reasons


def test_channels_that_a_branch_reads_stay(tmp_path):
    proto = model(
        "float[N,4] x, bool c => float[N,6] y",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n"
        "y = If (c) <then_branch = t () => (float[N,6] u) { u = Identity(h) },"
        " else_branch = e () => (float[N,6] v) { v = Neg(h) }>",
        {"w1": random(6, 4), "b1": bias(6, 1)},
    )
    given = {**feeds(proto), "c": np.array(True)}
    out = operate(proto, tmp_path, given=given)
    assert out.done == {}
    assert "whose bodies are left alone" in out.reasons


def test_half_precision_stays_half(tmp_path):
    w1, b1 = random(6, 4).astype(np.float16), bias(6).astype(np.float16)
    b1[1], w1[2], b1[2] = -6e4, 0, 0.75
    proto = model(
        "float16[N,4] x => float16[N,3] y",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n y = MatMul(h, w2)",
        {"w1": w1, "b1": b1, "w2": random(6, 3).astype(np.float16)},
    )
    given = {"x": feeds(proto)["x"].astype(np.float16)}
    out = operate(proto, tmp_path, given=given, tolerance=5e-3)
    assert out.done == {"h": (1, 2)}
    assert {t.data_type for t in out.after.graph.initializer} == {onnx.TensorProto.FLOAT16}


def test_what_the_file_says_of_shapes_is_forgotten_only_where_it_changed(tmp_path):
    proto = model(
        "float[N,4] x => float[N,3] y",
        "i = Tanh(x)\n a = Gemm <transB=1> (i, w1, b1)\n h = Relu(a)\n y = MatMul(h, w2)",
        {"w1": random(6, 4), "b1": bias(6, 1), "w2": random(6, 3)},
    )
    for name, width in (("i", 4), ("a", 6), ("h", 6)):
        proto.graph.value_info.append(helper.make_tensor_value_info(name, 1, ["N", width]))
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1,)}
    assert [info.name for info in out.after.graph.value_info] == ["i"]


def test_nothing_to_cut_changes_nothing(tmp_path):
    proto = model(
        "float[N,4] x => float[N,3] y",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n y = MatMul(h, w2)",
        {"w1": random(6, 4), "b1": bias(6), "w2": random(6, 3)},
    )
    out = operate(proto, tmp_path, [Action("1", "remove", "h", ())])
    assert out.after.SerializeToString(deterministic=True) == proto.SerializeToString(deterministic=True)
    assert len(outputs(out.after, feeds(proto))) == 1
