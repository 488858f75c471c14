"""Written models: whole or not at all, the same bytes each time, external data in its order and never held whole."""

from __future__ import annotations

import errno
import os
import resource
import signal
import tracemalloc

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import stored_weights as sw
from onnx import TensorProto, helper, numpy_helper

from nla.checkpoint import weights, writing
from nla.checkpoint.editing import ModelEdit
from nla.checkpoint.limits import ModelLimits
from nla.checkpoint.onnx_file import open_onnx
from nla.errors import ModelError, OutputError

RNG = np.random.default_rng(0)
SIZES = {"a": 3, "b": 5, "c": 7, "d": 300}
ARRAYS = {name: RNG.standard_normal((6, size)).astype(np.float32) for name, size in SIZES.items()}


def raw(name, array=None):
    return sw.raw_tensor(name, TensorProto.FLOAT, ARRAYS[name] if array is None else array)


def external_model(folder, locations, *, align=1, small=True):
    """A model whose tensors a, b, … lie in these files; `small` is inline."""
    put = sw.External(folder)
    tensors = [
        put.put(raw(name), location, align=align) for name, location in zip("abcd", locations, strict=True)
    ]
    inline = [raw("small", np.ones((2, 2), np.float32))] if small else []
    return sw.saved(sw.model_of([*tensors, *inline]), folder / "model.onnx")


def entries(path):
    """Of every initializer with external data: location, offset, length."""
    found = {}
    for tensor in onnx.load(path, load_external_data=False).graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            info = {entry.key: entry.value for entry in tensor.external_data}
            found[tensor.name] = info["location"], int(info.get("offset", 0)), int(info["length"])
    return found


def arrays(path):
    """Every initializer, read by onnx."""
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


LOCATIONS = {
    "one file": ["w.bin"] * 4,
    "a file each": ["a.bin", "b.bin", "c.bin", "d.bin"],
    "two files, mixed": ["z.bin", "y.bin", "z.bin", "y.bin"],
    "a folder below": ["sub/w.bin"] * 4,
}


@pytest.mark.parametrize("align", [1, 64, 4096])
@pytest.mark.parametrize("locations", LOCATIONS.values(), ids=LOCATIONS)
def test_external_weights_stay_external_and_inline_ones_inline(tmp_path, locations, align):
    (tmp_path / "sub").mkdir()
    path = external_model(tmp_path, locations, align=align)
    edit = ModelEdit(open_onnx(path))
    edit.transform("b", lambda w: np.take(w, [0, 2, 4], axis=1), (6, 3))
    written = edit.write(tmp_path / "out.onnx")
    assert written.external == tmp_path / "out.onnx.data"
    found = entries(tmp_path / "out.onnx")
    assert set(found) == set("abcd")
    assert {location for location, _, _ in found.values()} == {"out.onnx.data"}
    expected = ARRAYS | {"b": ARRAYS["b"][:, ::2]}
    for name, array in arrays(tmp_path / "out.onnx").items():
        np.testing.assert_array_equal(array, expected.get(name, np.ones((2, 2))))
    if len(set(locations)) == 1 and align == 64:
        assert all(offset % 64 == 0 for _, offset, _ in found.values())
    again = open_onnx(tmp_path / "out.onnx")
    assert (again.digest, again.size_bytes) == (written.digest, written.size_bytes)
    assert again.size_bytes == edit.size_bytes("out.onnx")


def test_one_file_in_order_comes_back_byte_for_byte(tmp_path):
    for align in (1, 16, 4096):
        folder = tmp_path / str(align)
        folder.mkdir()
        path = external_model(folder, ["model.onnx.data"] * 4, align=align)
        (folder / "out").mkdir()
        ModelEdit(open_onnx(path)).write(folder / "out" / "model.onnx")
        for name in ("model.onnx", "model.onnx.data"):
            assert (folder / "out" / name).read_bytes() == (folder / name).read_bytes()


