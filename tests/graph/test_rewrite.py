"""Graphs cut out for replay compute the same, and a freed batch equals one by one."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from nla.checkpoint.onnx_file import open_onnx
from nla.errors import ModelError
from nla.graph import rewrite
from nla.graph.prepare import prepare
from nla.graph.rewrite import extract, free_batch, lift

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'


def session(model, folder=None):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return ort.InferenceSession(model.SerializeToString(), options)


@pytest.fixture
def prepared(tmp_path):
    def build(model, constants=None):
        model = onnx.parser.parse_model(model) if isinstance(model, str) else model
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return prepare(open_onnx(path), constants)

    return build


TWO_PATHS = f"""
{HEADER}
g (float[n, 4] x, float[n, 2] other) => (float[n, 4] y, float[n, 2] unused)
<float[4, 4] W = {{1,2,3,4, 5,6,7,8, 1,0,1,0, 2,2,2,2}}, float[2, 2] V = {{1, 0, 0, 1}}>
{{
  z = MatMul (x, W)
  a = Relu (z)
  y = Neg (a)
  unused = MatMul (other, V)
}}
"""


def test_only_what_the_taps_need_is_kept_under_its_names(prepared):
    proto = extract(prepared(TWO_PATHS).model, ["a", "z"])
    assert [o.name for o in proto.graph.output] == ["a", "z"]
    assert [i.name for i in proto.graph.input] == ["x"]
    assert [t.name for t in proto.graph.initializer] == ["W"]
    assert [n.op_type for n in proto.graph.node] == ["MatMul", "Relu"]
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    a, z = session(proto).run(None, {"x": x})
    np.testing.assert_array_equal(a, np.maximum(z, 0))


def test_the_model_itself_is_not_changed(prepared):
    model = prepared(TWO_PATHS).model
    before = [n.op_type for n in model.graph], list(model.graph.initializers), len(model.graph.outputs)
    first = extract(model, ["a"]).SerializeToString()
    assert (
        [n.op_type for n in model.graph],
        list(model.graph.initializers),
        len(model.graph.outputs),
    ) == before
    assert extract(model, ["a"]).SerializeToString() == first


def test_inputs_and_constants_can_be_taps(prepared):
    proto = extract(prepared(TWO_PATHS).model, ["x", "W", "z"])
    x = np.ones((1, 4), np.float32)
    given, weight, z = session(proto).run(None, {"x": x})
    np.testing.assert_array_equal(given @ weight, z)


def test_an_absent_tap_is_named(prepared):
    with pytest.raises(ModelError, match="tensor 'ghost' is not in the graph"):
        extract(prepared(TWO_PATHS).model, ["ghost"])


def test_what_a_subgraph_reads_from_outside_is_kept(prepared):
    text = f"""
    {HEADER}
    g (float[n] x, bool c) => (float[n] y) <float[1] w = {{3}}> {{
      h = Relu (x)
      k = Neg (x)
      y = If (c) <
        then_branch = t () => (float[n] r) {{ r = Mul (h, w) }},
        else_branch = e () => (float[n] r) {{ r = Identity (k) }}
      >
    }}
    """
    proto = extract(prepared(text).model, ["y"])
    run = session(proto)
    x = np.array([1, -1], np.float32)
    assert run.run(None, {"x": x, "c": np.array(True)})[0].tolist() == [3, 0]
    assert run.run(None, {"x": x, "c": np.array(False)})[0].tolist() == [-1, 1]


def test_external_weights_are_found_by_a_session_on_bytes(prepared, tmp_path):
    weight = np.arange(8, dtype=np.float32).reshape(4, 2)
    (tmp_path / "w.bin").write_bytes(weight.tobytes())
    model = onnx.parser.parse_model(f"{HEADER} g (float[n, 4] x) => (float[n, 2] y) {{ y = MatMul (x, W) }}")
    tensor = TensorProto(
        name="W", data_type=TensorProto.FLOAT, dims=[4, 2], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="w.bin")
    model.graph.initializer.append(tensor)
    proto = extract(prepared(model).model, ["y"])
    x = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(session(proto, tmp_path).run(None, {"x": x})[0], weight)


def test_a_session_takes_mapped_external_files_and_opens_no_path(tmp_path):
    store, snapshot = tmp_path / "blobs", tmp_path / "snapshots"
    store.mkdir()
    snapshot.mkdir()
    weight = np.arange(4096, dtype=np.float32).reshape(64, 64)
    (store / "w").write_bytes(b"\1" * 8 + weight.tobytes())
    model = onnx.parser.parse_model(
        f"{HEADER} g (float[n, 64] x) => (float[n, 64] y) {{ y = MatMul (x, W) }}"
    )
    tensor = TensorProto(
        name="W", data_type=TensorProto.FLOAT, dims=[64, 64], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="sub/w.bin")
    tensor.external_data.add(key="offset", value="8")
    model.graph.initializer.append(tensor)
    (store / "m").write_bytes(model.SerializeToString())
    (snapshot / "m.onnx").symlink_to(store / "m")
    (snapshot / "sub").mkdir()
    (snapshot / "sub" / "w.bin").symlink_to(store / "w")
    checkpoint = open_onnx(snapshot / "m.onnx")
    files = checkpoint.map_external()
    options = ort.SessionOptions()
    sizes = [len(content) for content in files.values()]
    options.add_external_initializers_from_files_in_memory(list(files), list(files.values()), sizes)
    proto = extract(prepare(checkpoint).model, ["y"])
    x = np.eye(64, dtype=np.float32)
    run = ort.InferenceSession(proto.SerializeToString(), options)
    np.testing.assert_array_equal(run.run(None, {"x": x})[0], weight)


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
def test_large_inline_weights_travel_beside_the_protobuf(prepared, kind):
    rng = np.random.default_rng(1)
    large, small = rng.normal(size=(64, 64)).astype(kind), rng.normal(size=(64, 2)).astype(kind)
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    nodes = [
        helper.make_node("MatMul", ["x", "large"], ["h"]),
        helper.make_node("MatMul", ["h", "small"], ["y"]),
    ]
    weights = [numpy_helper.from_array(large, "large"), numpy_helper.from_array(small, "small")]
    declared = [helper.make_tensor_value_info(n, element, ["n", w]) for n, w in (("x", 64), ("y", 2))]
    graph = helper.make_graph(nodes, "g", declared[:1], declared[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    ready = prepared(model).model
    lifted = lift(ready)
    assert set(lifted.locations) == {"large"}
    proto = extract(ready, ["y"], lifted)
    assert proto.ByteSize() < large.nbytes // 4
    options = ort.SessionOptions()
    files = dict(lifted.files)
    sizes = [len(content) for content in files.values()]
    options.add_external_initializers_from_files_in_memory(list(files), list(files.values()), sizes)
    x = rng.normal(size=(3, 64)).astype(kind)
    got = ort.InferenceSession(proto.SerializeToString(), options).run(None, {"x": x})[0]
    np.testing.assert_array_equal(got, session(extract(ready, ["y"])).run(None, {"x": x})[0])


def test_a_lifted_weight_takes_no_external_files_place(prepared, tmp_path):
    weight = np.arange(4096, dtype=np.float32).reshape(64, 64)
    (tmp_path / "nla-inline-0").write_bytes(weight.tobytes())
    model = onnx.parser.parse_model(
        f"{HEADER} g (float[n, 64] x) => (float[n, 64] y) {{ h = MatMul (x, V)  y = MatMul (h, W) }}"
    )
    tensor = TensorProto(
        name="W", data_type=TensorProto.FLOAT, dims=[64, 64], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="nla-inline-0")
    model.graph.initializer.extend([tensor, numpy_helper.from_array(weight, "V")])
    ready = prepared(model).model
    assert not lift(ready).files
    proto = extract(ready, ["y"], lift(ready))
    x = np.eye(64, dtype=np.float32)
    np.testing.assert_array_equal(session(proto, tmp_path).run(None, {"x": x})[0], weight @ weight)


def test_inline_weights_beyond_protobufs_limit_say_what_to_do(prepared, monkeypatch):
    monkeypatch.setattr(rewrite, "_LARGEST_PROTO_BYTES", 100)
    with pytest.raises(ModelError, match="save the model with external data"):
        extract(prepared(TWO_PATHS).model, ["a"])


def batched_equals_one_by_one(proto, freed, axes, *, samples=3, tolerance=1e-5):
    """Run both models on random samples; every output's samples lie along the one axis that grew."""
    rng = np.random.default_rng(0)
    single, joint = session(proto), session(freed)
    ones = [
        {
            i.name: rng.integers(0, 3, i.shape)
            if "int" in i.type
            else rng.normal(size=i.shape).astype(np.float32)
            for i in single.get_inputs()
        }
        for _ in range(samples)
    ]
    together = {n: np.concatenate([one[n] for one in ones], axes.get(n, 0)) for n in ones[0]}
    for k, many in enumerate(joint.run(None, together)):
        alone = [single.run(None, one)[k] for one in ones]
        if many.ndim > alone[0].ndim:  # the samples' axis of 1 was squeezed away
            np.testing.assert_allclose(many, np.stack(alone), rtol=1e-4, atol=tolerance)
            continue
        grown = [a for a in range(many.ndim) if many.shape[a] == samples * alone[0].shape[a]]
        assert grown, (many.shape, alone[0].shape)
        assert any(
            np.allclose(many, np.concatenate(alone, axis), rtol=1e-4, atol=tolerance)
            for axis in grown
        )  # fmt: skip


