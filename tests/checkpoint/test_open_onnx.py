"""Opening ONNX files: real ones of every kind open, everything else is one clear line."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from nla.checkpoint.limits import ModelLimits
from nla.checkpoint.onnx_file import open_onnx
from nla.errors import ModelError, NlaError

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
tiny (float[n, 3] x) => (float[n, 2] y)
<float[3, 2] W = {1, 2, 3, 4, 5, 6}, float[2] b = {0, -1}>
{
  z = Gemm (x, W, b)
  y = Relu (z)
}
"""


@pytest.fixture
def model() -> onnx.ModelProto:
    return onnx.parser.parse_model(TEXT)


@pytest.fixture
def save(tmp_path):
    def write(content, name="model.onnx"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        return path

    return write


def refused(path, match, **options):
    with pytest.raises(ModelError, match=match) as caught:
        open_onnx(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path)[:20])
    assert "\n" not in message
    return message


def refusal(path):
    """The message with which a file is refused, or None; anything but an error of ours escapes."""
    try:
        open_onnx(path)
    except NlaError as error:
        return str(error)
    return None


def test_a_model_opens_with_its_digest_and_size(save, model):
    path = save(model)
    checkpoint = open_onnx(path)
    assert checkpoint.proto == model
    assert checkpoint.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert checkpoint.size_bytes == path.stat().st_size
    assert checkpoint.describe()["opsets"] == {"ai.onnx": 17}


def test_every_shared_model_opens_or_is_refused_in_one_line(shared):
    paths = sorted((shared / "models").rglob("*.onnx"))
    assert len(paths) > 100
    refusals = {path.name: message for path in paths if (message := refusal(path)) is not None}
    assert not any("\n" in message for message in refusals.values())
    assert "is_continuous_control" in refusals["SoccerTwos.onnx"]
    assert "put the file that came with the model there" in refusals["ext_weights.onnx"]
    assert {name for name in refusals if not name.startswith(("weightless", "bad_graph"))} == {
        "SoccerTwos.onnx",
        "ext_weights.onnx",
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html><body>404</body></html>" + b" " * 40, "HTML page"),
        (b"\n <html><head>", "HTML page"),
        (b"PK\x03\x04" + bytes(60), "zip archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), "HDF5"),
        (b"\x80\x02}q\x00" + bytes(60), "pickle"),
        ((88).to_bytes(8, "little") + b'{"w":{"dtype":"F32"', "safetensors"),
        (b'{"a model": "in JSON, which is not what is read"}', "a text file"),
        (bytes(4) + b"TFL3" + bytes(50), "TensorFlow Lite"),
        (b"\x93NUMPY\x01\x00" + bytes(60), "NumPy array"),
        (b"\x08\x08\x12\x07pytorch", "there is no graph"),
        (b"\xff" * 100, "does not parse"),
    ],
)
def test_other_files_are_named_for_what_they_are(save, content, words):
    refused(save(content), words)


def test_a_truncated_model_is_refused(save, model):
    content = model.SerializeToString()
    for cut in range(1, len(content)):
        with pytest.raises(ModelError):
            open_onnx(save(content[:cut]))


def test_paths_that_are_no_files(tmp_path, save, model):
    save(model, "a.onnx")
    refused(tmp_path, "a folder, not a model file; it holds a.onnx")
    refused(tmp_path / "absent.onnx", "no such file")
    refused(tmp_path / "nowhere" / "a.onnx", "no such folder")
    with pytest.raises(ModelError, match="NUL"):
        open_onnx("a\0b.onnx")


def test_a_pipe_is_refused_without_waiting(tmp_path):
    path = tmp_path / "pipe.onnx"
    os.mkfifo(path)
    refused(path, "not a regular file")
    with pytest.raises(ModelError, match="not a regular file"):
        open_onnx("/dev/zero")


def test_a_huge_sparse_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    refused(path, "external data")


def test_a_symbolic_link_to_a_model_opens(tmp_path, save, model):
    link = tmp_path / "link.onnx"
    link.symlink_to(save(model))
    assert open_onnx(link).proto == model


def edit(model, change):
    change(model)
    return model


def set_dims(*dims):
    def change(model):
        model.graph.initializer[0].dims[:] = dims

    return change


def duplicate_initializer(model):
    model.graph.initializer.append(model.graph.initializer[0])


def two_data_fields(model):
    tensor = model.graph.initializer[0]
    tensor.raw_data = np.ones(6, np.float32).tobytes()


