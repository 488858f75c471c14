"""Safetensors checkpoints in the layouts of model hubs: opened without loading, and refused in one line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import load_file, save_file
from safetensors_folders import CONFIG, SHARDS, TENSORS, make_folder, make_shards, weight_map, write_index

from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.digest import checkpoint_digest
from nla.checkpoint.editing import ModelEdit
from nla.checkpoint.external import Place, open_external
from nla.checkpoint.onnx_file import open_onnx
from nla.checkpoint.safetensors_source import looks_like_safetensors, open_safetensors
from nla.checkpoint.weights import read_external
from nla.errors import ModelError
from nla.graph.loading import load


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "checkpoint")


@pytest.fixture
def shards(tmp_path):
    return make_shards(tmp_path / "shards")


# --- what is read


def test_a_folder_is_read_without_loading(folder):
    source = open_safetensors(folder)
    assert source.config == CONFIG
    assert source.folder == source.path == folder
    assert source.files == (folder / "model.safetensors",)
    assert source.index is None
    assert source.metadata == {"model.safetensors": {"format": "pt"}}
    assert source.digest == checkpoint_digest(
        sha256(folder / "config.json"), [("model.safetensors", sha256(folder / "model.safetensors"))]
    )
    assert source.size_bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert set(source.tensors) == set(TENSORS)
    stored = source.tensors["h.0.weight"]
    assert (stored.dtype, stored.shape, stored.length) == ("F32", (3, 4), 48)
    assert stored.read() == TENSORS["h.0.weight"].tobytes()


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("layout", ["folder", "shards"])
def test_arrays_are_what_was_saved_and_read_only(layout, name, request):
    array = open_safetensors(request.getfixturevalue(layout)).array(name)
    assert array.dtype == TENSORS[name].dtype
    np.testing.assert_array_equal(array, TENSORS[name])
    with pytest.raises(ValueError, match="read-only"):
        array[...] = 0


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_unaligned_tensors_are_read(tmp_path, shift):
    """Writers other than the library may put a tensor at any byte."""
    content = {"w": TENSORS["h.0.weight"], "b": TENSORS["h.1.weight"]}
    header, data = {}, b"x" * shift
    header["pad"] = {"dtype": "U8", "shape": [shift], "data_offsets": [0, shift]}
    for name, dtype in (("w", "F32"), ("b", "BF16")):
        raw = content[name].tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": content[name].shape,
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (tmp_path / "odd.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    source = open_safetensors(tmp_path / "odd.safetensors")
    for name, array in content.items():
        found = source.array(name)
        assert not found.flags.aligned or shift % found.itemsize == 0
        np.testing.assert_array_equal(found.astype(np.float32), array.astype(np.float32))
        np.testing.assert_array_equal(
            found.astype(np.float32) @ np.ones(found.shape[1], np.float32),
            array.astype(np.float32) @ np.ones(found.shape[1], np.float32),
        )


def test_shards_are_read_in_the_order_of_their_numbers(tmp_path):
    order = {}
    for number in (2, 10, 1):
        save_file({f"t{number}": np.zeros(2, np.float32)}, tmp_path / f"part-{number}.safetensors")
        order[f"t{number}"] = f"part-{number}.safetensors"
    write_index(tmp_path, order)
    source = open_safetensors(tmp_path)
    assert [file.name for file in source.files] == [
        "part-1.safetensors",
        "part-2.safetensors",
        "part-10.safetensors",
    ]
    assert list(source.tensors) == ["t1", "t2", "t10"]
    assert source.index == tmp_path / "model.safetensors.index.json"
    assert source.config is None


def test_metadata_is_kept_for_each_shard(shards):
    found = open_safetensors(shards).metadata
    assert found == {
        SHARDS[0]: {"format": "pt", "part": "00001"},
        SHARDS[1]: {"format": "pt", "part": "00002"},
    }


@pytest.mark.parametrize(
    "given", [".", "./", "../checkpoint", "../checkpoint/", "model.safetensors", "absolute"]
)
def test_the_same_checkpoint_by_any_path(folder, given, monkeypatch):
    monkeypatch.chdir(folder)
    source = open_safetensors(str(folder) if given == "absolute" else given)
    assert source.digest == open_safetensors(folder).digest
    assert source.config == CONFIG
    np.testing.assert_array_equal(source.array("mask"), TENSORS["mask"])


def test_an_index_may_be_named_and_may_have_another_name(shards):
    (shards / "model.safetensors.index.json").rename(shards / "pytorch.safetensors.index.json")
    named = open_safetensors(shards / "pytorch.safetensors.index.json")
    assert named.tensors == open_safetensors(shards).tensors


def test_a_file_alone_has_the_digest_that_sha256sum_prints(folder):
    (folder / "config.json").unlink()
    source = open_safetensors(folder / "model.safetensors")
    assert source.config is None
    assert source.digest == sha256(folder / "model.safetensors")


def test_a_folder_with_one_file_of_another_name(folder):
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    assert open_safetensors(folder).files == (folder / "weights.safetensors",)


def test_the_whole_file_counts_before_the_index_as_for_transformers(shards):
    save_file({"only": np.zeros(1, np.float32)}, shards / "model.safetensors")
    assert list(open_safetensors(shards).tensors) == ["only"]


def test_a_tensor_that_the_index_leaves_out_is_there(shards):
    listed = weight_map(shards)
    listed.pop("mask")
    write_index(shards, listed)
    assert "mask" in open_safetensors(shards).tensors


@pytest.mark.parametrize("part", ["config.json", *SHARDS])
def test_the_digest_covers_config_and_every_shard(shards, part):
    before = open_safetensors(shards).digest
    content = bytearray((shards / part).read_bytes())
    content[-2] ^= 1
    (shards / part).write_bytes(content)
    assert open_safetensors(shards).digest != before


def test_hashing_is_told_of(folder):
    save_file({"w": np.zeros((70, 1 << 18), np.float32)}, folder / "model.safetensors")
    told = []
    source = open_safetensors(folder, lambda done, of: told.append((done, of)))
    assert told
    assert all(64 << 20 <= done <= of == source.size_bytes for done, of in told)


def test_tensors_are_mapped_and_not_read(folder):
    save_file({"w": np.zeros((100, 1 << 18), np.float32)}, folder / "model.safetensors")
    source = open_safetensors(folder)
    before = _rss()
    array = source.array("w")
    assert _rss() - before < 20 << 20
    assert array.nbytes == 100 << 20


def _rss() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("", True), ("x.safetensors", True), ("x.SAFETENSORS", True), ("a.safetensors.index.json", True)),
        *(("model.onnx", False), ("config.json", False), ("absent", False)),
    ],
)
def test_what_looks_like_safetensors(tmp_path, name, expected):
    assert looks_like_safetensors(tmp_path / name) is expected


# --- links


def test_the_snapshot_of_a_hub_cache(folder):
    """Snapshots hold links into a store; the store's names are digests."""
    store, snapshot = folder.parent / "blobs", folder.parent / "snapshots/abc"
    store.mkdir()
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        blob = store / sha256(file)
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    source = open_safetensors(snapshot)
    assert source.digest == open_safetensors(folder).digest
    np.testing.assert_array_equal(source.array("h.10.ids"), TENSORS["h.10.ids"])
    np.testing.assert_array_equal(
        source.external_files[0].map(), np.fromfile(folder / "model.safetensors", np.uint8)
    )


