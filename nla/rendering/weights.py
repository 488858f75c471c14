"""What weights alone tell, as text: that nothing was seen, the sites, the layers, and what each number is worth."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nla.rendering.checkpoint import checkpoint_facts
from nla.rendering.surgery import print_notes
from nla.rendering.terminal import console, ruled
from nla.rendering.text import print_not_understood
from nla.rendering.weight_sentences import certain, faults, gradient, initialisation, label, skipped
from nla.rendering.words import count, counted, hanging, percent, short, whole
from nla.weights.results import LayerWeights, SiteWeights, WeightInspection, spread

_MOST_LAYERS = 40
_LONGEST_KIND = 16
_NARROWEST = 12
_KINDS = {"exact": "", "estimate": "~", "bound": "≤"}


def print_weights(found: WeightInspection, out: Console | None = None) -> None:
    """Everything that a reader needs at first; the document (`--json`) is complete."""
    out = out or console()
    out.print(Text(" NO DATA: no activation was seen; all that follows is read off the weights ", "warning"))
    out.print(_model(found))
    out.print()
    out.print(_site_table(found, out.width))
    out.print()
    if found.layers:
        out.print(_layer_table(found.layers[:_MOST_LAYERS], out.width))
        left = len(found.layers) - _MOST_LAYERS
        if left > 0:
            out.print(Text(f"and {counted(left, 'layer')} more: --json has all of them", "quiet"))
        out.print(Text(_legend(found.layers), "quiet"))
    for heading, lines in (
        ("Certain, whatever the input", certain(found)),
        ("Initialisation", initialisation(found.layers)),
        ("Gradient", gradient(found)),
        ("Faults in the weights", faults(found.layers)),
        ("Not judged", skipped(found)),
    ):
        _print_section(out, heading, list(lines))
    print_not_understood(out, found.not_understood)
    print_notes(out, found.notes)
    out.print(Text("\nTo see activations: ", "quiet").append(_command(found), "command"), soft_wrap=True)


def _print_section(out: Console, heading: str, lines: Sequence[str]) -> None:
    if lines:
        out.print(f"\n{heading}", style="head")
        for line in lines:
            out.print(Text(hanging(line, out.width)))


def _command(found: WeightInspection) -> str:
    """What replays data, to be pasted; what was said of a checkpoint without a graph is said again."""
    words = ["nla", "inspect", whole(found.checkpoint.get("path", "MODEL"))]
    for option in ("graph", "layers", "activation"):
        said = found.checkpoint.get(option)
        if said is not None:
            words += [f"--{option}", whole(",".join(said) if isinstance(said, list) else said)]
    return f"{shlex.join(words)} --data DATA"


def _model(found: WeightInspection) -> Text:
    checkpoint = found.checkpoint
    line = Text().append(f"{'model':<8}", "quiet").append(short(str(checkpoint.get("path", "")), 60), "head")
    return line.append("  " + " · ".join(map(whole, checkpoint_facts(checkpoint))))


# --- tables


def _table(name: str, headings: Sequence[str], footer: Sequence[str] | None = None) -> Table:
    table = ruled(footer=footer is not None)
    feet = footer or [""] * (len(headings) + 1)
    table.add_column(name, Text(feet[0]), no_wrap=True)
    for heading, foot in zip(headings, feet[1:], strict=True):
        left = heading.lstrip().startswith(("kind", "looks"))
        table.add_column(heading, Text(foot), justify="left" if left else "right", no_wrap=True)
    return table


def _room(width: int, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Characters that the other columns leave for a name."""
    cells = zip(headings, zip(*rows, strict=True), strict=True) if rows else ()
    taken = sum(2 + max(map(len, (*heading.split("\n"), *column))) for heading, column in cells)
    return max(_NARROWEST, width - taken - 1)


def _tails(names: Sequence[str], room: int) -> list[str]:
    """The names, cut at the front where they are too long: numbers of layers stand behind."""
    return [name if len(name) <= room else f"…{name[1 - room :]}" for name in map(whole, names)]


