"""Effective rank and effective capacity of each site beside its width, by depth."""

from __future__ import annotations

import math

import altair as alt

from nla.figures.figure import Figure, Table
from nla.figures.parts import (
    PLAIN,
    across,
    data,
    labels,
    layered,
    many,
    missing,
    named,
    number,
    of_run,
    percent,
    places,
    shown,
    sites_of,
    tip,
)
from nla.runs.run import Run, RunSite

TITLE = "Effective rank by depth"
WIDTH_OF = "width"
_SERIES = {WIDTH_OF: "#8C959F", "effective rank": "#0072B2", "effective capacity": "#E69F00"}
_SHAPES = ("stroke", "circle", "diamond")
_TICKS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000)
_MOST_LABELS = 16


def rank_share(site: RunSite) -> float:
    """The effective rank over the site's neurons, in [0, 1]; NaN where it was not measured."""
    return site.effective_rank / site.neurons if site.neurons else math.nan


def draw(run: Run) -> Figure:
    """The figure. Raises UsageError where the run has no site, or none whose effective rank was measured."""
    sites, names = sites_of(run), shown(run)
    if not any(math.isfinite(site.effective_rank) for site in sites):
        raise missing(run, "effective rank", "inspect again with data of which rows can be kept")
    rows = [
        {
            **named(site.name, name),
            "of": series,
            "value": value,
            "said": number(value),
            "share": percent(value / site.neurons),
            "place": place,
        }
        for site, name, place in zip(sites, names, places([s.effective_rank for s in sites]), strict=True)
        for series, value in zip(
            _SERIES, (site.neurons, site.effective_rank, site.effective_capacity), strict=True
        )
        if math.isfinite(value) and site.neurons
    ]
    sampled = [site for site in sites if not site.effective_rank_exact and math.isfinite(site.effective_rank)]
    return Figure(
        kind="effective-rank",
        title=TITLE,
        subtitle=of_run(run),
        caption="The effective rank says how many directions a site's activations fill; the effective capacity is the "
        "rank less the dead share (eq. 18)." + (_sampled(sampled) if sampled else ""),
        alternative=f"{TITLE}. {_alternative(sites, names)}",
        several=False,
        chart=_chart(names, max(site.neurons for site in sites)),
        datasets={"ranks": rows},
        table=Table(
            (
                "site",
                "neurons",
                "effective rank",
                "effective rank (% of neurons)",
                "effective capacity",
                "rows",
            ),
            tuple(
                (
                    s.name,
                    s.neurons,
                    s.effective_rank,
                    100 * rank_share(s),
                    s.effective_capacity,
                    s.effective_rank_rows,
                )
                for s in sites
            ),
        ),
    )


def _chart(names: list[str], widest: int) -> alt.LayerChart:
    series = list(_SERIES)
    base = alt.Chart(data("ranks")).encode(
        x=across(names),
        y=alt.Y(
            "value:Q",
            title="dimensions (logarithmic scale)",
            scale=alt.Scale(type="symlog", domainMin=0),
            axis=alt.Axis(values=sorted({*_TICKS, widest}), labelExpr=PLAIN),
        ),
        tooltip=tip(
            ("called:N", "site"), ("of:N", "number"), ("said:N", "value"), ("share:N", "share of the width")
        ),
    )
    colour = alt.Color(
        "of:N",
        scale=alt.Scale(domain=series, range=list(_SERIES.values())),
        legend=alt.Legend(title=None, orient="top", symbolSize=60),
    )
    shapes = alt.Shape(
        "of:N",
        scale=alt.Scale(domain=series, range=list(_SHAPES)),
        legend=alt.Legend(title=None, orient="top", symbolSize=60),
    )
    dashes = alt.StrokeDash(
        "of:N",
        scale=alt.Scale(domain=series, range=[[2, 3], [1, 0], [6, 3]]),
        legend=alt.Legend(
            title=None, orient="top", symbolSize=60
        ),  # one legend: vega warns where only some have none
    )
    layers: list[alt.Chart] = [
        base.mark_line(strokeWidth=2).encode(color=colour, strokeDash=dashes),
        base.mark_point(filled=True, size=55, opacity=1).encode(color=colour, shape=shapes),
    ]
    if len(names) <= _MOST_LABELS:
        ranks = base.transform_filter("datum.of === 'effective rank'")
        layers += labels(ranks.transform_calculate(label="datum.said + ' (' + datum.share + ')'"), "label")
    return layered(*layers)


def _sampled(sites: list[RunSite]) -> str:
    rows = sorted({site.effective_rank_rows for site in sites})
    said = f"{rows[0]:,}" if len(rows) == 1 else f"{rows[0]:,} to {rows[-1]:,}"
    return f" Ranks are of a sample of {said} rows, and no higher than that."


def _alternative(sites: tuple[RunSite, ...], names: list[str]) -> str:
    known = [
        (name, site) for name, site in zip(names, sites, strict=True) if math.isfinite(site.effective_rank)
    ]
    said = [
        f"{number(site.effective_rank)} of {site.neurons:,} at {name} ({percent(rank_share(site))})"
        for name, site in (known if len(known) <= 8 else [known[0], known[-1]])
    ]
    least = min(known, key=lambda each: rank_share(each[1]))
    rest = (
        f" It is measured at {many(len(known), 'site')} of {len(sites)}." if len(known) < len(sites) else ""
    )
    lowest = f"The lowest share is at {least[0]}, {percent(rank_share(least[1]))}."
    return f"Effective rank: {', '.join(said)}. {lowest}{rest}"
