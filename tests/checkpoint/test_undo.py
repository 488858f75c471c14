"""Undo: what an edit overwrote comes back, byte for byte, and only into the model that it came from."""

from __future__ import annotations

import json
import os
import tempfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
import stored_weights as sw
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, helper
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from nla.checkpoint.editing import ModelEdit
from nla.checkpoint.onnx_file import open_onnx
from nla.checkpoint.undo import FORMAT, restore
from nla.errors import ModelError, NlaError, OutputError

RNG = np.random.default_rng(0)


def edit_of(model, folder):
    return ModelEdit(open_onnx(sw.saved(model, folder / "model.onnx")))


def undone(edit, folder):
    """Write the edit, undo it, and what the undoing gave."""
    edit.write(folder / "edited.onnx", undo=folder / "undo")
    return restore(folder / "undo", open_onnx(folder / "edited.onnx"), folder / "restored.onnx")


def test_a_changed_network_comes_back_as_the_same_file(tmp_path):
    edit = edit_of(sw.network(RNG), tmp_path)
    keep = np.array([0, 3, 5])
    original = edit.weight("W1")
    edit.transform("W1", lambda w: np.take(w, keep, axis=1), (8, 3))
    edit.transform("b1", lambda w: w[keep], (3,))
    edit.transform("W2", lambda w: w[keep], (3, 4))
    edit.node("y").input[2] = edit.add_weight("bias", np.zeros(4, np.float32))
    edit.rewired()
    edit.drop_unread()
    restored = undone(edit, tmp_path)
    assert restored.identical
    assert restored.written.digest == restored.original == edit.checkpoint.digest
    assert (tmp_path / "restored.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()
    kept = load_file(tmp_path / "undo")
    assert set(kept) == {"model", "weight:W1", "weight:b1", "weight:W2", "weight:b2", "~sha256"}
    np.testing.assert_array_equal(kept["weight:W1"], original)
    with safe_open(tmp_path / "undo", framework="numpy") as file:
        assert file.metadata()["format"] == FORMAT


def test_an_edit_without_changes_can_be_undone_too(tmp_path):
    restored = undone(edit_of(sw.network(RNG), tmp_path), tmp_path)
    assert restored.identical
    assert set(load_file(tmp_path / "undo")) == {"model", "~sha256"}


@pytest.mark.parametrize("data_type", sw.TYPES, ids=TensorProto.DataType.Name)
def test_every_type_and_field_comes_back(tmp_path, data_type):
    array = sw.values(data_type, (3, 5))
    stored = [
        sw.raw_tensor("raw", data_type, array),
        sw.typed_tensor("typed", data_type, array),
        sw.typed_tensor("apart", data_type, array, packed=False),
        sw.raw_tensor("told", data_type, array),
        sw.raw_tensor("none", data_type, array[:0]),
    ]
    stored[3].data_location = TensorProto.DEFAULT
    sets = helper.make_attribute("value", sw.raw_tensor("", data_type, array))
    edit = edit_of(sw.model_of(stored, constants={"constant": sets, "other": sets}), tmp_path)
    for name in ("raw", "typed", "apart", "told", "constant"):
        edit.transform(name, lambda w: w[:, ::-1])
    edit.set_weight("none", array)
    assert undone(edit, tmp_path).identical
    assert (tmp_path / "restored.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()


def test_sparse_weights_and_plain_numbers_come_back(tmp_path):
    array = np.array([[0, 2, 0], [3, 0, 0]], np.float32)
    constants = {
        "sparse": AttributeProto(
            name="sparse_value",
            type=AttributeProto.SPARSE_TENSOR,
            sparse_tensor=sw.sparse_tensor("inner", array),
        ),
        "floats": AttributeProto(name="value_floats", type=AttributeProto.FLOATS, floats=[1.5, 2]),
    }
    edit = edit_of(sw.model_of([], sparse=[sw.sparse_tensor("S", array)], constants=constants), tmp_path)
    for name in ("S", "sparse", "floats"):
        edit.transform(name, lambda w: w + 1)
    assert undone(edit, tmp_path).identical


def external_model(folder, rng):
    put = sw.External(folder)
    arrays = [rng.standard_normal((8, size)).astype(np.float32) for size in (3, 40, 5)]
    tensors = [sw.raw_tensor(f"w{k}", 1, array) for k, array in enumerate(arrays)]
    stored = [put.put(t, location) for t, location in zip(tensors, ("w.bin", "v.bin", "w.bin"), strict=True)]
    return sw.model_of([*stored, sw.raw_tensor("inline", 1, arrays[0])])


def test_external_weights_come_back(tmp_path):
    edit = edit_of(external_model(tmp_path, RNG), tmp_path)
    originals = {name: edit.weight(name) for name in ("w0", "w1", "w2", "inline")}
    edit.transform("w1", lambda w: w[:4], (4, 40))
    edit.transform("inline", np.negative)
    restored = undone(edit, tmp_path)
    assert not restored.identical  # its external file bears another name
    again = ModelEdit(open_onnx(tmp_path / "restored.onnx"))
    for name, array in originals.items():
        assert again.weight(name).tobytes() == array.tobytes()
    assert set(load_file(tmp_path / "undo")) == {"model", "weight:w1", "weight:inline", "~sha256"}


def test_external_weights_in_one_file_of_the_models_name_come_back_as_the_same_files(tmp_path):
    for name in ("source", "edited", "restored"):
        (tmp_path / name).mkdir()
    put = sw.External(tmp_path / "source")
    stored = [
        put.put(sw.raw_tensor(f"w{k}", 1, RNG.standard_normal((4, k + 3)).astype(np.float32)), "m.onnx.data")
        for k in range(5)
    ]
    edit = ModelEdit(open_onnx(sw.saved(sw.model_of(stored), tmp_path / "source" / "m.onnx")))
    edit.transform("w3", lambda w: w[:1], (1, 6))
    edit.write(tmp_path / "edited" / "m.onnx", undo=tmp_path / "undo")
    edited = open_onnx(tmp_path / "edited" / "m.onnx")
    assert restore(tmp_path / "undo", edited, tmp_path / "restored" / "m.onnx").identical


def test_external_data_of_subgraphs_comes_back(tmp_path):
    array = RNG.standard_normal((4, 4)).astype(np.float32)
    put = sw.External(tmp_path)
    inner = helper.make_graph(
        [helper.make_node("Identity", ["b"], ["t"])],
        "then",
        [],
        [onnx.ValueInfoProto(name="t")],
        [put.put(sw.raw_tensor("b", 1, array), "w.bin")],
    )
    model = sw.model_of([sw.raw_tensor("c", 9, np.array(True))])
    model.graph.node.append(helper.make_node("If", ["c"], ["i"], then_branch=inner, else_branch=inner))
    model.graph.output.append(onnx.ValueInfoProto(name="i"))
    edit = edit_of(model, tmp_path)
    edit.remove_node(edit.node("i"))
    del edit.graph.output[1]
    undone(edit, tmp_path)
    tensor = open_onnx(tmp_path / "restored.onnx").proto.graph.node[1].attribute[0].g.initializer[0]
    assert {e.key: e.value for e in tensor.external_data}["location"] == "restored.onnx.data"
    assert (tmp_path / "restored.onnx.data").read_bytes() == array.tobytes()


TENSORS = st.lists(
    st.tuples(
        st.sampled_from(sorted(sw.TYPES)),
        st.sampled_from(["raw", "typed", "apart", "constant", "one.bin", "two.bin"]),
        st.integers(1, 4),
        st.integers(1, 5),
    ),
    min_size=1,
    max_size=7,
)
EDITS = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "set", "copy", "drop", "new"]), st.integers(0, 6)), max_size=8
)


