"""All neurons by lifecycle state over training: a stacked area of shares."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from nla.errors import printable
from nla.figures.figure import Figure, Table
from nla.figures.over_time import Steps, matched
from nla.figures.parts import data, many, of_runs, percent, tip
from nla.figures.states import state_colour
from nla.lifecycle.results import STATES
from nla.runs.run import Run

TITLE = "Lifecycle states over training"


def draw(runs: Sequence[Run]) -> Figure:
    """The figure. Raises UsageError where the runs are of different architectures."""
    matched(runs)
    steps, totals = Steps.of(runs), [run.summary for run in runs]
    present = [state for state in STATES if any(total[state] for total in totals)]
    rows = [
        {
            "step": steps.at(place),
            "run": printable(runs[place].label),
            "state": state,
            "order": STATES.index(state),
            "share": 100 * total[state] / max(total["neurons"], 1),
            "said": f"{percent(total[state] / max(total['neurons'], 1))} ({total[state]:,})",
        }
        for place, total in enumerate(totals)
        for state in present
    ]
    chart = (
        alt.Chart(data("states"))
        .mark_area(line=False, interpolate="linear")
        .encode(
            x=steps.x(),
            y=alt.Y(
                "share:Q",
                title="neurons of all sites (%)",
                stack="zero",
                scale=alt.Scale(domain=[0, 100], nice=False),
                axis=alt.Axis(tickCount=6),
            ),
            color=state_colour(present),
            order=alt.Order("order:Q"),
            tooltip=tip(("state:N", "state"), ("run:N", "run"), ("said:N", "share")),
        )
    )
    first, last = totals[0], totals[-1]
    ends = [
        [percent(total[state] / max(total["neurons"], 1)) for total in (first, last)] for state in present
    ]
    went = ", ".join(f"{state} {start} to {end}" for state, (start, end) in zip(present, ends, strict=True))
    return Figure(
        kind="states-over-time",
        title=TITLE,
        subtitle=of_runs(runs),
        caption="Every neuron of every site is in one state at each step; straight lines join the shares.",
        alternative=f"{TITLE}, for {many(first['neurons'], 'neuron')}. From {steps.said(0)} to "
        f"{steps.said(len(runs) - 1)}: {went}.",
        several=True,
        chart=chart,
        datasets={"states": rows},
        table=Table(
            ("step", *present),
            tuple((steps.said(k), *(total[state] for state in present)) for k, total in enumerate(totals)),
        ),
    )
