"""The verb that draws runs: plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nla.checkpoint.atomic import atomic_write, check_output
from nla.errors import UsageError, printable
from nla.figures import registry, saving
from nla.figures.theme import THEMES, Theme
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.results import Inspection
from nla.runs import born
from nla.runs.ordering import first_is_initial as is_initial
from nla.runs.ordering import ordered
from nla.tracking import choosing
from nla.tracking.same_data import check_data
from nla.verbs.parcel import Progress, StrPath
from nla.verbs.runs import RunLike, listed, open_runs

if TYPE_CHECKING:
    from nla.figures.figure import Figure
    from nla.runs.run import Run


def plot(
    runs: RunLike | Sequence[RunLike],
    kind: str,
    output: StrPath | None = None,
    *,
    format: str | None = None,
    theme: str = "light",
    width: int | None = None,
    height: int | None = None,
    dpi: float = saving.DPI,
    order: str = "auto",
    first_is_initial: bool | None = None,
    different_data: bool = False,
    criteria: Criteria | StrPath | Mapping[str, Any] | None = None,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
    progress: Progress | None = None,
) -> Figure:
    """One figure of one or several runs, which a notebook shows, and which goes to a file where one is named.

    Args:
        runs: recordings, inspection documents or inspections; how many depends on the kind.
        kind: of figure, such as 'dead-share'; `nla plot --list` and `nla.figures.registry.KINDS` name them.
        output: the file.
        format: 'svg', 'png' or 'pdf'; by default as the file's name ends.
        theme: 'light' or 'dark', the ground for which the colours are, painted in PNG, and transparent in SVG and PDF.
        width: pixels (in PDF: points) of the whole figure; by default as the kind needs.
        height: likewise.
        dpi: dots of a PNG to the inch, which is 72 pixels of the figure.
        order: of several runs: 'auto' (by training step, where names tell it), 'given' or 'natural'.
        first_is_initial: whether the first of several runs is the checkpoint before training, whose neurons are `born`;
            None: it is where its training step is 0.
        different_data: take runs on different data too.
        criteria: thresholds by which recordings are judged.
        memory_limit: bytes that the child process, which reads a recording, may take.
        time_limit: seconds that it may take.
        in_process: read recordings in this process, without limits.
        progress: called with a mapping as the work goes on.

    Raises:
        UsageError: no such kind, theme or format, too few or too many runs, or runs that lack what the figure shows.
        RecordingError: a file that is no run, or runs judged by different criteria.
        LimitError: a file crashed, stalled or exhausted a library underneath.
        OutputError: the file cannot be written.
        MissingExtraError: the libraries for plots are not installed.
    """
    given = listed(runs)
    wanted, colours = registry.kind(kind), _theme(theme)
    wanted.check_number(len(given))
    saving.check_size(width, height, dpi)
    if output is not None:
        format = saving.format_of(output, format)
        check_output(output, sources=[run for run in given if not isinstance(run, Inspection)])
    opened = open_runs(
        given,
        criteria,
        rows=wanted.rows,
        ranks=wanted.ranks,
        memory_limit=memory_limit,
        time_limit=time_limit,
        in_process=in_process,
        progress=progress,
    )
    figure = wanted.make(_arranged(opened, wanted, order, first_is_initial, different_data))
    if output is not None and format is not None:
        drawn = saving.rendered(figure, format, theme=colours, width=width, height=height, dpi=dpi)
        atomic_write(output, drawn)
    return figure


def _theme(name: str) -> Theme:
    if name not in THEMES:
        raise UsageError(f"no theme {printable(name)!r}; there are {', '.join(THEMES)}")
    return THEMES[name]


def _arranged(
    runs: Sequence[Run], kind: registry.Kind, order: str, initial: bool | None, different_data: bool
) -> Sequence[Run]:
    """The runs as the kind takes them: several in their order, and over time as one series."""
    if not kind.several:
        return runs
    arranged, _ = ordered(runs, order)
    if not kind.over_time:
        return arranged
    series, _ = choosing.without_repeats(arranged)
    kind.check_number(len(series))
    check_data(series, different_data)
    initial = is_initial(series) if initial is None else initial
    return born.from_first(series) if initial else series
