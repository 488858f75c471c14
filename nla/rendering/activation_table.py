"""Activations side by side, as text and as rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from nla.rendering.narrow import fitting, left_out
from nla.rendering.terminal import console, ruled
from nla.theory.activation_table import FLAT, ActivationTable, Row

_HEADINGS = ("φ", "values", "slopes", "flat at z", "turns at", "gain", "back", "dies", "saturates")
_DISPENSABLE = ("values", "turns at", "saturates", "back", "dies")


def activation_rows(found: ActivationTable) -> Iterator[dict[str, Any]]:
    """A row for each; intervals as [low, high] with '..' between, infinite where a side is left out."""
    for row in found.rows:
        plain = row.to_dict()
        plain["parameters"] = [f"{name}={value!r}" for name, value in plain["parameters"].items()]
        plain["flat"] = [f"{_end(low)}..{_end(high)}" for low, high in plain["flat"]]
        yield plain


def _end(value: float | None) -> str:
    return "" if value is None else repr(value)


def print_activations(found: ActivationTable, out: Console | None = None) -> None:
    """A line for each activation."""
    out = out or console()
    table = ruled()
    cells = [_cells(row) for row in found.rows]
    kept = fitting(_HEADINGS, cells, out.width, _DISPENSABLE)
    for at in kept:
        table.add_column(_HEADINGS[at], no_wrap=True)
    for row in cells:
        table.add_row(*(Text(row[at]) for at in kept))
    out.print(table)
    for line in (
        *filter(None, [left_out(_HEADINGS, kept)]),
        f"slopes: least and largest φ′; flat: |φ′| stays below {FLAT:g}; turns: φ′ changes its sign",
        "what keeps sizes: gain 1/√E[φ²], back 1/√E[φ′²]; dies: φ and φ′ vanish together",
        "every digit, parameters and curves: --format json",
    ):
        out.print(line, style="quiet")


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.activation.name,
        _interval(row.lowest, row.highest),
        f"{_short(row.slopes[0])} to {_short(row.slopes[1])}",
        ", ".join(_interval(low, high) for low, high in row.flat if math.inf in (-low, high)),
        ", ".join(map(_short, row.turns)),
        f"{row.forward_gain:.3f}",
        f"{row.backward_gain:.3f}",
        row.activation.dead_risk.partition(":")[0],
        row.activation.saturation_risk.partition(":")[0],
    )


def _interval(low: float, high: float) -> str:
    if low == -math.inf:
        return "all" if high == math.inf else f"≤ {_short(high, 2)}"
    return f"≥ {_short(low, 2)}" if high == math.inf else f"{_short(low, 2)} to {_short(high, 2)}"


def _short(value: float, decimals: int = 3) -> str:
    """So many decimals at most.

    >>> _short(-0.0), _short(1.0998393), _short(-0.12890), _short(1.0)
    ('0', '1.1', '-0.129', '1')
    """
    text = f"{value:.{decimals}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
