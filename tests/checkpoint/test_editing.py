"""Edits of a checkpoint: weights wherever they lie, read and changed one at a time, and the graph around them."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import stored_weights as sw
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from nla.checkpoint.editing import ModelEdit
from nla.checkpoint.onnx_file import open_onnx
from nla.errors import ModelError, NlaError
from nla.graph.loading import count_parameters, load

MODELS = Path(__file__).resolve().parents[3] / "shared" / "models"
REAL = sorted(MODELS.rglob("*.onnx"))
SHAPE = (3, 5)


def edit_of(model, folder):
    return ModelEdit(open_onnx(sw.saved(model, folder / "model.onnx")))


def rewritten(edit, folder, **options):
    """The edit of what the edit writes."""
    edit.write(folder / "out.onnx", **options)
    return ModelEdit(open_onnx(folder / "out.onnx"))


def initializer(edit, name):
    return next(t for t in edit.checkpoint.proto.graph.initializer if t.name == name)


def tensors(data_type):
    """The same values in every field that may hold the type."""
    array = sw.values(data_type, SHAPE)
    found = [sw.raw_tensor("raw", data_type, array), sw.typed_tensor("typed", data_type, array)]
    if data_type in (TensorProto.INT4, TensorProto.UINT4):
        found.append(sw.typed_tensor("apart", data_type, array, packed=False))
    return array, found


@pytest.mark.parametrize("data_type", sw.TYPES, ids=TensorProto.DataType.Name)
def test_weights_of_every_type_and_field_are_read_as_onnx_reads_them(tmp_path, data_type):
    array, stored = tensors(data_type)
    edit = edit_of(sw.model_of(stored), tmp_path)
    for tensor in stored:
        found = edit.weight(tensor.name)
        assert edit.dtype(tensor.name) == found.dtype == array.dtype
        assert edit.shape(tensor.name) == found.shape == SHAPE
        np.testing.assert_array_equal(found, array)
        np.testing.assert_array_equal(found, numpy_helper.to_array(stored[0]))
        found[0] = 1  # the caller's own
    assert not edit.changed


@pytest.mark.parametrize("data_type", sw.TYPES, ids=TensorProto.DataType.Name)
def test_a_changed_weight_stays_in_the_field_that_held_it(tmp_path, data_type):
    array, stored = tensors(data_type)
    edit = edit_of(sw.model_of(stored), tmp_path)
    for tensor in stored:
        edit.transform(tensor.name, lambda w: w[::-1, 1:], (3, 4))
    again = rewritten(edit, tmp_path)
    for tensor in stored:
        np.testing.assert_array_equal(again.weight(tensor.name), array[::-1, 1:])
        before = {field.name for field, _ in tensor.ListFields()}
        assert {field.name for field, _ in initializer(again, tensor.name).ListFields()} == before
    assert len(initializer(again, "typed").raw_data) == 0
    if len(stored) == 3:
        assert len(initializer(again, "apart").int32_data) == 12
        assert len(initializer(again, "typed").int32_data) == 6


def test_numbers_that_take_many_bytes_come_back(tmp_path):
    array = np.array([0, 1, -1, 127, 128, 2**31, 2**63 - 1, -(2**63)])
    edit = edit_of(sw.model_of([sw.typed_tensor("w", TensorProto.INT64, array)]), tmp_path)
    edit.transform("w", lambda w: w[::-1])
    np.testing.assert_array_equal(rewritten(edit, tmp_path).weight("w"), array[::-1])


def plain(name, kind, value):
    attribute = AttributeProto(name=name, type=kind)
    if isinstance(value, list):
        getattr(attribute, {AttributeProto.FLOATS: "floats", AttributeProto.INTS: "ints"}[kind]).extend(value)
    else:
        setattr(attribute, {AttributeProto.FLOAT: "f", AttributeProto.INT: "i"}[kind], value)
    return attribute


CONSTANTS = {
    "tensor": helper.make_attribute("value", sw.raw_tensor("", 1, np.array([[1.5, 2]], np.float32))),
    "typed": helper.make_attribute("value", sw.typed_tensor("inner", 1, np.array([[1.5, 2]], np.float32))),
    "float": plain("value_float", AttributeProto.FLOAT, 1.5),
    "floats": plain("value_floats", AttributeProto.FLOATS, [1.5, 2.0]),
    "int": plain("value_int", AttributeProto.INT, 3),
    "ints": plain("value_ints", AttributeProto.INTS, [3, -4]),
}


def test_constant_nodes_hold_weights_too(tmp_path):
    edit = edit_of(sw.model_of([], constants=CONSTANTS), tmp_path)
    for name, expected in {
        "tensor": np.array([[1.5, 2]], np.float32),
        "typed": np.array([[1.5, 2]], np.float32),
        "float": np.float32(1.5),
        "floats": np.array([1.5, 2], np.float32),
        "int": np.int64(3),
        "ints": np.array([3, -4]),
    }.items():
        assert edit.is_weight(name)
        np.testing.assert_array_equal(edit.weight(name), expected)
        assert edit.dtype(name) == expected.dtype
        edit.transform(name, lambda w: w * 2)
    again = rewritten(edit, tmp_path)
    for node, attribute in zip(again.checkpoint.proto.graph.node, CONSTANTS.values(), strict=False):
        assert node.attribute[0].name == attribute.name
    np.testing.assert_array_equal(again.weight("typed"), [[3, 4]])
    assert list(again.node("typed").attribute[0].t.dims) == [1, 2]
    assert list(again.checkpoint.proto.graph.node[1].attribute[0].t.float_data) == [3, 4]
    assert again.weight("float") == 3
    np.testing.assert_array_equal(again.weight("ints"), [6, -8])


def test_plain_numbers_become_what_their_new_shape_needs(tmp_path):
    edit = edit_of(sw.model_of([], constants=CONSTANTS), tmp_path)
    edit.set_weight("float", [1, 2])
    edit.set_weight("ints", 5)
    edit.set_weight("floats", [[1.0], [2.0]])
    again = rewritten(edit, tmp_path)
    for name, expected in {"float": [1, 2], "ints": 5, "floats": [[1.0], [2.0]]}.items():
        np.testing.assert_array_equal(again.weight(name), expected)
    assert again.dtype("ints") == np.int64


def test_a_sparse_weight_is_dense_once_it_is_touched_and_only_then(tmp_path):
    array = np.array([[0, 2, 0], [3, 0, 0]], np.float32)
    constants = {
        "C": AttributeProto(
            name="sparse_value",
            type=AttributeProto.SPARSE_TENSOR,
            sparse_tensor=sw.sparse_tensor("inner", array),
        )
    }
    model = sw.model_of(
        [], sparse=[sw.sparse_tensor("S", array), sw.sparse_tensor("T", array)], constants=constants
    )
    edit = edit_of(model, tmp_path)
    assert not edit.structural
    for name in ("S", "C"):
        np.testing.assert_array_equal(edit.weight(name), array)
        edit.transform(name, lambda w: w + 1)
    edit.transform("S", lambda w: w[:1], (1, 3))
    assert edit.structural
    again = rewritten(edit, tmp_path)
    np.testing.assert_array_equal(again.weight("S"), array[:1] + 1)
    np.testing.assert_array_equal(again.weight("C"), array + 1)
    assert [t.values.name for t in again.checkpoint.proto.graph.sparse_initializer] == ["T"]


def test_transforms_compose_in_order_and_are_not_run_before_the_weight_is_needed(tmp_path):
    array, calls = sw.values(TensorProto.FLOAT, SHAPE), []

    def twice(w):
        calls.append(w.shape)
        w *= 2  # the array is the function's own
        return w

    edit = edit_of(sw.model_of([sw.raw_tensor("w", 1, array)]), tmp_path)
    edit.transform("w", twice)
    edit.transform("w", lambda w: w[:2], (2, 5))
    edit.transform("w", lambda w: w.astype(np.float64) + 1)  # comes back as float32
    assert calls == []
    assert edit.shape("w") == (2, 5)
    np.testing.assert_array_equal(edit.weight("w"), 2 * array[:2] + 1)
    again = rewritten(edit, tmp_path)
    assert again.dtype("w") == np.float32
    np.testing.assert_array_equal(again.weight("w"), 2 * array[:2] + 1)
    assert calls == [SHAPE, SHAPE]


def test_a_weight_set_twice_and_then_transformed(tmp_path):
    edit = edit_of(sw.model_of([sw.raw_tensor("w", 1, np.ones((2, 2), np.float32))]), tmp_path)
    given = np.arange(3)
    edit.set_weight("w", [5])
    edit.set_weight("w", given)
    given[:] = 9
    edit.transform("w", lambda w: w * 10)
    for _ in range(2):
        np.testing.assert_array_equal(edit.weight("w"), [0, 10, 20])
    np.testing.assert_array_equal(rewritten(edit, tmp_path).weight("w"), [0, 10, 20])


def test_a_result_of_another_shape_than_announced_is_a_defect(tmp_path):
    edit = edit_of(sw.model_of([sw.raw_tensor("w", 1, np.ones((2, 2), np.float32))]), tmp_path)
    edit.transform("w", lambda w: w[:1])
    with pytest.raises(AssertionError, match="announced was"):
        edit.write(tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_declared_shapes_follow(tmp_path):
    declared = [
        helper.make_tensor_value_info("w", 1, [2, 2]),
        helper.make_tensor_value_info("v", 1, ["rows", 2]),
    ]
    stored = [sw.raw_tensor(name, 1, np.ones((2, 2), np.float32)) for name in ("w", "v")]
    edit = edit_of(sw.model_of(stored, inputs=declared), tmp_path)
    edit.transform("w", lambda w: w[:1], (1, 2))
    edit.transform("v", lambda w: w + 1)
    assert [d.dim_value for d in edit.graph.input[0].type.tensor_type.shape.dim] == [1, 2]
    assert edit.graph.input[1] == declared[1]


def test_a_copied_weight_has_the_values_of_its_time(tmp_path):
    array = sw.values(TensorProto.FLOAT, SHAPE)
    edit = edit_of(sw.model_of([sw.typed_tensor("w", 1, array)]), tmp_path)
    edit.transform("w", lambda w: w + 1)
    name = edit.copy_weight("w")
    edit.transform("w", lambda w: w * 0)
    edit.transform(name, lambda w: w[:1], (1, 5))
    assert edit.shape("w") == SHAPE
    again = rewritten(edit, tmp_path)
    np.testing.assert_array_equal(again.weight(name), array[:1] + 1)
    assert not again.weight("w").any()


def test_new_weights_get_names_that_nothing_bears(tmp_path):
    edit = edit_of(sw.network(np.random.default_rng(0)), tmp_path)
    names = [edit.add_weight("b1", np.zeros(3, ml_dtypes.bfloat16)) for _ in range(2)]
    assert names == ["b1_1", "b1_2"]
    assert edit.fresh("y") == "y_1"
    assert edit.fresh("new") == "new"
    assert edit.fresh("new") == "new_1"
    again = rewritten(edit, tmp_path)
    assert again.dtype("b1_2") == ml_dtypes.bfloat16
    with pytest.raises(ModelError, match="no ONNX tensor has"):
        edit.add_weight("w", np.array(["text"]))


def test_nodes_and_readers_are_found_those_of_subgraphs_too(tmp_path):
    then = helper.make_graph(
        [helper.make_node("Add", ["a", "b1"], ["t"])], "then", [], [onnx.ValueInfoProto(name="t")]
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["e"])], "else", [], [onnx.ValueInfoProto(name="e")]
    )
    model = sw.network(np.random.default_rng(0))
    model.graph.initializer.append(sw.raw_tensor("c", TensorProto.BOOL, np.array(True)))
    model.graph.node.append(helper.make_node("If", ["c"], ["i"], then_branch=then, else_branch=other))
    model.graph.output.append(onnx.ValueInfoProto(name="i"))
    edit = edit_of(model, tmp_path)
    assert edit.node("a").op_type == "Relu"
    assert edit.node("x") is edit.node("W1") is None
    assert [node.op_type for node in edit.readers("a")] == ["Gemm", "If"]
    assert [node.op_type for node in edit.readers("b1")] == ["Gemm", "If"]
    assert edit.readers("t") == []
    assert edit.is_output("y")
    assert not edit.is_output("a")


def test_nodes_come_and_go(tmp_path):
    edit = edit_of(sw.network(np.random.default_rng(0)), tmp_path)
    relu = edit.node("a")
    made = edit.add_node(helper.make_node("Neg", ["z"], ["n"]), before=relu)
    relu.input[0] = "n"
    edit.rewired()
    assert [node.op_type for node in edit.graph.node] == ["Gemm", "Neg", "Relu", "Gemm"]
    assert edit.readers("n") == [relu]
    assert edit.structural
    assert not edit.touched
    relu.input[0] = "z"
    edit.remove_node(made)
    assert edit.node("n") is None
    assert not edit.changed


def test_what_edits_orphaned_is_dropped_and_what_nothing_read_before_stays(tmp_path):
    model = sw.network(np.random.default_rng(0))
    model.graph.initializer.append(sw.raw_tensor("unused", 1, np.ones(3, np.float32)))
    model.graph.node.append(helper.make_node("Neg", ["z"], ["idle"]))
    model.graph.input.append(helper.make_tensor_value_info("W1", 1, [8, 16]))
    model.graph.value_info.append(helper.make_tensor_value_info("a", 1, ["n", 16]))
    del model.graph.node[2].input[2]
    model.graph.node.append(helper.make_node("Add", ["b2", "b2"], ["twice"]))
    model.graph.node.append(helper.make_node("Identity", ["twice"], ["kept"]))
    model.graph.output.append(onnx.ValueInfoProto(name="kept"))
    edit = edit_of(model, tmp_path)
    edit.drop_unread()
    assert not edit.changed
    edit.node("y").input[0] = "x"
    del edit.graph.node[3]  # the idle one
    edit.node("kept").input[0] = "b1"
    edit.rewired()
    edit.drop_unread()
    assert [node.op_type for node in edit.graph.node] == ["Gemm", "Identity"]
    assert [t.name for t in edit.graph.initializer] == ["b1", "W2", "unused"]
    assert [info.name for info in edit.graph.input] == ["x"]
    assert not edit.graph.value_info
    assert edit.touched == ("W1", "b2")
    assert not edit.is_weight("W1")


def test_touched_and_structural_say_what_changed(tmp_path):
    edit = edit_of(sw.network(np.random.default_rng(0)), tmp_path)
    edit.transform("W2", lambda w: w + 1)
    edit.transform("W1", lambda w: w + 1)
    assert edit.touched == ("W1", "W2")
    assert not edit.structural
    assert edit.changed
    edit.transform("W2", lambda w: w[:-1], (15, 4))
    assert edit.structural


def test_metadata_is_added_where_something_changed_and_only_there(tmp_path):
    model = sw.network(np.random.default_rng(0))
    model.metadata_props.add(key="author", value="someone")
    model.metadata_props.add(key="nla.manifest", value="older")
    edit = edit_of(model, tmp_path)
    assert rewritten(edit, tmp_path, metadata={"nla.manifest": "abc"}).checkpoint.proto == model
    edit.transform("W1", lambda w: -w)
    props = rewritten(edit, tmp_path, metadata={"nla.manifest": "abc"}).checkpoint.proto.metadata_props
    assert [(p.key, p.value) for p in props] == [("author", "someone"), ("nla.manifest", "abc")]


def test_unknown_fields_stay(tmp_path):
    """A later onnx.proto has fields that this one does not know, in every message."""
    model = sw.network(np.random.default_rng(0))
    extra = bytes([0xA0, 0x3F, 5, 0xAA, 0x3F, 2, 1, 2, 0xB5, 0x3F, 1, 2, 3, 4])
    for message in (model, model.graph, model.graph.initializer[0], model.graph.node[0]):
        message.MergeFromString(extra)
    edit = edit_of(model, tmp_path)
    edit.write(tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()
    edit.transform("W1", lambda w: w)
    edit.write(tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()


def test_the_written_network_computes_what_numpy_computes(tmp_path):
    edit = edit_of(sw.network(np.random.default_rng(0)), tmp_path)
    weights = {name: edit.weight(name) for name in ("W1", "b1", "W2", "b2")}
    keep = np.array([0, 2, 3, 7])
    edit.transform("W1", lambda w: np.take(w, keep, axis=1), (8, 4))
    edit.transform("b1", lambda b: b[keep], (4,))
    edit.transform("W2", lambda w: w[keep], (4, 4))
    edit.write(tmp_path / "out.onnx")
    onnx.checker.check_model(str(tmp_path / "out.onnx"), full_check=True)
    x = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    session = ort.InferenceSession(str(tmp_path / "out.onnx"), providers=["CPUExecutionProvider"])
    hidden = np.maximum(x @ weights["W1"][:, keep] + weights["b1"][keep], 0)
    expected = hidden @ weights["W2"][keep] + weights["b2"]
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.shared
@pytest.mark.skipif(not REAL, reason="the shared models are not there")
@pytest.mark.parametrize("path", REAL, ids=lambda path: str(path.relative_to(MODELS)))
def test_an_edit_without_changes_gives_an_equal_model(tmp_path, path):
    try:
        edit = ModelEdit(open_onnx(path))
    except NlaError:
        pytest.skip("nla does not read it")
    assert not edit.changed
    source = edit.checkpoint
    again = rewritten(edit, tmp_path, metadata={"nla.manifest": "none"})
    if not source.external_files:
        expected = source.proto.SerializeToString(deterministic=True)
        assert again.checkpoint.proto.SerializeToString(deterministic=True) == expected
    for name in edit._source:
        np.testing.assert_array_equal(again.weight(name), edit.weight(name))
    assert edit.parameters() == count_parameters(load(source))
    assert edit.size_bytes("out.onnx") == again.checkpoint.size_bytes
    if _loads(path):
        assert _loads(tmp_path / "out.onnx")


def _loads(path):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:  # onnxruntime's own, of many kinds
        return False
    return True