def freed_and_proved(model, axes=None, **options):
    axes = axes or {"x": 0}
    proto = onnx.parser.parse_model(model) if isinstance(model, str) else model
    before = proto.SerializeToString()
    freed = free_batch(proto, axes)
    assert proto.SerializeToString() == before
    assert freed is not None
    assert freed.graph.input[0].type.tensor_type.shape.dim[axes["x"]].HasField("dim_param")
    batched_equals_one_by_one(proto, freed, axes, **options)
    return freed


GRAPHS = {
    "a plain layer": "g (float[1, 4] x) => (float[1, 4] y) { y = Relu (x) }",
    "flattening to a written batch": """
      g (float[1, 2, 3, 3] x) => (float[1, 18] y) <int64[2] s = {1, 18}> { y = Reshape (x, s) }""",
    "a written batch beside a free size": """
      g (float[1, 2, 3, 3] x) => (float[1, 9, 2] y) <int64[3] s = {1, -1, 2}>
      { t = Transpose <perm = [0, 2, 3, 1]> (x) y = Reshape (t, s) }""",
    "a target in a Constant node": """
      g (float[1, 2, 3] x) => (float[1, 6] y)
      { s = Constant <value = int64[2] {1, 6}> () y = Reshape (x, s) }""",
    "heads merged into the batch and back": """
      g (float[1, 5, 8] x) => (float[1, 5, 8] y)
      <int64[4] s = {1, 5, 2, 4}, int64[3] m = {2, 5, 4}, int64[4] u = {1, 2, 5, 4}, int64[3] e = {1, 5, 8}>
      {
        a = Reshape (x, s)
        b = Transpose <perm = [0, 2, 1, 3]> (a)
        c = Reshape (b, m)
        d = Transpose <perm = [0, 2, 1]> (c)
        f = MatMul (c, d)
        h = MatMul (f, c)
        i = Reshape (h, u)
        j = Transpose <perm = [0, 2, 1, 3]> (i)
        y = Reshape (j, e)
      }""",
    "tokens merged into the batch and back": """
      g (float[1, 5, 8] x) => (float[1, 5, 8] y) <int64[2] s = {5, 8}, int64[3] e = {1, 5, 8}>
      { a = Reshape (x, s) b = Relu (a) y = Reshape (b, e) }""",
    "time first, as PyTorch's attention has it": """
      g (float[1, 5, 8] x) => (float[1, 5, 8] y)
      <int64[3] s = {5, 2, 4}, int64[3] m = {5, 1, 8}, int64[2] f = {5, 8}>
      {
        t = Transpose <perm = [1, 0, 2]> (x)
        h = Reshape (t, s)
        q = Transpose <perm = [1, 0, 2]> (h)
        k = Transpose <perm = [0, 2, 1]> (q)
        p = MatMul (q, k)
        o = MatMul (p, q)
        b = Transpose <perm = [1, 0, 2]> (o)
        r = Reshape (b, f)
        v = Relu (r)
        w = Reshape (v, m)
        y = Transpose <perm = [1, 0, 2]> (w)
      }""",
    "a class token": """
      g (float[1, 5, 2] x) => (float[1, 6, 2] y) <float[1, 1, 2] token = {3, 4}>
      { y = Concat <axis = 1> (token, x) }""",
    "a target computed from the shape": """
      g (float[1, 2, 3] x) => (float[1, 6] y) <int64 i = {0}, int64[1] a = {0}, int64[1] r = {-1}>
      {
        s = Shape (x)
        n = Gather (s, i)
        u = Unsqueeze (n, a)
        t = Concat <axis = 0> (u, r)
        y = Reshape (x, t)
      }""",
    "squeezing every axis of one": """
      g (float[1, 3, 1, 1] x) => (y) { y = Squeeze (x) }""",
    "axes put in and taken out": """
      g (float[1, 3] x) => (y) <int64[1] a = {0}, int64[1] b = {-1}>
      { c = Unsqueeze (x, a) d = Unsqueeze (c, b) e = Relu (d) y = Squeeze (e, a) }""",
    "an embedding": """
      g (int64[1, 4] x) => (y) <float[3, 2] table = {1, 2, 3, 4, 5, 6}> { y = Gather (table, x) }""",
    "the last token": """
      g (float[1, 4, 2] x) => (y) <int64 i = {-1}> { y = Gather <axis = 1> (x, i) }""",
    "a mean over positions": """
      g (float[1, 4, 2] x) => (y) { a = ReduceMean <axes = [1], keepdims = 0> (x) y = Relu (a) }""",
    "a bias of fewer axes": """
      g (float[1, 4, 2] x) => (y) <float[2] b = {1, 2}> { y = Add (b, x) }""",
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_freed_batch_equals_one_by_one(name):
    freed_and_proved(HEADER + GRAPHS[name])


def lstm(initial):
    """An LSTM over [time, 1, features] with initial states that hold the batch of 1."""
    rng = np.random.default_rng(0)
    weights = {"W": (1, 12, 2), "R": (1, 12, 3), "h0": (1, 1, 3), "c0": (1, 1, 3)}
    tensors = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in weights.items()]
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "W", "R", "", "", *initial], ["Y", "Yh"], hidden_size=3),
        helper.make_node("Squeeze", ["Y", "axis"], ["y"]),
    ]
    tensors.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 2])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("y", "Yh")],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("initial", [[], ["h0", "c0"]])
