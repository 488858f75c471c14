"""Figure 2 of the lifecycle paper: activations and their derivatives."""

from __future__ import annotations

from typing import Any

import altair as alt

from nla.figures.figure import Figure, Table
from nla.figures.parts import data, many, tip
from nla.figures.theme import RUN_COLOURS
from nla.theory.activation_table import ActivationTable

TITLE = "Activations and their slopes"
_PANEL = 290
_VIEWS = {"value": "φ(z)", "derivative": "φ′(z)"}


_PAPER = ("Relu", "LeakyRelu", "Elu", "Gelu", "Swish", "Sigmoid", "Tanh")
"""Those of the lifecycle paper's figure."""


def draw(found: ActivationTable) -> Figure:
    """The figure: of more than can be told apart, those that the paper draws."""
    many_more = len(found.rows) > len(RUN_COLOURS)
    shown = [row for row in found.rows if not many_more or row.activation.name in _PAPER]
    names = [row.activation.name for row in shown]
    curves = [
        {"name": row.activation.name, "z": z, "value": value, "derivative": slope}
        for row in shown
        for z, value, slope in zip(*(row.curve[key] for key in ("z", "value", "derivative")), strict=True)
    ]
    dead = [row.activation.name for row in shown if row.activation.dead_risk.startswith("high")]
    steep = [row.activation.name for row in shown if row.slopes[1] > 1]
    return Figure(
        kind="activation-curves",
        title=TITLE,
        subtitle=f"{many(len(names), 'activation')}, z from -6 to 6",
        caption="Where a slope is zero and stays so, no gradient comes through.",
        alternative=f"{TITLE}. Zero on a half-line: {', '.join(dead) or 'none'}; steeper than 1: "
        f"{', '.join(steep) or 'none'}.",
        several=False,
        chart=_chart(names),
        datasets={"curves": curves},
        table=Table(
            ("activation", "least slope", "largest slope", "risk of death", "risk of saturation"),
            tuple(
                (row.activation.name, *row.slopes, row.activation.dead_risk, row.activation.saturation_risk)
                for row in found.rows
            ),
        ),
        height=400,
        fluid=False,
    )


def _chart(names: list[str]) -> alt.HConcatChart:
    scale = alt.Scale(domain=names, range=list(RUN_COLOURS[: len(names)]))
    colour = alt.Color(
        "name:N",
        scale=scale,
        legend=alt.Legend(title=None, orient="top", columns=6, symbolType="stroke", symbolSize=200),
    )
    views: list[Any] = []
    for field, title in _VIEWS.items():
        views.append(
            alt.Chart(data("curves"), width=_PANEL, height=260)
            .mark_line(strokeWidth=2, clip=True)
            .encode(
                x=alt.X("z:Q", title="z", axis=alt.Axis(tickCount=7, grid=False)),
                y=alt.Y(
                    f"{field}:Q",
                    title=title,
                    scale=alt.Scale(domain=[-2, 4] if field == "value" else [-0.6, 1.8]),
                ),
                color=colour,
                tooltip=tip(("name:N", "activation"), ("z:Q", "z"), (f"{field}:Q", title, ".4f")),
            )
        )
    return alt.hconcat(*views, spacing=26)
