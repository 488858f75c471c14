"""Outputs are found unwritable before the work, and written whole or not at all."""

from __future__ import annotations

import pytest

from nla.cli import endings, outputs
from nla.errors import OutputError


@pytest.fixture(autouse=True)
def nothing_written(monkeypatch):
    monkeypatch.setattr(endings, "written", [])


def test_good_outputs_pass_and_leave_no_trace(tmp_path):
    outputs.check(
        [str(tmp_path / "run.h5"), str(tmp_path / "run.json"), None, "-", "-"], [str(tmp_path), None]
    )
    assert list(tmp_path.iterdir()) == []


def test_an_existing_output_may_be_replaced(tmp_path):
    (tmp_path / "run.json").write_text("old")
    outputs.check([str(tmp_path / "run.json")], [])
    outputs.put(str(tmp_path / "run.json"), "new")
    assert (tmp_path / "run.json").read_text() == "new"
    assert endings.written == [str(tmp_path / "run.json")]


def test_an_input_is_never_written_over_by_another_name(tmp_path):
    data = tmp_path / "data.npz"
    data.write_bytes(b"data")
    link = tmp_path / "link"
    link.symlink_to(data)
    for name in (data, link, tmp_path / "." / "data.npz"):
        with pytest.raises(OutputError, match="is the file that was read"):
            outputs.check([str(name)], [str(data)])


def test_a_device_is_written_to_and_stays_a_device():
    outputs.check(["/dev/null"], [])
    outputs.put("/dev/null", "text")
    from pathlib import Path

    assert Path("/dev/null").is_char_device()