def test_tensors_keep_the_order_of_their_bytes(tmp_path):
    put = sw.External(tmp_path)
    tensors = [put.put(raw(name), "w.bin") for name in "dbac"]
    path = sw.saved(sw.model_of(sorted(tensors, key=lambda t: t.name)), tmp_path / "model.onnx")
    edit = ModelEdit(open_onnx(path))
    edit.transform("b", np.negative)
    new = edit.add_weight("new", np.zeros((20, 20), np.float32))
    edit.write(tmp_path / "out.onnx")
    offsets = {name: offset for name, (_, offset, _) in entries(tmp_path / "out.onnx").items()}
    assert sorted(offsets, key=offsets.__getitem__) == ["d", "b", "a", "c", new]


def test_tensors_that_share_their_bytes_go_on_sharing_until_one_is_changed(tmp_path):
    put = sw.External(tmp_path)
    first = put.put(raw("a"), "w.bin")
    length = ARRAYS["a"].nbytes
    others = [put.refer(raw(name, ARRAYS["a"]), "w.bin", 0, length) for name in ("b", "c")]
    edit = ModelEdit(open_onnx(sw.saved(sw.model_of([first, *others]), tmp_path / "model.onnx")))
    copy = edit.copy_weight("a")
    edit.transform("b", np.negative)
    edit.write(tmp_path / "out.onnx")
    found = entries(tmp_path / "out.onnx")
    assert found["a"] == found["c"] == found[copy] != found["b"]
    assert (tmp_path / "out.onnx.data").stat().st_size == found["b"][1] + length
    np.testing.assert_array_equal(arrays(tmp_path / "out.onnx")["b"], -ARRAYS["a"])


