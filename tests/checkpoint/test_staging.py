"""Outputs of several files appear together, under their names, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from nla.checkpoint.staging import named_as_asked, staged
from nla.errors import OutputError


def test_what_was_made_is_renamed_into_its_place_with_what_belongs_to_it(tmp_path: Path):
    with staged(tmp_path / "out.onnx") as made:
        made.path.write_bytes(b"model")
        made.path.with_name("out.onnx.data").write_bytes(b"weights")
        assert not (tmp_path / "out.onnx").exists()
        made.keep()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.onnx", "out.onnx.data"]
    assert (tmp_path / "out.onnx").read_bytes() == b"model"


def test_what_is_not_kept_leaves_nothing_and_an_older_file_stays(tmp_path: Path):
    older = tmp_path / "out.onnx"
    older.write_bytes(b"older")

    def interrupted() -> None:
        with staged(older) as made:
            made.path.write_bytes(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [p.name for p in tmp_path.iterdir()] == ["out.onnx"]
    assert older.read_bytes() == b"older"


def test_a_file_beside_the_output_never_replaces_a_source(tmp_path: Path):
    source = tmp_path / "out.onnx.data"
    source.write_bytes(b"the original's weights")

    def keep_over_the_source() -> None:
        with staged(tmp_path / "out.onnx") as made:
            made.path.write_bytes(b"model")
            made.path.with_name("out.onnx.data").write_bytes(b"weights")
            made.keep([source])

    with pytest.raises(OutputError, match="it is the file that was read"):
        keep_over_the_source()
    assert [p.name for p in tmp_path.iterdir()] == ["out.onnx.data"]
    assert source.read_bytes() == b"the original's weights"


def test_a_source_a_folder_and_a_device_are_no_outputs(tmp_path: Path):
    source = tmp_path / "model.onnx"
    source.write_bytes(b"model")
    for target, message in ((source, "file that was read"), (tmp_path, "folder"), ("/dev/null", "device")):
        with pytest.raises(OutputError, match=message), staged(target, [source]):
            pass
    assert source.read_bytes() == b"model"


def test_a_model_made_elsewhere_is_taken_with_its_files(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "out.onnx").write_bytes(b"model")
    (elsewhere / "out.onnx.data").write_bytes(b"weights")
    with staged(tmp_path / "out.onnx") as made:
        made.take(elsewhere / "out.onnx")
        made.keep()
    assert (tmp_path / "out.onnx.data").read_bytes() == b"weights"


def test_an_error_names_the_output_that_was_asked_for(tmp_path: Path):
    with (
        pytest.raises(OutputError) as raised,
        staged(tmp_path / "out.onnx") as made,
        named_as_asked(made),
    ):
        raise OutputError(f"cannot write {made.path}: the disk is full")
    assert str(raised.value) == f"cannot write {tmp_path / 'out.onnx'}: the disk is full"