def no_data(model):
    del model.graph.initializer[0].float_data[:]


def wrong_field(model):
    tensor = model.graph.initializer[0]
    del tensor.float_data[:]
    tensor.int64_data.extend(range(6))


def unknown_type(model):
    model.graph.initializer[0].data_type = 99


def missing_input(model):
    model.graph.node[0].input[0] = "nowhere\x1b[31m"


def missing_output(model):
    model.graph.output[0].name = "nowhere"


def made_twice(model):
    model.graph.node.append(model.graph.node[1])


def circle(model):
    model.graph.node[0].input[0] = "y"


def self_circle(model):
    model.graph.node[1].input[0] = "y"


def two_inputs_of_one_name(model):
    model.graph.input.append(model.graph.input[0])


def no_opset(model):
    del model.opset_import[:]


def no_ir_version(model):
    model.ir_version = 0


def attribute_without_type(model):
    model.graph.node[1].attribute.add(name="odd", i=3)


def attribute_without_content(model):
    model.graph.node[1].attribute.add(name="odd", type=onnx.AttributeProto.TENSOR)


def segmented(model):
    model.graph.initializer[0].segment.begin = 0


FAULTS = [
    (set_dims(3, -2), "negative size"),
    (set_dims(3, 3), "takes 9 entries of float_data, and 6 are there"),
    (set_dims(2**62, 2**62), "entries of float_data"),
    (duplicate_initializer, "two initializers bear the name 'W'"),
    (two_data_fields, "given more than once"),
    (no_data, r"initializer 'W': float \[3, 2\] has no data: the weights were stripped"),
    (wrong_field, "keeps its data in float_data, and int64_data is there"),
    (unknown_type, "unknown element type"),
    (missing_input, r"Gemm node 'z' reads 'nowhere\\x1b\[31m', which no node makes"),
    (missing_output, "output of the graph is 'nowhere', which no node makes"),
    (made_twice, "'y' is made twice"),
    (circle, "in a circle"),
    (self_circle, "in a circle"),
    (two_inputs_of_one_name, "two inputs of one name"),
    (no_opset, "opset_import is missing"),
    (no_ir_version, "ir_version 0"),
    (segmented, "segments"),
    (attribute_without_type, "attribute 'odd' of node 'y': it does not say of which type it is"),
    (attribute_without_content, "says that it holds a tensor"),
]


@pytest.mark.parametrize(("change", "words"), FAULTS)
def test_faulty_models_are_refused(save, model, change, words):
    refused(save(edit(model, change)), words)


def test_names_that_are_not_utf8_are_refused(save, model):
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "inner"
    content = model.SerializeToString().replace(b"inner", b"\xff\xfe\xfd\xfc\xfb")
    refused(save(content), "not UTF-8")


def test_nodes_out_of_order_are_put_in_order(save, model):
    nodes = list(model.graph.node)
    scrambled = onnx.ModelProto()
    scrambled.CopyFrom(model)
    del scrambled.graph.node[:]
    scrambled.graph.node.extend(reversed(nodes))
    assert [n.op_type for n in open_onnx(save(scrambled)).proto.graph.node] == ["Gemm", "Relu"]


@pytest.mark.parametrize(
    "data_type",
    [
        TensorProto.BFLOAT16,
        TensorProto.FLOAT16,
        TensorProto.INT4,
        TensorProto.UINT4,
        TensorProto.FLOAT8E4M3FN,
    ],
)
@pytest.mark.parametrize("raw", [False, True])
def test_narrow_types_open_in_either_form(save, model, data_type, raw):
    tensor = helper.make_tensor("odd", data_type, [3], [1.0, 2.0, 1.0])
    if raw:
        size = {TensorProto.INT4: 2, TensorProto.UINT4: 2, TensorProto.FLOAT8E4M3FN: 3}.get(data_type, 6)
        tensor = TensorProto(name="odd", data_type=data_type, dims=[3], raw_data=bytes(size))
    model.graph.initializer.append(tensor)
    assert open_onnx(save(model)).proto.graph.initializer[-1] == tensor


def test_strings_open_and_must_be_all_there(save, model):
    model.graph.initializer.append(helper.make_tensor("words", TensorProto.STRING, [2], [b"a", b"\xff"]))
    open_onnx(save(model))
    model.graph.initializer[-1].dims[:] = [3]
    refused(save(model), "takes 3 strings")


