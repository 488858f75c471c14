"""What the figures of simulations share: the axis of depth, of probabilities, and which of many widths are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from nla.figures.parts import PLAIN, many
from nla.theory.simulation.results import Series, Simulation

_MOST_WIDTHS = 8
POINT = 45
"""Area of a mark with an error bar."""


def powers(depth: int) -> list[int]:
    """The depths at which marks stand: powers of 2, and the last."""
    found = [2**k for k in range(depth.bit_length())]
    return found if found[-1] == depth else [*found, depth]


def some(series: Sequence[Series]) -> list[Series]:
    """At most eight, from the first to the last as evenly as can be."""
    if len(series) <= _MOST_WIDTHS:
        return list(series)
    step = (len(series) - 1) / (_MOST_WIDTHS - 1)
    return [series[round(k * step)] for k in range(_MOST_WIDTHS)]


def beside(depth: int, number: int, of: int, octaves: float) -> float:
    """Where the mark of series `number` of so many stands, that those of one depth do not hide one another: side by
    side over so many octaves."""
    return float(depth * 2 ** (octaves * ((number + 0.5) / of - 0.5)))


def depth_axis(depth: int, field: str = "depth") -> alt.X:
    """Layers, on a logarithmic axis."""
    return alt.X(
        f"{field}:Q",
        title="layers",
        scale=alt.Scale(type="log", base=2, domain=[1, max(depth, 2)], nice=False, padding=8),
        axis=alt.Axis(values=powers(depth), grid=False, labelExpr=PLAIN),
    )


def share_axis(title: str, field: str = "value") -> alt.Y:
    """Probabilities from 0 to 1."""
    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=6))


def of_simulation(simulation: Simulation) -> str:
    """The words under the title."""
    settings = simulation.settings
    parts = [
        f"{many(settings.networks, 'network')} of each width",
        f"{many(settings.points, 'point')} each",
        "biases drawn like the weights" if settings.bias else "no biases",
        *(["no negative data"] if settings.non_negative else []),
        f"seed {settings.seed}",
    ]
    return " · ".join(parts)


def widths_legend(series: Sequence[Series]) -> alt.Color:
    """A colour for each width, light to dark."""
    domain = [each.task.width for each in series]
    return alt.Color(
        "width:O", scale=alt.Scale(domain=domain), legend=alt.Legend(title="width", symbolType="stroke")
    )


def rows_of(series: Series, wanted: Sequence[int]) -> list[dict[str, Any]]:
    """The rows of a series at these depths."""
    return [series.row(depth) for depth in wanted if depth <= series.task.depth]
