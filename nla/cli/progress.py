"""A progress bar on stderr, for runs that last, on terminals only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

QUICK_SECONDS = 2.0

Report = Callable[[dict[str, Any]], None]


@contextmanager
def shown(quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> Iterator[Report | None]:
    """What to give a verb as `progress`; None where a bar would be noise (`--quiet`, a pipe, a log file)."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    bar = _Bar(clock)
    try:
        yield bar.report
    finally:
        bar.close()


class _Bar:
    """Appears after two seconds; a phase that nobody counts just pulses."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self._progress: Progress | None = None
        self._tasks: dict[str, Any] = {}

    def report(self, event: dict[str, Any]) -> None:
        """Take one event: {"phase": str, "done": int, "total": int}, total 0 where it is not known."""
        if self._clock() - self._start < QUICK_SECONDS:
            return
        progress = self._progress or self._open()
        phase, total = str(event["phase"]), event.get("total") or None
        if phase not in self._tasks:
            self._tasks[phase] = progress.add_task(phase, total=total)
        progress.update(self._tasks[phase], completed=event.get("done", 0), total=total)

    def _open(self) -> Progress:
        from rich import progress as parts

        from nla.rendering.terminal import console

        self._progress = parts.Progress(
            parts.TextColumn("{task.description}", markup=False),
            parts.BarColumn(bar_width=30),
            parts.MofNCompleteColumn(),
            parts.TimeRemainingColumn(),
            console=console(sys.stderr),
            transient=True,
        )
        self._progress.start()
        return self._progress

    def close(self) -> None:
        """Take the bar away, so that what follows stands on a clean line."""
        if self._progress is not None:
            self._progress.stop()
