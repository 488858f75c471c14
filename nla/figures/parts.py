"""What the figures share: axes of sites and of steps, percentages, the words under a title."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from nla.errors import UsageError, printable
from nla.figures.figure import WIDTH
from nla.figures.names import short_names
from nla.runs.run import Run, RunSite

SITES = "site, in the order of the graph"
_CHARACTER = 6.2
"""Pixels of a character of an axis label, on average."""
_LONGEST_LABEL = 60
PLAIN = "format(datum.value, ',~r')"
"""Labels of ticks that are given by value; a format of the axis would be rounded to the distance between ticks."""


def percent(share: float) -> str:
    """A share as people write it; what is not none or all is never rounded to that.

    >>> percent(0.28125), percent(0.0), percent(0.0002), percent(0.9996), percent(float("nan"))
    ('28 %', '0 %', '0.02 %', '99.96 %', 'not known')
    """
    if not math.isfinite(share):
        return "not known"
    value = 100 * share
    for digits in range(4):
        shown = f"{value:.{digits}f}"
        if (float(shown) not in (0, 100) or value in (0, 100)) and (digits > 0 or value >= 9.5 or value == 0):
            return f"{shown} %"
    return "below 0.001 %" if value < 50 else "above 99.999 %"


def number(value: float, digits: int = 3) -> str:
    """A number to a few significant digits, in plain notation where that is short.

    >>> number(104.1), number(0.02512), number(12345), number(2.5e-7)
    ('104', '0.0251', '12,345', '2.5e-07')
    """
    if not math.isfinite(value):
        return "not known"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def many(count: int, what: str) -> str:
    """A count and its noun.

    >>> many(1, "site"), many(12345, "neuron")
    ('1 site', '12,345 neurons')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def sites_of(run: Run) -> tuple[RunSite, ...]:
    """The sites of a run. Raises UsageError where it has none, or no neuron."""
    if not run.sites:
        raise UsageError(f"{_called(run)} has no site, and so no figure; `nla sites MODEL` says why")
    if not any(site.neurons for site in run.sites):
        raise UsageError(f"{_called(run)} has no neuron, and so no figure")
    return run.sites


def shown(run: Run) -> list[str]:
    """What an axis calls the run's sites, in their order."""
    return short_names([site.name for site in run.sites])


def named(site: str, name: str) -> dict[str, str]:
    """What a mark that stands for a site carries: its name as the file has it, as it is shown, and as the axis has it.

    Only the latter two are drawn: control characters of a name would make an SVG that no reader takes.
    """
    return {"site": site, "called": printable(site), "at": name}


def missing(run: Run, what: str, do: str) -> UsageError:
    """The error of a run that lacks what a figure shows."""
    return UsageError(f"{_called(run)} holds no {what}: {do}")


def _called(run: Run) -> str:
    return printable(run.path or run.label)


def of_run(run: Run) -> str:
    """The words under the title of a figure of one run."""
    samples = max((site.samples for site in run.sites), default=0)
    neurons = run.summary["neurons"]
    parts = [printable(run.label, _LONGEST_LABEL), many(neurons, "neuron"), many(samples, "sample")]
    return " · ".join(parts)


def of_runs(runs: Sequence[Run]) -> str:
    """The words under the title of a figure of several runs."""
    first, last = (printable(run.label, _LONGEST_LABEL) for run in (runs[0], runs[-1]))
    samples = sorted({max((site.samples for site in run.sites), default=0) for run in runs})
    each = many(samples[0], "sample") if len(samples) == 1 else f"{samples[0]:,} to {samples[-1]:,} samples"
    return " · ".join([f"{many(len(runs), 'run')}, {first} to {last}", each])


def course(values: Sequence[float], names: Sequence[str]) -> str:
    """How shares go from the first site to the last, in words.

    >>> course([0.28, 0.1, 0.63], ["relu1", "relu2", "relu3"])
    'rises from 28 % at relu1, the first, to 63 % at relu3, the last of 3 sites; least is 10 % at relu2'
    """
    if len(values) == 1:
        return f"is {percent(values[0])} at {names[0]}, the only site"
    first, last = values[0], values[-1]
    verb = "rises" if last > first else "falls" if last < first else "goes"
    start, end = f"{percent(first)} at {names[0]}, the first", f"{percent(last)} at {names[-1]}"
    ends = f"{verb} from {start}, to {end}, the last of {len(values)} sites"
    high, low = max(values), min(values)
    extremes = []
    if high > max(first, last):
        extremes.append(f"most is {percent(high)} at {names[list(values).index(high)]}")
    if low < min(first, last):
        extremes.append(f"least is {percent(low)} at {names[list(values).index(low)]}")
    return "; ".join([ends, *extremes])


