"""Faults of the machine: outputs that cannot be written, closed streams, signals. What a run leaves behind: nothing."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import termios
import threading
import time
from pathlib import Path

import pytest
from hostile import models

NOTHING = "nothing was written"


@pytest.fixture
def model(tmp_path):
    return models.saved(tmp_path, models.parsed())


@pytest.fixture
def data(tmp_path):
    return models.data(tmp_path)


@pytest.fixture
def endless(tmp_path):
    (tmp_path / "endless").mkdir()
    return models.HANGS["a loop without end"](tmp_path / "endless")


# Outputs


@pytest.mark.parametrize("option", ["-o", "--json"])
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/proc/nowhere", "cannot write /proc/nowhere: "),
        ("/nowhere/run", "the folder /nowhere does not exist"),
        ("folder", "it is a folder"),
        ("/", "it is a folder"),
        ("x" * 300, "name is too long"),
        ("a\x1bb/c", r"the folder a\\x1bb does not exist"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    machine, endless, data, option, path, words
):
    (machine.here / "folder").mkdir()
    ended = machine.run("inspect", endless, "--data", data, option, path)
    ended.refused(words)


@pytest.mark.parametrize("option", ["-o", "--json"])
@pytest.mark.parametrize("which", ["model", "data", "a link to the model", "a hard link to the data"])
def test_no_input_is_written_over(machine, model, data, option, which):
    path = {"model": model, "data": data}.get(which, machine.here / "link")
    if "link" in which:
        path.symlink_to(model) if "model" in which else path.hardlink_to(data)
    before = model.read_bytes(), data.read_bytes()
    ended = machine.run("inspect", model, "--data", data, option, path)
    ended.refused("it is the file that was read")
    assert (model.read_bytes(), data.read_bytes()) == before


def test_two_outputs_of_one_name_and_a_recording_to_standard_output_are_refused(machine, model, data):
    machine.run("inspect", model, "--data", data, "-o", "run", "--json", "./run").refused("two outputs")
    machine.run("inspect", model, "--data", data, "-o", "-").refused("standard output")


@pytest.mark.parametrize("option", ["-o", "--json"])
def test_a_full_disk_leaves_nothing(machine, model, data, option):
    machine.run("inspect", model, "--data", data, option, "/dev/full").refused("the disk is full")
    ended = machine.run("inspect", model, "--data", data, option, "run", **largest_file(8000))
    ended.refused("cannot write run: the file would be larger than is allowed here")


def test_what_had_been_written_before_the_disk_was_full_is_named(machine, model, data):
    ended = machine.run("inspect", model, "--data", data, "-o", "run.h5", "--json", "/dev/full").check()
    assert ended.code == 2
    assert [Path(file).name for file in ended.files] == ["run.h5"]
    assert ended.err.endswith("run.h5 had been written\n")


def test_no_room_for_any_file_is_one_line(machine, model, data):
    machine.run("inspect", model, "--data", data, **largest_file(0)).refused("cannot write a temporary file")


def test_no_folder_for_temporary_files_is_no_obstacle(machine, model, data):
    for variables in ({"TMPDIR": "/nowhere"}, {"HOME": "/nowhere", "TMPDIR": "/proc"}):
        assert machine.run("inspect", model, "--data", data, variables=variables).check().code == 0


def largest_file(size: int) -> dict[str, object]:
    """Options of a process that may write no larger files."""
    return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))}


def mounting(options: str, place: Path) -> tuple[str, ...]:
    """A wrapper that mounts a small file system of its own; skips where that is not allowed."""
    wrap = ("unshare", "-m", "sh", "-c", f'mount -t tmpfs -o {options} tmpfs "{place}" && exec "$0" "$@"')
    if subprocess.run([*wrap, "true"], capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    return wrap


@pytest.mark.parametrize(
    ("options", "words"), [("size=8k", "the disk is full"), ("ro", "the file system is read-only")]
)
def test_a_small_or_read_only_file_system(machine, model, data, options, words):
    place = machine.here / "place"
    place.mkdir()
    wrap = mounting(options, place)
    machine.run("inspect", model, "--data", data, "-o", "place/run.h5", wrap=wrap).refused(words)


def test_an_older_output_stays_when_the_new_one_cannot_be_written(machine, model, data):
    old = machine.here / "run.h5"
    old.write_text("old")
    machine.run("inspect", model, "--data", data, "-o", "run.h5", **largest_file(8000)).refused("larger")
    assert old.read_text() == "old"
    assert [path.name for path in machine.here.iterdir()] == ["run.h5"]


def test_two_runs_may_write_the_same_output(machine, model, data):
    ended = []

    def run() -> None:
        ended.append(machine.run("inspect", model, "--data", data, "-o", "run.h5", "--json", "run.json"))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.check().code for run in ended] == [0, 0]
    assert sorted(path.name for path in machine.here.iterdir()) == ["run.h5", "run.json"]
    assert machine.run("neurons", "run.h5").check().code == 0


# Streams


def test_a_full_disk_under_standard_output(machine, model, data):
    with open("/dev/full", "wb") as full:
        ended = machine.run("inspect", model, "--data", data, stdout=full)
    ended.refused("cannot write to standard output")


@pytest.mark.parametrize("command", ["inspect", "sites"])
def test_a_reader_that_goes_away_ends_the_run_quietly(machine, model, data, command):
    options = ("--data", data) if command == "inspect" else ()
    wrap = ("bash", "-c", '"$0" "$@" | head -0; exit ${PIPESTATUS[0]}')
    ended = machine.run(command, model, *options, wrap=wrap).check()
    assert (ended.code, ended.err) == (141, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_obstacle(machine, model, data, closed):
    wrap = ("sh", "-c", f'exec "$0" "$@" {closed}')
    ended = machine.run("inspect", model, "--data", data, "--json", "run.json", wrap=wrap).check()
    assert (ended.code, ended.err) == (0, "")
    assert [Path(file).name for file in ended.files] == ["run.json"]


# Signals


def once(ready, run, seconds=30.0):
    """Waits until `ready(run)` holds."""
    end = time.monotonic() + seconds
    while not ready(run):
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.005)


def handles_signals(run):
    """Whether nla has put up its handlers: Python itself catches SIGINT, only nla SIGTERM."""
    status = Path(f"/proc/{run.pid}/status").read_text()
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def has_child(run):
    """Whether the supervised child is there."""
    return bool(run.children())


def replays(run):
    """Whether the supervised child has loaded onnxruntime, and then a while."""
    for pid in run.children():
        if "onnxruntime_pybind11_state" in Path(f"/proc/{pid}/maps").read_text():
            time.sleep(0.3)
            return True
    return False


def signalled(ready, number, to_group, times=1):
    """What to do during a run: wait, then send the signal."""

    def during(run):
        once(ready, run)
        for _ in range(times):
            (os.killpg if to_group else os.kill)(run.pid, number)

    return during


@pytest.mark.parametrize("to_group", [True, False], ids=["to the group", "to nla alone"])
@pytest.mark.parametrize("ready", [handles_signals, has_child, replays])
def test_ctrl_c_is_one_line_and_leaves_nothing(machine, endless, data, ready, to_group):
    during = signalled(ready, signal.SIGINT, to_group)
    ended = machine.run(
        "inspect", endless, "--data", data, "-o", "run.h5", "--json", "run.json", during=during
    )
    ended.refused("interrupted; nothing was written", code=130)
    assert ended.seconds < 20


def test_ctrl_c_twice_is_as_clean_as_once(machine, endless, data):
    during = signalled(replays, signal.SIGINT, True, times=2)
    ended = machine.run("inspect", endless, "--data", data, "-o", "run.h5", during=during)
    ended.refused("interrupted; nothing was written", code=130)


def test_ctrl_c_while_an_output_is_written_leaves_nothing_of_it(machine, model, data, tmp_path):
    """The output is a pipe that nobody empties, so that writing lasts."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)

    def during(run):
        once(lambda _: _is_filled(reader), run)
        os.kill(run.pid, signal.SIGINT)

    try:
        ended = machine.run("inspect", model, "--data", data, "-o", pipe, "--json", "run.json", during=during)
    finally:
        os.close(reader)
    ended.refused("interrupted", code=130)


def _is_filled(descriptor: int) -> bool:
    waiting = bytearray(4)
    fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
    return int.from_bytes(waiting, "little") > 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_request_to_end_is_one_line_and_leaves_nothing(machine, endless, data, number, code):
    during = signalled(replays, number, False)
    heard = {"preexec_fn": lambda: signal.signal(number, signal.SIG_DFL)}  # under nohup, SIGHUP is ignored
    ended = machine.run("inspect", endless, "--data", data, "-o", "run.h5", during=during, **heard)
    ended.refused("terminated; nothing was written", code=code)


def test_the_child_dies_with_its_parent(machine, endless, data):
    during = signalled(replays, signal.SIGKILL, False)
    ended = machine.run("inspect", endless, "--data", data, "-o", "run.h5", during=during)
    assert ended.code == -signal.SIGKILL
    assert ended.processes == ()
    assert ended.files == ()


def test_a_child_that_is_killed_from_outside_is_one_line(machine, endless, data):
    def during(run):
        once(replays, run)
        for pid in run.children():
            os.kill(pid, signal.SIGKILL)

    ended = machine.run("inspect", endless, "--data", data, "-o", "run.h5", during=during)
    ended.refused("SIGKILL", "killed from outside")
