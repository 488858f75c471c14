"""An edit in the layout that the checkpoint has: the same files, orders, texts and metadata, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dead_checkpoints import (
    BESIDE,
    COPIES,
    Units,
    add_copies,
    feeds,
    files,
    header_of,
    make,
    metadata_of,
    order_of,
    outputs,
    tensors_of,
)
from safetensors.numpy import load_file, save_file

import nla
from nla.architectures.opening import open_checkpoint
from nla.checkpoint import wire
from nla.errors import OutputError
from nla.manifest.document import Action, Manifest

ACT = "encoder.layer.{}.mlp.act"
UNITS = {0: Units((1, 5)), 1: Units((0, 2))}


def cutting(source: Path) -> Manifest:
    actions = (
        Action("a", "remove", ACT.format(0), (1, 5)),
        Action("b", "remove", ACT.format(1), (0, 2)),
    )
    return Manifest({"digest": open_checkpoint(source).digest}, actions=actions)


def masking(source: Path) -> Manifest:
    action = Action("a", "mask", ACT.format(1), (0, 2))
    return Manifest({"digest": open_checkpoint(source).digest}, actions=(action,))


def apply(manifest: Manifest, source: Path, output: Path, **more: Any) -> nla.SurgeryReport:
    return nla.apply(manifest, source, output, in_process=True, **more)


@pytest.mark.parametrize("shards", [1, 3])
def test_untouched_bytes_stay_and_touched_ones_keep_their_place(shards: int, tmp_path: Path):
    source = make(tmp_path / "source", "bert", UNITS, shards=shards)
    apply(cutting(source), source, tmp_path / "out")
    assert sorted(files(source)) == sorted(files(tmp_path / "out"))
    before, after = tensors_of(source), tensors_of(tmp_path / "out")
    names = sorted(path.name for path in source.glob("*.safetensors"))
    for name in names:
        assert order_of(source / name) == order_of(tmp_path / "out" / name)
        assert list(header_of(source / name)) == list(header_of(tmp_path / "out" / name))
    for at, name in enumerate(names):
        extra = {} if at else {"nla.manifest": metadata_of(tmp_path / "out" / name)["nla.manifest"]}
        assert metadata_of(tmp_path / "out" / name) == {**metadata_of(source / name), **extra}
    gone = {0: (1, 5), 1: (0, 2)}
    for name, values in before.items():
        axes = [axis for axis, size in enumerate(values.shape) if size == 24]
        expected = np.delete(values, gone[int(name.split(".")[2])], axes[0]) if axes else values
        assert np.array_equal(after[name], expected), name


def test_a_mask_leaves_every_file_but_the_touched_shards_as_it_was(tmp_path: Path):
    source = make(tmp_path / "source", "bert", UNITS, shards=6)
    apply(masking(source), source, tmp_path / "out")
    before, after = tensors_of(source), tensors_of(tmp_path / "out")
    touched = {name for name in before if not np.array_equal(before[name], after[name])}
    where = json.loads((source / "model.safetensors.index.json").read_text())["weight_map"]
    first = "model-00001-of-00006.safetensors"
    changed = {name for name, digest in files(source).items() if files(tmp_path / "out")[name] != digest}
    assert touched
    assert changed == {where[name] for name in touched} | {first}


def test_config_and_index_change_in_their_numbers_alone(tmp_path: Path):
    source = make(tmp_path / "source", "bert", UNITS, shards=2)
    config = (source / "config.json").read_text().replace("\n  ", "\n\t").replace(": 24", ":  24")
    (source / "config.json").write_text(config)
    apply(cutting(source), source, tmp_path / "out")
    assert (tmp_path / "out/config.json").read_text() == config.replace(":  24", ":  22")
    before = (source / "model.safetensors.index.json").read_text()
    stored = tensors_of(tmp_path / "out").values()
    sizes = json.loads(before)["metadata"]
    after = before.replace(str(sizes["total_size"]), str(sum(values.nbytes for values in stored)))
    after = after.replace(str(sizes["total_parameters"]), str(sum(values.size for values in stored)))
    assert (tmp_path / "out/model.safetensors.index.json").read_text() == after


@pytest.mark.parametrize("said", ['  "n_inner": null,\n', ""])
def test_a_width_that_config_json_leaves_to_the_hidden_size_is_written_out(said: str, tmp_path: Path):
    source = make(tmp_path / "source", "gpt2", {})
    wide = {
        name: np.resize(values, [64 if size == 24 else size for size in values.shape])
        for name, values in load_file(source / "model.safetensors").items()
    }
    save_file(wide, source / "model.safetensors")
    config = (source / "config.json").read_text()
    assert '  "n_inner": 24,\n' in config
    (source / "config.json").write_text(config.replace('  "n_inner": 24,\n', said))
    blocks = [Action(f"{at}", "remove", f"transformer.h.{at}.mlp.act", (3, 4)) for at in range(2)]
    apply(
        Manifest({"digest": open_checkpoint(source).digest}, actions=tuple(blocks)), source, tmp_path / "out"
    )
    before, after = ((tmp_path / name / "config.json").read_text() for name in ("source", "out"))
    assert json.loads(after) == {**json.loads(before), "n_inner": 62}
    expected = before.replace('null,\n  "n_layer', '62,\n  "n_layer')
    assert after == (expected if said else before.replace("\n}", ',\n  "n_inner": 62\n}'))


def test_everything_that_belongs_to_it_is_copied_and_copies_of_weights_are_not(tmp_path: Path):
    source = make(tmp_path / "source", "bert", UNITS)
    add_copies(source)
    (source / ".git").mkdir()
    (source / ".git/config").write_text("[core]")
    secret = tmp_path / "secret"
    secret.write_text("of the user")
    (source / "NOTES").symlink_to(secret)
    os.mkfifo(source / "pipe")
    done = apply(masking(source), source, tmp_path / "out")
    assert sorted(files(tmp_path / "out")) == sorted(["config.json", "model.safetensors", *BESIDE])
    for name, content in BESIDE.items():
        assert (tmp_path / "out" / name).read_bytes() == content
    (note,) = [note for note in done.notes if note.startswith("not copied: ")]
    for name in ("pytorch_model.bin", "model.onnx", "other.safetensors", "NOTES", "pipe", "onnx"):
        assert name in note
    assert all(not (tmp_path / "out" / name).exists() for name in COPIES)


def test_a_snapshot_of_a_hub_cache_is_written_as_plain_files(tmp_path: Path):
    plain = make(tmp_path / "plain", "bert", UNITS, shards=2)
    blobs, snapshot = tmp_path / "models--a--b/blobs", tmp_path / "models--a--b/snapshots/0123"
    blobs.mkdir(parents=True)
    for name in files(plain):
        blob = blobs / name.replace("/", "_")
        shutil.copy(plain / name, blob)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(os.path.relpath(blob, (snapshot / name).parent))
    before = files(blobs)
    apply(cutting(snapshot), snapshot, tmp_path / "out")
    apply(cutting(plain), plain, tmp_path / "same")
    assert files(tmp_path / "out") == files(tmp_path / "same")
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))
    assert files(blobs) == before


def test_an_empty_manifest_gives_a_copy(tmp_path: Path):
    source = make(tmp_path / "source", "bert", UNITS, shards=2)
    digest = open_checkpoint(source).digest
    done = apply(Manifest({"digest": digest}), source, tmp_path / "out")
    assert files(source) == files(tmp_path / "out")
    assert open_checkpoint(tmp_path / "out").digest == digest
    assert done.bytes_before == done.bytes_after


def test_an_edit_of_an_edit_says_which_manifest_it_is_of(tmp_path: Path):
    source = make(tmp_path / "source", "bert", UNITS)
    apply(masking(source), source, tmp_path / "one")
    apply(cutting(tmp_path / "one"), tmp_path / "one", tmp_path / "two")
    one, two = (metadata_of(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert one["nla.manifest"] != two["nla.manifest"]


@pytest.mark.parametrize("name", ["source", "source/inside", "full", "file", "missing/out"])
def test_an_output_that_is_there_or_is_the_source_is_refused_before_any_work(name: str, tmp_path: Path):
    source = make(tmp_path / "source", "bert", UNITS)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/precious").write_text("kept")
    (tmp_path / "file").write_text("kept")
    before = files(tmp_path)
    with pytest.raises(OutputError, match="cannot write") as caught:
        apply(cutting(source), source, tmp_path / name)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == before


def test_an_empty_folder_may_be_the_output(tmp_path: Path):
    source = make(tmp_path / "source", "bert", UNITS)
    (tmp_path / "out").mkdir()
    apply(cutting(source), source, tmp_path / "out")
    assert (tmp_path / "out/config.json").exists()


def test_a_checkpoint_with_a_config_is_no_single_file(tmp_path: Path):
    source = make(tmp_path / "source", "bert", UNITS)
    with pytest.raises(OutputError, match="is written as a folder"):
        apply(cutting(source), source, tmp_path / "out.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("writes", [1, 4, 9])
def test_a_disk_that_fills_half_way_leaves_nothing(
    writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = make(tmp_path / "source", "bert", UNITS, shards=2)
    before, left = files(tmp_path), [writes]
    checked = wire.Piece.checked

    def until_full(piece: wire.Piece) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return checked(piece)

    monkeypatch.setattr(wire.Piece, "checked", until_full)
    with pytest.raises(OutputError, match="the disk is full") as caught:
        apply(cutting(source), source, tmp_path / "out", record_undo=tmp_path / "undo")
    assert ".nla-" not in str(caught.value)
    assert files(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_result_whose_graph_is_another_is_never_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from nla.checkpoint import safetensors_writing

    source = make(tmp_path / "source", "bert", UNITS)
    monkeypatch.setattr(
        safetensors_writing, "with_number", lambda text, path, number: text.replace(": 24", ": 23")
    )
    with pytest.raises(nla.NlaError, match="disagree"):
        apply(cutting(source), source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("edit", [cutting, masking])
def test_undo_brings_every_file_back_byte_for_byte(edit: Any, shards: int, tmp_path: Path):
    source = make(tmp_path / "source", "bert", UNITS, shards=shards)
    apply(edit(source), source, tmp_path / "out", record_undo=tmp_path / "undo")
    done = nla.undo(tmp_path / "undo", tmp_path / "out", tmp_path / "back", in_process=True)
    assert done.identical
    assert files(tmp_path / "back") == files(source)
    assert open_checkpoint(tmp_path / "back").digest == open_checkpoint(source).digest


def test_an_undo_file_of_another_edit_or_spoilt_is_refused(tmp_path: Path):
    source = make(tmp_path / "source", "bert", UNITS)
    apply(cutting(source), source, tmp_path / "cut", record_undo=tmp_path / "undo")
    apply(masking(source), source, tmp_path / "masked", record_undo=tmp_path / "other")
    before = files(tmp_path)
    with pytest.raises(nla.ModelError, match="give the model that was written with it"):
        nla.undo(tmp_path / "undo", tmp_path / "masked", tmp_path / "back", in_process=True)
    content = bytearray((tmp_path / "undo").read_bytes())
    content[-100] ^= 1
    (tmp_path / "spoilt").write_bytes(content)
    with pytest.raises(nla.ModelError, match="not what was written"):
        nla.undo(tmp_path / "spoilt", tmp_path / "cut", tmp_path / "back", in_process=True)
    (tmp_path / "spoilt").unlink()
    assert files(tmp_path) == before


def test_undo_of_an_onnx_file_made_of_a_folder_gives_the_graph_and_its_weights(tmp_path: Path):
    source = make(tmp_path / "source", "bert", UNITS)
    apply(cutting(source), source, tmp_path / "out.onnx", record_undo=tmp_path / "undo")
    nla.undo(tmp_path / "undo", tmp_path / "out.onnx", tmp_path / "back.onnx", in_process=True)
    for before, after in zip(
        outputs(source, feeds("bert")), outputs(tmp_path / "back.onnx", feeds("bert")), strict=True
    ):
        assert np.array_equal(before, after)


@pytest.mark.slow
def test_prune_repair_and_verify_take_folders(tmp_path: Path):
    source = make(tmp_path / "source", "bert", UNITS)
    data, manifest = feeds("bert"), tmp_path / "m.json"
    done = nla.prune(source, data, tmp_path / "out", manifest=manifest, in_process=True)
    assert done.verification.holds
    size = done.verification.size_after
    assert size.parameters == sum(values.size for values in tensors_of(tmp_path / "out").values())
    assert size.bytes == sum(
        (tmp_path / "out" / name).stat().st_size for name in ("config.json", "model.safetensors")
    )
    again = nla.verify(source, tmp_path / "out", data, manifest=manifest, in_process=True)
    assert again.holds
    assert all(promise.kept for promise in again.promises)
    repaired = nla.repair(source, data, tmp_path / "repaired", policy="strip", rounds=2, in_process=True)
    assert repaired.output == tmp_path / "repaired"
    assert (tmp_path / "repaired/config.json").read_bytes() == (source / "config.json").read_bytes()


def test_prune_leaves_nothing_where_verification_does_not_hold(tmp_path: Path):
    source = make(tmp_path / "source", "bert", {0: Units((), (7,)), 1: Units((), (7,))})
    done = nla.prune(source, feeds("bert"), tmp_path / "out", tolerance=0.0, in_process=True)
    assert not done.verification.holds
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_masks_bear_the_names_and_shapes_of_the_checkpoints_tensors(tmp_path: Path):
    source = make(
        tmp_path / "source", "llama", {0: Units((1, 5)), 1: Units((0, 2))}, dtype="bfloat16", shards=2
    )
    nla.inspect(source, feeds("llama"), output=tmp_path / "run.h5", in_process=True)
    nla.masks(nla.plan(tmp_path / "run.h5", "mask", in_process=True), tmp_path / "masks.safetensors")
    masks, tensors = load_file(tmp_path / "masks.safetensors"), tensors_of(source)
    assert len(masks) == 6
    for name, mask in masks.items():
        assert mask.shape == tensors[name].shape
        axis = 1 if "down_proj" in name else 0
        gone = np.flatnonzero(~mask.all(1 - axis))
        assert gone.tolist() == ([1, 5] if ".0." in name else [0, 2])


@pytest.mark.parametrize("given", ["model.safetensors", "model.safetensors.index.json"])
def test_a_file_or_an_index_stands_for_the_folder_that_it_lies_in(given: str, tmp_path: Path):
    source = make(tmp_path / "source", "bert", UNITS, shards=2 if given.endswith("json") else 1)
    apply(cutting(source / given), source / given, tmp_path / "out", record_undo=tmp_path / "undo")
    apply(cutting(source), source, tmp_path / "same")
    assert files(tmp_path / "out") == files(tmp_path / "same")
    assert nla.undo(tmp_path / "undo", tmp_path / "out", tmp_path / "back", in_process=True).identical


def test_another_activation_takes_an_onnx_file(tmp_path: Path):
    source = make(tmp_path / "source", "opt", {})
    with pytest.raises(OutputError, match=r"name an \.onnx file"):
        nla.swap(source, feeds("opt"), output=tmp_path / "out", to="gelu", in_process=True)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
