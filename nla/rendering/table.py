"""The rows of `nla neurons`: CSV, JSON and Parquet with every digit, a table for people."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, TextIO

from nla.errors import MissingExtraError
from nla.lifecycle.table import NeuronTable
from nla.rendering.strict_json import json_text
from nla.rendering.terminal import console, painter, stream
from nla.rendering.words import count, counted, whole

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_SHOWN = (
    ("activation_rate", "activation\nrate"),
    ("mean_abs", "mean\n|a|"),
    ("max", "max\na"),
    ("dormancy_score", "dormancy\nscore"),
    ("contribution_score", "contribution\nscore"),
    ("fired_samples", "fired\nsamples"),
    ("rate_upper_bound", "rate\nbelow"),
    ("margin", "\nmargin"),
    ("certificate", "proved\nsilent"),
)


def print_csv(table: NeuronTable, out: TextIO | None = None) -> None:
    """Every column, on standard output or `out`; numbers with repr precision, an empty cell for what is not known."""
    writer = csv.writer(stream() if out is None else out, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.rows():
        writer.writerow([cell(value) for value in row.values()])


def cell(value: Any) -> str:
    """One CSV cell. A text that a spreadsheet would take for a formula is quoted with an apostrophe.

    >>> cell(0.1), cell(None), cell(("linear", "near_dead")), cell("=1+1"), cell(-0.5)
    ('0.1', '', 'linear;near_dead', "'=1+1", '-0.5')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        text = whole(value)
        return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
    if isinstance(value, tuple):
        return ";".join(value)
    return repr(value)


def print_json(table: NeuronTable, out: TextIO | None = None) -> None:
    """A list of objects, one for each neuron, on standard output or `out`; null for what is not known."""
    out = stream() if out is None else out
    out.write("[")
    for number, row in enumerate(table.rows()):
        plain = {name: _finite(value) for name, value in row.items()}
        out.write(("," if number else "") + "\n" + json_text(plain, indent=None).rstrip("\n"))
    out.write("\n]\n")


def need_parquet() -> None:
    """Raises MissingExtraError where pyarrow is not installed: before the work, not after it."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise MissingExtraError("Parquet", "arrow") from None


def write_parquet(table: NeuronTable, out: BinaryIO) -> None:
    """Every column as Parquet, with the types of `NeuronTable.to_arrow`, null for what is not known.

    The metadata of the schema hold where the numbers come from. The same table gives the same bytes, from one
    version of pyarrow.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    need_parquet()
    import pyarrow.parquet

    whole_file = pyarrow.BufferOutputStream()  # pyarrow's errors for a full disk or a closed pipe are its own
    pyarrow.parquet.write_table(table.to_arrow(), whole_file)
    out.write(whole_file.getvalue())


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(table: NeuronTable) -> None:
    """The columns that fit a terminal, with three digits, under the full name of their site.

    Lines are put together here and not by rich, which takes a millisecond for each: there may be a million.
    """
    out = console()
    rows = list(table.rows())
    if not rows:
        out.print("no neuron is so")
        return
    paint = painter(out)
    shown = [(name, heading) for name, heading in _SHOWN if name in table.columns]
    lines = [_line(row, [name for name, _ in shown]) for row in rows]
    widths = [max(map(len, column)) for column in zip(*_heads(shown), *lines, strict=True)]
    for head in _heads(shown):
        out.file.write(paint(_aligned(head, widths), "head") + "\n")
    out.file.write("─" * (sum(widths) + len(widths) - 1) + "\n")
    site = None
    for row, line in zip(rows, lines, strict=True):
        if row["site"] != site:
            site = row["site"]
            out.file.write(paint(whole(site), "head") + "\n")
        cells = _aligned(line, widths)
        start = widths[0] + 1
        state = paint(cells[start : start + widths[1]], row["state"])
        out.file.write(f"{cells[:start]}{state}{cells[start + widths[1] :]}\n")
    out.print(f"{counted(len(rows), 'neuron')}; every column: --format csv", style="quiet")


def _heads(shown: Sequence[tuple[str, str]]) -> list[list[str]]:
    """The two lines over the columns."""
    headings = ["\nindex", "\nstate", "\nflags", *(heading for _, heading in shown)]
    return [list(line) for line in zip(*(heading.split("\n") for heading in headings), strict=True)]


def _line(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [str(row["index"]), row["state"], " ".join(row["flags"]), *(_digits(row[name]) for name in names)]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """State and flags to the left, numbers to the right."""
    return " ".join(
        cell.ljust(width) if i in (1, 2) else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()


def _digits(value: Any) -> str:
    """A number in at most nine characters or so; a word as it is.

    >>> _digits(0.000123456), _digits(12345), _digits(None), _digits(0.25)
    ('0.000123', '12,345', '', '0.25')
    """
    if value is None or isinstance(value, str):
        return "" if value is None else value
    return count(value) if isinstance(value, int) else f"{value:.3g}"