@settings(deadline=None, max_examples=60)
@given(tensors=TENSORS, edits=EDITS, align=st.sampled_from([1, 16, 4096]), seed=st.integers(0, 99))
def test_any_edit_is_undone_to_the_last_byte_and_written_twice_alike(tensors, edits, align, seed):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        edit = edit_of(random_model(folder, tensors, align, seed), folder)
        originals = {weight: edit.weight(weight).tobytes() for weight in edit._source}
        for kind, k in edits:
            random_edit(edit, kind, f"w{k % len(tensors)}")
        restored = undone(edit, folder)
        again = ModelEdit(open_onnx(folder / "restored.onnx"))
        assert {weight: again.weight(weight).tobytes() for weight in again._source} == originals
        if not edit.checkpoint.external_files:
            assert restored.identical
        assert without_places(again.checkpoint.proto) == without_places(edit.checkpoint.proto)
        (folder / "twice").mkdir()
        edit.write(folder / "twice" / "edited.onnx", undo=folder / "twice" / "undo")
        for path in (folder / "twice").iterdir():
            assert path.read_bytes() == (folder / path.name).read_bytes()


def random_model(folder, tensors, align, seed):
    put, stored, constants = sw.External(folder), [], {}
    for k, (data_type, place, *shape) in enumerate(tensors):
        array = sw.values(data_type, tuple(shape), seed + k)
        name, tensor = f"w{k}", sw.raw_tensor(f"w{k}", data_type, array)
        if place in ("typed", "apart"):
            stored.append(sw.typed_tensor(name, data_type, array, packed=place == "typed"))
        elif place == "constant":
            constants[name] = helper.make_attribute("value", tensor)
        else:
            stored.append(tensor if place == "raw" else put.put(tensor, place, align=align))
    return sw.model_of(stored, constants=constants)


