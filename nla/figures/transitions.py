"""Which state follows which from one run to the next: the matrix P, estimated in full (lifecycle paper, eq. 16)."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np

from nla.figures.figure import Figure, Table
from nla.figures.parts import data, layered, many, of_runs, percent, rows_height, sites_of, tip
from nla.lifecycle.results import STATES
from nla.runs.run import Run
from nla.tracking.trajectories import trajectories
from nla.tracking.transitions import count

TITLE = "Transitions between lifecycle states"
_BRIGHT = 62
"""Percent from which a cell is so bright that its text must be dark."""


def draw(runs: Sequence[Run]) -> Figure:
    """The figure. Raises UsageError where the runs are of different architectures, or lack rows for neurons."""
    sites_of(runs[0])
    found = count([each.states for each in trajectories(runs)[0]])
    low, high = found.bounds()
    seen = np.flatnonzero((found.counts.sum(0) + found.counts.sum(1)) > 0).tolist()
    present = [STATES[code] for code in seen]
    rows = [
        {
            "from": STATES[here],
            "to": STATES[there],
            "count": int(found.counts[here, there]),
            "share": 100 * float(found.matrix[here, there]),
            "said": percent(float(found.matrix[here, there])),
            "times": f"{int(found.counts[here, there]):,}",
            "interval": f"{percent(float(low[here, there]))} to {percent(float(high[here, there]))}",
        }
        for here in seen
        for there in seen
        if found.counts[here, there]
    ]
    matrix = found.matrix
    table = Table(
        ("from", *(f"to {state}" for state in present), *(f"to {state} (%)" for state in present)),
        tuple(
            (
                STATES[here],
                *(int(found.counts[here, there]) for there in seen),
                *(
                    None if np.isnan(matrix[here, there]) else 100 * float(matrix[here, there])
                    for there in seen
                ),
            )
            for here in seen
        ),
    )
    stay = [row for row in rows if row["from"] == row["to"]]
    moves = sorted((row for row in rows if row["from"] != row["to"]), key=lambda row: -row["count"])  # type: ignore[operator]
    return Figure(
        kind="transitions",
        title=TITLE,
        subtitle=of_runs(runs),
        caption="Rows are the state at one run, columns at the next; percentages are of the row, below them the number "
        "of transitions of neurons; an empty cell did not occur.",
        alternative=f"{TITLE}, {many(int(found.counts.sum()), 'transition')}. Staying: "
        + ", ".join(f"{row['from']} {row['said']}" for row in stay)
        + ". Most frequent changes: "
        + (
            ", ".join(f"{row['from']} to {row['to']} {row['times']} ({row['said']})" for row in moves[:4])
            or "none"
        )
        + ".",
        several=True,
        chart=_chart(present),
        datasets={"cells": rows},
        table=table,
        height=rows_height(len(present), each=52, around=140),
        width=max(420, 190 + 84 * len(present)),
    )


def _chart(present: list[str]) -> alt.LayerChart:
    base = alt.Chart(data("cells")).encode(
        x=alt.X(
            "to:N",
            title="state at the next run",
            scale=alt.Scale(domain=present, paddingInner=0.03),
            axis=alt.Axis(
                orient="top", labelAngle=0, ticks=False, domain=False, grid=False, labelOverlap=False
            ),
        ),
        y=alt.Y(
            "from:N",
            title="state at a run",
            scale=alt.Scale(domain=present, paddingInner=0.03),
            axis=alt.Axis(ticks=False, domain=False, grid=False),
        ),
        tooltip=tip(
            ("from:N", "from"),
            ("to:N", "to"),
            ("said:N", "share of the row"),
            ("interval:N", "95 % interval, as if neurons were independent"),
            ("count:Q", "transitions", ","),
        ),
    )
    heat = alt.Color("share:Q", scale=alt.Scale(domain=[0, 100]), legend=None)
    ink = alt.condition(f"datum.share > {_BRIGHT}", alt.value("#111111"), alt.value("#FFFFFF"))
    return layered(
        base.mark_rect().encode(color=heat),
        base.mark_text(dy=-7, fontSize=13, fontWeight=600).encode(text="said:N", color=ink),
        base.mark_text(dy=9, fontSize=11).encode(text="times:N", color=ink),
    )
