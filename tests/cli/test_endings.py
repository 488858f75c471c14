"""How a run ends: the exit code and the one line, for every way in which a run can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from nla.cli import endings
from nla.errors import Interrupted, LimitError, ModelError

PRELUDE = """
import os, signal, sys, time
from nla.cli.endings import guarded
def body():
    {body}
sys.exit(guarded(body))
"""


def ended(body: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """A process of its own whose run is `body`."""
    code = PRELUDE.format(body=textwrap.indent(textwrap.dedent(body), "    ").strip())
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, **settings
    )


@pytest.fixture
def raising(monkeypatch, capsys):
    """The exit code and stderr of a run that raises."""
    monkeypatch.setattr(endings, "_install", lambda handler: None)
    monkeypatch.setattr(endings, "_abandon", lambda stream: None)
    monkeypatch.setattr(endings, "written", [])

    def run(error: BaseException) -> tuple[int, str]:
        def body() -> int:
            raise error

        return endings.guarded(body), capsys.readouterr().err

    return run


def test_a_fault_of_the_input_is_one_line_and_exit_code_2(raising):
    assert raising(ModelError("model.onnx: not a model")) == (2, "nla: error: model.onnx: not a model\n")
    assert raising(LimitError("the model hung"))[0] == 2


def test_a_message_from_a_stranger_stays_one_printable_line(raising):
    code, said = raising(ModelError("node \x1b[31mred\x1b[0m\nline two \u202e"))
    assert code == 2
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_ctrl_c_is_one_line_and_exit_code_130(raising):
    for error in (KeyboardInterrupt(), Interrupted("stopped")):
        assert raising(error) == (130, "nla: interrupted; nothing was written\n")


def test_an_interrupt_names_what_had_been_written(raising):
    endings.written.append("run.h5")
    assert raising(KeyboardInterrupt()) == (130, "nla: interrupted; run.h5 had been written\n")


def test_a_defect_is_a_traceback_that_asks_for_a_report(raising):
    code, said = raising(ZeroDivisionError("ours"))
    assert code == endings.DEFECT
    assert code not in (0, 1, 2)
    assert "Traceback" in said
    assert "ZeroDivisionError: ours" in said
    assert "please report" in said.splitlines()[-1]


def test_a_reader_that_goes_away_ends_the_run_quietly():
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m nla inspect --help | true; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", str(endings.BROKEN_PIPE))


def test_a_pipe_that_breaks_in_the_middle_is_quiet():
    done = ended("sys.stdout.write('x' * 1000000); return 0", stdin=subprocess.DEVNULL)
    assert done.returncode == 0
    broken = ended("raise BrokenPipeError(32, 'Broken pipe')")
    assert (broken.returncode, broken.stderr) == (endings.BROKEN_PIPE, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_under_standard_output_is_one_clear_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "nla", "criteria"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "nla: error: cannot write to standard output: No space left on device\n"


def test_closed_standard_streams_are_no_defect():
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m nla --version >&-"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_one_line_and_its_code(number, code):
    done = ended(f"os.kill(os.getpid(), {int(number)}); time.sleep(30)")
    assert done.returncode == code
    assert done.stderr.count("\n") == 1
    assert "nothing was written" in done.stderr


def test_a_signal_that_an_import_turns_into_another_error_is_still_an_interrupt():
    done = ended(
        """
        try:
            os.kill(os.getpid(), signal.SIGINT); time.sleep(30)
        except KeyboardInterrupt:
            raise ImportError("numpy could not be imported")
        """
    )
    assert (done.returncode, done.stderr) == (130, "nla: interrupted; nothing was written\n")


def test_an_ignored_signal_stays_ignored():
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"trap '' INT; {sys.executable} -c \"import os, signal; from nla.cli.endings import guarded; "
            'raise SystemExit(guarded(lambda: os.kill(os.getpid(), signal.SIGINT) or 7))"; echo $?',
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "7"


def test_names_that_the_encoding_cannot_hold_are_escaped():
    done = ended("print('φ'); return 0", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout) == (0, "\\u03c6\n")
