"""A series as text: dead shares by step, states over time, the transition matrix, survival, deaths, notes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from nla.lifecycle.results import STATES, path_of
from nla.rendering.bars import legend, share_bar
from nla.rendering.chain import print_survival, print_transitions
from nla.rendering.deaths import print_deaths
from nla.rendering.step_table import (
    columns,
    headings_of,
    room_for_steps,
    ruled_table,
    share_cell,
    short_state,
    step_table,
    thinned,
)
from nla.rendering.terminal import console
from nla.rendering.words import count, counted, hanging, short
from nla.tracking.remarks import remarks
from nla.tracking.results import Tracking

_MOST_SITES = 24
_MOST_ROWS = 13
_BAR = 30
_RANK = 5
_LABEL = 16


def print_tracking(tracking: Tracking, out: Console | None = None) -> None:
    """Everything that a reader needs at first; the document (`--json`) is complete."""
    out = out or console()
    _print_head(out, tracking)
    _print_dead(out, tracking)
    _print_states(out, tracking)
    _print_ranks(out, tracking)
    print_transitions(out, tracking)
    print_survival(out, tracking)
    print_deaths(out, tracking)
    out.print("\nNotes", style="head")
    for note in remarks(tracking):
        out.print(Text(hanging(note, out.width)))


def _print_head(out: Console, tracking: Tracking) -> None:
    first, last = tracking.steps[0], tracking.steps[-1]
    line = (
        Text()
        .append("series  ", "quiet")
        .append(f"{short(first.label, 30)} to {short(last.label, 30)}", "head")
    )
    sites = counted(len(tracking.trajectories), "site")
    facts = f"{counted(len(tracking.steps), 'step')} · {sites} · {counted(tracking.neurons, 'neuron')}"
    out.print(line.append(f"  {facts}"))
    data = Text().append("data    ", "quiet").append(short(path_of(first.data) or "arrays", 60), "head")
    samples = first.data.get("samples")
    out.print(data.append(f"  {counted(samples, 'sample')}" if isinstance(samples, int) else ""))
    if first.data.get("synthetic"):
        out.print(
            "SYNTHETIC DATA: random numbers were replayed; nothing below is true of real inputs",
            style="alarm",
        )


def _print_dead(out: Console, tracking: Tracking) -> None:
    steps = tracking.steps
    dead = [[step.sites[k].dead_share for step in steps] for k in range(len(tracking.trajectories))]
    silent = [[step.sites[k].never_positive_share for step in steps] for k in range(len(dead))]
    totals = [step.dead_share for step in steps]
    if any(totals):
        _print_shares(out, tracking, "Dead neurons, percent of each site", dead, totals)
    else:
        out.print("\nNo neuron is dead at any step.", style="head")
    if any(
        b > a + 1e-9 for row, other in zip(dead, silent, strict=True) for a, b in zip(row, other, strict=True)
    ):
        sums = [sum(site.never_positive for site in step.sites) / max(tracking.neurons, 1) for step in steps]
        about = "Neurons with z > 0 at no position, percent (what the dying-ReLU study counts)"
        _print_shares(out, tracking, about, silent, sums)


def _print_shares(
    out: Console, tracking: Tracking, title: str, rows: list[list[float]], totals: list[float]
) -> None:
    names = [f"{each.name} ({each.neurons:,})" for each in tracking.trajectories]
    shown = columns(tracking.steps, room_for_steps(names, out.width))
    first = _first_sites(rows)
    out.print(f"\n{title}", style="head")
    out.print(
        step_table(
            shown,
            [names[k] for k in first],
            [rows[k] for k in first],
            out.width,
            share_cell,
            heading="site (neurons)",
            footer=totals,
            foot="all",
        )
    )
    left = len(rows) - len(first)
    rest = f"{counted(left, 'more site')} with smaller shares; all are in --json" if left else ""
    for line in filter(None, (shown.thinned, rest)):
        out.print(Text(line, "quiet"))


def _first_sites(shares: Sequence[Sequence[float]]) -> list[int]:
    """The places of the sites whose shares are the largest at some step, in graph order."""
    return sorted(sorted(range(len(shares)), key=lambda k: -max(shares[k]))[:_MOST_SITES])


def _print_states(out: Console, tracking: Tracking) -> None:
    """A line for each step: how many neurons are in each state, and a bar."""
    totals = [step.summary for step in tracking.steps]
    states = [state for state in STATES if any(total[state] for total in totals)]
    table = ruled_table("step")
    for state in states:
        table.add_column(short_state(state), justify="right", no_wrap=True)
    table.add_column("states", no_wrap=True)
    room = out.width - 10 - sum(max(len(short_state(s)), 7) + 1 for s in states)
    headings = headings_of(tracking.steps)
    shown = thinned(len(totals), _MOST_ROWS)
    for place in shown:
        numbers = (
            Text(count(number), "quiet" if not number else "" if state == "active" else state)
            for state in states
            for number in [totals[place][state]]
        )
        counts = {state: totals[place][state] for state in STATES}
        label = short(tracking.steps[place].label, _LABEL)
        name = f"{headings[place]} {label}" if headings[place].startswith("#") else headings[place]
        table.add_row(Text(name), *numbers, share_bar(counts, max(8, min(_BAR, room))))
    out.print("\nStates over time", style="head")
    out.print(table)
    out.print(Padding(legend(dict.fromkeys(states, 1)), (0, 0, 0, 0)))
    if len(shown) < len(totals):
        out.print(Text(f"{len(shown)} of {len(totals)} steps, evenly spread; all are in --json", "quiet"))


def _print_ranks(out: Console, tracking: Tracking) -> None:
    places = _first_sites(
        [[step.sites[k].dead_share for step in tracking.steps] for k in range(len(tracking.states))]
    )
    if not any(math.isfinite(step.sites[k].effective_rank) for step in tracking.steps for k in places):
        return
    names = [f"{tracking.trajectories[k].name} ({tracking.trajectories[k].neurons:,})" for k in places]
    shown = columns(tracking.steps, room_for_steps(names, out.width), narrowest=_RANK)
    rows = [[step.sites[k].effective_rank for step in tracking.steps] for k in places]
    out.print("\nEffective rank of each site", style="head")
    out.print(step_table(shown, names, rows, out.width, _rank_cell, heading="site (neurons)"))
    left = len(tracking.trajectories) - len(places)
    rest = f"{counted(left, 'more site')} in --json" if left else ""
    for line in filter(None, (shown.thinned, rest)):
        out.print(Text(line, "quiet"))


def _rank_cell(rank: float) -> Text:
    return Text("" if math.isnan(rank) else f"{rank:,.1f}" if rank < 1000 else f"{rank:,.0f}")
