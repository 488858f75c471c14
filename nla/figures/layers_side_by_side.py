"""Dead share, dormant share and effective rank of each site, run beside run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from nla.errors import UsageError, printable
from nla.figures.effective_rank import rank_share
from nla.figures.figure import Figure, Table
from nla.figures.names import short_names
from nla.figures.over_time import matched
from nla.figures.parts import data, down, named, of_runs, percent, rows_height, shown, sites_of, tip, top_of
from nla.figures.theme import RUN_COLOURS, RUN_SHAPES
from nla.runs.run import Run, RunSite

TITLE = "Sites side by side"
MEASURES = {"dead": "dead (%)", "dormant": "dormant (%)", "rank": "effective rank (% of width)"}
_PANEL = 180
_LEGEND_WIDTH = 640


def draw(runs: Sequence[Run]) -> Figure:
    """The figure. Raises UsageError where a run has no site."""
    columns, names = _sites(runs)
    labels = short_names([run.label for run in runs])
    rows = [
        {
            **named(site.name, name),
            "run": label,
            "measure": measure,
            "value": 100 * value,
            "said": percent(value),
        }
        for column, name in zip(columns, names, strict=True)
        for site, label in zip(column, labels, strict=True)
        if site is not None
        for measure, value in _values(site).items()
        if math.isfinite(value)
    ]
    return Figure(
        kind="layers-side-by-side",
        title=TITLE,
        subtitle=of_runs(runs),
        caption="A row is a site, a mark a run: its dead, its dormant, and how much of its width its activations fill.",
        alternative=f"{TITLE}. {_alternative(runs, labels)}",
        several=True,
        chart=_chart(names, labels, rows),
        datasets={"marks": rows},
        table=Table(
            ("site", "run", *MEASURES.values()),
            tuple(
                (site.name, run.label, *(100 * value for value in _values(site).values()))
                for column in columns
                for site, run in zip(column, runs, strict=True)
                if site is not None
            ),
        ),
        height=rows_height(len(names), each=46, around=150),
        fluid=False,
    )


def _sites(runs: Sequence[Run]) -> tuple[list[list[RunSite | None]], list[str]]:
    """The sites beside one another: by what they are where runs are of one architecture, else by their order."""
    for run in runs:
        sites_of(run)
    try:
        return [list(column) for column in matched(runs)], shown(runs[0])
    except UsageError:
        deepest = max(len(run.sites) for run in runs)
        columns = [[run.sites[k] if k < len(run.sites) else None for run in runs] for k in range(deepest)]
        return columns, [f"site {k + 1}" for k in range(deepest)]


def _values(site: RunSite) -> dict[str, float]:
    dormant = site.counts["dormant"] / site.neurons if site.neurons else 0.0
    return {"dead": site.dead_share, "dormant": dormant, "rank": rank_share(site)}


def _chart(names: list[str], labels: list[str], rows: list[dict[str, Any]]) -> alt.HConcatChart:
    top = {measure: top_of(row["value"] for row in rows if row["measure"] == measure) for measure in MEASURES}
    legend = alt.Legend(title=None, orient="top", columns=_columns(labels), symbolSize=70)
    few = len(labels) <= len(RUN_COLOURS)
    colour = alt.Color(
        "run:N",
        scale=alt.Scale(domain=labels, range=list(RUN_COLOURS[: len(labels)]) if few else "ordinal"),
        legend=legend,
    )
    shapes = alt.Scale(domain=labels, range=[RUN_SHAPES[k % len(RUN_SHAPES)] for k in range(len(labels))])
    shape = alt.Shape("run:N", scale=shapes, legend=legend)
    views: list[Any] = []
    for measure, title in MEASURES.items():
        y = down(names, padding=0.3, labelled=not views)
        base = (
            alt.Chart(data("marks"), width=_PANEL, height=200)
            .transform_filter(f"datum.measure === '{measure}'")
            .encode(
                y=y,
                yOffset=alt.YOffset("run:N", scale=alt.Scale(domain=labels)),
                x=alt.X(
                    "value:Q",
                    title=title,
                    scale=alt.Scale(domain=[0, top[measure]]),
                    axis=alt.Axis(tickCount=5),
                ),
                tooltip=tip(("called:N", "site"), ("run:N", "run"), ("said:N", title)),
            )
        )
        marks = base.mark_point(filled=True, size=70, opacity=0.9).encode(color=colour, shape=shape)
        views.append(marks)
    return alt.hconcat(*views, spacing=22)


def _columns(labels: list[str]) -> int:
    """How many runs stand beside one another in the legend."""
    return max(1, min(len(labels), int(_LEGEND_WIDTH / (36 + 6.5 * max(map(len, labels))))))


def _alternative(runs: Sequence[Run], labels: list[str]) -> str:
    said = []
    for run, label in zip(runs, labels, strict=True):
        total = run.summary
        neurons = max(total["neurons"], 1)
        ranks = [rank_share(site) for site in run.sites if math.isfinite(rank_share(site))]
        mean = percent(sum(ranks) / len(ranks)) if ranks else "not known"
        said.append(
            f"{printable(label)}: {percent(total['dead'] / neurons)} dead, {percent(total['dormant'] / neurons)} "
            f"dormant, mean effective rank {mean} of the width"
        )
    return "; ".join(said if len(said) <= 8 else [*said[:4], f"{len(said) - 6} more runs", *said[-2:]]) + "."
