"""Figure 2: how many networks are born alive, by depth, a colour a width, between both bounds."""

from __future__ import annotations

import altair as alt

from nla.figures.figure import Figure, Table
from nla.figures.parts import data, layered, percent, tip
from nla.figures.theory.axes import (
    POINT,
    depth_axis,
    of_simulation,
    powers,
    rows_of,
    share_axis,
    some,
    widths_legend,
)
from nla.theory.simulation.results import Simulation

TITLE = "Networks born alive"
_LINES = {"lower bound": [1, 0], "upper bound": [4, 3]}


def draw(simulation: Simulation) -> Figure:
    """The figure."""
    chosen, depth = some(simulation.series), simulation.settings.depth
    marks = [row for each in chosen for row in rows_of(each, powers(depth))]
    lines = [
        {"width": each.task.width, "depth": at, "bound": name, "value": float(bound[at - 1])}
        for each in chosen
        for name, bound in zip(_LINES, each.bounds, strict=True)
        for at in _dense(depth)
    ]
    colour, x = widths_legend(chosen), depth_axis(depth)
    title = "share of networks with a living point"
    dash = alt.StrokeDash(
        "bound:N",
        scale=alt.Scale(domain=list(_LINES), range=list(_LINES.values())),
        legend=alt.Legend(title=None, orient="top", symbolType="stroke", symbolSize=250),
    )
    curve = (
        alt.Chart(data("lines"))
        .mark_line(strokeWidth=1.5)
        .encode(x=x, y=share_axis(title), color=colour, strokeDash=dash, detail=["width:O", "bound:N"])
    )
    base = alt.Chart(data("marks")).encode(x=x, color=colour)
    said = tip(("width:O", "width"), ("depth:Q", "layers"), ("probability:Q", "born alive", ".4f"))
    bars = base.mark_rule(strokeWidth=1.5).encode(y=share_axis(title, "low"), y2="high:Q")
    points = base.mark_point(filled=True, size=POINT, opacity=1).encode(
        y=share_axis(title, "probability"), tooltip=said
    )
    ends = [each.row(each.task.depth) for each in (simulation.series[0], simulation.series[-1])]
    worded = " and ".join(
        f"{percent(row['probability'])} of width {row['width']} (bounds {percent(row['lower_bound'])} and "
        f"{percent(row['upper_bound'])})"
        for row in ends
    )
    return Figure(
        kind="born-alive",
        title=TITLE,
        subtitle=of_simulation(simulation),
        caption="Marks: simulated, with 95 % intervals; lines: the bounds of their width, the upper one dashed.",
        alternative=f"{TITLE}. At {depth:,} layers {worded} live.",
        several=False,
        chart=layered(curve, bars, points),
        datasets={"marks": marks, "lines": lines},
        table=Table(
            ("width", "layers", "born alive", "low", "high", "lower bound", "upper bound"),
            tuple(
                tuple(
                    row[name]
                    for name in ("width", "depth", "probability", "low", "high", "lower_bound", "upper_bound")
                )
                for row in marks
            ),
        ),
    )


def _dense(depth: int) -> list[int]:
    """Depths for a smooth line on a logarithmic axis."""
    return sorted({min(depth, round(2 ** (k / 8))) for k in range(8 * depth.bit_length() + 1)})
