"""The effective rank over training, as a share of the width: one line a site."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nla.figures.effective_rank import rank_share
from nla.figures.figure import Figure, Table
from nla.figures.over_time import Steps, line_rows, lines_height, matched, site_lines
from nla.figures.parts import missing, number, of_runs, percent, shares, shown, top_of
from nla.runs.run import Run, RunSite

TITLE = "Effective rank over training"


def draw(runs: Sequence[Run]) -> Figure:
    """The figure. Raises UsageError where the runs are of different architectures, or no rank was measured."""
    columns, names, steps = matched(runs), shown(runs[0]), Steps.of(runs)
    rows = [
        {
            **about,
            "share": 100 * rank_share(site),
            "said": f"{number(site.effective_rank)} of {site.neurons:,} ({percent(rank_share(site))})",
        }
        for site, about in line_rows(columns, names, runs, steps)
        if math.isfinite(rank_share(site))
    ]
    if not rows:
        raise missing(runs[0], "effective rank", "inspect again with data of which rows can be kept")
    y = shares(
        "share",
        "effective rank (% of the site's width)",
        top_of(100 * rank_share(s) for c in columns for s in c),
    )
    return Figure(
        kind="effective-rank-over-time",
        title=TITLE,
        subtitle=of_runs(runs),
        caption="A line is a site: how many of the directions that its width allows its activations fill.",
        alternative=f"{TITLE}, as a share of the width. {_alternative(columns, names, steps)}",
        several=True,
        chart=site_lines(names, steps, y, "effective rank"),
        datasets={"lines": rows},
        table=Table(
            ("site", "neurons", *(steps.said(place) for place in range(len(runs)))),
            tuple(
                (column[0].name, column[0].neurons, *(site.effective_rank for site in column))
                for column in columns
            ),
        ),
        height=lines_height(len(names)),
    )


def _alternative(columns: list[list[RunSite]], names: list[str], steps: Steps) -> str:
    last = len(steps.labels) - 1
    said = [
        f"{name}: {percent(rank_share(column[0]))} to {percent(rank_share(column[last]))}"
        for name, column in zip(names, columns, strict=True)
    ]
    listed = said if len(said) <= 12 else [*said[:6], f"{len(said) - 8} more sites", *said[-2:]]
    return f"From {steps.said(0)} to {steps.said(last)}: {'; '.join(listed)}."
