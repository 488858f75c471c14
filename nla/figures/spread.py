"""A number's distribution at each site, a row a site: 5th to 95th percentile, the middle half, the median."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from nla.figures.parts import data, down, number, tip

LEVELS = {"low": 0.05, "lower": 0.25, "median": 0.5, "upper": 0.75, "high": 0.95}
_LARGEST = 690.0
"""Exponent of e: beyond it a number has no place in 64 bits."""
COLUMNS = ("5 % below", "lower quartile", "median", "upper quartile", "95 % below")


def levels(values: NDArray[np.float64]) -> dict[str, float]:
    """The quantiles of `values` at LEVELS, linear between order statistics; `values` is not empty."""
    return {name: float(np.quantile(values, share)) for name, share in LEVELS.items()}


def row(values: NDArray[np.float64]) -> dict[str, Any]:
    """What is drawn and told of one site: its quantiles, least and largest value."""
    found = levels(values)
    return {
        **found,
        "most": float(values.max()),
        "middle": f"{number(found['lower'])} to {number(found['upper'])}",
        "range": f"{number(float(values.min()))} to {number(float(values.max()))}",
        "centre": number(found["median"]),
    }


def layers(names: list[str], x: Callable[[str], alt.X], colour: str, what: str) -> list[alt.Chart]:
    """The rows of the dataset `spread`; `x` gives the axis for a field."""
    about = tip(
        ("called:N", "site"),
        ("count:Q", "neurons", ","),
        ("centre:N", f"median {what}"),
        ("middle:N", "middle half"),
        ("range:N", "all"),
        ("note:N", "of them"),
    )
    base = alt.Chart(data("spread")).encode(y=down(names), tooltip=about)
    return [
        base.mark_rule(style="quiet-line").encode(x=x("low"), x2="high:Q"),
        base.mark_bar(color=colour, opacity=0.75, size=12).encode(x=x("lower"), x2="upper:Q"),
        base.mark_tick(style="measure", thickness=2, size=18).encode(x=x("median")),
    ]


def ends(names: list[str], field: str) -> alt.Chart:
    """A note on each row, at the right end of the axis."""
    drawn: alt.Chart = (
        alt.Chart(data("spread"))
        .mark_text(style="quiet", align="right", baseline="middle")
        .encode(y=down(names), x=alt.value("width"), text=f"{field}:N")
    )
    return drawn


def end_of_axis(high: float, constant: float) -> float:
    """Where a symlog axis from 0 ends so that `high` is at four fifths of it: the last is for the notes of `ends`.

    >>> round(end_of_axis(math.expm1(8), 1.0)) == round(math.expm1(10))
    True
    """
    return constant * math.expm1(min(math.log1p(high / constant) / 0.8, _LARGEST))
