"""External data: found beside the model, checked in every particular, and never anywhere else."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nla.checkpoint.limits import ModelLimits
from nla.checkpoint.onnx_file import open_onnx
from nla.errors import ModelError

W = np.arange(6, dtype=np.float32)


def model_with(*entries, dims=(3, 2), count=1):
    """A MatMul whose weight (or `count` weights) has these external entries, as (key, value) pairs."""
    tensors = []
    for k in range(count):
        tensor = TensorProto(name=f"W{k}" if k else "W", data_type=TensorProto.FLOAT, dims=dims)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in entries:
            tensor.external_data.add(key=key, value=value)
        tensors.append(tensor)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 3])],
        [helper.make_tensor_value_info("y", 1, ["n", 2])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "w.bin").write_bytes(W.tobytes())
    return home


def save(folder, *entries, name="model.onnx", **options):
    path = folder / name
    path.write_bytes(model_with(*entries, **options).SerializeToString())
    return path


def refused(path, match, **options):
    with pytest.raises(ModelError, match=match) as caught:
        open_onnx(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_external_data_is_found_hashed_and_mapped(folder):
    path = save(folder, ("location", "w.bin"), ("offset", "0"), ("length", "24"))
    checkpoint = open_onnx(path)
    (file,) = checkpoint.external_files
    assert file.digest == hashlib.sha256(W.tobytes()).hexdigest()
    assert checkpoint.size_bytes == path.stat().st_size + 24
    assert not checkpoint.proto.graph.initializer[0].raw_data
    np.testing.assert_array_equal(file.map().view(np.float32), W)
    with pytest.raises(ValueError, match="read-only"):
        file.map()[0] = 1


def test_the_digest_covers_the_external_file(folder):
    path = save(folder, ("location", "w.bin"))
    before = open_onnx(path).digest
    (folder / "w.bin").write_bytes((W + 1).tobytes())
    assert open_onnx(path).digest != before


def test_a_file_that_shrinks_after_opening_is_noticed(folder):
    (file,) = open_onnx(save(folder, ("location", "w.bin"))).external_files
    (folder / "w.bin").write_bytes(b"short")
    with pytest.raises(ModelError, match="changed while the model was read"):
        file.map()


@pytest.mark.parametrize("location", ["sub/w.bin", "./w.bin", "wörter.bin"])
def test_locations_inside_the_folder_are_read(folder, location):
    (folder / "sub").mkdir()
    (folder / location).write_bytes((W + 1).tobytes())
    (file,) = open_onnx(save(folder, ("location", location))).external_files
    np.testing.assert_array_equal(file.map().view(np.float32), W + 1)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("../secret.bin", "leads out of the model's folder"),
        ("sub/../../secret.bin", "leads out of the model's folder"),
        ("/etc/passwd", "leads out of the model's folder"),
        ("C:\\w.bin", "leads out of the model's folder"),
        ("\\\\host\\w.bin", "leads out of the model's folder"),
        ("w.bin\0.txt", "control characters"),
        ("w\n.bin", "control characters"),
        ("", "empty"),
        ("absent.bin", "no such file; put the file that came with the model there"),
        (".", "a folder"),
    ],
)
def test_other_locations_are_refused(folder, location, words):
    (folder.parent / "secret.bin").write_bytes(W.tobytes())
    assert "tensor 'W'" in refused(save(folder, ("location", location)), words)


def test_a_link_out_of_the_folder_is_refused(folder):
    (folder.parent / "secret.bin").write_bytes(W.tobytes())
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    refused(save(folder, ("location", "link.bin")), "a link out of the model's folder")


def test_a_linked_folder_out_of_the_folder_is_refused(folder):
    other = folder.parent / "other"
    other.mkdir()
    (other / "w.bin").write_bytes(W.tobytes())
    (folder / "sub").symlink_to(other)
    refused(save(folder, ("location", "sub/w.bin")), "a link out of the model's folder")


def test_a_link_within_the_folder_is_followed(folder):
    (folder / "link.bin").symlink_to("w.bin")
    (file,) = open_onnx(save(folder, ("location", "link.bin"))).external_files
    np.testing.assert_array_equal(file.map().view(np.float32), W)


def test_a_hub_cache_with_model_and_data_as_links_into_one_store_opens(tmp_path):
    store, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    store.mkdir()
    snapshot.mkdir(parents=True)
    save(store, ("location", "model.onnx_data"), name="1234")
    (store / "5678").write_bytes(W.tobytes())
    (snapshot / "model.onnx").symlink_to("../../blobs/1234")
    (snapshot / "model.onnx_data").symlink_to("../../blobs/5678")
    (file,) = open_onnx(snapshot / "model.onnx").external_files
    np.testing.assert_array_equal(file.map().view(np.float32), W)


def test_a_hard_link_is_refused(folder):
    os.link(folder / "w.bin", folder.parent / "other_name.bin")
    refused(save(folder, ("location", "w.bin")), "hard link.*copy it")


def test_a_pipe_is_refused_without_waiting(folder):
    os.mkfifo(folder / "pipe.bin")
    refused(save(folder, ("location", "pipe.bin")), "not a regular file")


@pytest.mark.parametrize("text", ["-1", "+0", "0_0", "٠", "0x0", " 0", "1e3", "9" * 20, ""])
@pytest.mark.parametrize("key", ["offset", "length"])
def test_numbers_are_plain_digits(folder, key, text):
    refused(save(folder, ("location", "w.bin"), (key, text)), "no plain number|gives length")


def test_data_that_does_not_fit_is_refused(folder):
    place = ("location", "w.bin")
    refused(
        save(folder, place, ("length", "20")),
        r"float \[3, 2\] takes 24 bytes, and its external data gives length 20",
    )
    refused(save(folder, place, ("offset", "4")), "bytes 4 to 28 .* which has 24: it is cut short")
    refused(save(folder, place, dims=(4, 2)), "bytes 0 to 32")
    refused(save(folder, place, dims=(2**40, 2**40)), "which has 24")
    refused(save(folder, place, dims=(-3, 2)), "negative size")


def test_entries_given_twice_are_refused(folder):
    refused(save(folder, ("location", "w.bin"), ("location", "w.bin")), "gives 'location' twice")


def test_a_missing_location_is_refused(folder):
    refused(save(folder, ("offset", "0")), "names no location")


def test_external_and_inline_data_together_are_refused(folder):
    model = model_with(("location", "w.bin"))
    model.graph.initializer[0].raw_data = W.tobytes()
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    refused(path, "given more than once")
    model.graph.initializer[0].data_location = TensorProto.DEFAULT
    path.write_bytes(model.SerializeToString())
    refused(path, "says that its data is inline")


def test_thousands_of_tensors_on_one_small_file_are_refused(folder):
    (folder / "w.bin").write_bytes(bytes(4 << 20))
    path = save(folder, ("location", "w.bin"), dims=(1 << 20,), count=3000)
    refused(path, "claim 12,582,912,000 bytes of external files that have 4,194,304 together")


def test_a_few_tensors_may_share_their_data(folder):
    path = save(folder, ("location", "w.bin"), count=4)
    open_onnx(path, limits=ModelLimits(external_floor_bytes=0))
    with pytest.raises(ModelError, match="claim"):
        open_onnx(path, limits=ModelLimits(external_floor_bytes=0, external_reuse=3))


def test_external_data_of_an_attribute_is_brought_in(folder):
    model = model_with(("location", "w.bin"))
    constant = helper.make_node("Constant", [], ["C"], value=model.graph.initializer[0])
    model.graph.node.append(constant)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    checkpoint = open_onnx(path)
    tensor = checkpoint.proto.graph.node[1].attribute[0].t
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), W.reshape(3, 2))
    assert checkpoint.proto.graph.initializer[0].data_location == TensorProto.EXTERNAL


def test_hashing_tells_of_its_progress(folder):
    with (folder / "big.bin").open("wb") as file:
        file.truncate(130 << 20)
    told = []
    open_onnx(save(folder, ("location", "big.bin"), ("length", "24")), on_hashed=lambda *x: told.append(x))
    assert told == [(64 << 20, 130 << 20), (128 << 20, 130 << 20)]


def test_a_large_sparse_file_is_not_read_whole_by_mapping(folder):
    with (folder / "big.bin").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(0)
        file.write(W.tobytes())
    (file,) = open_onnx(save(folder, ("location", "big.bin"), ("length", "24"))).external_files
    assert file.size_bytes == 64 << 20
    np.testing.assert_array_equal(file.map()[:24].view(np.float32), W)
