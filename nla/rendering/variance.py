"""The size of pre-activations layer by layer, as text."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from nla.rendering.narrow import fitting, left_out
from nla.rendering.terminal import console, ruled
from nla.rendering.words import counted, hanging
from nla.theory.simulation.sizes import Sizes, VarianceTable

_MOST = 24
"""Layers that are printed: all of few, else the powers of 2 and the last."""


def print_variance(found: VarianceTable, out: Console | None = None) -> None:
    """For each scheme a line a layer."""
    out = out or console()
    settings = found.settings
    facts = [
        f"{counted(settings['depth'], 'layer')} of {settings['width']:,}",
        settings["activation"]["name"],
        "standard normal data",
    ]
    if settings["networks"]:
        facts += [
            f"measured on {counted(settings['networks'], 'network')} and {counted(settings['points'], 'point')}",
            f"seed {settings['seed']}",
        ]
    out.print(Text(hanging(", ".join(facts), out.width, "network   ", " " * 10)))
    kept: list[int] = []
    for each in found.schemes:
        out.print(f"\n{each.predicted.scheme}", style="head")
        kept = _print_table(each, settings["networks"] > 0, out)
    narrow = left_out(_headings(settings["networks"] > 0), kept)
    if narrow:
        out.print(narrow, style="quiet")
    out.print(
        "E[z²]: over weights and data; Var[z]: over data at given weights; eq. 5: as printed, Var[a] for E[a²]",
        style="quiet",
    )


def _headings(measured: bool) -> list[str]:
    return ["layer", "E[z²]", "Var[z]", "eq. 5", *(["E[z²] measured", "Var[z] measured"] if measured else [])]


def _print_table(each: Sizes, measured: bool, out: Console) -> list[int]:
    """Prints the columns that fit, and gives their numbers."""
    headings, rows = _headings(measured), _rows(each, measured)
    kept = fitting(headings, rows, out.width, ("eq. 5", "Var[z] measured", "E[z²] measured"), 3)
    table = ruled(3)
    for at in kept:
        table.add_column(headings[at], justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[at] for at in kept))
    out.print(table)
    return kept


def _rows(each: Sizes, measured: bool) -> list[list[str]]:
    rows = []
    columns = each.columns()
    depth = len(columns["mean_square"])
    layers = (
        range(depth)
        if depth <= _MOST
        else sorted({2**k - 1 for k in range(depth.bit_length())} | {depth - 1})
    )
    for at in layers:
        cells = [
            str(at + 1),
            *(_number(columns[name][at]) for name in ("mean_square", "over_data", "as_printed")),
        ]
        for name in ("mean_square", "over_data") if measured else ():
            error = columns[f"{name}_error"][at]
            doubt = f" ± {_number(error)}" if len(each.mean_square) > 1 else ""
            cells.append(_number(columns[f"{name}_measured"][at]) + doubt)
        rows.append(cells)
    return rows


def _number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"