def test_initial_states_of_an_lstm_are_repeated(initial):
    freed_and_proved(lstm(initial))


def test_a_batch_elsewhere_than_in_front_can_be_named():
    text = HEADER + "g (float[4, 1, 2] x) => (float[4, 1, 2] y) { y = Relu (x) }"
    freed_and_proved(text, {"x": 1})


@pytest.mark.parametrize(
    "graph",
    [
        "g (float[2, 4] x) => (float[2, 4] y) { y = Relu (x) }",
        "g (float[1, 4] x) => (y) <int64[1] a = {0}> { h = Squeeze (x, a) y = Relu (h) }",
        "g (float[1, 4] x) => (y) <int64 i = {0}> { y = Gather <axis = 0> (x, i) }",
        "g (float[1, 4] x) => (y) { y = ReduceMean <axes = [0]> (x) }",
        "g (float[1, 4] x) => (y) <float[1, 4] c = {1, 2, 3, 4}> { y = Concat <axis = 0> (x, c) }",
    ],
)
def test_a_batch_that_cannot_be_freed_is_none(graph):
    assert free_batch(onnx.parser.parse_model(HEADER + graph), ["x"]) is None


def test_a_malformed_graph_is_none_and_no_exception():
    proto = onnx.parser.parse_model(HEADER + "g (float[1, 4] x) => (y) { y = Gather (x) }")
    assert free_batch(proto, ["x"]) is None
    assert free_batch(proto, []) is None
    assert free_batch(proto, {"x": 5}) is None