@pytest.mark.parametrize("how", ["symbolic", "hard"])
def test_links_of_either_kind_are_followed(shards, how):
    """uv and conda install by hard link; people keep large files on another disk."""
    elsewhere = shards.parent / "elsewhere"
    (shards / SHARDS[0]).rename(elsewhere)
    (shards / SHARDS[0]).symlink_to(elsewhere) if how == "symbolic" else os.link(
        elsewhere, shards / SHARDS[0]
    )
    source = open_safetensors(shards)
    np.testing.assert_array_equal(source.array("h.0.weight"), TENSORS["h.0.weight"])
    assert source.external_files[0].map().size == elsewhere.stat().st_size


def test_a_place_without_links_refuses_what_one_with_links_reads(folder):
    os.link(folder / "model.safetensors", folder.parent / "other")
    with (
        pytest.raises(ModelError, match="second hard link"),
        open_external(Place(folder / "model.onnx"), "model.safetensors"),
    ):
        pass
    with open_external(Place(folder / "model.onnx", linked=True), "model.safetensors") as (_, size):
        assert size == (folder / "model.safetensors").stat().st_size
    with (
        pytest.raises(ModelError, match="leads out of"),
        open_external(Place(folder / "model.onnx", linked=True), "../other"),
    ):
        pass


