"""Neurons still alive over training: what was seen, and what the matrix P says (lifecycle paper, eq. 17, mended)."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from nla.errors import printable
from nla.figures.figure import Figure, Table
from nla.figures.over_time import Steps
from nla.figures.parts import data, layered, of_runs, percent, shares, sites_of, tip
from nla.runs.run import Run
from nla.tracking.survival import survival
from nla.tracking.trajectories import trajectories
from nla.tracking.transitions import count

TITLE = "Survival of neurons"
_CURVES = {
    "alive, observed": ("#0072B2", [1, 0]),
    "alive, Markov chain": ("#56B4E9", [6, 3]),
    "never dead, observed": ("#D55E00", [1, 0]),
    "never dead, Markov chain": ("#E69F00", [6, 3]),
}
"""Colour and dashes of each."""


def draw(runs: Sequence[Run]) -> Figure:
    """The figure. Raises UsageError where the runs are of different architectures, or lack rows for neurons."""
    sites_of(runs[0])
    states = [each.states for each in trajectories(runs)[0]]
    found, steps = survival(states, count(states)), Steps.of(runs)
    curves = dict(zip(_CURVES, (found.alive, found.markov, found.never_dead, found.absorbing), strict=True))
    rows = [
        {
            "curve": name,
            "step": steps.at(place),
            "run": printable(runs[place].label),
            "share": 100 * float(value),
            "said": percent(float(value)),
        }
        for name, curve in curves.items()
        for place, value in enumerate(curve)
    ]
    said = "; ".join(f"{name} {percent(float(curve[-1]))}" for name, curve in curves.items())
    return Figure(
        kind="survival",
        title=TITLE,
        subtitle=of_runs(runs),
        caption="Alive: not dead at the step; never dead: not dead then nor before. The Markov chain has one matrix "
        "for all steps: 1 − P(dead), with the dead free to revive, or kept for good.",
        alternative=f"{TITLE}. At {steps.said(len(runs) - 1)}: {said}; at {steps.said(0)} "
        f"{percent(float(found.alive[0]))} were alive.",
        several=True,
        chart=_chart(steps),
        datasets={"curves": rows},
        table=Table(
            ("step", *(f"{name} (%)" for name in curves)),
            tuple(
                (steps.said(place), *(100 * float(curve[place]) for curve in curves.values()))
                for place in range(len(runs))
            ),
        ),
    )


def _chart(steps: Steps) -> alt.LayerChart:
    names = list(_CURVES)
    legend = alt.Legend(title=None, orient="top", symbolSize=250, symbolType="stroke")
    base = alt.Chart(data("curves")).encode(
        x=steps.x(),
        y=shares("share", "neurons of all sites (%)"),
        color=alt.Color(
            "curve:N",
            scale=alt.Scale(domain=names, range=[colour for colour, _ in _CURVES.values()]),
            legend=legend,
        ),
        tooltip=tip(("curve:N", "curve"), ("run:N", "run"), ("said:N", "share")),
    )
    dash = alt.StrokeDash(
        "curve:N",
        scale=alt.Scale(domain=names, range=[dashes for _, dashes in _CURVES.values()]),
        legend=legend,
    )
    return layered(
        base.mark_line(strokeWidth=2.5).encode(strokeDash=dash),
        base.mark_point(filled=True, size=36, opacity=1),
    )
