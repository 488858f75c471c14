"""A replay that is killed goes on at the stage where it stopped, and gives the bits of one that was not."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cut_checkpoints as made
import numpy as np
import pytest

import nla
from nla import recording
from nla.checkpoint.work_folder import remove_work
from nla.errors import LimitError, OutputError

SAMPLES = 160
STAGES = made.LAYERS + 1


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> tuple[Path, Path]:
    """A checkpoint and data."""
    folder = tmp_path_factory.mktemp("resume")
    return made.gpt2(folder / "checkpoint"), made.saved(folder / "data.npz", made.tokens(SAMPLES))


@pytest.fixture(scope="module")
def whole(given, tmp_path_factory) -> dict[str, np.ndarray]:
    """The arrays of a replay that nobody disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run.h5"
    inspect(given, run)
    assert not run.with_name("run.h5.work").exists()
    return arrays(run)


def inspect(given, run, progress=None, **more):
    checkpoint, data = given
    more = {"batch_size": 1, **more}  # slow enough to be killed on the way
    return nla.inspect(checkpoint, data, output=run, held_out=0.3, progress=progress, kernel="numpy", **more)


def arrays(run) -> dict[str, np.ndarray]:
    return recording.to_plain(recording.read(run))[1]


class Killer:
    """Kills the child of this process as soon as so much is done; then notes what is reported first."""

    def __init__(self, after: float) -> None:
        self.after = after

    def __call__(self, event) -> None:
        if event["phase"] == "replaying" and event["done"] >= self.after * event["total"]:
            for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                os.kill(int(pid), signal.SIGKILL)


def killed(given, run, after=0.3, **more) -> Path:
    """The work folder that a kill leaves."""
    with pytest.raises(LimitError):
        inspect(given, run, Killer(after), **more)
    assert not run.exists()
    return run.with_name(run.name + ".work")


def first_of(events):
    return next(event["done"] for event in events if event["phase"] == "replaying")


def test_a_kill_costs_the_stage_that_was_at_work(given, whole, tmp_path):
    run = tmp_path / "run.h5"
    work = killed(given, run)
    finished = len(list(work.glob("calibration-*.stage")))
    assert 1 <= finished < STAGES
    events = []
    inspect(given, run, events.append)
    kept = recording.read(run).splits["calibration"].covered
    assert first_of(events) == finished * kept
    assert not work.exists()
    again = arrays(run)
    assert again.keys() == whole.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


@pytest.mark.parametrize("change", [{"limit": 60}, {"criteria": {"firing_threshold": 0.01}}], ids=str)
def test_other_work_starts_anew(given, tmp_path, change):
    run = tmp_path / "run.h5"
    killed(given, run)
    events = []
    inspect(given, run, events.append, **change)
    assert first_of(events) == 0
    assert not run.with_name("run.h5.work").exists()


def test_another_checkpoint_starts_anew(given, tmp_path):
    run = tmp_path / "run.h5"
    killed(given, run)
    events = []
    inspect((made.gpt2(tmp_path / "other", seed=9), given[1]), run, events.append)
    assert first_of(events) == 0


def test_where_a_stage_cannot_be_read_all_begins_anew(given, whole, tmp_path):
    """The hidden states that the stage was made from have been written over since."""
    run = tmp_path / "run.h5"
    work = killed(given, run)
    last = sorted(work.glob("calibration-*.stage"))[-1]
    last.write_bytes(last.read_bytes()[:-100])
    events = []
    inspect(given, run, events.append)
    assert first_of(events) == 0
    for name, array in arrays(run).items():
        np.testing.assert_array_equal(array, whole[name], err_msg=name)


def test_a_folder_of_others_is_left_alone(given, tmp_path):
    work = tmp_path / "run.h5.work"
    work.mkdir()
    (work / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"run\.h5\.work .* holds 'thesis\.txt', which is none of nla's"):
        inspect(given, tmp_path / "run.h5")
    assert (work / "thesis.txt").read_text() == "mine"


def test_two_do_not_work_in_one_folder(given, tmp_path):
    work = tmp_path / "run.h5.work"
    work.mkdir()
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="in use by another nla"):
            inspect(given, tmp_path / "run.h5")


def test_without_an_output_nothing_is_left(given, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    checkpoint, data = given
    with pytest.raises(LimitError):
        nla.inspect(checkpoint, data, progress=Killer(0.5))
    assert not list(tmp_path.iterdir())


def test_an_interrupt_says_that_the_work_is_kept(given, tmp_path):
    run = tmp_path / "run.h5"
    words = ["inspect", str(given[0]), "--data", str(given[1]), "-o", str(run), "--batch-size", "1", "-q"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nla", *words], stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    until = time.monotonic() + 60
    while (
        not list(tmp_path.glob("run.h5.work/*.stage")) and process.poll() is None and time.monotonic() < until
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    if process.returncode == 0:
        pytest.skip("it was done before it could be interrupted")
    assert process.returncode == 130
    assert "run.h5.work: the same command goes on from there" in " ".join(told.split())
    assert json.loads((tmp_path / "run.h5.work" / "state.json").read_text())["schema"] == "nla/work/1"


def test_work_of_others_is_not_removed_where_there_was_nothing_to_resume(tmp_path):
    work = tmp_path / "run.h5.work"
    work.mkdir()
    (work / "state.json").write_text("{}")
    remove_work(work)
    assert (work / "state.json").exists()


def test_a_kill_says_that_the_work_is_kept(given, tmp_path):
    with pytest.raises(LimitError, match=r"work so far is kept in .*run\.h5\.work: the same command goes on"):
        inspect(given, tmp_path / "run.h5", Killer(0.5))


def test_an_output_that_is_no_file_has_no_folder_beside_it(given):
    inspect(given, "/dev/null")
    assert not Path("/dev/null.work").exists()
