"""The share of dead neurons of each site, by depth: one line."""

from __future__ import annotations

import altair as alt

from nla.figures.figure import Figure, Table
from nla.figures.parts import (
    across,
    course,
    data,
    labels,
    layered,
    many,
    named,
    of_run,
    percent,
    places,
    shares,
    shown,
    sites_of,
    tip,
    top_of,
)
from nla.figures.theme import DEAD
from nla.runs.run import Run

TITLE = "Dead neurons by depth"
_MOST_LABELS = 24


def draw(run: Run) -> Figure:
    """The figure. Raises UsageError where the run has no site."""
    sites, names = sites_of(run), shown(run)
    rows = [
        {
            **named(site.name, name),
            "dead": site.counts["dead"],
            "neurons": site.neurons,
            "share": 100 * site.dead_share,
            "said": percent(site.dead_share),
            "place": place,
        }
        for site, name, place in zip(sites, names, places([site.dead_share for site in sites]), strict=True)
    ]
    x = across(names)
    y = shares("share", "dead neurons (% of the site's)", top_of(row["share"] for row in rows))  # type: ignore[misc]
    base = alt.Chart(data("sites")).encode(
        x=x,
        y=y,
        tooltip=tip(
            ("called:N", "site"),
            ("said:N", "dead"),
            ("dead:Q", "dead neurons", ","),
            ("neurons:Q", "of", ","),
        ),
    )
    layers = [
        base.mark_line(color=DEAD, strokeWidth=2),
        base.mark_point(color=DEAD, filled=True, size=55, opacity=1),
    ]
    if len(sites) <= _MOST_LABELS:
        layers += labels(base, "said")
    total = run.summary
    share = total["dead"] / max(total["neurons"], 1)
    return Figure(
        kind="dead-share",
        title=TITLE,
        subtitle=of_run(run),
        caption="The share of each site's neurons whose activation is zero at every position, from input to output.",
        alternative=f"{TITLE}. {many(total['dead'], 'neuron')} of {total['neurons']:,} dead ({percent(share)}). "
        f"The share {course([site.dead_share for site in sites], names)}.",
        several=False,
        chart=layered(*layers),
        datasets={"sites": rows},
        table=Table(
            ("site", "neurons", "dead", "dead (%)"),
            tuple((s.name, s.neurons, s.counts["dead"], 100 * s.dead_share) for s in sites),
        ),
    )
