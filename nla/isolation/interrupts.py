"""Interrupts put off: nothing may come between the start of a process and the note of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def put_off() -> Iterator[None]:
    """Handlers of signals run after the block, not in it; in other threads than the main one they never do."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    try:
        for number in handlers:
            signal.signal(number, lambda *given: arrived.append(given))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for came, frame in arrived:
            handler = handlers[signal.Signals(came)]
            assert callable(handler)
            handler(came, frame)