def test_external_data_of_subgraphs_moves_along(tmp_path):
    put = sw.External(tmp_path)
    declared = {name: [onnx.ValueInfoProto(name=name)] for name in ("t", "e")}
    b = put.put(raw("b", ARRAYS["a"]), "w.bin")
    inner = helper.make_graph([helper.make_node("Add", ["A", "b"], ["t"])], "then", [], declared["t"], [b])
    other = helper.make_graph([helper.make_node("Neg", ["A"], ["e"])], "else", [], declared["e"])
    model = sw.model_of([put.put(raw("A", ARRAYS["a"]), "w.bin"), sw.raw_tensor("c", 9, np.array(True))])
    model.graph.node.append(helper.make_node("If", ["c"], ["i"], then_branch=inner, else_branch=other))
    model.graph.output.append(helper.make_tensor_value_info("i", 1, [6, 3]))
    del model.graph.output[:-1]
    edit = ModelEdit(open_onnx(sw.saved(model, tmp_path / "model.onnx")))
    edit.transform("A", lambda w: w * 2)
    edit.write(tmp_path / "out.onnx")
    (tmp_path / "w.bin").unlink()
    session = ort.InferenceSession(str(tmp_path / "out.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["i"], {})[0], 3 * ARRAYS["a"], rtol=1e-6)


def test_entries_that_speak_of_the_old_file_go(tmp_path):
    tensor = sw.External(tmp_path).put(raw("a"), "w.bin")
    tensor.external_data.add(key="checksum", value="0" * 40)
    edit = ModelEdit(open_onnx(sw.saved(sw.model_of([tensor]), tmp_path / "model.onnx")))
    edit.write(tmp_path / "out.onnx")
    (tensor,) = onnx.load(tmp_path / "out.onnx", load_external_data=False).graph.initializer
    assert [entry.key for entry in tensor.external_data] == ["location", "offset", "length"]


def test_small_new_weights_are_inline_and_so_are_all_of_an_inline_model(tmp_path):
    edit = ModelEdit(open_onnx(external_model(tmp_path, LOCATIONS["one file"])))
    edit.add_weight("bias", np.zeros(10, np.float32))
    edit.add_weight("large", np.zeros(1000, np.float32))
    edit.write(tmp_path / "out.onnx")
    assert set(entries(tmp_path / "out.onnx")) == {*"abcd", "large"}
    edit = ModelEdit(open_onnx(sw.saved(sw.network(RNG), tmp_path / "inline.onnx")))
    edit.add_weight("large", np.zeros(1000, np.float32))
    assert edit.write(tmp_path / "out2.onnx").external is None
    assert not entries(tmp_path / "out2.onnx")


def test_two_writes_give_the_same_bytes(tmp_path):
    path = external_model(tmp_path, LOCATIONS["two files, mixed"])
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        edit = ModelEdit(open_onnx(path))
        edit.transform("a", lambda w: w[:, 1:], (6, 2))
        edit.add_weight("new", np.ones(3))
        metadata = {"nla.manifest": "abc", "a": "b"}
        edit.write(tmp_path / name / "m.onnx", metadata=metadata, undo=tmp_path / name / "u.safetensors")
    for name in ("m.onnx", "m.onnx.data", "u.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


# --- what goes wrong


@pytest.fixture
def prepared(tmp_path):
    """An edit of a model with external data, and a folder in which older outputs stand."""
    (tmp_path / "source").mkdir()
    edit = ModelEdit(open_onnx(external_model(tmp_path / "source", LOCATIONS["one file"])))
    edit.transform("d", np.negative)
    out = tmp_path / "out"
    out.mkdir()
    for name in ("m.onnx", "m.onnx.data", "undo"):
        (out / name).write_bytes(b"old " + name.encode())
    return edit, out


def unchanged(out):
    return {path.name: path.read_bytes() for path in out.iterdir()} == {
        name: b"old " + name.encode() for name in ("m.onnx", "m.onnx.data", "undo")
    }


def write(edit, out):
    edit.write(out / "m.onnx", undo=out / "undo")


@pytest.mark.parametrize("limit", [1000, 4000, 7900])
def test_a_disk_that_fills_up_leaves_the_older_files(prepared, limit):
    """At 1000 bytes the model fails, at 4000 its data, at 7900 the undo file."""
    edit, out = prepared
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        with pytest.raises(OutputError, match="larger than is allowed here; nothing of it was written"):
            write(edit, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert unchanged(out)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), RuntimeError("defect")]
)
@pytest.mark.parametrize("call", range(1, 6))
def test_a_failure_between_the_renames_puts_the_older_files_back(prepared, monkeypatch, call, error):
    edit, out = prepared
    calls, rename = [], os.replace

    def failing(source, target):
        calls.append(target)
        if len(calls) == call:
            raise error
        rename(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
        write(edit, out)
    monkeypatch.undo()
    assert unchanged(out)


@pytest.mark.parametrize("call", range(1, 4))
def test_a_failure_between_the_renames_leaves_nothing_where_nothing_was(prepared, monkeypatch, call):
    edit, out = prepared
    for path in out.iterdir():
        path.unlink()
    calls, rename = [], os.replace

    def failing(source, target):
        calls.append(target)
        if len(calls) == call:
            raise OSError(errno.EIO, "broken")
        rename(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OutputError, match="broken"):
        write(edit, out)
    assert list(out.iterdir()) == []


def test_the_model_is_put_in_place_last(prepared, monkeypatch):
    edit, out = prepared
    order, rename = [], os.replace

    def noting(source, target):
        if ".tmp" not in str(target):
            order.append(target.name)
        rename(source, target)

    monkeypatch.setattr(os, "replace", noting)
    write(edit, out)
    assert order == ["undo", "m.onnx.data", "m.onnx"]
    assert len(list(out.iterdir())) == 3


def test_an_interrupt_while_weights_are_computed_leaves_the_older_files(prepared):
    edit, out = prepared

    def interrupted(_):
        raise KeyboardInterrupt

    edit.transform("a", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(edit, out)
    assert unchanged(out)


def test_a_source_that_shrinks_meanwhile_is_noticed(prepared):
    edit, out = prepared
    (edit.checkpoint.folder / "w.bin").write_bytes(b"short")
    with pytest.raises(ModelError, match="was cut short while it was read"):
        write(edit, out)
    assert unchanged(out)


def test_no_output_replaces_a_source(tmp_path):
    path = external_model(tmp_path, ["out.onnx.data", "u.bin", "u.bin", "u.bin"])
    edit = ModelEdit(open_onnx(path))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    (tmp_path / "link").symlink_to("u.bin")
    for options in (
        {"path": path},
        {"path": tmp_path / "out.onnx"},  # its external data would be a source
        {"path": tmp_path / "u.bin"},
        {"path": tmp_path / "x.onnx", "undo": tmp_path / "u.bin"},
        {"path": tmp_path / "link"},
        {"path": tmp_path / "x.onnx", "undo": path},
    ):
        with pytest.raises(
            OutputError, match=r"it is (the file that was read|external data of .*); name another output"
        ):
            edit.write(**options)
    (tmp_path / "link").unlink()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_outputs_of_one_name_are_refused(prepared):
    edit, out = prepared
    for undo in (out / "m.onnx", out / "m.onnx.data", out / ".." / "out" / "m.onnx"):
        with pytest.raises(OutputError, match="another output bears that name too"):
            edit.write(out / "m.onnx", undo=undo)
    assert unchanged(out)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere/m.onnx", "does not exist"),
        (".", "it is a folder"),
        ("a\nb.onnx", "name another output"),
        ("n" * 252, "the name is too long"),
        ("a\0b", "NUL"),
    ],
)
def test_places_where_nothing_can_be_written(prepared, name, words):
    edit, out = prepared
    with pytest.raises(OutputError, match=words) as caught:
        edit.write(out / name)
    assert "\n" not in str(caught.value)
    assert unchanged(out)


def test_a_device_takes_a_model_and_no_external_data(prepared, tmp_path):
    edit, _ = prepared
    with pytest.raises(OutputError, match="name a regular file"):
        edit.write(os.devnull)
    ModelEdit(open_onnx(sw.saved(sw.network(RNG), tmp_path / "m.onnx"))).write(os.devnull)


def test_more_than_a_protobuf_may_have_is_refused_with_what_to_do(tmp_path, monkeypatch):
    path = sw.saved(sw.network(RNG), tmp_path / "model.onnx")
    edit = ModelEdit(open_onnx(path))
    monkeypatch.setattr(writing, "DEFAULT_LIMITS", ModelLimits(file_bytes=1000))
    with pytest.raises(OutputError, match=r"would take 1,\d+ bytes, more than .* save_as_external_data=True"):
        edit.write(tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_untouched_data_is_copied_in_pieces_and_one_weight_is_in_memory_at_a_time(tmp_path, monkeypatch):
    """Eight weights of 8 MB, two of which change: never more than two of them, and the buffers."""
    size = 8 << 20
    put, tensors = sw.External(tmp_path), []
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(8 * size)
    for k in range(8):
        tensor = TensorProto(name=f"w{k}", data_type=TensorProto.FLOAT, dims=[1024, 2048])
        tensors.append(put.refer(tensor, "w.bin", k * size, size))
    edit = ModelEdit(open_onnx(sw.saved(sw.model_of(tensors), tmp_path / "model.onnx")))
    for k in (2, 5):
        edit.transform(f"w{k}", lambda w: w + np.float32(1))
    monkeypatch.setattr(weights, "_PIECE_BYTES", 1 << 20)
    tracemalloc.start()
    try:
        edit.write(tmp_path / "out.onnx", undo=tmp_path / "undo")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * size + (4 << 20)
    assert (tmp_path / "out.onnx.data").stat().st_size == 8 * size


def test_external_files_are_opened_by_the_one_opener(tmp_path, monkeypatch):
    path = external_model(tmp_path, LOCATIONS["one file"])
    edit = ModelEdit(open_onnx(path))
    os.link(tmp_path / "w.bin", tmp_path / "other")
    with pytest.raises(ModelError, match="hard link"):
        edit.write(tmp_path / "out.onnx")
