"""The table of an inspection: one line for each site."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from nla.lifecycle.results import STATES, Inspection, SiteResult
from nla.rendering.bars import share_bar
from nla.rendering.terminal import ruled
from nla.rendering.words import count, short, short_names

_ALWAYS = ("dead", "constant", "saturated", "dormant", "specialised", "active")
_HEADINGS = {
    "constant": "con-\nstant",
    "saturated": "satu-\nrated",
    "dormant": "dor-\nmant",
    "specialised": "special-\nised",
}
_BAR = 10
_LONGEST_KIND = 16
_NARROWEST_SITE = 16
_FAIR_SITE = 28


def site_table(inspection: Inspection, width: int) -> Table:
    """The table, at most `width` columns wide: the site's name gives way first, then the bar, the kind."""
    totals = inspection.summary
    states = [s for s in STATES if s in _ALWAYS or totals[s]]
    numbers = [_numbers(r.site.neurons, r.counts, states, r.effective_rank) for r in inspection.sites]
    footer = _numbers(totals["neurons"], totals, states, math.nan)
    headings = ["neurons", *(_HEADINGS.get(s, s) for s in states), "eff.\nrank"]
    kinds = [short(kind(result), _LONGEST_KIND) for result in inspection.sites]
    longest = max(len(result.name) for result in inspection.sites)
    layout = _layout(width, longest, headings, [*numbers, footer], kinds)
    table = _empty(layout, headings, footer, ["", *states, ""], totals_by_state(totals))
    names = short_names([result.name for result in inspection.sites], layout.room)
    for result, name, what, row in zip(inspection.sites, names, kinds, numbers, strict=True):
        cells = [_number(text, style) for text, style in zip(row, ["", *states, ""], strict=True)]
        between = [Text(what)] if layout.with_kind else []
        table.add_row(
            Text(name), *between, *cells, *([share_bar(result.counts, _BAR)] if layout.with_bar else [])
        )
    return table


def _empty(
    layout: _Layout, headings: list[str], footer: list[str], styles: list[str], totals: Mapping[str, int]
) -> Table:
    """The columns, with the totals at their feet."""
    table = ruled(layout.gap, footer=True)
    table.add_column("site", _sites(layout.sites), no_wrap=True)
    if layout.with_kind:
        table.add_column("kind", no_wrap=True, style="quiet", header_style="head")
    for heading, total, style in zip(headings, footer, styles, strict=True):
        table.add_column(heading, _number(total, style), justify="right", no_wrap=True)
    if layout.with_bar:
        table.add_column("states", share_bar(totals, _BAR), no_wrap=True)
    return table


def kind(result: SiteResult) -> str:
    """Role and activation, in two words; the role alone where there is no activation."""
    activation = result.site.activation.name
    return result.site.role if activation == "Identity" else f"{result.site.role} {activation}"


def totals_by_state(totals: Mapping[str, int]) -> dict[str, int]:
    """The summary without what is not a state."""
    return {state: totals[state] for state in STATES}


def _sites(number: int) -> Text:
    return Text("1 site" if number == 1 else f"{number:,} sites")


def _numbers(neurons: int, counts: Mapping[str, int], states: list[str], rank: float) -> list[str]:
    ranked = "" if math.isnan(rank) else f"{rank:,.1f}"
    return [count(neurons), *(count(counts[state]) for state in states), ranked]


def _number(text: str, state: str) -> Text:
    """A count; zeros step back, so that what is there stands out."""
    return Text(text, "quiet" if text == "0" else (state if state not in ("", "active") else ""))


@dataclass(frozen=True)
class _Layout:
    """What fits into a line."""

    sites: int
    room: int
    """Characters for the site's name."""
    gap: int
    """Spaces between two columns."""
    with_kind: bool = True
    with_bar: bool = True


def _layout(
    width: int, longest: int, headings: list[str], rows: list[list[str]], kinds: list[str]
) -> _Layout:
    """The roomiest layout in which the site's name keeps a fair share of its `longest` length."""
    cells = zip(headings, zip(*rows, strict=True), strict=True)
    widths = [max(map(len, [*heading.split("\n"), *column])) for heading, column in cells]
    for_kind = max(map(len, [*kinds, "kind"]))
    choices = [(2, True, True), (1, True, True), (1, True, False), (1, False, False)]
    for gap, with_kind, with_bar in choices:
        columns = len(widths) + with_kind + with_bar
        room = width - sum(widths) - for_kind * with_kind - _BAR * with_bar - gap * columns
        if room >= min(longest, _FAIR_SITE if gap > 1 else _NARROWEST_SITE):
            break
    return _Layout(len(kinds), max(room, 4), gap, with_kind, with_bar)