def sparse(dims, indices, values=(1.0, 2.0)):
    return helper.make_sparse_tensor(
        numpy_helper.from_array(np.array(values, np.float32), "S"),
        numpy_helper.from_array(np.array(indices, np.int64), "S_indices"),
        dims,
    )


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (sparse([3, 2], [0, 6]), "out of range"),
        (sparse([3, 2], [3, 1]), "unsorted"),
        (sparse([3, 2], [1, 1]), "not unique"),
        (sparse([3, 2], [[0, 0], [0, 2]]), "out of range"),
        (sparse([2**20, 2**20], [0, 6]), "in its dense form"),
        (sparse([3, 2], [0, 1, 2]), "2 values and indices of shape"),
    ],
)
def test_faulty_sparse_initializers_are_refused(save, model, tensor, words):
    model.graph.sparse_initializer.append(tensor)
    refused(save(model), words)


def test_sparse_initializers_open(save, model):
    model.graph.sparse_initializer.append(sparse([3, 2], [1, 4]))
    model.graph.sparse_initializer.append(sparse([3, 2], [[0, 1], [2, 1]]))
    model.graph.sparse_initializer[1].values.name = "S2"
    open_onnx(save(model))


def nested(depth):
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["leaf"])], "g", [], [])
    graph.output.add(name="leaf")
    for level in range(depth):
        node = helper.make_node("If", ["c"], [f"o{level}"], then_branch=graph, else_branch=graph)
        if depth > 8:  # both branches would double the file with every level
            del node.attribute[1]
        graph = helper.make_graph([node], "g", [], [])
        graph.output.add(name=f"o{level}")
    for name in ("x", "c"):
        graph.input.add(name=name)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_deep_nesting_is_refused(save):
    open_onnx(save(nested(20)))
    refused(save(nested(33)), "nested more than 32 deep|does not parse")


def functions(bodies, calls):
    """A model whose functions f0, f1, … call what `bodies` lists; the main graph calls `calls`."""
    made = [
        helper.make_function("own", name, ["a"], ["b"], [
            helper.make_node(callee, ["a"], [f"t{k}" if k else "b"], domain="own" if callee in bodies else "")
            for k, callee in enumerate(callees)
        ], [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)])
        for name, callees in bodies.items()
    ]  # fmt: skip
    nodes = [helper.make_node(c, ["x"], [f"y{k}"], domain="own") for k, c in enumerate(calls)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, [1])], [])
    return helper.make_model(
        graph, functions=made, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    )


def test_functions_that_double_at_every_level_are_refused(save):
    bodies = {f"f{k}": [f"f{k + 1}"] * 2 for k in range(34)} | {"f34": ["Relu"]}
    refused(save(functions(bodies, ["f0"])), "each call of a function counted with its body")
    few = {f"f{k}": [f"f{k + 1}"] * 2 for k in range(5)} | {"f5": ["Relu"]}
    open_onnx(save(functions(few, ["f0"])))


def test_functions_that_call_each_other_are_refused(save):
    refused(save(functions({"f": ["g"], "g": ["f"]}, ["f"])), "calls itself")


def test_counts_are_bounded(save, model):
    path = save(model)
    refused(path, "more than 1 nodes", limits=ModelLimits(nodes=1))
    refused(path, "2 initializers, more than the 1", limits=ModelLimits(initializers=1))
    model.graph.node.append(helper.make_node("Abs", ["z"], ["other"]))
    refused(save(model), "'z' is read by 2 nodes", limits=ModelLimits(consumers=1))


def test_a_subgraph_may_read_outer_tensors_and_shadow_names(save):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    outer (float[n] x, bool c) => (float[n] y)
    {
      h = Relu (x)
      y = If (c) <
        then_branch = t () => (float[n] r) { r = Abs (h) },
        else_branch = e () => (float[n] r) { r = Neg (x) }
      >
    }
    """
    open_onnx(save(onnx.parser.parse_model(text)))
    refused(
        save(onnx.parser.parse_model(text.replace("Neg (x)", "Neg (ghost)"))), "'ghost', which no node makes"
    )


BASE = onnx.parser.parse_model(TEXT).SerializeToString()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, len(BASE) - 1), st.integers(0, 255)), min_size=1, max_size=4)
)
def test_no_flipped_byte_is_ever_more_than_an_error_of_ours(tmp_path, changes):
    content = bytearray(BASE)
    for place, value in changes:
        content[place] = value
    path = tmp_path / "fuzzed.onnx"
    path.write_bytes(content)
    assert "\n" not in (refusal(path) or "")
