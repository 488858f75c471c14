"""What the user knows of each run besides, such as its accuracy: a value for each run, under a name."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence

from nla.errors import UsageError, one_line, printable

Value = float | str | None
"""A number, a text, or None for a run of which nothing is said."""
Columns = dict[str, tuple[Value, ...]]

LARGEST_BYTES = 10_000_000
_NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d+)?")


def given_columns(column: Mapping[str, Sequence[object] | str], runs: int) -> Columns:
    """Columns given as a value for each run, or as text with commas between; None and '' say nothing.

    >>> given_columns({"accuracy": "0.97,0.98", "optimiser": ["adam", "sgd"]}, 2)
    {'accuracy': (0.97, 0.98), 'optimiser': ('adam', 'sgd')}

    Raises:
        UsageError: not one value for each run.
    """
    found: Columns = {}
    for name, values in column.items():
        listed = values.split(",") if isinstance(values, str) else list(values)
        if len(listed) != runs:
            raise UsageError(
                f"column {printable(name)!r} has {len(listed)} values for {runs} runs; give one for each run"
            )
        found[name] = tuple(_value(value) for value in listed)
    return found


def read_columns(text: str, labels: Sequence[str], where: str) -> Columns:
    """The columns of a CSV table with a head, whose first column names the runs by their labels.

    Raises:
        UsageError: it is no such table, names no run, names one twice, or a column twice.
    """
    rows = _rows(text, where)
    if not rows or len(rows[0]) < 2:
        raise UsageError(
            f"{where} holds no table: expected a line of names, the first for the runs, and a line for each run"
        )
    head = [name.strip() for name in rows[0]]
    if "" in head[1:] or len(set(head)) < len(head):
        raise UsageError(f"{where}: its first line gives a column no name, or one name twice")
    found: dict[str, list[str]] = {}
    for number, row in enumerate(rows[1:], 2):
        label = row[0].strip()
        if len(row) > len(head):
            raise UsageError(f"{where}, row {number}: {len(row)} cells under {len(head)} names")
        if label in found:
            raise UsageError(f"{where}, row {number}: run {printable(label)!r} comes twice")
        found[label] = [*row[1:], *[""] * (len(head) - len(row))]
    if not set(found) & set(labels):
        known = ", ".join(printable(label) for label in labels[:5])
        raise UsageError(f"{where} names none of the runs, which are called {known}: its first column does")
    empty = [""] * (len(head) - 1)
    each = [found.get(label, empty) for label in labels]
    return {name: tuple(_value(row[k]) for row in each) for k, name in enumerate(head[1:])}


def unnamed(text: str, labels: Sequence[str]) -> tuple[str, ...]:
    """Runs that the table of `read_columns` says nothing of."""
    named = {row[0].strip() for row in _rows(text, "")}
    return tuple(label for label in labels if label not in named)


def _rows(text: str, where: str) -> list[list[str]]:
    """The lines that are not blank. Raises UsageError."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise UsageError(f"{where} is no CSV table: {one_line(error, 100)}") from None
    return [row for row in rows if any(cell.strip() for cell in row)]


def _value(value: object) -> Value:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else None
    text = str(value).strip()
    if not text:
        return None
    number = float(text) if _NUMBER.fullmatch(text) else None
    return number if number is not None and math.isfinite(number) else text
