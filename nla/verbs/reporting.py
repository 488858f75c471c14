"""The verb that writes a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nla.checkpoint.atomic import atomic_write, check_output
from nla.errors import UsageError
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.results import Inspection
from nla.rendering.page.page import Shown, check, page
from nla.runs import born
from nla.runs.ordering import first_is_initial as is_initial
from nla.runs.ordering import ordered
from nla.runs.run import Run
from nla.tracking.choosing import of_one_architecture, without_repeats
from nla.tracking.same_data import check_data
from nla.verbs.parcel import Progress, StrPath
from nla.verbs.runs import RunLike, listed, open_runs


def report(
    runs: RunLike | Sequence[RunLike],
    output: StrPath,
    *,
    title: str | None = None,
    theme: str = "auto",
    order: str = "auto",
    first_is_initial: bool | None = None,
    different_data: bool = False,
    criteria: Criteria | StrPath | Mapping[str, Any] | None = None,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
    progress: Progress | None = None,
) -> Path:
    """A page about one run, or about several: one HTML file that needs no network.

    Several runs of one network, on the same data, are told of as a series; others only side by side, and the page says
    why. The same runs give the same bytes.

    Args:
        runs: recordings, inspection documents (JSON), and inspections; what is told of one is told of the last.
        output: the HTML file.
        title: of the page; by default it names the last run.
        theme: 'light', 'dark', or 'auto', which is what the reader's system says.
        order: of several runs: 'auto' (by training step, where names tell it), 'given' or 'natural'.
        first_is_initial: whether the first of several runs is the checkpoint before training, whose neurons are `born`;
            None: it is where its training step is 0.
        different_data: take runs on different data as a series too.
        criteria: thresholds: a `Criteria`, a TOML file, or values by name.
        memory_limit: bytes that the child process, which reads a recording, may take.
        time_limit: seconds that it may take.
        in_process: read recordings in this process, without limits.
        progress: called with {'phase': str, 'done': int, 'total': int}.

    Returns:
        The path of the page.

    Raises:
        RecordingError: a file that is no run, or of a later version; runs that different criteria judged.
        UsageError: no run, or a theme that is none.
        MissingExtraError: the libraries for reports are not installed.
        OutputError: the page cannot be written there.
        LimitError: a file crashed, stalled or exhausted a library underneath.
    """
    given = listed(runs)
    check(theme)
    check_output(output, sources=[run for run in given if not isinstance(run, Inspection)])
    opened = open_runs(
        given,
        criteria,
        rows=False,
        memory_limit=memory_limit,
        time_limit=time_limit,
        in_process=in_process,
        progress=progress,
    )
    shown = _arranged(opened, order, first_is_initial, different_data)
    atomic_write(output, page(shown, title=title, theme=theme).encode())
    return Path(output)


def _arranged(opened: Sequence[Run], order: str, initial: bool | None, different_data: bool) -> Shown:
    """The runs in their order, each checkpoint once, and why they are no series where they are none."""
    if len(opened) < 2:
        return Shown(tuple(opened))
    arranged, of_order = ordered(opened, order)
    runs, left_out = without_repeats(arranged)
    notes = (*of_order, *left_out)
    try:
        of_one_architecture(runs, skip=False)
        notes += check_data(runs, different_data)
    except UsageError as error:
        return Shown(runs, notes, str(error).partition("; --")[0])
    if len(runs) > 1 and (is_initial(runs) if initial is None else initial):
        runs = born.from_first(runs)
    return Shown(runs, notes)
