"""What the figures of several runs of one network share: which site is which, the axis of steps, one line a site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import altair as alt

from nla.errors import printable
from nla.figures.names import short_names
from nla.figures.parts import across, data, layered, named, sites_of, tip
from nla.figures.theme import RUN_COLOURS, RUN_SHAPES
from nla.runs.run import Run, RunSite
from nla.tracking.matching import match

STEP = "step of training"
_MOST_TICKS = 16
_MOST_IN_LEGEND = 32
_LEGEND = alt.Legend(title="site", symbolLimit=_MOST_IN_LEGEND, symbolSize=70, symbolOpacity=1)


def matched(runs: Sequence[Run]) -> list[list[RunSite]]:
    """Each site in all runs, in the graph order of the first. Raises UsageError where architectures differ."""
    columns = {site.name: [site] for site in sites_of(runs[0])}
    for run in runs[1:]:
        for ours, theirs in match(runs[0], run).pairs:
            columns[ours.name].append(theirs)
    return list(columns.values())


@dataclass(frozen=True)
class Steps:
    """Where runs stand on the axis of steps: at their training steps where these are known and rise, else in a row."""

    labels: tuple[str, ...]
    numbers: tuple[int, ...] | None

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Steps:
        """The steps of runs in their order."""
        known = [run.step for run in runs if run.step is not None]
        rising = len(known) == len(runs) and all(a < b for a, b in pairwise(known))
        return cls(tuple(short_names([run.label for run in runs])), tuple(known) if rising else None)

    def at(self, place: int) -> int | str:
        """What the data hold of the run at that place."""
        return self.labels[place] if self.numbers is None else self.numbers[place]

    def said(self, place: int) -> str:
        """The same in words.

        >>> Steps(("a", "b"), (0, 3)).said(1), Steps(("a", "b"), None).said(1)
        ('step 3', 'b')
        """
        return printable(self.labels[place]) if self.numbers is None else f"step {self.numbers[place]:,}"

    def x(self, field: str = "step") -> alt.X:
        """The axis."""
        if self.numbers is None:
            return across(self.labels, field, "run, in the order given")
        few = len(self.numbers) <= _MOST_TICKS
        axis = alt.Axis(
            grid=False, format=",d", **({"values": list(self.numbers)} if few else {"tickMinStep": 1})
        )
        scale = alt.Scale(domain=[self.numbers[0], self.numbers[-1]], nice=False, zero=False)
        return alt.X(f"{field}:Q", title=STEP, scale=scale, axis=axis)


def site_lines(names: list[str], steps: Steps, y: alt.Y, said: str) -> alt.LayerChart:
    """A line a site over the steps, of the dataset `lines`; a click in the legend singles sites out."""
    picked = alt.selection_point(name="picked", fields=["at"], bind="legend")
    base = alt.Chart(data("lines")).encode(
        x=steps.x(),
        y=y,
        color=_colour(names),
        opacity=alt.condition(picked, alt.value(1), alt.value(0.12)),
        tooltip=tip(("called:N", "site"), ("run:N", "run"), ("said:N", said)),
    )
    points = base.mark_point(filled=True, size=48)
    if len(names) <= len(RUN_COLOURS):
        shapes = alt.Scale(domain=names, range=list(RUN_SHAPES[: len(names)]))
        points = points.encode(shape=alt.Shape("at:N", scale=shapes, legend=_LEGEND))
    return layered(base.mark_line(strokeWidth=2).add_params(picked), points)


def _colour(names: list[str]) -> alt.Color:
    """Colours far from each other where there are few sites; else from the first site to the last along one scale."""
    if len(names) > len(RUN_COLOURS):
        return alt.Color("at:O", scale=alt.Scale(domain=names), legend=_LEGEND)
    return alt.Color(
        "at:N", scale=alt.Scale(domain=names, range=list(RUN_COLOURS[: len(names)])), legend=_LEGEND
    )


def lines_height(sites: int) -> int:
    """Pixels of a figure with a line a site, whose legend stands beside it."""
    return max(400, 110 + 15 * min(sites, _MOST_IN_LEGEND))


def line_rows(
    columns: list[list[RunSite]], names: list[str], runs: Sequence[Run], steps: Steps
) -> list[tuple[RunSite, dict[str, Any]]]:
    """For each site and run: the site there, and what its mark carries beside the number."""
    return [
        (
            site,
            {
                **named(column[0].name, name),
                "step": steps.at(place),
                "run": printable(runs[place].label),
            },
        )
        for column, name in zip(columns, names, strict=True)
        for place, site in enumerate(column)
    ]