# --- as the external data of a graph


def built(path) -> BuiltCheckpoint:
    """The checkpoint with a graph that multiplies by one of its tensors."""
    source = open_safetensors(path)
    initializers = []
    for name in ("h.0.weight", "h.1.weight"):
        stored = source.tensors[name]
        kind = {"F32": TensorProto.FLOAT, "BF16": TensorProto.BFLOAT16}[stored.dtype]
        tensor = TensorProto(name=name, data_type=kind, dims=stored.shape, data_location=TensorProto.EXTERNAL)
        for key, value in (
            ("location", stored.path.name),
            ("offset", stored.offset),
            ("length", stored.length),
        ):
            tensor.external_data.add(key=key, value=str(value))
        initializers.append(tensor)
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["h.0.weight"], ["t"]),
            helper.make_node("MatMul", ["x", "t"], ["y"]),
            helper.make_node("Cast", ["h.1.weight"], ["z"], to=TensorProto.FLOAT),
        ],
        "built",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "yz"],
        initializers,
    )
    proto = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    return BuiltCheckpoint.of(source, proto, architecture="gpt2")


@pytest.fixture(params=["folder", "folder/", ".", "file", "shards", "hard links", "hub cache"])
def given(request, tmp_path, monkeypatch):
    """A checkpoint in one of the ways in which it is given."""
    kind = request.param
    place = request.getfixturevalue("shards" if kind == "shards" else "folder")
    if kind == "hard links":
        os.link(place / "model.safetensors", tmp_path / "second")
    if kind == "hub cache":
        for name in ("config.json", "model.safetensors"):
            (place / name).rename(tmp_path / f"blob-{name}")
            (place / name).symlink_to(f"../blob-{name}")
    if kind == ".":
        monkeypatch.chdir(place)
        return "."
    return {"folder/": f"{place}/", "file": place / "model.safetensors"}.get(kind, place)


def test_weights_are_read_through_the_graph(given):
    checkpoint = built(given)
    for tensor in checkpoint.proto.graph.initializer:
        np.testing.assert_array_equal(read_external(checkpoint.place, tensor), TENSORS[tensor.name])
    edit = ModelEdit(checkpoint)
    np.testing.assert_array_equal(edit.weight("h.0.weight"), TENSORS["h.0.weight"])
    loaded = load(checkpoint)
    weight = loaded.graph.initializers["h.1.weight"].const_value
    np.testing.assert_array_equal(weight.numpy().astype(np.float32), TENSORS["h.1.weight"].astype(np.float32))
    assert set(checkpoint.map_external()) == {file.name for file in checkpoint.source.files}


def test_an_edit_is_written_as_onnx(given, tmp_path):
    edit = ModelEdit(built(given))
    edit.transform("h.0.weight", lambda array: array * 2)
    (tmp_path / "out").mkdir()
    edit.write(tmp_path / "out/model.onnx")
    found = open_onnx(tmp_path / "out/model.onnx")
    model = onnx.load(found.path)
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.testing.assert_array_equal(arrays["h.0.weight"], TENSORS["h.0.weight"] * 2)
    np.testing.assert_array_equal(
        arrays["h.1.weight"].astype(np.float32), TENSORS["h.1.weight"].astype(np.float32)
    )


def test_how_documents_name_it(folder, shards):
    for place in (folder, shards):
        checkpoint = built(place)
        described = checkpoint.describe()
        assert described["format"] == "safetensors"
        assert described["architecture"] == "gpt2"
        assert described["digest"] == checkpoint.digest == checkpoint.source.digest
        assert described["bytes"] == sum(file.stat().st_size for file in checkpoint.files)
        assert checkpoint.files[0] == place / "config.json"
        assert checkpoint.folder == place
        assert json.dumps(described)


# --- a checkpoint that others wrote


def test_the_shared_checkpoint_is_read_as_the_library_reads_it(shared):
    place = shared / "models/tiny-opt"
    source = open_safetensors(place)
    expected = load_file(place / "model.safetensors")
    assert set(source.tensors) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(source.array(name), array)
    line = subprocess.run(
        ["sha256sum", place / "model.safetensors"], capture_output=True, text=True, check=True
    )
    assert source.external_files[0].digest == line.stdout.split()[0]
