"""Random networks that were counted, as text: a line for each width, a column for every depth that is a power of 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from nla.rendering.terminal import console, ruled
from nla.rendering.words import count, counted, hanging
from nla.theory.simulation.results import Series, Simulation
from nla.theory.simulation.settings import FIGURES, PHASES
from nla.theory.widths import borders

_COLUMNS = 11
_ABOUT = {
    "independent": "independent parameters",
    "flipped": "signs flipped where a layer kills more than half of the living points",
    "normalised": "batch normalisation over all points",
    "normalised-living": "batch normalisation over living points alone",
}


def print_simulation(found: Simulation, out: Console | None = None) -> None:
    """The figure's numbers with their Monte Carlo error."""
    out = out or console()
    settings = found.settings
    out.print(Text(hanging(FIGURES[settings.figure], out.width, f"figure {settings.figure}  ", " " * 10)))
    facts = [
        f"{counted(settings.networks, 'network')} of each width",
        f"{counted(settings.points, 'point')} each",
        "biases drawn like the weights" if settings.bias else "no biases",
        "no negative data" if settings.non_negative else "data of both signs",
        f"seed {settings.seed}",
    ]
    out.print(Text(hanging(", ".join(facts), out.width, " " * 10, " " * 10)))
    {2: _alive, 4: _paths, 5: _variances, 6: _shares, PHASES: _phases}[settings.figure](found, out)
    out.print("every depth, with 95 % intervals and bounds: --format csv", style="quiet")


def _powers(depth: int, most: int = _COLUMNS) -> list[int]:
    found = [2**k for k in range(depth.bit_length())]
    if found[-1] != depth:
        found.append(depth)
    return found[-most:]


def _grid(title: str, series: Sequence[Series], cell: Callable[[Series, int], str], out: Console) -> None:
    depths = _powers(max(each.task.depth for each in series))
    table = ruled()
    table.add_column("width", justify="right")
    for depth in depths:
        table.add_column(f"{count(depth)}", justify="right", no_wrap=True)
    for each in series:
        cells = [cell(each, depth) if depth <= each.task.depth else "" for depth in depths]
        table.add_row(str(each.task.width), *cells)
    out.print(f"\n{title}, by depth", style="head")
    out.print(table)


def _alive(found: Simulation, out: Console) -> None:
    _grid(
        "Share of networks born alive",
        found.series,
        lambda each, depth: _share(each.probability[depth - 1]),
        out,
    )
    outside = [
        (each.task.width, depth)
        for each in found.series
        for depth in each.depths
        if not _inside(each, depth - 1)
    ]
    cells = sum(each.task.depth for each in found.series)
    widest = max(float((each.interval[1] - each.interval[0]).max()) for each in found.series)
    said = (
        f"{count(cells - len(outside))} of {count(cells)} cells have a 95 % interval (at most {widest:.3f} wide) "
        "that meets what both bounds allow"
    )
    out.print(Text(hanging(said, out.width, "bounds  ", " " * 8)))


def _inside(series: Series, at: int) -> bool:
    (low, high), (lower, upper) = series.interval, series.bounds
    return bool(high[at] >= lower[at] and low[at] <= upper[at])


def _shares(found: Simulation, out: Console) -> None:
    for scheme in found.schemes:
        series = found.of(scheme)
        _grid(
            f"Mean share of data that lives: {_ABOUT[scheme]}",
            series,
            lambda each, depth: _share(each.share[depth - 1]),
            out,
        )


def _phases(found: Simulation, out: Console) -> None:
    plain, residual = (found.of(scheme) for scheme in found.schemes)
    _grid("Plain: networks born alive", plain, lambda each, depth: _share(each.probability[depth - 1]), out)
    _grid(
        "Plain: mean share of data that lives", plain, lambda each, depth: _share(each.share[depth - 1]), out
    )
    _grid("Residual: share of layers that are silent on all data", residual, _silent, out)
    dead = sum(each.task.networks - int(each.alive[-1]) for each in residual)
    depth = found.settings.depth
    lower, upper = borders(0.5, depth, bias=False, non_negative=found.settings.non_negative)
    widest = max(float((each.interval[1] - each.interval[0]).max()) for each in found.series)
    for heading, said in (
        (
            "borders   ",
            f"at {counted(depth, 'layer')} of a plain network the lower bound is one half at width {lower:.1f}, the "
            f"upper one at {upper:.1f}; of single points the lower one is the truth",
        ),
        (
            "residual  ",
            f"{count(dead)} of {counted(len(residual) * found.settings.networks, 'network')} dead: what a layer "
            "silences goes round it; that a layer is silent has a probability of 2^-width at most",
        ),
        ("error     ", f"the 95 % intervals of shares of networks are {widest:.3f} wide at most"),
    ):
        out.print(Text(hanging(said, out.width, heading, " " * len(heading))))


def _silent(series: Series, depth: int) -> str:
    share = series.silent_share
    return "" if share is None else _share(float(share[depth - 1]))


def _variances(found: Simulation, out: Console) -> None:
    def median(each: Series, depth: int) -> str:
        quartiles = each.quartiles.get(depth)
        return "" if quartiles is None else f"{quartiles[1]:.3f}"

    _grid("Median normalised variance of the living data", found.series, median, out)


def _paths(found: Simulation, out: Console) -> None:
    table = ruled(3)
    for heading in (
        "p",
        "depth k",
        "width n(k)",
        "born alive",
        "95 % interval",
        "lower bound",
        "living data",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for probability, rows in found.paths().items():
        shown = [row for row in rows if row["depth"] in _powers(found.settings.depth)]
        for number, row in enumerate(shown):
            table.add_row(f"{probability:g}" if not number else "", *_path_cells(row))
    out.print()
    out.print(table)


def _path_cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        count(row["depth"]),
        str(row["width"]),
        _share(row["probability"]),
        f"{_share(row['low'])} to {_share(row['high'])}",
        _share(row["lower_bound"]),
        _share(row["living_share"]),
    )


def _share(value: float) -> str:
    """Three decimals, and 0 and 1 for these alone.

    >>> _share(0.36532), _share(0.99999), _share(1.0), _share(0.00001), _share(0.0)
    ('0.365', '>.999', '1', '<.001', '0')
    """
    if value in (0, 1):
        return f"{value:.0f}"
    return "<.001" if value < 0.0005 else ">.999" if value >= 0.9995 else f"{value:.3f}"
