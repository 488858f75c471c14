"""Tables with a column for each step of a series, thinned where there are more than fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from nla.rendering.terminal import ruled
from nla.rendering.words import short_names
from nla.tracking.results import Step

MOST_STEPS = 13
_FAIR_NAME = 24
_LONGEST_NAME = 34
_LONGEST_HEADING = 9
_NARROWEST = 4
"""Characters of a share, see `percents`."""


@dataclass(frozen=True)
class Columns:
    """The steps that are shown, and what stands over them."""

    places: tuple[int, ...]
    headings: tuple[str, ...]
    total: int

    @property
    def thinned(self) -> str:
        """What a reader must know where not all steps are shown; else empty."""
        if len(self.places) == self.total:
            return ""
        return f"{len(self.places)} of {self.total} steps, evenly spread; all are in --json"


def columns(
    steps: Sequence[Step], width: int, most: int = MOST_STEPS, narrowest: int = _NARROWEST
) -> Columns:
    """As many steps as fit into `width` characters, the first and the last among them."""
    headings = headings_of(steps)
    room = max(2, min(most, width // (max(narrowest, *(len(text) for text in headings)) + 1)))
    places = thinned(len(steps), room)
    return Columns(places, tuple(headings[place] for place in places), len(steps))


def thinned(total: int, most: int) -> tuple[int, ...]:
    """At most so many of the places 0 … total - 1, evenly spread, first and last among them.

    >>> thinned(5, 3), thinned(2, 13)
    ((0, 2, 4), (0, 1))
    """
    if total <= most:
        return tuple(range(total))
    return tuple(round(k * (total - 1) / (most - 1)) for k in range(most))


def headings_of(steps: Sequence[Step]) -> list[str]:
    """A short name for each step, no two the same: its number, in thousands where these tell steps apart; its label
    where no step is known; else its place, as in '#3'."""
    numbers = [step.step for step in steps]
    known = [number for number in numbers if number is not None]
    if known and len(known) == len(set(known)):
        brief = {number: _brief(number) for number in known}
        apart = len(set(brief.values())) == len(known)
        return [
            f"#{place + 1}" if number is None else brief[number] if apart else str(number)
            for place, number in enumerate(numbers)
        ]
    names = short_names([step.label for step in steps], _LONGEST_HEADING)
    return names if len(set(names)) == len(names) else [f"#{place + 1}" for place in range(len(steps))]


def _brief(number: int) -> str:
    """At most five characters.

    >>> _brief(12), _brief(86881), _brief(5499980)
    ('12', '86.9k', '5.5M')
    """
    for size, unit in ((1, ""), (1e3, "k"), (1e6, "M"), (1e9, "G")):
        if number < 9999.5 * (size if size == 1 else size / 10):
            return f"{number / size:.3g}{unit}" if size > 1 else str(number)
    return f"{number:.1e}"


Cell = Callable[[float], Text]


def step_table(
    shown: Columns,
    names: Sequence[str],
    rows: Sequence[Sequence[float]],
    width: int,
    cell: Cell,
    *,
    heading: str = "site",
    footer: Sequence[float] | None = None,
    foot: str = "",
) -> Table:
    """A line for each name: its value at each shown step; NaN is left empty."""
    table = ruled(1, footer=footer is not None)
    table.add_column(heading, Text(foot), no_wrap=True)
    for place, text in zip(shown.places, shown.headings, strict=True):
        last = cell(footer[place]) if footer is not None else ""
        table.add_column(Text(text), last, justify="right", no_wrap=True, min_width=_NARROWEST)
    taken = sum(max(_NARROWEST, len(text)) + 1 for text in shown.headings)
    for name, row in zip(short_names(names, max(12, width - taken - 1)), rows, strict=True):
        table.add_row(Text(name), *(cell(row[place]) for place in shown.places))
    return table


def room_for_steps(names: Sequence[str], width: int) -> int:
    """Characters that are left for the steps beside names of fair length."""
    longest = max((len(name) for name in names), default=0)
    return width - min(max(longest, _FAIR_NAME // 2), _LONGEST_NAME) - 1


def share_cell(share: float) -> Text:
    """A share in percent, one decimal: zeros step back, a tenth and more stands out.

    >>> share_cell(0.2421875).plain, share_cell(0.0).plain, share_cell(0.9999).plain
    ('24.2', '0', '99.9')
    """
    if math.isnan(share):
        return Text("")
    return Text(percents(share), "quiet" if share == 0 else "dead" if share >= 0.1 else "")


def plain_cell(share: float) -> Text:
    """A share in percent without an opinion on it."""
    return Text("" if math.isnan(share) else percents(share), "quiet" if share == 0 else "")


def percents(share: float) -> str:
    """In at most four characters; neither 0 nor 100 where it is not that.

    >>> percents(1.0), percents(0.0001), percents(0.5)
    ('100', '<0.1', '50.0')
    """
    if share in (0, 1):
        return f"{100 * share:.0f}"
    if share < 0.0005:
        return "<0.1"
    return f"{min(100 * share, 99.9):.1f}"


def ruled_table(first: str) -> Table:
    """An empty table whose first column bears this heading."""
    table = ruled()
    table.add_column(first, no_wrap=True)
    return table


def short_state(state: str) -> str:
    """A state's name as a heading.

    >>> short_state("specialised"), short_state("dead")
    ('special.', 'dead')
    """
    return {"specialised": "special.", "saturated": "satur."}.get(state, state)