REAL = [
    "wonnx/opt-mnist.onnx",
    "ort-examples/mnist.onnx",
    "dtln/model_1.onnx",
    "dtln/model_2.onnx",
    "ultraface/version-RFB-320.onnx",
    "ultraface/version-RFB-320_simplified.onnx",
    "ultraface/version-slim-320_without_postprocessing.onnx",
]


@pytest.mark.parametrize("name", REAL)
def test_real_models_of_fixed_batch_are_freed(shared, name):
    found = prepare(open_onnx(shared / "models" / name))
    proto = extract(found.model, found.outputs)
    axes = {i.name: 0 for i in found.inputs}
    freed = free_batch(proto, axes)
    assert freed is not None
    batched_equals_one_by_one(proto, freed, axes, samples=2, tolerance=1e-3)


def test_a_state_beside_the_data_is_freed_along_its_own_axis(shared):
    path = shared / "models" / "silero-vad" / "silero_vad_openvino_16k.onnx"
    found = prepare(open_onnx(path), {"state": 0})
    proto = extract(found.model, found.outputs)
    axes = {"input": 0, "state": found.constant_feeds["state"].batch_axis}
    assert axes["state"] == 1
    batched_equals_one_by_one(proto, free_batch(proto, axes), axes, samples=3, tolerance=1e-4)