def random_edit(edit, kind, name):
    if kind == "new":
        edit.add_weight("new", np.ones(500, np.float32))
    elif not edit.is_weight(name):
        return
    elif kind == "flip":
        edit.transform(name, lambda w: w[::-1])
    elif kind == "cut" and edit.shape(name):
        edit.transform(name, lambda w: w[1:], (max(edit.shape(name)[0] - 1, 0), *edit.shape(name)[1:]))
    elif kind == "set":
        edit.set_weight(name, np.ones((2, 2)))
    elif kind == "copy":
        edit.copy_weight(name)
    elif kind == "drop":
        reader = edit.readers(name)[0]
        reader.input[0] = edit.add_weight("other", np.ones(3, np.float32))
        edit.rewired()
        edit.drop_unread()


def without_places(proto):
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        del tensor.external_data[:]
    return copy


# --- what is refused


def refused(undo, edited, words, out="restored.onnx"):
    target = undo.parent / out
    with pytest.raises(NlaError, match=words) as caught:
        restore(undo, open_onnx(edited), target)
    assert "\n" not in str(caught.value)
    assert not target.exists()
    return caught.value


@pytest.fixture
def written(tmp_path):
    """An edited model and its undo file."""
    edit = edit_of(sw.network(RNG), tmp_path)
    edit.transform("W1", np.negative)
    edit.write(tmp_path / "edited.onnx", undo=tmp_path / "undo")
    return tmp_path / "undo", tmp_path / "edited.onnx"


def test_another_model_is_refused(written, tmp_path):
    undo, edited = written
    error = refused(
        undo, tmp_path / "model.onnx", "it belongs to the model with digest .* give the model that"
    )
    assert isinstance(error, ModelError)
    assert error.exit_code == 2
    model = onnx.load(edited)
    model.doc_string = "changed"
    refused(undo, sw.saved(model, tmp_path / "other.onnx"), "it belongs to")


def test_a_source_is_not_written_over(written):
    undo, edited = written
    for out in (undo, edited):
        with pytest.raises(OutputError, match="it is the file that was read"):
            restore(undo, open_onnx(edited), out)


