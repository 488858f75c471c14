"""Undo files for folders from strangers' hands, and checkpoints that change under an edit: one line, nothing left."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
from dead_checkpoints import Units, files, make
from safetensors.numpy import load_file, save_file

import nla
from nla.architectures.opening import open_checkpoint
from nla.checkpoint.safetensors_file import read_header
from nla.manifest.document import Action, Manifest


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `out` and its `undo`."""
    place = tmp_path_factory.mktemp("edited")
    source = make(place / "source", "bert", {0: Units((1, 5)), 1: Units((0, 2))})
    actions = [Action(str(at), "remove", f"encoder.layer.{at}.mlp.act", (0, 2)) for at in range(2)]
    manifest = Manifest({"digest": open_checkpoint(source).digest}, actions=tuple(actions))
    nla.apply(manifest, source, place / "out", record_undo=place / "undo", in_process=True)
    return place


def forged(edited: Path, place: Path, **changed: bytes | None) -> Path:
    """The undo file with other entries, and a sum that fits them: whoever changes it can compute that too."""
    import numpy as np

    metadata = read_header(edited / "undo")[1]
    entries = {name: values for name, values in load_file(edited / "undo").items() if name != "~sha256"}
    for name, content in changed.items():
        full = next((each for each in entries if each.startswith(name)), name)
        entries.pop(full, None)
        if content is not None:
            entries[full] = np.frombuffer(content, np.uint8)
    entries["~sha256"] = np.zeros(32, np.uint8)
    save_file(dict(sorted(entries.items())), place, metadata)
    whole = place.read_bytes()
    place.write_bytes(whole[:-32] + sha256(whole[:-32]).digest())
    return place


@pytest.mark.parametrize(
    "changed",
    [
        {"start": b"\xff" * 40},
        {"start": b"\x02\0\0\0\0\0\0\0{}"},
        {"start": b"\x40\0\0\0\0\0\0\0" + json.dumps({"a": {"data_offsets": [0, "1"]}}).encode()},
        {"start": b"\x40\0\0\0\0\0\0\0" + json.dumps({"a": {"data_offsets": [5, 1]}}).encode()},
        {"start": b"\x40\0\0\0\0\0\0\0" + json.dumps({"encoder.layer.9": {"data_offsets": [0, 4]}}).encode()},
        {"start": b"[" * 100_000},
        {"tensor": None},
        {"tensor": b"short"},
        {"file": b"{"},
    ],
)
def test_a_forged_undo_file_is_refused_or_gives_a_folder_that_is_not_called_identical(
    changed: dict[str, bytes | None], edited: Path, tmp_path: Path
):
    undo = forged(edited, tmp_path / "undo", **changed)
    with suppress(nla.NlaError):
        assert not nla.undo(undo, edited / "out", tmp_path / "back", in_process=True).identical
        shutil.rmtree(tmp_path / "back")
    assert [path.name for path in tmp_path.iterdir()] == ["undo"]


def test_names_in_an_undo_file_lead_nowhere(edited: Path, tmp_path: Path):
    undo = forged(edited, tmp_path / "undo", **{"file:../escaped": b"owned", "file:/tmp/escaped": b"owned"})
    assert nla.undo(undo, edited / "out", tmp_path / "deep/../back", in_process=True).identical
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "undo"]
    assert files(tmp_path / "back") == files(edited / "source")


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 64, b"\x08\0\0\0\0\0\0\0{}      "])
def test_what_is_no_undo_file_is_refused(content: bytes, edited: Path, tmp_path: Path):
    (tmp_path / "undo").write_bytes(content)
    with pytest.raises(nla.ModelError) as caught:
        nla.undo(tmp_path / "undo", edited / "out", tmp_path / "back", in_process=True)
    assert str(tmp_path / "undo") in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["undo"]


def test_an_undo_file_of_an_onnx_model_is_none_of_a_folder_and_the_other_way_round(
    edited: Path, tmp_path: Path
):
    model = Path(__file__).resolve().parents[2] / "sample_models/dying_relu/model.onnx"
    empty = Manifest({"digest": nla.sites(model, in_process=True).checkpoint["digest"]})
    nla.apply(empty, model, tmp_path / "out.onnx", record_undo=tmp_path / "undo", in_process=True)
    for undo, given in ((tmp_path / "undo", edited / "out"), (edited / "undo", tmp_path / "out.onnx")):
        with pytest.raises(nla.ModelError, match="its format is"):
            nla.undo(undo, given, tmp_path / "back", in_process=True)
