"""The share of dead neurons over training: one line a site."""

from __future__ import annotations

from collections.abc import Sequence

from nla.figures.figure import Figure, Table
from nla.figures.over_time import Steps, line_rows, lines_height, matched, site_lines
from nla.figures.parts import of_runs, percent, shares, shown, top_of
from nla.runs.run import Run, RunSite

TITLE = "Dead neurons over training"


def draw(runs: Sequence[Run]) -> Figure:
    """The figure. Raises UsageError where the runs are of different architectures."""
    columns, names, steps = matched(runs), shown(runs[0]), Steps.of(runs)
    rows = [
        {
            **about,
            "share": 100 * site.dead_share,
            "said": f"{percent(site.dead_share)} ({site.counts['dead']:,})",
        }
        for site, about in line_rows(columns, names, runs, steps)
    ]
    y = shares(
        "share", "dead neurons (% of the site's)", top_of(100 * s.dead_share for c in columns for s in c)
    )
    return Figure(
        kind="dead-share-over-time",
        title=TITLE,
        subtitle=of_runs(runs),
        caption="A line is a site; neurons may fire again after a step at which they were dead, so lines may fall.",
        alternative=f"{TITLE}. {_alternative(columns, names, steps)}",
        several=True,
        chart=site_lines(names, steps, y, "dead"),
        datasets={"lines": rows},
        table=Table(
            ("site", *(f"{steps.said(place)} (%)" for place in range(len(runs)))),
            tuple((column[0].name, *(100 * site.dead_share for site in column)) for column in columns),
        ),
        height=lines_height(len(names)),
    )


def _alternative(columns: list[list[RunSite]], names: list[str], steps: Steps) -> str:
    last = len(steps.labels) - 1

    def share(place: int) -> float:
        return sum(c[place].counts["dead"] for c in columns) / max(sum(c[place].neurons for c in columns), 1)

    most = max(range(len(columns)), key=lambda k: columns[k][last].dead_share)
    least = min(range(len(columns)), key=lambda k: columns[k][last].dead_share)
    return (
        f"Over all sites the share goes from {percent(share(0))} at {steps.said(0)} to {percent(share(last))} at "
        f"{steps.said(last)}. There it is largest at {names[most]} ({percent(columns[most][last].dead_share)}, from "
        f"{percent(columns[most][0].dead_share)}) and least at {names[least]} "
        f"({percent(columns[least][last].dead_share)}, from {percent(columns[least][0].dead_share)})."
    )
