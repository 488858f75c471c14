"""A number of every neuron, sorted, one row a site: the heatmap of the foundation-model article, for any width.

Neurons are sorted by the number and cut into cells of equal size, so that a site of 100,000 is as light as one of 200.
The dead, who come first, are one cell of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from nla.figures.figure import Figure, Table
from nla.figures.parts import (
    data,
    down,
    layered,
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
from nla.figures.theme import DEAD, STATE_COLOURS
from nla.runs.run import Rows, Run, RunSite

MOST_CELLS = 200
"""Of a site."""
_ALL_CELLS = 6000
"""Of a figure."""
_FEWEST_CELLS = 24
_NAMED = 5
"""Neurons of a cell that the tooltip names."""
KINDS = {"dead": DEAD, "not known": STATE_COLOURS["unknown"]}
"""Cells that have a colour of their own."""
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Words:
    """What a kind of these figures says."""

    kind: str
    column: str
    title: str
    legend: str
    caption: str


def draw(run: Run, words: Words) -> Figure:
    """The figure. Raises UsageError where the run has no site, or no row for each neuron."""
    sites, names = sites_of(run), shown(run)
    most = max(min(MOST_CELLS, _ALL_CELLS // len(sites)), _FEWEST_CELLS)
    rows = [rows_of(run, site) for site in sites]
    cells = [
        {**named(site.name, name), **cell}
        for site, name, each in zip(sites, names, rows, strict=True)
        for cell in cells_of(each, column_of(each, words.column), most)
    ]
    resampled = any(site.neurons > most for site in sites)
    return Figure(
        kind=words.kind,
        title=words.title,
        subtitle=of_run(run),
        caption=words.caption
        + (
            f" A site of more than {most} neurons is drawn as cells of neighbours in rank."
            if resampled
            else ""
        ),
        alternative=_alternative(sites, names, rows, words),
        several=False,
        chart=_chart(names, words, [kind for kind in KINDS if any(cell["kind"] == kind for cell in cells)]),
        datasets={"cells": cells},
        table=_table(sites, rows, words),
        height=rows_height(len(sites), each=38),
    )


def rows_of(run: Run, site: RunSite) -> Rows:
    """A row for each neuron. Raises UsageError where the document was written without."""
    if site.rows is None:
        raise missing(
            run,
            "row for each neuron",
            "write it with nla inspect --json FILE --neurons, or give the recording",
        )
    return site.rows


def column_of(rows: Rows, name: str) -> NDArray[np.float64]:
    """[neurons] one column of the evidence; NaN where it is not known."""
    found = rows.columns.get(name)
    return np.full(len(rows.states), np.nan) if found is None else np.asarray(found, np.float64)


def cells_of(rows: Rows, values: NDArray[Any], most: int) -> list[dict[str, Any]]:
    """The cells of one site, least first.

    A mapping for each: `from` and `to`, ranks in percent of the site's neurons; `low`, `high`, `mean` of the values,
    percent, None where not known; `kind`, 'dead', 'not known' or ''; `state`, that of all its neurons, or None;
    `neuron`, the index of its first, and `neurons` in words.
    """
    values = np.asarray(values, np.float64)
    order = np.lexsort((np.arange(len(values)), values, rows.states != "dead"))  # NaN sorts last
    dead = int((rows.states == "dead").sum())
    living = order[dead:]
    count = min(max(most - (dead > 0), 1), len(living))
    cuts = dead + np.linspace(0, len(living), count + 1).round().astype(int) if count else np.array([], int)
    edges = [0, *cuts.tolist()] if dead and count else [0, dead] if dead else cuts.tolist()
    return [_cell(rows.states, values, order, first, end) for first, end in pairwise(edges)]


def _cell(
    states: NDArray[np.str_], values: NDArray[np.float64], order: NDArray[np.int64], first: int, end: int
) -> dict[str, Any]:
    inside = order[first:end]
    known = 100 * values[inside][np.isfinite(values[inside])]
    of_them = sorted(set(states[inside].tolist()))
    state = of_them[0] if len(of_them) == 1 else None
    low, high, mean = (
        (float(known.min()), float(known.max()), float(known.mean())) if len(known) else (None, None, None)
    )
    return {
        "from": 100 * first / len(order),
        "to": 100 * end / len(order),
        "low": low,
        "high": high,
        "mean": mean,
        "state": state,
        "kind": "dead" if state == "dead" else "not known" if mean is None else "",
        "count": len(inside),
        "neuron": int(inside[0]),
        "neurons": _listed(inside),
        "said": _range(low, high),
    }


def _listed(indices: NDArray[np.int64]) -> str:
    named = ", ".join(str(index) for index in indices[:_NAMED].tolist())
    return named if len(indices) <= _NAMED else f"{named} and {len(indices) - _NAMED:,} more"


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "not known"
    low_said, high_said = percent(low / 100), percent(high / 100)
    return low_said if low_said == high_said else f"{low_said} to {high_said}"


def _chart(names: list[str], words: Words, kinds: list[str]) -> alt.LayerChart:
    x = alt.X(
        "from:Q",
        title="neurons of the site, least first (rank, %)",
        scale=alt.Scale(domain=[0, 100], nice=False),
        axis=alt.Axis(grid=False, tickCount=10),
    )
    about = tip(
        ("called:N", "site"),
        ("neurons:N", "neurons"),
        ("said:N", words.legend),
        ("state:N", "state"),
        ("from:Q", "rank from (%)", ".1f"),
        ("to:Q", "rank to (%)", ".1f"),
    )
    # Neighbours overlap by a hair, or their seams show in what is drawn in pixels.
    base = (
        alt.Chart(data("cells"))
        .transform_calculate(end="min(datum.to + 0.12, 100)")
        .encode(x=x, x2="end:Q", y=down(names), tooltip=about)
    )
    heat = alt.Color(
        "mean:Q",
        title=f"{words.legend} (%, square-root scale)",
        scale=alt.Scale(type="sqrt", domain=[0, 100]),
        legend=alt.Legend(
            orient="top",
            direction="horizontal",
            gradientLength=240,
            gradientThickness=10,
            values=[0, 1, 5, 10, 25, 50, 100],
        ),
    )
    apart = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=kinds, range=[KINDS[kind] for kind in kinds]),
        legend=alt.Legend(title=None, orient="top", symbolType="square"),
    )
    layers = [
        base.transform_filter("datum.kind === ''").mark_rect(aria=False, strokeWidth=0).encode(color=heat)
    ]
    if kinds:
        layers.append(
            base.transform_filter("datum.kind !== ''")
            .mark_rect(aria=False, strokeWidth=0)
            .encode(color=apart)
        )
    drawn: alt.LayerChart = layered(*layers).resolve_scale(color="independent")
    return drawn


def _alternative(sites: tuple[RunSite, ...], names: list[str], rows: list[Rows], words: Words) -> str:
    said = [
        f"{name}: {percent(site.dead_share)} dead, median {percent(_quantile(each, words, 0.5))}"
        for site, name, each in zip(sites, names, rows, strict=True)
    ]
    shown_here = said if len(said) <= 12 else [*said[:6], f"{len(said) - 8} more", *said[-2:]]
    return f"{words.title}, {words.legend}, for {many(len(sites), 'site')}. {'; '.join(shown_here)}."


def _quantile(rows: Rows, words: Words, share: float) -> float:
    values = column_of(rows, words.column)
    known = values[np.isfinite(values)]
    return float(np.quantile(known, share)) if len(known) else float("nan")


def _table(sites: tuple[RunSite, ...], rows: list[Rows], words: Words) -> Table:
    columns = ("least", "lower quartile", "median", "upper quartile", "most")
    return Table(
        ("site", "neurons", "dead", *(f"{name} (%)" for name in columns)),
        tuple(
            (
                site.name,
                site.neurons,
                site.counts["dead"],
                *(100 * _quantile(each, words, share) for share in QUANTILES),
            )
            for site, each in zip(sites, rows, strict=True)
        ),
    )
