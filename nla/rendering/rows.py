"""Rows of plain values as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from typing import Any

from nla.rendering.table import cell
from nla.rendering.terminal import stream


def print_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows on standard output, with the keys of the first as columns; ';' between what lists hold, nothing for None."""
    writer, columns = csv.writer(stream(), lineterminator="\n"), None
    for row in rows:
        if columns is None:
            columns = list(row)
            writer.writerow(columns)
        writer.writerow([_cell(row[name]) for name in columns])


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ";".join(map(cell, value)) if isinstance(value, list) else cell(value)
