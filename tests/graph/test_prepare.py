"""Preparing a graph: constants set, functions inlined, decided branches taken, outputs unchanged by it."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from nla.checkpoint.onnx_file import open_onnx
from nla.errors import ModelError, UsageError
from nla.graph.loading import ExternalWeight
from nla.graph.prepare import prepare
from nla.graph.rewrite import extract
from nla.site import Input


@pytest.fixture
def prepared(tmp_path):
    def build(model, constants=None, shapes=None):
        model = onnx.parser.parse_model(model) if isinstance(model, str) else model
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return prepare(open_onnx(path), constants, shapes)

    return build


def session(model):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(model if isinstance(model, str) else model.SerializeToString(), options)


def ops(prepared):
    return [node.op_type for node in prepared.model.graph]


def initializer(prepared, name):
    return prepared.model.graph.initializers[name].const_value.numpy()


HEADER = '<ir_version: 8, opset_import: ["" : 17]>'

STATEFUL = f"""
{HEADER}
g (float[batch, 4] x, float[2, batch, 4] state, int64 rate, float[1] scale) => (float[batch, 4] y) {{
  first = Constant <value = int64 {{0}}> ()
  h = Gather <axis = 0> (state, first)
  s = Add (x, h)
  wide = Constant <value = int64 {{16000}}> ()
  is_wide = Equal (rate, wide)
  z = If (is_wide) <
    then_branch = wide_band () => (float[batch, 4] r) {{ r = Relu (s) }},
    else_branch = narrow_band () => (float[batch, 4] r) {{ r = Tanh (s) }}
  >
  y = Mul (z, scale)
}}
"""
SET = {"state": 0, "rate": 16000, "scale": "2.5"}


def test_inputs_outputs_and_parameters_are_listed(prepared):
    found = prepared(STATEFUL)
    assert found.inputs == (
        Input("x", "float32", ("batch", 4)),
        Input("state", "float32", (2, "batch", 4)),
        Input("rate", "int64", ()),
        Input("scale", "float32", (1,)),
    )
    assert found.outputs == ("y",)


def test_constants_leave_the_inputs_and_decide_the_branch(prepared):
    found = prepared(STATEFUL, SET)
    assert [i.name for i in found.inputs] == ["x"]
    assert "If" not in ops(found)
    assert "Relu" in ops(found)
    assert "Tanh" not in ops(found)
    assert any("always True" in note for note in found.notes)
    assert initializer(found, "scale").tolist() == [2.5]


def test_the_other_value_takes_the_other_branch(prepared):
    assert "Tanh" in ops(prepared(STATEFUL, SET | {"rate": 8000}))


def test_a_constant_that_follows_the_batch_is_fed(prepared):
    feed = prepared(STATEFUL, SET).constant_feeds["state"]
    assert feed.shape == (2, None, 4)
    assert feed.batch_axis == 1
    assert feed.of(3).shape == (2, 3, 4)
    assert feed.of(3).dtype == np.float32
    assert feed.of(3).flags.c_contiguous


def test_a_given_array_is_repeated_for_every_sample(prepared):
    state = np.arange(8.0).reshape(2, 1, 4)
    feed = prepared(STATEFUL, SET | {"state": state}).constant_feeds["state"]
    np.testing.assert_array_equal(feed.of(5)[:, 3], state[:, 0])


def test_prepared_graph_computes_what_the_model_computes(prepared):
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    feeds = {"x": x, "state": np.zeros((2, 3, 4), np.float32)}
    expected = session(onnx.parser.parse_model(STATEFUL)).run(
        None, feeds | {"rate": np.array(16000), "scale": np.array([2.5], np.float32)}
    )
    got = session(extract(prepared(STATEFUL, SET).model, ["y"])).run(None, feeds)
    np.testing.assert_array_equal(got[0], expected[0])


def test_an_undecided_branch_is_left_and_noted(prepared):
    found = prepared(STATEFUL)
    assert "If" in ops(found)
    assert any("left alone" in note for note in found.notes)


@pytest.mark.parametrize(
    ("constants", "words"),
    [
        ({"stat": 0}, "no such input; its inputs are x, state, rate, scale"),
        ({"rate": 1.5}, "1.5 is no value of type int64"),
        ({"rate": "fast"}, "fast is no value of type int64"),
        ({"rate": 2**70}, "no value of type int64"),
        ({"scale": 1e300}, "no value of type float"),
        ({"state": [1.0, 2.0]}, r"shape \[2\] does not fit the input's \[2, samples, 4\]"),
        ({"rate": "1,2"}, r"shape \[2\] does not fit the input's \[\]"),
    ],
)
def test_values_that_do_not_fit_are_refused(prepared, constants, words):
    with pytest.raises(UsageError, match=words):
        prepared(STATEFUL, constants)


@pytest.mark.parametrize(
    ("given", "value"), [("1", 1), ("16e3", 16000), (16000.0, 16000), ("true", 1), (True, 1)]
)
def test_numbers_may_come_as_text(prepared, given, value):
    assert initializer(prepared(STATEFUL, {"rate": given}), "rate") == value


def test_the_batch_of_a_state_is_the_symbol_it_shares_with_the_data(prepared):
    text = STATEFUL.replace("float[2, batch, 4] state", "float[layers, batch, 4] state").replace(
        "Gather <axis = 0> (state, first)", "ReduceSum <axes = [0], keepdims = 0> (state)"
    )
    text = text.replace('"" : 17', '"" : 12')
    assert prepared(text, SET).constant_feeds["state"].shape == (1, None, 4)


def test_the_first_size_of_one_is_the_batch_of_a_state_where_the_batch_is_fixed(prepared):
    text = STATEFUL.replace("batch", "1")
    assert prepared(text, SET).constant_feeds["state"].shape == (2, None, 4)
    assert "scale" not in prepared(text, SET).constant_feeds


def test_initializers_that_are_inputs_are_constants(prepared):
    model = onnx.parser.parse_model(
        f"{HEADER} g (float[n, 2] x, float[2, 2] W) => (float[n, 2] y) {{ y = MatMul (x, W) }}"
    )
    model.graph.initializer.append(numpy_helper.from_array(np.eye(2, dtype=np.float32), "W"))
    model.ir_version = 3
    found = prepared(model)
    assert [i.name for i in found.inputs] == ["x"]
    assert [i.name for i in extract(found.model, ["y"]).graph.input] == ["x"]
    assert found.parameters == 4
    assert initializer(prepared(model, {"W": 3}), "W").tolist() == [[3, 3], [3, 3]]


SHAPED = f"""
{HEADER}
g (float[batch, 3, length] x) => (y) {{
  s = Shape (x)
  last = Constant <value = int64[1] {{-1}}> ()
  n = Gather (s, last)
  one = Constant <value = int64[1] {{1}}> ()
  single = Equal (n, one)
  h = If (single) <
    then_branch = t () => (squeezed) {{ squeezed = Squeeze (x, last) }},
    else_branch = e () => (same) {{ same = Identity (x) }}
  >
  r = Shape (h)
  rank = Size (r)
  two = Constant <value = int64 {{2}}> ()
  flat = Equal (rank, two)
  y = If (flat) <
    then_branch = t2 () => (a) {{ a = Relu (h) }},
    else_branch = e2 () => (b) {{ b = Tanh (h) }}
  >
}}
"""


@pytest.mark.parametrize(("length", "kept"), [(1, ["Squeeze", "Relu"]), (7, ["Tanh"])])
def test_the_shape_of_the_data_decides_branches_one_after_another(prepared, length, kept):
    assert ops(prepared(SHAPED)).count("If") == 2
    found = prepared(SHAPED, shapes={"x": (None, 3, length)})
    assert "If" not in ops(found)
    assert [op for op in ops(found) if op in ("Squeeze", "Relu", "Tanh")] == kept
    x = np.random.default_rng(1).normal(size=(2, 3, length)).astype(np.float32)
    expected = session(onnx.parser.parse_model(SHAPED)).run(None, {"x": x})[0]
    np.testing.assert_array_equal(session(extract(found.model, ["y"])).run(None, {"x": x})[0], expected)


CLASH = f"""
{HEADER}
g (float[n] x, bool c) => (float[n] y, float[n] z) {{
  a = Abs (x)
  y = If (c) <
    then_branch = t () => (float[n] r) <float[1] w = {{2}}> {{ inner = Neg (x) r = Mul (inner, w) }},
    else_branch = e () => (float[n] r) {{ r = Exp (a) }}
  >
  w = Sqrt (a)
  z = If (c) <
    then_branch = t2 () => (float[n] inner) {{ inner = Add (w, a) }},
    else_branch = e2 () => (float[n] inner) {{ inner = Sub (w, a) }}
  >
}}
"""


def test_names_that_clash_get_a_number_and_outputs_keep_theirs(prepared):
    found = prepared(CLASH, {"c": "true"})
    names = [v.name for node in found.model.graph for v in node.outputs] + list(
        found.model.graph.initializers
    )
    assert len(names) == len(set(names))
    assert found.outputs == ("y", "z")
    x = np.array([1, 4, 9], np.float32)
    expected = session(onnx.parser.parse_model(CLASH)).run(None, {"x": x, "c": np.array(True)})
    got = session(extract(found.model, ["y", "z"])).run(None, {"x": x})
    np.testing.assert_array_equal(got, expected)


def test_a_dropped_branch_no_longer_reads_anything(prepared):
    found = prepared(CLASH, {"c": 1})
    a = next(v for node in found.model.graph for v in node.outputs if v.name == "a")
    assert sorted(node.op_type for node in a.consumers()) == ["Add", "Sqrt"]


def test_functions_are_inlined(prepared):
    text = """
    <ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    g (float[n, 2] x) => (float[n, 2] y) { h = own.twice (x) y = own.twice (h) }
    <domain: "own", opset_import: ["" : 17]>
    twice (a) => (c) { b = Relu (a) c = Add (b, b) }
    """
    found = prepared(text)
    assert ops(found) == ["Relu", "Add", "Relu", "Add"]
    assert any("1 functions were inlined: twice" in note for note in found.notes)
    x = np.array([[1, -2]], np.float32)
    assert session(extract(found.model, ["y"])).run(None, {"x": x})[0].tolist() == [[4, 0]]


def test_functions_of_another_opset_are_left_and_noted(prepared):
    text = """
    <ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    g (float[n, 2] x) => (float[n, 2] y) { y = own.twice (x) }
    <domain: "own", opset_import: ["" : 12]>
    twice (a) => (c) { b = Relu (a) c = Add (b, b) }
    """
    assert any("left alone" in note for note in prepared(text).notes)


def test_a_wrong_declared_shape_does_not_poison_what_follows(prepared):
    model = onnx.parser.parse_model(
        f"{HEADER} g (float[n, 4] x) => (y) {{ h = Relu (x) m = Transpose (h) y = Abs (m) }}"
    )
    model.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, 2, 3]))
    found = prepared(model)
    m = next(v for node in found.model.graph for v in node.outputs if v.name == "m")
    assert m.shape[0] == 4


def test_a_declared_shape_behind_a_foreign_operator_counts(prepared):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "own" : 1]> '
        "g (float[n, 4] x) => (y) { h = own.Odd (x) m = Transpose (h) y = Abs (m) }"
    )
    model.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, [7, 3]))
    m = next(v for node in prepared(model).model.graph for v in node.outputs if v.name == "m")
    assert tuple(m.shape) == (3, 7)


def test_sizes_of_minus_one_are_free(prepared):
    model = onnx.parser.parse_model(f"{HEADER} g (float[n, 4] x) => (float[n, 4] y) {{ y = Relu (x) }}")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert prepared(model).inputs[0].shape == (None, 4)


def test_weights_in_constant_nodes_become_initializers_of_the_same_name(prepared):
    text = f"""{HEADER} g (float[n, 4] x) => (float[n, 4] y) {{
      W = Constant <value = float[4, 4] {{1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}}> ()
      y = MatMul (x, W)
    }}"""
    found = prepared(text)
    assert ops(found) == ["MatMul"]
    assert initializer(found, "W").shape == (4, 4)
    assert found.parameters == 16


def test_sparse_initializers_become_dense(prepared, tmp_path):
    model = onnx.parser.parse_model(
        f"{HEADER} g (float[n, 2] x, float[2, 2] S) => (float[n, 2] y) {{ y = MatMul (x, S) }}"
    )
    del model.graph.input[1]
    values = numpy_helper.from_array(np.array([5, 7], np.float32), "S")
    indices = numpy_helper.from_array(np.array([[0, 1], [1, 0]], np.int64))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2, 2]))
    assert initializer(prepared(model), "S").tolist() == [[0, 5], [7, 0]]


def test_nodes_of_one_name_are_told_apart(prepared):
    model = onnx.parser.parse_model(f"{HEADER} g (float[n] x) => (float[n] y) {{ h = Relu (x) y = Abs (h) }}")
    for node in model.graph.node:
        node.name = "same"
    found = prepared(model)
    assert len({node.name for node in found.model.graph}) == 2
    session(extract(found.model, ["y"]))


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int8])
def test_external_weights_stay_in_their_file_until_read(tmp_path, kind):
    weight = np.arange(12).reshape(3, 4).astype(kind)
    (tmp_path / "w.bin").write_bytes(b"\0" * 16 + weight.tobytes())
    tensor = TensorProto(name="W", data_type=helper.np_dtype_to_tensor_dtype(weight.dtype), dims=[3, 4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    tensor.external_data.add(key="offset", value="16")
    graph = helper.make_graph(
        [helper.make_node("Identity", ["W"], ["y"])], "g", [], [onnx.ValueInfoProto(name="y")], [tensor]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    found = prepare(open_onnx(tmp_path / "model.onnx"))
    value = found.model.graph.initializers["W"].const_value
    assert isinstance(value, ExternalWeight)
    np.testing.assert_array_equal(value.numpy(), weight)
    assert found.parameters == 12
    (reference,) = extract(found.model, ["y"]).graph.initializer
    assert {e.key: e.value for e in reference.external_data} == {
        "location": "w.bin",
        "offset": "16",
        "length": str(weight.nbytes),
    }


def test_a_graph_that_onnx_ir_cannot_read_is_a_model_error(prepared):
    model = onnx.parser.parse_model(f"{HEADER} g (float[n] x) => (float[n] y) {{ y = Relu (x) }}")
    model.graph.input[0].type.tensor_type.elem_type = 77
    with pytest.raises(ModelError, match="cannot be read"):
        prepared(model)


SILERO = {
    "silero_vad.onnx": {"state": 0, "sr": 16000},
    "silero_vad_16k_op15.onnx": {"state": 0, "sr": 16000},
    "silero_vad_half.onnx": {"state": 0},
    "silero_vad_op18_ifless.onnx": {"state": 0, "sr": 16000},
}


@pytest.mark.parametrize("name", SILERO)
def test_silero_is_flat_once_rate_and_window_are_known_and_says_the_same(shared, name):
    path = shared / "models" / "silero-vad" / name
    found = prepare(open_onnx(path), SILERO[name], {"input": (None, 576)})
    assert "If" not in ops(found)
    assert ops(found).count("Relu") == 5
    assert "LSTM" in ops(found) or name == "silero_vad_op18_ifless.onnx"
    x = np.random.default_rng(0).normal(size=(2, 576)).astype(np.float32) / 10
    feeds = {"input": x, "state": np.zeros((2, 2, 128), np.float32)}
    rate = {"sr": np.array(16000)} if "sr" in SILERO[name] else {}
    expected = session(str(path)).run(["output", "stateN"], feeds | rate)
    got = session(extract(found.model, ["output", "stateN"])).run(None, feeds)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["silero_vad.onnx", "silero_vad_16k_op15.onnx"])
def test_silero_without_its_window_is_decided_as_far_as_it_goes(shared, name):
    found = prepare(open_onnx(shared / "models" / "silero-vad" / name), SILERO[name])
    assert ops(found).count("Relu") == 5
    assert any("left alone" in note for note in found.notes)


def test_every_shared_model_that_opens_can_be_prepared(shared):
    prepared = 0
    for path in sorted((shared / "models").rglob("*.onnx")):
        try:
            checkpoint = open_onnx(path)
        except ModelError:
            continue
        found = prepare(checkpoint)
        assert isinstance(found.model, ir.Model)
        assert all("\n" not in note for note in found.notes)
        prepared += 1
    assert prepared > 20
