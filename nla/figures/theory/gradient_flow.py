"""Figure 4 of the lifecycle paper: the norm of the gradient layer by layer, beside what eq. 4 allows."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from nla.errors import printable
from nla.figures.figure import Figure, Table
from nla.figures.names import short_names
from nla.figures.parts import PLAIN, data, many, number, tip
from nla.figures.theme import RUN_COLOURS
from nla.theory.gradient_flow import GradientFlow, LayerGradient

TITLE = "Gradient at each layer"
_LEAST, _LARGEST = 1e-300, 300.0
_MOST_LABELS = 24
_SERIES = ("measured, mean over samples", "at most, by eq. 4")


def draw(found: GradientFlow) -> Figure:
    """The figure."""
    names = short_names([layer.name for layer in found.layers])
    rows = [_row(at, name, layer) for at, (name, layer) in enumerate(zip(names, found.layers, strict=True))]
    shown = [row for row in rows if row["mean"] is not None and row["mean"] > _LEAST]
    first, last = found.layers[0], found.output
    return Figure(
        kind="gradient",
        title=TITLE,
        subtitle=" · ".join(
            [
                printable(found.checkpoint.get("path", "")),
                many(found.samples, "sample"),
                f"loss: {found.loss}",
            ]
        ),
        caption="Norm of δ, the gradient of one sample's loss at the pre-activations; the band holds 90 % of samples.",
        alternative=(
            f"{TITLE}. At the first layer {number(first.mean)}, at the output {number(last.mean)}; "
            f"{many(found.vacuous, 'layer')} with a bound more than 100 times above what was measured."
        ),
        several=False,
        chart=_chart(shown, names),
        datasets={"layers": shown},
        table=Table(
            (
                "layer",
                "mean ‖δ‖",
                "5 % of samples below",
                "95 % below",
                "eq. 4 allows",
                "neurons without gradient",
            ),
            tuple(
                (layer.name, row["mean"], row["low"], row["high"], row["bound"], layer.without)
                for row, layer in zip(rows, found.layers, strict=True)
            ),
        ),
        height=360,
    )


def _row(at: int, name: str, layer: LayerGradient) -> dict[str, Any]:
    mean = layer.mean if math.isfinite(layer.mean) else None
    bound = None
    if layer.bound is not None and mean and layer.bound.measured > 0:
        log10 = layer.bound.log10 + math.log10(mean / layer.bound.measured)
        bound = 10**log10 if abs(log10) < _LARGEST else None
    return {
        "layer": at + 1,
        "name": name,
        "mean": mean,
        "low": max(layer.quantiles[0], _LEAST) if mean else None,
        "high": layer.quantiles[-1] if mean else None,
        "bound": bound,
        "chain": "" if layer.bound is None else layer.bound.end,
        "without": layer.without,
    }


def _decades(least: float, largest: float) -> list[float]:
    """Powers of ten between, some seven at most: on a logarithmic axis Vega marks every digit of every power."""
    first, last = math.ceil(math.log10(least)), math.floor(math.log10(largest))
    return [10.0**power for power in range(first, last + 1, 1 + (last - first) // 7)]


def _chart(rows: list[dict[str, Any]], names: list[str]) -> alt.LayerChart:
    least = min((row["mean"] for row in rows), default=1e-3) / 100
    largest = max((value for row in rows for value in (row["high"], row["bound"]) if value), default=1.0)
    scale = alt.Scale(type="log", domain=[least, 2 * largest], nice=False, clamp=True)
    labels = "'" + "','".join(name.replace("\\", "\\\\").replace("'", "\\'") for name in names) + "'"
    few = len(names) <= _MOST_LABELS
    axis = alt.Axis(
        grid=False,
        tickMinStep=1,
        labelExpr=f"[{labels}][datum.value - 1]" if few else PLAIN,
        labelAngle=-35 if few else 0,
        values=list(range(1, len(names) + 1)) if few else alt.Undefined,
    )
    base = alt.Chart(data("layers")).encode(
        x=alt.X(
            "layer:Q",
            title="layer, the output last",
            scale=alt.Scale(domain=[1, max(len(names), 2)], nice=False),
            axis=axis,
        )
    )
    said = tip(
        ("name:N", "layer"),
        ("mean:Q", "mean ‖δ‖", ".4g"),
        ("bound:Q", "eq. 4 allows", ".4g"),
        ("without:Q", "neurons without gradient"),
    )
    colours = alt.Scale(domain=list(_SERIES), range=list(RUN_COLOURS[:2]))
    legend = alt.Legend(title=None, orient="top", symbolType="stroke", labelLimit=320)
    y_axis = alt.Axis(format=".0e", values=_decades(least, 2 * largest))
    band = base.mark_area(opacity=0.18, color=RUN_COLOURS[0]).encode(
        y=alt.Y("low:Q", title="norm of the gradient", scale=scale, axis=y_axis), y2="high:Q"
    )
    lines = [
        base.transform_filter(f"isValid(datum.{field})")
        .transform_calculate(series=f"'{series}'")
        .mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(filled=True, size=34))
        .encode(
            y=alt.Y(f"{field}:Q", title="norm of the gradient", scale=scale, axis=y_axis),
            color=alt.Color("series:N", scale=colours, legend=legend),
            tooltip=said,
            **({"detail": "chain:N"} if field == "bound" else {}),
        )
        for field, series in zip(("mean", "bound"), _SERIES, strict=True)
    ]
    made: alt.LayerChart = alt.LayerChart(layer=[band, *lines])
    return made