def saved(tensors, path, metadata):
    """An undo file with a sum that fits: the library writes it last too."""
    save_file(tensors, path, metadata)
    content = path.read_bytes()[:-32]
    path.write_bytes(content + sha256(content).digest())


def parts(undo):
    with safe_open(undo, framework="numpy") as file:
        return load_file(undo), file.metadata()


def test_files_that_are_no_undo_files(written, tmp_path):
    undo, edited = written
    content = undo.read_bytes()
    tensors, metadata = parts(undo)
    for broken, words in [
        (b"", "not a safetensors file"),
        (b"\xff" * 100, "header would have 18,446,744,073,709,551,615 bytes"),
        ((65 << 20).to_bytes(8, "little") + bytes(100), "header would have 68,157,440 bytes"),
        (content[:-1], "not a readable safetensors file"),
        (content[:200], "not a safetensors file"),
        ((8).to_bytes(8, "little") + b'{"a":[[[', "not a readable"),
        ((10**5).to_bytes(8, "little") + b"[" * 10**5, "not a readable"),
    ]:
        (tmp_path / "broken").write_bytes(broken)
        refused(tmp_path / "broken", edited, words)
    for change, words in [
        ({"format": "other"}, "not an undo file of nla: its format is 'other'"),
        ({"format": "nla/undo/2"}, "written by a later nla"),
        ({"edited": "abc"}, "it belongs to the model with digest abc"),
    ]:
        save_file(tensors, tmp_path / "broken", metadata | change)
        refused(tmp_path / "broken", edited, words)
    save_file(tensors, tmp_path / "broken")
    refused(tmp_path / "broken", edited, "its format is ''")
    refused(tmp_path / "absent", edited, "no such file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", edited, "not a regular file")


def test_hostile_contents_are_one_line(written, tmp_path):
    undo, edited = written
    tensors, metadata = parts(undo)
    model = onnx.ModelProto()
    model.ParseFromString(tensors["model"].tobytes())

    def with_model(change):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        change(copy.graph)
        content = np.frombuffer(copy.SerializeToString(), np.uint8)
        saved(tensors | {"model": content}, tmp_path / "broken", metadata)

    for change, words in [
        (
            lambda g: g.initializer[0].dims.append(3),
            "weight 'W1': the original takes 1,536 bytes, and 512 are",
        ),
        (lambda g: g.initializer[1].dims.append(3), "weight 'b1': it is neither kept .* nor, as it was"),
        (lambda g: g.initializer[1].dims.append(-3), "negative size"),
        (lambda g: setattr(g.initializer[0], "data_type", 99), "unknown element type"),
        (lambda g: setattr(g.initializer[1], "name", "b9"), "'b1', which no node makes"),
        (
            lambda g: setattr(g.initializer[0].external_data[0], "value", "int64_data"),
            "said to be in 'int64_data'",
        ),
        (lambda g: setattr(g.initializer[1].external_data[0], "key", "location"), "neither kept"),
    ]:
        with_model(change)
        refused(tmp_path / "broken", edited, words)
    for content, words in [(b"\xff\xff\xff", "does not parse"), (b"", "there is no graph")]:
        saved(tensors | {"model": np.frombuffer(content, np.uint8)}, tmp_path / "broken", metadata)
        refused(tmp_path / "broken", edited, words)
    saved({name: tensors[name] for name in ("weight:W1", "~sha256")}, tmp_path / "broken", metadata)
    refused(tmp_path / "broken", edited, "it holds no 'model'")


def test_a_header_in_which_a_name_comes_twice_is_refused(written, tmp_path):
    undo, edited = written
    content = undo.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    twice = json.dumps(header)[:-1] + ', "model": ' + json.dumps(header["model"]) + "}"
    (tmp_path / "broken").write_bytes(
        len(twice).to_bytes(8, "little") + twice.encode() + content[8 + length :]
    )
    refused(tmp_path / "broken", edited, "not a readable safetensors file")