def _filled(table: Table, names: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    for name, row in zip(names, rows, strict=True):
        table.add_row(Text(name), *(Text(cell, "quiet" if cell in ("0", "0 %", "?") else "") for cell in row))
    return table


def _site_table(found: WeightInspection, width: int) -> Table:
    totals = found.summary
    headings = [
        "kind",
        "neurons",
        "dead",
        "constant",
        "unread",
        "repeats",
        "|w in|\nmedian",
        "|w out|\nmedian",
    ]
    rows = [_site_row(site) for site in found.sites]
    totalled = [count(totals[name]) for name in ("neurons", "dead", "constant", "unread", "duplicates")]
    footer = ["1 site" if len(rows) == 1 else f"{len(rows):,} sites", "", *totalled, "", ""]
    names = _tails([site.name for site in found.sites], _room(width, headings, [*rows, footer[1:]]))
    return _filled(_table("site", headings, footer), names, rows)


def _site_row(found: SiteWeights) -> list[str]:
    site, counts = found.site, found.counts
    activation = site.activation.name
    kind = site.role if activation == "Identity" else f"{site.role} {activation}"
    judged = not found.skipped
    return [
        short(kind, _LONGEST_KIND),
        count(site.neurons),
        *(count(counts[state]) if judged else "?" for state in ("dead", "constant")),
        "?" if found.unread_count is None else count(found.unread_count),
        count(found.duplicates) if found.compared or (judged and not counts["unknown"]) else "?",
        *(_three(math.nan if norms is None else norms[1]) for norms in _norms(found)),
    ]


def _norms(found: SiteWeights) -> Iterator[tuple[float, float, float] | None]:
    """(least, median, largest) norm of incoming and of outgoing weights; None where not known."""
    yield spread(found.incoming_norm)
    yield spread(found.outgoing_norm)


def _three(value: float) -> str:
    """Three digits.

    >>> _three(0.03514), _three(26.09), _three(123456.0), _three(float("nan"))
    ('0.0351', '26.1', '1.23e+05', '?')
    """
    return "?" if math.isnan(value) else f"{value:.3g}"


def _layer_table(layers: Sequence[LayerWeights], width: int) -> Table:
    headings = ["shape", "std", "spectral\nnorm", "zeros", "looks like", "std\nratio", "distance"]
    rows = [_layer_row(layer) for layer in layers]
    names = _tails([label(layer) for layer in layers], _room(width, headings, rows))
    return _filled(_table("layer", headings), names, rows)


def _legend(layers: Sequence[LayerWeights]) -> str:
    """What the signs before norms mean, where there are some, and what the last columns compare with."""
    kinds = {layer.operator_kind for layer in layers}
    told = ["after none stands the nearest scheme; std ratio and distance are to the one named"]
    told += ["≤ a bound, for a convolution's norm depends on its input's size"] if "bound" in kinds else []
    told += ["~ from below, by an iteration"] if "estimate" in kinds else []
    return "; ".join(told)


def _layer_row(layer: LayerWeights) -> list[str]:
    first = layer.likenesses[0] if layer.likenesses else None
    return [
        "×".join(map(str, layer.shape)),
        _three(layer.std),
        f"{_KINDS[layer.operator_kind]}{_three(layer.operator_norm)}",
        "< 0.01 %" if 0 < layer.sparsity < 1e-4 else percent(layer.sparsity),
        _looks(layer),
        "" if first is None else _ratio(first.std_ratio),
        "" if first is None else f"{first.distance:.2g}",
    ]


def _ratio(value: float) -> str:
    """Two decimals, as long as that says something.

    >>> _ratio(1.0), _ratio(0.998), _ratio(0.0004)
    ('1.00', '1.00', '0.0004')
    """
    return f"{value:.2f}" if 0.1 <= value < 1000 else f"{value:.2g}"


def _looks(layer: LayerWeights) -> str:
    if not layer.likenesses:
        return "?"
    if layer.rejected:
        return f"none; {layer.nearest[0]}"
    more = len(layer.nearest) - 1
    return f"{layer.nearest[0]}{f' (or {more} more)' if more else ''}"
