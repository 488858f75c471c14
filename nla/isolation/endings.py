"""What the end of a child means: a result, an error of the task, or one line about a crash or a limit."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any

from nla import errors
from nla.errors import LimitError, NlaError, printable
from nla.isolation.frames import Array, Frame
from nla.isolation.limits import Limits

_MEANINGS = {
    signal.SIGFPE: "an integer division that the processor refuses",
    signal.SIGSEGV: "an access outside its memory",
    signal.SIGBUS: "an access beyond the end of a file or of memory",
    signal.SIGABRT: "a library that gave up",
    signal.SIGILL: "an instruction that the processor does not know",
    signal.SIGKILL: "killed from outside, most likely by the system for want of memory",
}
_NOTHING = "nothing was written"
_TENTH_OF_GIB = 2**30 / 10


@dataclass(frozen=True)
class Ending:
    """How a child ended, and what was known of it by then."""

    frame: Frame | None
    """Its result or its error, where it got that far."""
    status: int | None
    """Exit status, negative for a signal; None where it had not ended yet."""
    broken: str | None
    """The limit it broke: memory, seconds, stall; or what was wrong with its messages."""
    phase: str
    output: str
    """The end of what was written to its standard output and error."""
    limits: Limits
    memory_bytes: int
    near_memory_limit: bool


def result_of(ending: Ending, subject: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """The result of the task, or the error that the ending stands for."""
    if ending.frame is None:
        raise _failure(ending, subject)
    if ending.frame.kind == "result":
        return ending.frame.body, ending.frame.arrays
    raise _raised(ending, subject)


def _failure(ending: Ending, subject: str) -> Exception:
    """The error for a child that gave no answer."""
    while_ = f"while {printable(ending.phase)}"
    if ending.broken == "memory" or (ending.broken is None and _for_want_of_memory(ending)):
        return _memory_error(ending, subject)
    if ending.broken == "seconds":
        limit = f"the time limit of {ending.limits.seconds:g} s (--time-limit)"
        return LimitError(f"{subject}: not done after {limit}, stopped {while_}; {_NOTHING}")
    if ending.broken == "stall":
        silent = f"no progress for {ending.limits.stall:g} s {while_}"
        return LimitError(
            f"{subject}: {silent}; it hangs or is very slow: --time-limit SECONDS waits longer; {_NOTHING}"
        )
    if ending.status is not None and ending.status < 0:
        return LimitError(
            f"{subject}: crashed with {_signal(-ending.status)} {while_}: "
            f"the file asks a library for something it cannot survive; {_NOTHING}"
        )
    what = ending.broken or f"exit status {ending.status}"
    return RuntimeError(f"the child process gave no answer ({what}) {while_}\n{ending.output}")


def _raised(ending: Ending, subject: str) -> Exception:
    """The exception that the task raised, in the class that it had there."""
    assert ending.frame is not None
    body = ending.frame.body
    if body.get("memory"):
        return _memory_error(ending, subject)
    kind = getattr(errors, str(body.get("class")), None)
    if isinstance(kind, type) and issubclass(kind, NlaError):
        error = kind.__new__(kind)  # some of them build their message from other arguments
        error.args = (str(body.get("message")),)
        return error
    return RuntimeError(f"a defect in nla, seen in its child process:\n{body.get('traceback')}")


def _memory_error(ending: Ending, subject: str) -> LimitError:
    size = ending.memory_bytes
    shown = f"{size / 2**30:.1f} GiB" if size >= _TENTH_OF_GIB else f"{size / 2**20:.1f} MiB"
    limit = f"the memory limit of {shown} (--memory-limit)"
    return LimitError(
        f"{subject}: asks for more than {limit}, stopped while {printable(ending.phase)}; {_NOTHING}"
    )


def _for_want_of_memory(ending: Ending) -> bool:
    return "bad_alloc" in ending.output or (ending.near_memory_limit and (ending.status or 0) < 0)


def _signal(number: int) -> str:
    try:
        known = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    return f"{known.name} ({_MEANINGS[known]})" if known in _MEANINGS else known.name
