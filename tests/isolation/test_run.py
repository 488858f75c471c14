"""The supervised child: results come back, and every way to die becomes one clear line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from nla.errors import Interrupted, LimitError, MissingExtraError, ModelError
from nla.isolation import Limits, run

HERE = Path(__file__).parent
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _tasks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


def call(name, arguments=None, arrays=None, **options):
    return run(f"isolated_tasks:{name}", arguments or {}, arrays, **options)


def test_arguments_arrays_and_progress_travel_both_ways():
    arrays = {
        "f": np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2],
        "empty": np.zeros((0, 5), np.int64),
        "scalar": np.array(3.5),
        "text": np.array(["a", "βγ"]),
        "flags": np.array([True, False]),
    }
    seen = []
    body, back = call("echo", {"x": [1, None, "é"]}, arrays, on_progress=seen.append)
    assert body["given"] == {"x": [1, None, "é"]}
    assert seen == [{"phase": "echoing", "done": 1}]
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape


def test_a_large_array_arrives_whole():
    big = np.random.default_rng(0).random(3_000_000)
    _, back = call("echo", {}, {"big": big})
    np.testing.assert_array_equal(back["big"], big)


def test_in_process_runs_in_this_process():
    body, _ = call("surroundings", in_process=True)
    assert body["pid"] == os.getpid()


def test_child_is_another_process_in_its_own_session_with_telemetry_off():
    body, _ = call("surroundings", variables={"EXTRA": "1"})
    assert body["pid"] != os.getpid()
    assert body["session"]
    assert body["telemetry"] == "1"
    assert body["extra"] == "1"


def test_a_module_beside_the_model_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('hijacked')")
    (tmp_path / "numpy.py").write_text("raise SystemExit('hijacked')")
    (tmp_path / "nla.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend("")
    body, _ = call("surroundings")
    assert str(tmp_path) not in body["path"]
    assert "" not in body["path"]
    assert not body["json"].startswith(str(tmp_path))


def test_errors_of_ours_keep_class_and_message():
    with pytest.raises(ModelError, match=r"^model\.onnx: no such tensor$"):
        call("model_error")
    with pytest.raises(MissingExtraError, match=r"pip install 'nla\[images\]'"):
        call("missing_extra")


def test_a_defect_shows_the_traceback_of_the_child():
    with pytest.raises(RuntimeError, match=r"(?s)KeyError: 'absent'") as caught:
        call("defect", {"key": "absent"})
    assert "isolated_tasks.py" in str(caught.value)


@pytest.mark.parametrize("task", ["not_json", "objects"])
def test_results_that_cannot_travel_are_a_defect(task):
    with pytest.raises(RuntimeError, match="TypeError"):
        call(task)


@pytest.mark.parametrize("name", ["SIGFPE", "SIGSEGV", "SIGABRT", "SIGILL", "SIGKILL"])
def test_a_signal_is_one_line_with_its_name_and_phase(name):
    with pytest.raises(
        LimitError, match=rf"m\.onnx: crashed with {name} .*while creating the session"
    ) as caught:
        call("kill", {"signal": name}, subject="m.onnx")
    assert "\n" not in str(caught.value)
    assert "nothing was written" in str(caught.value)


def test_a_real_segmentation_fault_is_reported():
    with pytest.raises(LimitError, match=r"SIGSEGV .* while running the model"):
        call("segfault")


def test_a_hang_ends_at_the_time_limit():
    with pytest.raises(LimitError, match=r"time limit of 1\.5 s \(--time-limit\).*creating the session"):
        call("hang", limits=Limits(seconds=1.5))


def test_silence_ends_at_the_stall_limit():
    with pytest.raises(LimitError, match=r"no progress for 1 s while creating the session.*--time-limit"):
        call("hang", limits=Limits(stall_seconds=1))


def test_progress_keeps_a_slow_task_alive():
    body, _ = call("slow_with_progress", {"steps": 6, "pause": 0.5}, limits=Limits(stall_seconds=2.5))
    assert body["steps"] == 6


def test_a_single_huge_allocation_is_a_memory_limit():
    with pytest.raises(LimitError, match=r"memory limit of 0\.2 GiB \(--memory-limit\).*running the model"):
        call("allocate_at_once", {"bytes": 1 << 40}, limits=Limits(memory_bytes=200 * MIB))


def test_memory_taken_bit_by_bit_is_a_memory_limit():
    with pytest.raises(LimitError, match=r"memory limit of 0\.2 GiB"):
        call("allocate_bit_by_bit", limits=Limits(memory_bytes=200 * MIB))


def test_out_of_memory_inside_a_library_is_a_memory_limit():
    with pytest.raises(LimitError, match="--memory-limit"):
        call("wrapped_out_of_memory")


def test_mapped_files_do_not_count_as_memory(tmp_path):
    path = tmp_path / "weights.bin"
    with path.open("wb") as file:
        file.truncate(3 << 30)  # sparse
    body, _ = call("mapped_file", {"path": str(path)}, limits=Limits(memory_bytes=300 * MIB))
    assert body["sum"] == 0


def test_library_output_is_swallowed_and_bounded(capfd):
    assert call("noisy")[0] == {"done": True}
    assert capfd.readouterr() == ("", "")


def test_library_output_is_shown_when_debugging(capfd, monkeypatch):
    monkeypatch.setenv("NLA_DEBUG", "1")
    call("noisy")
    assert "warning of a library" in capfd.readouterr().err


def test_an_exit_without_a_word_is_a_defect_with_the_last_words():
    with pytest.raises(RuntimeError, match=r"(?s)exit status 3.*last words"):
        call("wordless_exit")


def test_garbage_on_the_wire_is_a_defect_not_a_hang():
    with pytest.raises(RuntimeError, match="protocol"):
        call("garbage")


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    call("echo", {}, {"x": np.ones(1000)})
    with pytest.raises(LimitError):
        call("kill", {"signal": "SIGKILL"})
    assert list(tmp_path.iterdir()) == []


def test_works_from_threads():
    results = []
    threads = [
        threading.Thread(target=lambda i=i: results.append(call("echo", {"i": i})[0])) for i in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r["given"]["i"] for r in results) == [0, 1, 2]


def test_no_descriptors_and_no_children_are_left():
    call("echo")
    before, children = (
        len(os.listdir("/proc/self/fd")),
        _children(),
    )  # other tests of this run may have their own
    call("echo")
    with pytest.raises(LimitError):
        call("segfault")
    assert len(os.listdir("/proc/self/fd")) == before
    assert _children() == children


def _children():
    """The processes that this one has started and not yet waited for."""
    return {child for task in Path("/proc/self/task").iterdir() for child in _words(task / "children")}


def _words(path):
    try:
        return path.read_text().split()
    except FileNotFoundError:  # a thread that has ended
        return []


def _gone(pid):
    """Whether a process has ended (or waits as a zombie for a parent that is not us)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _await(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


PARENT = """
import sys
sys.path.insert(0, {here!r})
from nla.errors import Interrupted
from nla.isolation import run
try:
    run("isolated_tasks:write_pid_and_sleep", {{"path": {path!r}}})
except Interrupted as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_the_child_ends_with_its_parent(tmp_path, name):
    path = tmp_path / "pid"
    code = PARENT.format(here=str(HERE), path=str(path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        _await(lambda: path.exists() and path.read_text())
        parent.send_signal(signal.Signals[name])
        out, _ = parent.communicate(timeout=20)
    pid = int(path.read_text())
    _await(lambda: _gone(pid))
    if name == "SIGINT":
        assert parent.returncode == 130
        assert b"interrupted" in out


def test_an_exception_in_the_progress_callback_ends_the_child(tmp_path):
    path = tmp_path / "pid"

    def refuse(_):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        call("write_pid_and_sleep", {"path": str(path)}, on_progress=refuse)
    assert _gone(int(path.read_text()))
