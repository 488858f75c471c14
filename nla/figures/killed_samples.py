"""Samples that every neuron of a site ignores, by the first site that does, and those that live on."""

from __future__ import annotations

from itertools import accumulate

import altair as alt

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
from nla.runs.run import Run

TITLE = "Samples that die, and where"
_PARTS = {"killed before": "#F2B48C", "killed here": DEAD, "living": STATE_COLOURS["active"]}


def draw(run: Run) -> Figure:
    """The figure. Raises UsageError where the run has no site, or no sample."""
    sites, names = sites_of(run), shown(run)
    samples = max(site.samples for site in sites)
    if not samples:
        raise missing(run, "sample", "inspect with data")
    so_far = list(accumulate(site.killed_samples for site in sites))
    rows = []
    for site, name, gone in zip(sites, names, so_far, strict=True):
        counts = (gone - site.killed_samples, site.killed_samples, samples - gone)
        rows += [
            {
                **named(site.name, name),
                "part": part,
                "order": order,
                "count": count,
                "share": 100 * count / samples,
                "said": percent(count / samples),
            }
            for order, (part, count) in enumerate(zip(_PARTS, counts, strict=True))
            if count
        ]
    return Figure(
        kind="killed-samples",
        title=TITLE,
        subtitle=of_run(run),
        caption="A sample is killed at the first site of which no neuron answers to it (z ≤ 0 at every position): no "
        "gradient of it passes there; what is left are the living data of the trainability paper.",
        alternative=f"{TITLE}. {_alternative([s.killed_samples for s in sites], names, samples)}",
        several=False,
        chart=_chart(names, any(site.killed_samples for site in sites)),
        datasets={"samples": rows},
        table=Table(
            ("site", "samples", "killed here", "killed so far", "living", "living (%)"),
            tuple(
                (
                    site.name,
                    samples,
                    site.killed_samples,
                    gone,
                    samples - gone,
                    100 * (samples - gone) / samples,
                )
                for site, gone in zip(sites, so_far, strict=True)
            ),
        ),
        height=rows_height(len(sites)),
    )


def _chart(names: list[str], killed: bool) -> alt.LayerChart:
    base = alt.Chart(data("samples")).encode(
        y=down(names),
        x=alt.X(
            "share:Q",
            title="samples (%)",
            stack="zero",
            scale=alt.Scale(domain=[0, 100], nice=False),
            axis=alt.Axis(tickCount=10),
        ),
        order=alt.Order("order:Q"),
        tooltip=tip(
            ("called:N", "site"), ("part:N", "samples"), ("count:Q", "number", ","), ("said:N", "share")
        ),
    )
    parts = list(_PARTS) if killed else ["living"]
    colour = alt.Color(
        "part:N",
        scale=alt.Scale(domain=parts, range=[_PARTS[part] for part in parts]),
        legend=alt.Legend(title=None, orient="top", symbolType="square"),
    )
    return layered(base.mark_bar().encode(color=colour))


def _alternative(killed: list[int], names: list[str], samples: int) -> str:
    if not any(killed):
        return f"None of {many(samples, 'sample')} is killed: at every site some neuron answers to each."
    where = sorted(((count, name) for count, name in zip(killed, names, strict=True) if count), reverse=True)
    most = ", ".join(f"{count:,} at {name}" for count, name in where[:5])
    left = samples - sum(killed)
    return (
        f"Of {many(samples, 'sample')} {sum(killed):,} are killed ({percent(sum(killed) / samples)}): {most}"
        f"{', …' if len(where) > 5 else ''}; {left:,} live to the end."
    )
