"""Start the child, watch its memory, time and progress, and turn its end into a result or an error."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import IO, Any

from nla.errors import Interrupted, OutputError, printable
from nla.isolation.bootstrap import command, environment
from nla.isolation.endings import Ending, result_of
from nla.isolation.frames import Array, BadFrame, Decoder, Frame, encode
from nla.isolation.interrupts import put_off
from nla.isolation.limits import Limits

Progress = Callable[[dict[str, Any]], None]
Result = tuple[dict[str, Any], dict[str, Array]]

_POLL_SECONDS = 0.05
_GRACE_SECONDS = 5.0
_IN_MEMORY_BYTES = 16 << 20
_KEPT_OUTPUT_PIECES = 64
_PIECE_BYTES = 1 << 16
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Private writable memory that libraries and thread stacks take without touching it, on top of the limit: 137
# MB were measured for numpy, onnx and onnxruntime on two cores, 283 MB with numba; stacks are 8 MB a thread.
_UNTOUCHED_BYTES = (1 << 30) + (os.cpu_count() or 1) * (32 << 20)


def run(
    task: str,
    arguments: dict[str, Any],
    arrays: Mapping[str, Array] | None = None,
    *,
    limits: Limits | None = None,
    on_progress: Progress | None = None,
    in_process: bool = False,
    subject: str = "the model",
    variables: Mapping[str, str] | None = None,
    show_output: bool = False,
) -> Result:
    """What `task` ("package.module:function") returns, run in a fresh process under `limits`.

    The function is called as `function(arguments, arrays, report)` and returns plain values and arrays;
    `report({"phase": "what is being done", ...})` reaches `on_progress` and names the phase in errors.
    `arguments` are JSON values. The child sees `arrays` mapped and read-only. `subject` begins every message
    about its end, `variables` are added to its environment, `show_output` lets what libraries write through
    to standard error, at the end. With `in_process` the function is called here,
    without limits.

    Raises LimitError when the child crashes, hangs, or asks for too much; Interrupted on Ctrl-C, when the
    child is gone; the NlaError that the task raised; RuntimeError, with the child's traceback, for any other
    exception.
    """
    arrays = dict(arrays or {})
    if in_process:
        from nla.isolation.child import resolve

        return resolve(task)(arguments, arrays, on_progress or _nowhere)
    limits = limits or Limits()
    with _Child(limits) as child:
        try:
            child.start(task, arguments, arrays, variables or {})
            ending = child.watch(on_progress or _nowhere)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; nothing was written") from None
    if show_output or os.environ.get("NLA_DEBUG"):
        sys.stderr.write(ending.output)
    return result_of(ending, subject)


def _legible(output: str) -> str:
    """What libraries wrote, line by line, without colours: it repeats names from the file as they stand there."""
    return "".join(printable(_COLOUR.sub("", line), _PIECE_BYTES) + "\n" for line in output.splitlines())


def _nowhere(_: dict[str, Any]) -> None:
    """Progress that nobody asked for."""


class _Child:
    """A child process under limits; leaving the context ends it and everything that it started."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._memory = limits.memory
        self._output: deque[bytes] = deque(maxlen=_KEPT_OUTPUT_PIECES)
        self._phase = "starting"
        self._peak_data = 0
        self._open = ExitStack()

    def start(
        self,
        task: str,
        arguments: dict[str, Any],
        arrays: Mapping[str, Array],
        variables: Mapping[str, str],
    ) -> None:
        """Start the process on its task. Raises OutputError where the task cannot be handed over."""
        request = self._open.enter_context(_request(task, arguments, arrays))
        read, write = os.pipe()
        self._response = self._open.enter_context(os.fdopen(read, "rb", buffering=0))
        writer = self._open.enter_context(os.fdopen(write, "wb", buffering=0))
        self._started = self._heard = time.monotonic()
        with put_off():
            self._process = subprocess.Popen(
                command(request.fileno(), write, self._memory + _UNTOUCHED_BYTES),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(request.fileno(), write),
                start_new_session=True,
                env=environment(variables),
            )
            self._open.callback(self._end)
        writer.close()
        request.close()

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _end(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def watch(self, on_progress: Progress) -> Ending:
        """Read what the child sends until its result or its end, whichever a limit leaves time for."""
        decoder = Decoder()
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._response, selectors.EVENT_READ)
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(_POLL_SECONDS):
                    data = os.read(key.fd, _PIECE_BYTES)
                    if key.fileobj is not self._response:
                        self._output.append(data) if data else selector.unregister(key.fileobj)
                    elif not data:
                        return self._ended(None, None)
                    elif (ending := self._take(decoder, data, on_progress)) is not None:
                        return ending
                broken = self._broken_limit()
                if broken is not None:
                    return self._ended(None, broken)

    def _take(self, decoder: Decoder, data: bytes, on_progress: Progress) -> Ending | None:
        self._heard = time.monotonic()
        try:
            for frame in decoder.feed(data):
                if frame.kind != "progress":
                    return self._ended(frame, None)
                self._phase = str(frame.body.get("phase", self._phase))
                on_progress(frame.body)
        except BadFrame as error:
            return self._ended(None, f"protocol: {error}")
        return None

    def _broken_limit(self) -> str | None:
        """Which limit the child has passed, or None."""
        now = time.monotonic()
        if self._limits.seconds is not None and now - self._started > self._limits.seconds:
            return "seconds"
        if self._limits.stall is not None and now - self._heard > self._limits.stall:
            return "stall"
        return "memory" if self._held_bytes() > self._memory else None

    def _held_bytes(self) -> int:
        """Memory that is the child's own: resident pages less those of mapped files."""
        try:
            with open(f"/proc/{self._process.pid}/statm", "rb") as file:
                fields = [int(x) for x in file.read().split()]
        except (OSError, ValueError):
            return 0
        if len(fields) < 6:
            return 0
        self._peak_data = max(self._peak_data, fields[5] * _PAGE_BYTES)
        return (fields[1] - fields[2]) * _PAGE_BYTES

    def _ended(self, frame: Frame | None, broken: str | None) -> Ending:
        if broken is None and frame is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)
        near = self._peak_data > 0.9 * (self._memory + _UNTOUCHED_BYTES)
        output = _legible(b"".join(self._output)[-_PIECE_BYTES:].decode(errors="replace"))
        status = self._process.returncode
        return Ending(frame, status, broken, self._phase, output, self._limits, self._memory, near)


def _request(task: str, arguments: dict[str, Any], arrays: Mapping[str, Array]) -> IO[bytes]:
    """What the child is asked, in a nameless file: it maps large arrays, and nothing stays behind.

    Raises OutputError where even that cannot be written.
    """
    small = sum(array.nbytes for array in arrays.values()) < _IN_MEMORY_BYTES
    try:
        file = _nameless(small)
        for piece in encode(task, arguments, arrays):
            view = memoryview(piece)
            while view:
                view = view[file.write(view) :]
    except OSError as error:
        why = error.strerror or str(error)
        raise OutputError(
            f"cannot write a temporary file: {why.lower()}; name a folder with room in TMPDIR"
        ) from error
    return file


def _nameless(in_memory: bool) -> IO[bytes]:
    if in_memory and hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("nla"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)
