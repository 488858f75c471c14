"""`nla track` on the command line: what it passes on, what it writes, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from series import series

from nla import api
from nla.tracking.results import tracked

SEEN = tracked(series({"relu": "bbb"}, {"relu": "dda"}, {"relu": "doa"}), True, ("epoch00 is the first",))


@pytest.fixture
def track(monkeypatch):
    """The verb, replaced by a mock that answers with a series of three steps."""
    mock = create_autospec(api.track, return_value=SEEN)
    monkeypatch.setattr(api, "track", mock)
    return mock


def given(mock) -> dict:
    mock.assert_called_once()
    return {**dict(zip(("runs", "data"), mock.call_args.args, strict=False)), **mock.call_args.kwargs}


def test_the_table_is_printed_and_nothing_is_written(nla, track):
    done = nla("track", "a.h5", "b.h5", "c.h5")
    assert (done.code, done.err) == (0, "")
    for words in ("Dead neurons", "States over time", "Transitions", "Survival", "epoch00 is the first"):
        assert words in done.out
    assert given(track)["runs"] == ("a.h5", "b.h5", "c.h5")
    assert given(track)["first_is_initial"] is None
    assert given(track)["criteria"] is None  # documents bring theirs


def test_options_reach_the_verb_under_their_names(nla, track, tmp_path):
    (tmp_path / "steps.csv").write_text("path,step\n")
    done = nla(
        *(
            "track",
            "a.onnx",
            "b.onnx",
            "--data",
            "x.npz",
            "--order",
            "natural",
            "--steps",
            tmp_path / "steps.csv",
        ),
        *("--first-is-trained", "--skip-unlike", "--different-data", "--runs", "kept", "--limit", "7"),
        *("--criterion", "dormancy_threshold=0.1", "-q"),
    )
    assert (done.code, done.out) == (0, "")
    seen = given(track)
    assert (seen["order"], seen["steps"]) == ("natural", str(tmp_path / "steps.csv"))
    assert seen["first_is_initial"] is False
    assert seen["skip_unlike"] is seen["different_data"] is True
    assert (seen["recordings"], seen["limit"], seen["data"]) == ("kept", 7, "x.npz")
    assert seen["criteria"].dormancy_threshold == 0.1


@pytest.mark.parametrize("trajectories", [False, True])
def test_the_document_holds_trajectories_where_they_are_asked_for(nla, track, tmp_path, trajectories):
    path = tmp_path / "tracking.json"
    done = nla("track", "a.h5", "b.h5", "--json", path, *(["--trajectories"] * trajectories))
    assert done.code == 0
    document = json.loads(path.read_text())
    assert document == SEEN.to_dict(neurons=trajectories)
    assert document["schema"] == "nla/tracking/1"


def test_the_document_on_standard_output_takes_the_place_of_the_table(nla, track):
    done = nla("track", "a.h5", "b.h5", "--json", "-")
    assert json.loads(done.out) == SEEN.to_dict()


def test_two_sources_of_data_are_refused(nla, track):
    done = nla("track", "a.onnx", "b.onnx", "--data", "x.npz", "--synthetic", "5")
    assert (done.code, done.out) == (2, "")
    assert "--data and --synthetic exclude each other" in done.err
    track.assert_not_called()


def test_a_run_is_not_written_over(nla, track, tmp_path):
    run = tmp_path / "a.h5"
    run.write_bytes(b"recording")
    done = nla("track", run, "b.h5", "--json", run)
    assert done.code == 2
    assert run.read_bytes() == b"recording"
    track.assert_not_called()


def test_trajectories_without_a_document_are_refused(nla, track):
    done = nla("track", "a.h5", "b.h5", "--trajectories")
    assert done.code == 2
    assert "--json" in done.err
    track.assert_not_called()


@pytest.mark.parametrize(
    ("runs", "said"), [([], "no run: give two or more"), (["one.h5"], "one checkpoint is no series")]
)
def test_one_checkpoint_only_is_one_clear_line(nla, runs, said):
    done = nla("track", *runs)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert said in done.err


def test_a_file_that_is_no_run_is_one_clear_line(nla, tmp_path):
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40))
    (tmp_path / "b.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40))
    done = nla("track", tmp_path / "a.h5", tmp_path / "b.h5")
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert str(Path(tmp_path / "a.h5")) in done.err
