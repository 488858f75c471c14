"""Figure 3 of the lifecycle paper: the size of pre-activations layer by layer, under several schemes."""

from __future__ import annotations

from typing import Any

import altair as alt

from nla.errors import printable
from nla.figures.figure import Figure, Table
from nla.figures.parts import PLAIN, data, many, number, tip
from nla.figures.theme import RUN_COLOURS
from nla.theory.simulation.sizes import VarianceTable

TITLE = "Size of pre-activations by depth"
_PANEL = 290
_VIEWS = {"mean_square": "E[z²], over weights and data", "over_data": "Var[z], over data at given weights"}
_LEAST = 1e-30


def draw(found: VarianceTable) -> Figure:
    """The figure."""
    settings = found.settings
    names = [each.predicted.scheme for each in found.schemes]
    rows = [
        {
            "scheme": row["scheme"],
            "layer": row["layer"],
            "measure": field,
            "predicted": row[field],
            "measured": row.get(f"{field}_measured"),
        }
        for row in found.rows()
        for field in _VIEWS
        if row[field] > _LEAST
    ]
    last = "; ".join(
        f"{printable(each.predicted.scheme)} {number(float(each.predicted.mean_square[-1]))} and "
        f"{number(float(each.predicted.over_data[-1]))}"
        for each in found.schemes
    )
    drawn = (
        f"{many(settings['networks'], 'network')} of width {settings['width']:,}"
        if settings["networks"]
        else ""
    )
    return Figure(
        kind="sizes",
        title=TITLE,
        subtitle=" · ".join(
            filter(None, [settings["activation"]["name"], drawn, f"seed {settings['seed']}"])
        ),
        caption="Lines: predicted for wide layers; marks: means over networks that were drawn.",
        alternative=f"{TITLE}. E[z²] and Var[z] of layer {settings['depth']:,}: {last}.",
        several=False,
        chart=_chart(names, settings["depth"], [row["predicted"] for row in rows]),
        datasets={"layers": rows},
        table=Table(
            ("scheme", "layer", "E[z²]", "Var[z] over data", "eq. 5 as printed"),
            tuple(
                (row["scheme"], row["layer"], row["mean_square"], row["over_data"], row["as_printed"])
                for row in found.rows()
            ),
        ),
        height=380,
        fluid=False,
    )


def _chart(names: list[str], depth: int, values: list[float]) -> alt.HConcatChart:
    few = len(names) <= len(RUN_COLOURS)
    scale = alt.Scale(domain=names, range=list(RUN_COLOURS[: len(names)])) if few else alt.Scale(domain=names)
    legend = alt.Legend(title=None, orient="top", columns=5, symbolSize=80, symbolType="stroke")
    colour = alt.Color("scheme:N" if few else "scheme:O", scale=scale, legend=legend)
    domain = [min(values, default=0.1) / 2, max(values, default=1.0) * 2]
    views: list[Any] = []
    for field, title in _VIEWS.items():
        base = (
            alt.Chart(data("layers"), width=_PANEL, height=240)
            .transform_filter(f"datum.measure === '{field}'")
            .encode(
                x=alt.X(
                    "layer:Q",
                    title="layer",
                    scale=alt.Scale(domain=[1, max(depth, 2)], nice=False),
                    axis=alt.Axis(grid=False, tickMinStep=1, labelExpr=PLAIN),
                ),
                color=colour,
            )
        )
        y = alt.Scale(type="log", domain=domain, nice=False)
        axis = alt.Axis(format=".0e", tickCount=5)
        said = tip(("scheme:N", "scheme"), ("layer:Q", "layer"), ("predicted:Q", "predicted", ".4g"))
        marks = (
            base.transform_filter(f"isValid(datum.measured) && datum.measured > {domain[0]!r}")
            .mark_point(filled=True, size=26, opacity=0.8)
            .encode(y=alt.Y("measured:Q", title=title, scale=y, axis=axis), tooltip=said)
        )
        line = base.mark_line(strokeWidth=1.8).encode(y=alt.Y("predicted:Q", title=title, scale=y, axis=axis))
        views.append(alt.layer(line, marks))
    return alt.hconcat(*views, spacing=26)
