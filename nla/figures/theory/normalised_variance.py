"""Figure 5: how much the outputs of living networks vary over the data, by depth: it levels off, and does not decay."""

from __future__ import annotations

import altair as alt

from nla.figures.figure import Figure, Table
from nla.figures.parts import PLAIN, data, layered, number, tip
from nla.figures.theory.axes import POINT, beside, depth_axis, of_simulation, some, widths_legend
from nla.theory.simulation.results import Simulation

TITLE = "Normalised variance of the outputs"
_OCTAVES = 0.28
"""Over which the marks of one depth stand."""
_FEWEST = 16
"""Living networks below which their quartiles say little."""


def draw(simulation: Simulation) -> Figure:
    """The figure."""
    chosen, depth = some(simulation.series), simulation.settings.depth
    marks = [
        {
            "width": each.task.width,
            "depth": at,
            "at": beside(at, number, len(chosen), _OCTAVES),
            "low": quartiles[0],
            "median": quartiles[1],
            "high": quartiles[2],
        }
        for number, each in enumerate(chosen)
        for at, quartiles in each.quartiles.items()
        if quartiles is not None
        and quartiles[0] > 0
        and each.alive[at - 1] >= min(_FEWEST, each.task.networks)
    ]
    y = alt.Scale(type="log", nice=False, padding=6)
    title = "variance over the living data / squared mean"
    axis = alt.Axis(values=[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50], labelExpr=PLAIN)
    base = alt.Chart(data("marks")).encode(x=depth_axis(depth, "at"), color=widths_legend(chosen))
    line = base.mark_line(strokeWidth=1.5).encode(y=alt.Y("median:Q", title=title, scale=y, axis=axis))
    bars = base.mark_rule(strokeWidth=1, opacity=0.6).encode(
        y=alt.Y("low:Q", title=title, scale=y, axis=axis), y2="high:Q"
    )
    points = base.mark_point(filled=True, size=POINT, opacity=1).encode(
        y=alt.Y("median:Q", title=title, scale=y, axis=axis),
        tooltip=tip(("width:O", "width"), ("depth:Q", "layers"), ("median:Q", "median", ".4f")),
    )
    widest = [row for row in marks if row["width"] == chosen[-1].task.width]
    said = (
        f"{number(widest[0]['median'])} after 1 layer, {number(widest[-1]['median'])} after {widest[-1]['depth']:,}"
        if widest
        else "no network lives"
    )
    return Figure(
        kind="normalised-variance",
        title=TITLE,
        subtitle=of_simulation(simulation),
        caption=f"Medians and quartiles over living networks, where there are {_FEWEST} or more. Directions collapse, "
        "lengths do not: it is not lost.",
        alternative=f"{TITLE}. Median of width {chosen[-1].task.width}: {said}.",
        several=False,
        chart=layered(line, bars, points),
        datasets={"marks": marks},
        table=Table(
            ("width", "layers", "lower quartile", "median", "upper quartile"),
            tuple(tuple(row[name] for name in ("width", "depth", "low", "median", "high")) for row in marks),
        ),
    )
