"""A small bar of the states of a site's neurons; readable without colour: every state has its own mark."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

MARKS = {
    "dead": "█",
    "constant": "▓",
    "saturated": "▒",
    "dormant": "░",
    "born": "▫",
    "specialised": "▪",
    "active": "·",
    "unknown": "?",
}


def share_bar(counts: Mapping[str, int], width: int) -> Text:
    """`width` marks, each for an equal part of the neurons, in the order of the states.

    A state gets the marks that its share earns, largest remainders first, so that the marks sum to the width.

    >>> share_bar({"dead": 1, "active": 3}, 8).plain
    '██······'
    """
    total = sum(counts.values())
    if total == 0:
        return Text(" " * width)
    earned = {state: counts.get(state, 0) * width / total for state in MARKS}
    marks = {state: int(share) for state, share in earned.items()}
    by_remainder = sorted(earned, key=lambda state: marks[state] - earned[state])
    for state in by_remainder[: width - sum(marks.values())]:
        marks[state] += 1
    bar = Text()
    for state, number in marks.items():
        bar.append(MARKS[state] * number, style=state)
    return bar


def legend(counts: Mapping[str, int]) -> Text:
    """Which mark stands for which state, for the states that occur."""
    text = Text()
    for state, mark in MARKS.items():
        if counts.get(state):
            text.append("  " if text else "").append(mark, style=state).append(f" {state}", style="quiet")
    return text
