"""Values of a or z of each site in the recording's bins: a row a site, colour the share of values, logarithmic."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np

from nla.figures.figure import Figure, Table
from nla.figures.parts import (
    data,
    down,
    many,
    missing,
    named,
    of_run,
    percent,
    rows_height,
    shown,
    sites_of,
    tip,
)
from nla.runs.run import Run, RunSite
from nla.statistics.measurements import Histogram

_LABELS = {6: "10⁶", 4: "10⁴", 2: "100", 0: "1", -2: "0.01", -4: "10⁻⁴", -6: "10⁻⁶"}


def draw(run: Run, kind: str, symbol: str, of: dict[str, Histogram], absent: str) -> Figure:
    """The figure of the histograms `of`, by site. Raises UsageError where there is none."""
    sites = tuple(site for site in sites_of(run) if site.name in of)
    names = [name for site, name in zip(run.sites, shown(run), strict=True) if site.name in of]
    if not sites:
        raise missing(run, f"histogram of {symbol}", absent)
    first, last = _extent(list(of.values()))
    cells = [
        {**named(site.name, name), **cell}
        for site, name in zip(sites, names, strict=True)
        for cell in _cells(of[site.name])
    ]
    what = "activations a" if symbol == "a" else "pre-activations z"
    title = f"Distribution of the {what}"
    without = len(run.sites) - len(sites)
    return Figure(
        kind=kind,
        title=title,
        subtitle=of_run(run),
        caption="A row is a site, over all of its neurons and positions; bins are quarters of a decade on either side "
        f"of zero, so that the axis is logarithmic but for the bin around {symbol} = 0, and colour is too."
        + (f" {many(without, 'site')} without a histogram left out." if without else ""),
        alternative=f"{title} of {many(len(sites), 'site')}. {_alternative(sites, names, of)}",
        several=False,
        chart=_chart(names, symbol, first, last, of[sites[0].name]),
        datasets={"cells": cells},
        table=_table(sites, of, symbol),
        height=rows_height(len(sites), each=38),
    )


def _extent(histograms: list[Histogram]) -> tuple[int, int]:
    """The first bin and the one after the last that hold anything at any site."""
    counts = sum((np.asarray(each.counts, np.int64) for each in histograms), np.int64(0))
    held = np.flatnonzero(counts)
    return (
        (int(held[0]), int(held[-1]) + 1)
        if len(held)
        else (len(np.atleast_1d(counts)) // 2, len(np.atleast_1d(counts)) // 2 + 1)
    )


def _cells(histogram: Histogram) -> list[dict[str, Any]]:
    total = max(int(np.sum(histogram.counts)), 1)
    return [
        {
            "bin": index,
            "end": index + 1,
            "share": 100 * count / total,
            "said": percent(count / total),
            "values": bin_name(histogram.edges[index], histogram.edges[index + 1]),
        }
        for index, count in enumerate(np.asarray(histogram.counts).tolist())
        if count
    ]


def bin_name(low: float, high: float) -> str:
    """A bin's ends as people read them; the outermost are open.

    >>> bin_name(-math.inf, -1e6), bin_name(-1e-6, 1e-6), bin_name(1.0, 1.7783)
    ('below -1e+06', 'within 1e-06 of 0', '1 to 1.78')
    """
    if math.isinf(low):
        return f"below {high:.3g}"
    if math.isinf(high):
        return f"{low:.3g} and above"
    if low == -high:
        return f"within {high:.3g} of 0"
    return f"{low:.3g} to {high:.3g}"


def _chart(names: list[str], symbol: str, first: int, last: int, histogram: Histogram) -> alt.Chart:
    x = alt.X(
        "bin:Q",
        title=f"{symbol} (logarithmic on either side of 0)",
        scale=alt.Scale(domain=[first, last], nice=False, zero=False),
        axis=_axis(histogram, first, last),
    )
    about = tip(("called:N", "site"), ("values:N", symbol), ("said:N", "share of values"))
    drawn: alt.Chart = (
        alt.Chart(data("cells"))
        .transform_calculate(to=f"min(datum.end + 0.04, {last})")  # or the seams between cells show in pixels
        .mark_rect(aria=False, strokeWidth=0)
        .encode(
            x=x,
            x2="to:Q",
            y=down(names),
            tooltip=about,
            color=alt.Color(
                "share:Q",
                title="share of the site's values (%, logarithmic)",
                scale=alt.Scale(type="log", domain=[1e-3, 100], clamp=True),
                legend=alt.Legend(
                    orient="top",
                    direction="horizontal",
                    gradientLength=240,
                    gradientThickness=10,
                    values=[0.001, 0.01, 0.1, 1, 10, 100],
                    format="~g",
                ),
            ),
        )
    )
    return drawn


def _axis(histogram: Histogram, first: int, last: int) -> alt.Axis:
    """Ticks where powers of ten lie between bins, and at the middle of the bin around zero.

    The labels are an expression of numbers only; nothing of it comes from a file.
    """
    edges = [float(edge) for edge in histogram.edges]
    labels: dict[float, str] = {}
    for index, edge in enumerate(edges):
        if not math.isfinite(edge) or edge == 0 or not first <= index <= last:
            continue
        power = math.log10(abs(edge))
        near = round(power)
        if abs(power - near) < 1e-6 and near in _LABELS and near != -6:
            labels[index] = ("−" if edge < 0 else "") + _LABELS[near]
    for index, (low, high) in enumerate(pairwise(edges)):
        if low == -high and first <= index < last:
            labels[index + 0.5] = "0"
    if first == 0:
        labels[0.5] = "below"
    if last == len(edges) - 1:
        labels[last - 0.5] = "above"
    said = " : ".join(f"datum.value === {at} ? '{label}'" for at, label in labels.items())
    return alt.Axis(
        values=list(labels),
        labelExpr=f"{said} : ''" if said else "''",
        grid=False,
        labelOverlap="greedy",
        labelAngle=0,
    )


def _at_zero(histogram: Histogram) -> float:
    """The share of values in the bin around zero; NaN where no value was counted."""
    counts = np.asarray(histogram.counts, np.float64)
    total = counts.sum()
    return float(counts[len(counts) // 2] / total) if total else float("nan")


def _quantile_bin(histogram: Histogram, share: float) -> str:
    """The bin in which that quantile of the values lies, as its ends; '' where no value was counted."""
    counts = np.asarray(histogram.counts, np.int64)
    if not counts.sum():
        return "not known"
    index = int(np.searchsorted(np.cumsum(counts), max(share * counts.sum(), 1)))
    return bin_name(float(histogram.edges[index]), float(histogram.edges[index + 1]))


def _alternative(sites: tuple[RunSite, ...], names: list[str], of: dict[str, Histogram]) -> str:
    said = [
        f"{name}: median {_quantile_bin(of[site.name], 0.5)}, {percent(_at_zero(of[site.name]))} of values at 0"
        for site, name in zip(sites, names, strict=True)
    ]
    return "; ".join(said if len(said) <= 12 else [*said[:6], f"{len(said) - 8} more", *said[-2:]]) + "."


def _table(sites: tuple[RunSite, ...], of: dict[str, Histogram], symbol: str) -> Table:
    shares = (("1 % below", 0.01), ("median", 0.5), ("99 % below", 0.99))
    return Table(
        ("site", "values", f"{symbol} around 0 (%)", *(name for name, _ in shares)),
        tuple(
            (
                site.name,
                int(np.sum(of[site.name].counts)),
                100 * _at_zero(of[site.name]),
                *(_quantile_bin(of[site.name], share) for _, share in shares),
            )
            for site in sites
        ),
    )
