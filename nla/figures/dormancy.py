"""The dormancy scores of each site against the threshold τ."""

from __future__ import annotations

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
from nla.figures.theme import STATE_COLOURS
from nla.runs.run import Run

TITLE = "Dormancy scores by site"
_TICKS = [0, 0.01, 0.025, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000]


def draw(run: Run) -> Figure:
    """The figure. Raises UsageError where the run has no site, or no score of any neuron."""
    tau = float(run.criteria.get("dormancy_threshold", {}).get("value", 0.025))
    rows, table, names = [], [], []
    below, scored = 0, 0
    for site, name in zip(sites_of(run), shown(run), strict=True):
        scores = column_of(rows_of(run, site), "dormancy_score")
        scores = scores[np.isfinite(scores)]
        if not len(scores):
            continue
        quiet = int((scores <= tau).sum())
        below, scored = below + quiet, scored + len(scores)
        names.append(name)
        note = f"{percent(quiet / len(scores))} at or below {tau:g}"
        about = {
            **named(site.name, name),
            "count": len(scores),
            "note": note,
            "quiet": f"{percent(quiet / len(scores))} ≤ τ",
        }
        rows.append({**about, **spread.row(scores)})
        table.append((site.name, len(scores), *spread.levels(scores).values(), 100 * quiet / len(scores)))
    if not rows:
        raise missing(run, "dormancy score", "inspect with data")
    return Figure(
        kind="dormancy",
        title=TITLE,
        subtitle=of_run(run),
        caption=f"Bars hold the middle half of a site's neurons, lines 5 % to 95 %, ticks the median; a neuron at or "
        f"below τ = {tau:g} (dashed) is dormant, the dead among them; on the right, their share.",
        alternative=f"{TITLE}, mean |a| over the site's average, which is 1. Of {many(scored, 'neuron')} "
        f"{below:,} lie at or below τ = {tau:g} ({percent(below / scored)}). "
        + "; ".join(f"{row['at']}: median {row['centre']}, {row['note']}" for row in rows[:12])
        + (f"; {len(rows) - 12} more sites." if len(rows) > 12 else "."),
        several=False,
        chart=_chart(names, max(row["high"] for row in rows)),
        datasets={"spread": rows, "limit": [{"tau": tau}]},
        table=Table(("site", "neurons", *spread.COLUMNS, f"at or below {tau:g} (%)"), tuple(table)),
        height=rows_height(len(rows), around=125),
    )


def _chart(names: list[str], high: float) -> alt.LayerChart:
    def x(field: str) -> alt.X:
        return alt.X(
            f"{field}:Q",
            title="dormancy score: mean |a| over the site's average",
            scale=alt.Scale(
                type="symlog", constant=0.01, domain=[0, spread.end_of_axis(max(high, 1.0), 0.01)], nice=False
            ),
            axis=alt.Axis(values=_TICKS, labelExpr=PLAIN, grid=False),
        )

    limit = alt.Chart(data("limit")).mark_rule(style="limit").encode(x=x("tau"))
    return layered(
        *spread.layers(names, x, STATE_COLOURS["dormant"], "score"), limit, spread.ends(names, "quiet")
    )