def across(names: Sequence[str], field: str = "at", title: str = SITES) -> alt.X:
    """Sites or runs from left to right; labels lean where they would not fit beside one another."""
    room = (WIDTH - 100) / max(len(names), 1) / _CHARACTER
    lean = max((len(name) for name in names), default=0) > room
    axis = alt.Axis(
        labelAngle=-40 if lean else 0, grid=False, labelOverlap="greedy" if len(names) > 40 else False
    )
    return alt.X(f"{field}:N", scale=alt.Scale(domain=list(names)), axis=axis, title=title)


def down(names: Sequence[str], field: str = "at", padding: float = 0.12, labelled: bool = True) -> alt.Y:
    """Sites from top to bottom."""
    scale = alt.Scale(domain=list(names), paddingInner=padding, paddingOuter=padding / 2)
    axis = alt.Axis(labelOverlap="greedy", ticks=False, domain=False, grid=False, labelPadding=8)
    return alt.Y(
        f"{field}:N", scale=scale, axis=axis if labelled else None, title=SITES if len(names) > 5 else "site"
    )


def shares(field: str, title: str, top: float = 100.0) -> alt.Y:
    """Percentages from zero up; `field` holds them as numbers from 0 to 100."""
    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(domain=[0, top]), axis=alt.Axis(tickCount=6))


def top_of(values: Iterable[float]) -> float:
    """Where an axis of percentages that begins at 0 ends: a round number above all values, and 100 at most.

    >>> top_of([3.1]), top_of([28.0, 63.3]), top_of([])
    (5.0, 80.0, 5.0)
    """
    high = max((value for value in values if math.isfinite(value)), default=0.0)
    return next((end for end in (5.0, 10.0, 20.0, 40.0, 60.0, 80.0) if high * 1.08 <= end), 100.0)


def rows_height(rows: int, each: int = 34, around: int = 165) -> int:
    """Pixels of a figure with a row a site: rows get thinner where there are many."""
    room = each if rows <= 16 else max(16 * each // rows, 9)
    return around + max(rows * room, 44)


def tip(*fields: tuple[str, str, str] | tuple[str, str]) -> list[alt.Tooltip]:
    """What is shown on hover: (field and type, title), and a number format where one is wanted."""
    return [
        alt.Tooltip(each[0], title=each[1], format=each[2])
        if len(each) == 3
        else alt.Tooltip(each[0], title=each[1])
        for each in fields
    ]


def layered(*charts: Any) -> alt.LayerChart:
    """The charts one over another."""
    made: alt.LayerChart = alt.layer(*charts)  # type: ignore[assignment]
    return made


def data(name: str) -> Any:
    """The dataset of that name in `Figure.datasets`."""
    return alt.NamedData(name=name)


PLACES = {
    "above": {"dx": 0, "dy": -12, "align": "center"},
    "below": {"dx": 0, "dy": 14, "align": "center"},
    "left": {"dx": -5, "dy": -9, "align": "right"},
    "right": {"dx": 5, "dy": -9, "align": "left"},
}
"""Where the label of a point on a line stands."""


def places(values: Sequence[float]) -> list[str]:
    """Where the label of each point of a line is clear of it: of PLACES.

    >>> places([0.1, 0.3, 0.2, 0.4, 0.5])
    ['above', 'above', 'below', 'left', 'above']
    """
    found, floor = ["above"], 0.06 * max(values, default=0)
    for before, here, after in zip(values, values[1:], values[2:], strict=False):
        if before > here < after:
            found.append("below" if here > floor else "above")  # or it would stand in the axis
        else:
            found.append("left" if before <= here < after else "right" if before > here >= after else "above")
    return [*found, "above"][: len(values)]


def labels(base: alt.Chart, field: str) -> list[alt.Chart]:
    """The labels `field` of points whose data say in `place` where they stand."""
    return [
        base.transform_filter(f"datum.place === '{place}'")
        .mark_text(style="value", **how)  # type: ignore[arg-type]
        .encode(text=f"{field}:N")
        for place, how in PLACES.items()
    ]
