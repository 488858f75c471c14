"""Tables on narrow terminals: whole columns are left out, never the end of a number."""

from __future__ import annotations

from collections.abc import Sequence

_BETWEEN = 2
"""Characters between two columns."""


def fitting(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    dispensable: Sequence[str],
    gap: int = _BETWEEN,
) -> list[int]:
    """The columns that fit the width, by number: of `dispensable` headings the first are left out first.

    >>> fitting(["z", "mean", "error"], [["1", "2.5", "0.25"]], 9, ["error"])
    [0, 1]
    """
    kept = list(range(len(headings)))
    widths = [max(map(len, (heading, *(row[at] for row in rows)))) for at, heading in enumerate(headings)]
    for name in dispensable:
        if sum(widths[at] + gap for at in kept) - gap <= width:
            break
        kept.remove(headings.index(name))
    return kept


def left_out(headings: Sequence[str], kept: Sequence[int]) -> str:
    """What is said of the columns that are not shown; "" where all are."""
    gone = [heading for at, heading in enumerate(headings) if at not in kept]
    return f"too narrow for {', '.join(gone)}: a wider terminal or --format csv has it all" if gone else ""
