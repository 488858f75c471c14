"""How a run ends: exit codes, one clear line for a fault of the input, a traceback for a defect of ours.

| code | meaning |
|---|---|
| 0 | done |
| 1 | a check did not hold (`nla check`, `nla verify`) |
| 2 | the input is at fault: one line on stderr |
| 70 | a defect of nla: a traceback (sysexits' EX_SOFTWARE: never to be taken for a failed check) |
| 129, 130, 143 | the terminal was closed, Ctrl-C, a request to terminate |
| 141 | the reader of the output went away (`nla neurons run.h5 | head`) |
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TextIO

from nla.errors import Interrupted, NlaError, one_line, printable

DEFECT = 70
BROKEN_PIPE = 128 + 13
_PATIENCE = 2
_LONGEST_LINE = 2000

written: list[str] = []
"""Outputs that this process has finished, so that an interrupted run says truly what it left behind."""


def guarded(body: Callable[[], int]) -> int:
    """The exit code of `body`, with every way in which it may end turned into its message and code.

    A signal that arrives inside an import may come out of it as another exception (numpy makes it an
    ImportError), so the handlers also leave a note of it here. A second signal does not disturb the clean-up
    after the first (wrappers and shells often send two); a third ends the process where it stands.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            raise KeyboardInterrupt
        if len(received) > _PATIENCE:
            os._exit(128 + number)

    try:
        _install(note)
        _fill_standard_streams()
        _survive_any_name()
        code = body()
        _flush(sys.stdout)
    except BaseException as fault:
        code = _ending(fault, received)
    return code


def _install(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup nla … &` asked for it to be ignored
            signal.signal(number, handler)


def _fill_standard_streams() -> None:
    """Open what was closed at the start (`>&-`): the next file opened would take its number and its output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one


def _survive_any_name() -> None:
    """Print what the terminal's encoding cannot hold as an escape: a tensor name must not end the run."""
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _ending(fault: BaseException, received: list[int]) -> int:
    if received:
        return _interrupted(128 + received[0], fault)
    if isinstance(fault, KeyboardInterrupt | Interrupted):
        return _interrupted(Interrupted.exit_code, fault)
    if isinstance(fault, SystemExit):
        return fault.code if isinstance(fault.code, int) else 0
    if isinstance(fault, BrokenPipeError):
        _abandon(sys.stdout)
        return BROKEN_PIPE
    if isinstance(fault, NlaError):
        say(f"error: {one_line(fault)}{f'; {_had_been_written()}' if written else ''}")
        _drain(sys.stdout)
        return fault.exit_code
    return _defect(fault)


def say(line: str) -> None:
    """Print one line on stderr, marked as ours."""
    print(f"nla: {line}", file=sys.stderr)


def _interrupted(code: int, fault: BaseException) -> int:
    """Say what was left: files that were written, or work that can go on, which the fault tells of."""
    _abandon(sys.stdout)
    told = one_line(fault).partition("; ")[2] if isinstance(fault, Interrupted) else ""
    left = _had_been_written() if written else told or "nothing was written"
    say(f"{'interrupted' if code == Interrupted.exit_code else 'terminated'}; {left}")
    return code


def _had_been_written() -> str:
    return f"{', '.join(map(one_line, written))} had been written"


def _defect(fault: BaseException) -> int:
    import platform
    import traceback

    from nla import __version__

    lines = "".join(traceback.format_exception(fault)).splitlines()
    print(*(printable(line, _LONGEST_LINE) for line in lines), sep="\n", file=sys.stderr)
    say(
        f"this is a defect of nla {__version__} (Python {platform.python_version()}), not of your input; "
        "please report it together with the lines above"
    )
    return DEFECT


def _flush(stream: TextIO) -> None:
    """Flush here, where a full disk or a closed pipe still has a message; at exit it would have none."""
    try:
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as fault:
        _abandon(stream)
        raise NlaError(f"cannot write to standard output: {fault.strerror}") from fault


def _drain(stream: TextIO) -> None:
    """Flush what was printed before an error, if it can be: at exit Python would say once more that it cannot."""
    try:
        stream.flush()
    except OSError:
        _abandon(stream)


def _abandon(stream: TextIO) -> None:
    """Drop what is still buffered: Python's own flush at exit would fail once more, loudly."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass  # not a real file: there is nothing to drop
