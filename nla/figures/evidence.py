"""The evidence behind the dead of each site: how far they stay from firing, and on how many samples that was seen."""

from __future__ import annotations

import math

import altair as alt
import numpy as np

from nla.figures import spread
from nla.figures.figure import Figure, Table
from nla.figures.parts import (
    PLAIN,
    data,
    layered,
    many,
    missing,
    named,
    of_run,
    percent,
    rows_height,
    shown,
    sites_of,
)
from nla.figures.sorted_neurons import column_of, rows_of
from nla.figures.theme import DEAD
from nla.runs.run import Run, RunSite

TITLE = "How far the dead are from firing"
_TICKS = (0, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000)
_CONSTANT = 0.1
"""Margins well below it stand on a linear axis, those above on a logarithmic one."""


def draw(run: Run) -> Figure:
    """The figure. Raises UsageError where no neuron of the run is dead, or no margin of the dead is known."""
    limit = float(run.criteria.get("near_dead_margin", {}).get("value", 0.25))
    rows, table, names = [], [], []
    for site, name in zip(sites_of(run), shown(run), strict=True):
        known = rows_of(run, site)
        margins = column_of(known, "margin")[known.states == "dead"]
        margins = margins[np.isfinite(margins)]
        if not len(margins):
            continue
        names.append(name)
        note = _bound(site)
        about = {**named(site.name, name), "count": len(margins), "note": note}
        rows.append({**about, "bound": note, **spread.row(margins)})
        near = int((margins < limit).sum())
        table.append(
            (site.name, len(margins), *spread.levels(margins).values(), near, 100 * site.dead_rate_bound)
        )
    if not rows:
        if run.summary["dead"]:
            raise missing(
                run,
                "margin of its dead neurons",
                "inspect again with --pre-activations, which observes z wherever a site has one",
            )
        raise missing(run, "dead neuron, and so no evidence of death", "there is nothing to draw")
    return Figure(
        kind="evidence",
        title=TITLE,
        subtitle=of_run(run),
        caption=f"The margin, −max(z) over the standard deviation of z: left of {limit:g} (dashed) a dead neuron "
        "nearly wakes; on the right, on what share of samples the site's dead may still fire, jointly.",
        alternative=f"{TITLE}. {_alternative(rows, table)}",
        several=False,
        chart=_chart(names, limit, max(row["high"] for row in rows)),
        datasets={"spread": rows, "limit": [{"margin": limit}]},
        table=Table(
            (
                "site",
                "dead with a margin",
                *spread.COLUMNS,
                f"margin below {limit:g}",
                "joint bound (% of samples)",
            ),
            tuple(table),
        ),
        height=rows_height(len(rows), around=125),
    )


def _bound(site: RunSite) -> str:
    bound = site.dead_rate_bound
    return f"≤ {percent(bound)} of samples" if math.isfinite(bound) else "bound not known"


def _chart(names: list[str], limit: float, high: float) -> alt.LayerChart:
    top = spread.end_of_axis(max(high, limit, 0.5), _CONSTANT)

    def x(field: str) -> alt.X:
        return alt.X(
            f"{field}:Q",
            title="margin of the dead (standard deviations of z below 0)",
            scale=alt.Scale(type="symlog", constant=_CONSTANT, domain=[0, top], nice=False, clamp=True),
            axis=alt.Axis(grid=False, values=[*_TICKS], labelExpr=PLAIN),
        )

    near = alt.Chart(data("limit")).mark_rule(style="limit").encode(x=x("margin"))
    return layered(*spread.layers(names, x, DEAD, "margin"), near, spread.ends(names, "bound"))


def _alternative(rows: list[dict[str, object]], table: list[tuple[object, ...]]) -> str:
    near = sum(int(str(row[-2])) for row in table)
    said = "; ".join(f"{row['at']}: {row['count']} dead, median margin {row['centre']}" for row in rows[:12])
    return f"{said}. {many(near, 'dead neuron')} nearly wake."
