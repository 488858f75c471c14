"""Figure 6: the share of data that lives, by depth, under each initialisation; a panel for each of three widths."""

from __future__ import annotations

from typing import Any

import altair as alt

from nla.figures.figure import Figure, Table
from nla.figures.parts import data, percent, tip
from nla.figures.theme import RUN_COLOURS, RUN_SHAPES
from nla.figures.theory.axes import beside, depth_axis, of_simulation, powers, rows_of, share_axis
from nla.theory.simulation.results import Series, Simulation

TITLE = "Data that live"
NAMES = {
    "independent": "independent",
    "flipped": "signs flipped",
    "normalised": "batch-normalised",
    "normalised-living": "batch-normalised, living points alone",
}
_PANEL = 180
_OCTAVES = 0.72
"""Over which the marks of one depth stand: small panels need more."""


def draw(simulation: Simulation) -> Figure:
    """The figure."""
    depth, schemes = simulation.settings.depth, simulation.schemes
    first = simulation.of(simulation.schemes[0])
    picked = sorted({len(first) // 8, len(first) // 4, len(first) // 2})
    widths = [first[at].task.width for at in picked]
    chosen = [each for each in simulation.series if each.task.width in widths]
    marks = [
        {
            **row,
            "value": row["living_share"],
            "named": NAMES[each.task.scheme],
            "at": beside(row["depth"], schemes.index(each.task.scheme), len(schemes), _OCTAVES),
        }
        for each in chosen
        for row in rows_of(each, powers(depth))
    ]
    lines = [
        {"width": each.task.width, "depth": at, "value": float(each.bounds[0][at - 1])}
        for each in chosen
        if each.task.scheme == simulation.schemes[0]
        for at in each.depths
    ]
    said = "; ".join(
        f"{NAMES[each.task.scheme]} {percent(float(each.share[-1]))}" for each in _last(chosen, widths)
    )
    return Figure(
        kind="living-data",
        title=TITLE,
        subtitle=of_simulation(simulation),
        caption="Mean share of the points that live, with 95 % intervals. Line: what eq. 8 says of independent "
        "parameters.",
        alternative=f"{TITLE}. At {depth:,} layers of {widths[-1]}: {said}.",
        several=False,
        chart=_chart(depth, widths, [NAMES[scheme] for scheme in simulation.schemes]),
        datasets={"marks": marks, "lines": lines},
        table=Table(
            ("initialisation", "width", "layers", "living share", "low", "high"),
            tuple(
                tuple(row[name] for name in ("named", "width", "depth", "value", "share_low", "share_high"))
                for row in marks
            ),
        ),
        height=330,
        fluid=False,
    )


def _last(chosen: list[Series], widths: list[int]) -> list[Series]:
    return [each for each in chosen if each.task.width == widths[-1]]


def _chart(depth: int, widths: list[int], names: list[str]) -> alt.HConcatChart:
    legend = alt.Legend(title=None, orient="top", columns=2, symbolSize=70)
    colour = alt.Color(
        "named:N", scale=alt.Scale(domain=names, range=list(RUN_COLOURS[: len(names)])), legend=legend
    )
    shape = alt.Shape(
        "named:N", scale=alt.Scale(domain=names, range=list(RUN_SHAPES[: len(names)])), legend=legend
    )
    views: list[Any] = []
    for width in widths:
        title = "" if views else "mean share of points that live"
        x, at = depth_axis(depth), depth_axis(depth, "at")
        curve = (
            alt.Chart(data("lines"), width=_PANEL, height=220)
            .transform_filter(f"datum.width === {width}")
            .mark_line(style="quiet-line", strokeWidth=1)
            .encode(x=x, y=share_axis(title))
        )
        base = alt.Chart(data("marks"), width=_PANEL, height=220).transform_filter(f"datum.width === {width}")
        bars = base.mark_rule(strokeWidth=1.5).encode(
            x=at, y=share_axis(title, "share_low"), y2="share_high:Q", color=colour
        )
        points = base.mark_point(filled=True, size=24, opacity=1).encode(
            x=at,
            y=share_axis(title),
            color=colour,
            shape=shape,
            tooltip=tip(("named:N", "initialisation"), ("depth:Q", "layers"), ("value:Q", "living", ".4f")),
        )
        views.append(
            alt.layer(curve, bars, points).properties(
                title=alt.Title(f"width {width}", fontSize=12, fontWeight="normal", offset=6)
            )
        )
    return alt.hconcat(*views, spacing=22)
