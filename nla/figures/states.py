"""The neurons of each site by lifecycle state: one bar a site."""

from __future__ import annotations

import altair as alt

from nla.figures.figure import Figure, Table
from nla.figures.parts import data, down, many, named, of_run, percent, rows_height, shown, sites_of, tip
from nla.figures.theme import STATE_COLOURS
from nla.lifecycle.results import STATES
from nla.runs.run import Run

TITLE = "Neurons by lifecycle state"


def draw(run: Run) -> Figure:
    """The figure. Raises UsageError where the run has no site."""
    sites, names = sites_of(run), shown(run)
    total = run.summary
    present = [state for state in STATES if total[state]]
    rows = [
        {
            **named(site.name, name),
            "state": state,
            "order": STATES.index(state),
            "count": site.counts[state],
            "neurons": site.neurons,
            "share": 100 * site.counts[state] / site.neurons,
            "said": percent(site.counts[state] / site.neurons),
        }
        for site, name in zip(sites, names, strict=True)
        for state in present
        if site.counts[state]
    ]
    chart = (
        alt.Chart(data("states"))
        .mark_bar()
        .encode(
            y=down(names),
            x=alt.X(
                "share:Q",
                title="neurons (% of the site's)",
                stack="zero",
                scale=alt.Scale(domain=[0, 100], nice=False),
                axis=alt.Axis(tickCount=10),
            ),
            color=state_colour(present),
            order=alt.Order("order:Q"),
            tooltip=tip(
                ("called:N", "site"),
                ("state:N", "state"),
                ("said:N", "share"),
                ("count:Q", "neurons", ","),
                ("neurons:Q", "of", ","),
            ),
        )
    )
    said = ", ".join(f"{total[s]:,} {s} ({percent(total[s] / max(total['neurons'], 1))})" for s in present)
    return Figure(
        kind="states",
        title=TITLE,
        subtitle=of_run(run),
        caption="Every neuron is in one state; a bar holds all neurons of its site.",
        alternative=f"{TITLE}. Of {many(total['neurons'], 'neuron')} in {many(len(sites), 'site')}: {said}.",
        several=False,
        chart=chart,
        datasets={"states": rows},
        table=Table(
            ("site", "neurons", *present),
            tuple((site.name, site.neurons, *(site.counts[state] for state in present)) for site in sites),
        ),
        height=rows_height(len(sites)),
    )


def state_colour(present: list[str]) -> alt.Color:
    """The colour of `state`, the same for a state wherever it is drawn, with a legend of those that occur."""
    return alt.Color(
        "state:N",
        scale=alt.Scale(domain=present, range=[STATE_COLOURS[state] for state in present]),
        legend=alt.Legend(title=None, orient="top", direction="horizontal", symbolType="square"),
    )
