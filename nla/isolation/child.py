"""The supervised child: takes one task, reports progress, sends the result, and dies with its parent."""

from __future__ import annotations

import ctypes
import importlib
import mmap
import os
import resource
import signal
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from nla.errors import NlaError
from nla.isolation.frames import Array, decode_whole, encode

Report = Callable[[dict[str, Any]], None]
Result = tuple[dict[str, Any], dict[str, Array]]
Task = Callable[[dict[str, Any], dict[str, Array], Report], Result]
_PR_SET_PDEATHSIG = 1
_NO_MEMORY = ("bad_alloc", "Failed to allocate memory", "Cannot allocate memory", "Unable to allocate")


def main(request: int, response: int, parent: int, data_bytes: int) -> None:
    """Run the task that file descriptor `request` holds and answer on `response`; does not return.

    `data_bytes` bounds private writable memory (RLIMIT_DATA): unlike the address space, it leaves out mapped
    files and what is only reserved, so that it can stand close to the limit that the user named.
    """
    _die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))

    def send(kind: str, body: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        for piece in encode(kind, body, arrays):
            _write(response, piece)

    try:
        frame = decode_whole(_mapped(request))
        task = resolve(frame.kind)
        send("result", *task(frame.body, frame.arrays, lambda values: send("progress", values, {})))
    except BaseException as error:
        send("error", told(error), {})
    # Libraries have been seen to crash while they are torn down, and there is nothing left to do.
    os._exit(0)


def resolve(task: str) -> Task:
    """The function that "package.module:function" names."""
    module, _, function = task.partition(":")
    found: Task = getattr(importlib.import_module(module), function)
    return found


def told(error: BaseException) -> dict[str, Any]:
    """What the parent needs to know of an exception."""
    return {
        "class": type(error).__name__ if isinstance(error, NlaError) else None,
        "message": str(error),
        "memory": is_out_of_memory(error),
        "traceback": "".join(traceback.format_exception(error, limit=-40)),
    }


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one that it was raised from, says that memory could not be had."""
    for _ in range(20):
        if error is None:
            return False
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in _NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


def _die_with(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent's thread ends, so that no orphan runs on."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _mapped(descriptor: int) -> memoryview:
    """The request, mapped and not read: large calibration arrays stay in the page cache."""
    return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))


def _write(descriptor: int, piece: bytes | memoryview) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]
