"""Units of dense layers leave: chains, biases of all shapes, transposed and shared weights, values that are folded."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from cuts import bias, model, operate, random
from onnx import numpy_helper

from nla.errors import UsageError
from nla.manifest.document import Action


def test_rows_bias_and_columns_of_dead_units_leave_a_chain(tmp_path):
    proto = model(
        "float[N,4] x => float[N,3] y",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n c = Gemm <transB=1> (h, w2, b2)\n g = Relu(c)\n"
        "y = Gemm (g, w3, b3)",
        {
            **{"w1": random(8, 4), "b1": bias(8, 1, 5), "w2": random(6, 8), "b2": bias(6, 0)},
            **{"w3": random(6, 3), "b3": bias(3)},
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1, 5), "g": (0,)}
    assert (out.shape("w1"), out.shape("b1"), out.shape("w2")) == ((6, 4), (6,), (5, 6))
    assert out.saved == 2 * (4 + 1 + 6) + (8 + 1 + 3) - 2
    np.testing.assert_array_equal(out.weight("w1"), random(8, 4)[[0, 2, 3, 4, 6, 7]])


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1,), ()])
def test_the_value_of_a_constant_unit_goes_into_a_bias_of_any_shape(shape, tmp_path):
    w1, b1 = random(5, 4), bias(5)
    w1[2], b1[2] = 0, 0.75
    proto = model(
        "float[N,4] x => float[N,3] y",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n y = Gemm <alpha=0.5, beta=2.0> (h, w2, b2)",
        {"w1": w1, "b1": b1, "w2": random(5, 3), "b2": random(*shape, seed=3)},
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (2,)}
    assert out.shape("b2") == ((1, 3) if shape == (1, 3) else (3,))


def test_a_bias_is_made_where_there_is_none(tmp_path):
    w1, b1 = random(5, 4), bias(5)
    w1[2], b1[2] = 0, 0.75
    proto = model(
        "float[N,4] x => float[N,3] y, float[N,3] z",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n y = Gemm (h, w2)\n z = MatMul (h, w2)",
        {"w1": w1, "b1": b1, "w2": random(5, 3)},
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (2,)}
    assert len(out.nodes("Gemm")[1].input) == 3
    assert len(out.nodes("Add")) == 1


def test_the_add_behind_a_matmul_is_its_bias(tmp_path):
    w1, b1 = random(4, 5), bias(5, 0)
    w1[:, 2], b1[2] = 0, 0.75
    proto = model(
        "float[N,7,4] x => float[N,7,3] y",
        "a = MatMul(x, w1)\n b = Add(a, b1)\n h = Relu(b)\n c = MatMul(h, w2)\n y = Add(b2, c)",
        {"w1": w1, "b1": b1, "w2": random(5, 3), "b2": bias(3)},
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (0, 2)}
    assert (out.shape("w1"), out.shape("b1"), out.shape("w2")) == ((4, 3), (3,), (3, 3))
    assert len(out.nodes("Add")) == 2
    np.testing.assert_allclose(out.weight("b2"), bias(3) + 0.75 * random(5, 3)[2], rtol=1e-6)


def test_weights_on_the_left_are_cut_along_their_own_axes(tmp_path):
    proto = model(
        "float[4,9] x => float[3,9] y",
        "a = MatMul(w1, x)\n b = Add(a, b1)\n h = Relu(b)\n y = Gemm(w2, h, b2)",
        {"w1": random(6, 4), "b1": bias(6, 1, 4).reshape(6, 1), "w2": random(3, 6), "b2": random(3, 1)},
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1, 4)}
    assert (out.shape("w1"), out.shape("b1"), out.shape("w2")) == ((4, 4), (4, 1), (3, 4))


def test_a_transposed_input_of_gemm_is_read_along_its_own_axis(tmp_path):
    proto = model(
        "float[4,9] x => float[9,3] y",
        "a = MatMul(w1, x)\n b = Add(a, b1)\n h = Relu(b)\n y = Gemm <transA=1> (h, w2)",
        {"w1": random(6, 4), "b1": bias(6, 0).reshape(6, 1), "w2": random(6, 3)},
    )
    assert operate(proto, tmp_path).done == {"h": (0,)}


def test_a_weight_that_two_layers_read_is_cut_once_where_both_lose_the_same(tmp_path):
    proto = model(
        "float[N,4] x => float[N,3] y",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n c = MatMul(h, w2)\n t = Tanh(h)\n d = MatMul(h, w2)\n"
        "y = Add(c, d)",
        {"w1": random(6, 4), "b1": bias(6, 2), "w2": random(6, 3)},
    )
    out = operate(proto, tmp_path)
    assert out.done["h"] == (2,)
    assert out.shape("w2") == (5, 3)
    assert len(out.after.graph.initializer) == 3


def test_a_weight_that_two_layers_read_is_copied_where_one_loses_nothing(tmp_path):
    proto = model(
        "float[N,6] x => float[N,6] y, float[N,6] z",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n y = MatMul(h, w2)\n z = MatMul(x, w2)",
        {"w1": random(6, 6), "b1": bias(6, 2), "w2": random(6, 6, seed=2)},
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (2,)}
    assert out.shape("w2") == (6, 6)
    assert sorted(tuple(t.dims) for t in out.after.graph.initializer) == [(5,), (5, 6), (5, 6), (6, 6)]


def test_a_layer_that_reads_itself_again_loses_rows_and_columns_apart(tmp_path):
    """Tied weights: the first use loses rows, the second columns."""
    proto = model(
        "float[N,6] x => float[N,6] y",
        "a = MatMul(x, w)\n b = Add(a, b1)\n h = Relu(b)\n y = MatMul(h, w)",
        {"w": random(6, 6), "b1": bias(6, 2, 3)},
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (2, 3)}
    assert sorted(tuple(t.dims) for t in out.after.graph.initializer) == [(4,), (4, 6), (6, 4)]


def test_weights_behind_a_transpose_an_identity_and_in_a_constant_are_cut_where_they_are_stored(tmp_path):
    proto = model(
        "float[N,4] x => float[N,3] y",
        "wt = Transpose <perm=[1,0]> (w1)\n wi = Identity(wt)\n a = MatMul(x, wi)\n b = Add(a, b1)\n h = Relu(b)\n"
        "y = MatMul(h, w2)",
        {"w1": random(6, 4), "b1": bias(6, 1)},
    )
    constant = onnx.helper.make_node("Constant", [], ["w2"], value=numpy_helper.from_array(random(6, 3)))
    proto.graph.node.insert(0, constant)
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1,)}
    assert out.shape("w1") == (5, 4)
    assert numpy_helper.to_array(out.nodes("Constant")[0].attribute[0].t).shape == (5, 3)
    assert len(out.nodes("Transpose")) == len(out.nodes("Identity")) == 1


def test_a_weight_that_the_graph_reshapes_is_written_as_it_is_used(tmp_path):
    proto = model(
        "float[N,4] x => float[N,3] y",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n w = Reshape(stored, shape)\n y = MatMul(h, w)",
        {"w1": random(6, 4), "b1": bias(6, 1), "stored": random(2, 3, 3), "shape": np.array([6, 3])},
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1,)}
    assert not out.nodes("Reshape")


def test_weights_that_are_inputs_too_change_their_declared_shape(tmp_path):
    proto = model(
        "float[N,4] x => float[N,3] y",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n y = MatMul(h, w2)",
        {"w1": random(6, 4), "b1": bias(6, 1), "w2": random(6, 3)},
    )
    for tensor in proto.graph.initializer:
        proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, 1, list(tensor.dims)))
    proto.ir_version = 3
    out = operate(proto, tmp_path)
    declared = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in out.after.graph.input}
    assert declared["w1"] == [5, 4]
    assert declared["w2"] == [5, 3]


def test_a_layer_that_is_dead_as_a_whole_keeps_its_first_unit(tmp_path):
    proto = model(
        "float[N,4] x => float[N,3] y",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n y = Gemm(h, w2, b2)",
        {"w1": random(5, 4), "b1": bias(5, *range(5)), "w2": random(5, 3), "b2": bias(3)},
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1, 2, 3, 4)}
    assert out.shape("w1") == (1, 4)
    assert [(w.site, w.before, w.after, w.kept) for w in out.report.widths] == [("h", 5, 1, (0,))]


@pytest.mark.parametrize(("multiple", "width"), [(2, 8), (4, 8), (8, 8), (16, 13)])
def test_units_stay_so_that_widths_are_multiples(multiple, width, tmp_path):
    proto = model(
        "float[N,4] x => float[N,3] y",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n y = Gemm(h, w2, b2)",
        {"w1": random(13, 4), "b1": bias(13, *range(2, 8)), "w2": random(13, 3), "b2": bias(3)},
    )
    out = operate(proto, tmp_path, round_to=multiple)
    assert out.shape("w1") == (width, 4)
    kept = out.report.widths[0].kept if out.report.widths else ()
    assert not kept or f"which is to be a multiple of {multiple}" in out.reasons
    assert kept == tuple(range(2, 2 + width - 7))


def test_units_that_reach_an_output_stay(tmp_path):
    proto = model(
        "float[N,4] x => float[N,5] y",
        "a = Gemm <transB=1> (x, w1, b1)\n y = Relu(a)",
        {"w1": random(5, 4), "b1": bias(5, 1)},
    )
    out = operate(proto, tmp_path)
    assert out.done == {}
    assert "the graph output 'y'" in out.reasons
    assert out.after.graph == proto.graph


def test_a_unit_whose_preactivation_is_read_besides_stays(tmp_path):
    proto = model(
        "float[N,4] x => float[N,3] y, float[N,3] z",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n y = MatMul(h, w2)\n z = MatMul(a, w3)",
        {"w1": random(5, 4), "b1": bias(5, 1), "w2": random(5, 3), "w3": random(5, 3)},
    )
    out = operate(proto, tmp_path, tolerance=1e-4)
    assert out.done == {}
    assert (
        out.reasons
        == "their value is not known to be constant behind Gemm 'Gemm_0', and MatMul 'MatMul_3' reads them"
    )


def test_where_a_value_was_lost_is_told(tmp_path):
    proto = model(
        "float[N,3,6,6] x => float[N,2,6,6] y",
        "a = Conv(x, w0, b0)\n h = Relu(a)\n d = Conv <group=5, pads=[1,1,1,1]> (h, w1, b1)\n y = Conv(d, w2)",
        {
            "w0": random(5, 3, 1, 1),
            "b0": bias(5),
            "w1": random(5, 1, 3, 3),
            "b1": bias(5),
            "w2": random(2, 5, 1, 1),
        },
    )
    out = operate(proto, tmp_path, [Action("a1", "fold", "h", (1,), {"values": [0.5]})])
    assert out.reasons == "their value is not known behind Conv 'Conv_2', and Conv 'Conv_3' reads them"


def test_a_gated_product_takes_gate_and_up_along(tmp_path):
    w, v = random(4, 6), random(4, 6, seed=3)
    v[:, [1, 4]] = 0
    proto = model(
        "float[N,7,4] x => float[N,7,4] y",
        "g = MatMul(x, wg)\n s = Sigmoid(g)\n q = Mul(g, s)\n u = MatMul(x, wu)\n p = Mul(q, u)\n y = MatMul(p, wd)",
        {"wg": w, "wu": v, "wd": random(6, 4)},
    )
    out = operate(proto, tmp_path)
    assert out.done == {"p": (1, 4)}
    assert (out.shape("wg"), out.shape("wu"), out.shape("wd")) == ((4, 4), (4, 4), (4, 4))


def test_two_halves_of_one_projection_are_split_where_they_now_meet(tmp_path):
    w = random(4, 12)
    w[:, [6 + 1, 6 + 4]] = 0
    proto = model(
        "float[N,7,4] x => float[N,7,4] y",
        "gu = MatMul(x, w)\n g, u = Split <axis=-1> (gu, sizes)\n s = Sigmoid(g)\n q = Mul(g, s)\n p = Mul(q, u)\n"
        "y = MatMul(p, wd)",
        {"w": w, "wd": random(6, 4), "sizes": np.array([6, 6])},
    )
    out = operate(proto, tmp_path)
    assert out.done == {"p": (1, 4)}
    assert (out.shape("w"), tuple(out.weight("sizes"))) == ((4, 8), (4, 4))


def test_a_manifest_that_names_what_is_not_there_is_refused(tmp_path):
    proto = model(
        "float[N,4] x => float[N,3] y",
        "a = Gemm <transB=1> (x, w1, b1)\n h = Relu(a)\n y = MatMul(h, w2)",
        {"w1": random(5, 4), "b1": bias(5, 1), "w2": random(5, 3)},
    )
    for actions, expected in (
        ([Action("1", "remove", "nowhere", (0,))], "the model has no site 'nowhere'"),
        ([Action("1", "remove", "h", (5,))], "site 'h' has no unit 5: expected 0 to 4"),
        ([Action("1", "remove", "h", (1,)), Action("2", "remove", "h", (1,))], "in action '1' and in '2'"),
    ):
        with pytest.raises(UsageError, match=expected):
            operate(proto, tmp_path, actions)
