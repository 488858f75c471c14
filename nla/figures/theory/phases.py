"""Figure 9 of the lifecycle paper: what is born alive by depth and width, and where the bounds are one half."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import altair as alt

from nla.figures.figure import Figure, Table
from nla.figures.parts import PLAIN, data, percent, tip
from nla.figures.theory.axes import of_simulation, powers
from nla.theory.simulation.results import Series, Simulation
from nla.theory.widths import borders

TITLE = "What is born alive, by depth and width"
_PANEL = 190
_VIEWS = {
    "networks": "plain: networks alive",
    "data": "plain: data alive",
    "layers": "residual: layers not silent",
}
_LINES = {"lower bound is ½": [1, 0], "upper bound is ½": [5, 3]}


def draw(simulation: Simulation) -> Figure:
    """The figure."""
    depth, widths = simulation.settings.depth, simulation.settings.max_width
    plain, residual = (simulation.of(scheme) for scheme in simulation.schemes)
    edges = _edges(depth)
    cells = [
        {**cell, "view": view}
        for view, chosen in (("networks", plain), ("data", plain), ("layers", residual))
        for each in chosen
        for cell in _cells(each, view, edges)
    ]
    lines = [
        {"x": math.log2(at), "width": width, "bound": name}
        for at in sorted({min(depth, round(2 ** (k / 8))) for k in range(8 * depth.bit_length() + 1)})
        for name, width in zip(
            _LINES, borders(0.5, at, bias=False, non_negative=simulation.settings.non_negative), strict=True
        )
        if 0.5 <= width <= widths + 0.5
    ]
    ends = [plain[0], plain[-1]]
    worded = "; ".join(
        f"of plain networks of width {each.task.width} {percent(float(each.probability[-1]))} live, of their data "
        f"{percent(float(each.share[-1]))}"
        for each in ends
    )
    alive = min(float(each.probability[-1]) for each in residual)
    widest = max(float((each.interval[1] - each.interval[0]).max()) for each in simulation.series)
    return Figure(
        kind="phases",
        title=TITLE,
        subtitle=of_simulation(simulation),
        caption=f"Counted, 95 % intervals of networks at most {widest:.2f} wide; of residual networks {percent(alive)} "
        "live with all their data.",
        alternative=f"{TITLE}. At {depth:,} layers: {worded}.",
        several=False,
        chart=_chart(depth, widths),
        datasets={"cells": cells, "lines": lines},
        table=Table(
            ("network", "width", "layers", "born alive", "low", "high", "living data", "silent layers"),
            tuple(
                tuple(
                    row[name]
                    for name in (
                        *("scheme", "width", "depth", "probability", "low", "high"),
                        *("living_share", "silent_share"),
                    )
                )
                for each in simulation.series
                for row in map(each.row, powers(depth))
            ),
        ),
        height=340,
        fluid=False,
    )


def _edges(depth: int) -> list[tuple[int, float, float]]:
    """(depth, left, right): half octaves, and the last; sides in log2."""
    at = sorted({min(depth, round(2 ** (k / 2))) for k in range(2 * depth.bit_length() + 1)})
    logs = [math.log2(each) for each in at]
    middles = [(low + high) / 2 for low, high in pairwise(logs)]
    return list(zip(at, [0.0, *middles], [*middles, max(logs[-1], 0.5)], strict=True))


def _cells(series: Series, view: str, edges: list[tuple[int, float, float]]) -> list[dict[str, Any]]:
    silent, width = series.silent_share, series.task.width
    values = series.probability if view == "networks" else series.share
    if view == "layers" and silent is not None:
        values = 1 - silent
    return [
        {
            "width": width,
            "depth": depth,
            "value": float(values[depth - 1]),
            **{"left": left, "right": right, "below": width - 0.5, "above": width + 0.5},
        }
        for depth, left, right in edges
    ]


def _chart(depth: int, widths: int) -> alt.HConcatChart:
    reach = max(math.log2(depth), 0.5)
    x = alt.Scale(domain=[0, reach], nice=False)
    y = alt.Scale(domain=[0.5, widths + 0.5], nice=False)
    ticks = [math.log2(at) for at in powers(depth)][:: 1 if depth < 64 else 2]
    label = "format(round(pow(2, datum.value)), ',')"
    colour = alt.Color(
        "value:Q",
        title="share",
        scale=alt.Scale(domain=[0, 1]),
        legend=alt.Legend(
            orient="top", direction="horizontal", gradientLength=140, gradientThickness=10, values=[0, 0.5, 1]
        ),
    )
    dash = alt.StrokeDash(
        "bound:N",
        scale=alt.Scale(domain=list(_LINES), range=list(_LINES.values())),
        legend=alt.Legend(
            title=None,
            orient="top",
            symbolType="stroke",
            symbolSize=250,
            symbolStrokeColor="#888888",
            symbolStrokeWidth=2,
        ),
    )
    views: list[Any] = []
    for view, title in _VIEWS.items():
        heat = (
            alt.Chart(data("cells"), width=_PANEL, height=200)
            .transform_filter(f"datum.view === '{view}'")
            .transform_calculate(
                to=f"min(datum.right + 0.03, {reach})", top=f"min(datum.above + 0.04, {widths + 0.5})"
            )
            .mark_rect(
                aria=False, strokeWidth=0, clip=True
            )  # larger than the cell: seams show in pixels otherwise
            .encode(
                x=alt.X(
                    "left:Q",
                    title="layers",
                    scale=x,
                    axis=alt.Axis(values=ticks, labelExpr=label, grid=False),
                ),
                x2="to:Q",
                y=alt.Y(
                    "below:Q",
                    title="" if views else "width",
                    scale=y,
                    axis=alt.Axis(tickMinStep=1, grid=False, labelExpr=PLAIN),
                ),
                y2="top:Q",
                color=colour,
                tooltip=tip(("width:Q", "width"), ("depth:Q", "layers"), ("value:Q", "share", ".4f")),
            )
        )
        layered: Any = heat
        if view != "layers":
            kept = "" if view == "networks" else f" && datum.bound === '{next(iter(_LINES))}'"
            # white below black: seen on every colour
            base = (
                alt.Chart(data("lines"))
                .transform_filter(f"true{kept}")
                .encode(x=alt.X("x:Q", scale=x), y=alt.Y("width:Q", scale=y), strokeDash=dash)
            )
            layered = alt.layer(
                heat,
                base.mark_line(strokeWidth=4, color="white", clip=True),
                base.mark_line(strokeWidth=1.8, color="black", clip=True),
            )
        views.append(layered.properties(title=alt.Title(title, fontSize=12, fontWeight="normal", offset=6)))
    return alt.hconcat(*views, spacing=22)
