"""Initialisation schemes for a layer, or what the layers of a checkpoint look like, as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nla.rendering.checkpoint import checkpoint_facts
from nla.rendering.narrow import fitting
from nla.rendering.terminal import console, ruled
from nla.rendering.words import count, counted, hanging, percent, several, short_names, whole
from nla.weights.initialisation import STRENGTHS, Initialisation, LayerInitialisation

_MOST_ROWS = 40
_MEANS = {
    "strong": "the exact range of the scheme is filled (had most of n weights moved by more than 1/n of it, it would "
    "not be), or the bias is zero throughout",
    "weak": "no scheme's difference shows; a little training would not show either",
    "against": "every scheme is rejected at 1 %: moved, or drawn from something else; the nearest is named",
    "none": "too few weights to compare, or all zero, or not finite",
}
_GAINS = 8
_WIDE = 84
"""Characters that leave room for the last column."""


def print_initialisation(found: Initialisation, out: Console | None = None) -> None:
    """The schemes and gains, or the layers."""
    out = out or console()
    if found.fans is not None:
        _schemes(found, out)
    else:
        _layers(found, out)


def _table(headings: Sequence[str], left: int) -> Table:
    table = ruled()
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="right" if 0 < at < left else "left", no_wrap=True)
    return table


def _schemes(found: Initialisation, out: Console) -> None:
    fan_in, fan_out = found.fans or (0, 0)
    out.print(Text(f"layer       {counted(fan_in, 'input')}, {counted(fan_out, 'output')}\n"))
    headings: tuple[str, ...] = ("scheme", "variance", "std", "largest |w|", "gain", "whose")
    headings = headings if out.width >= _WIDE else headings[:-1]
    table = _table(headings, 5)
    if out.width >= _WIDE:
        table.columns[-1].no_wrap = False
    for row in found.schemes:
        bound = "" if row.bound is None else f"{row.bound:.5g}"
        cells = (row.name, f"{row.variance:.5g}", f"{row.std:.5g}", bound, f"{row.gain:.4f}", row.said)
        table.add_row(*map(Text, cells[: len(headings)]))
    out.print(table)
    out.print(
        Text(
            hanging(
                "gain: std·√fan_in. Table 2 of the lifecycle paper prints 1/√2 for Xavier, which is the rms that a "
                "ReLU layer loses under it; a Keras normal is truncated at two standard deviations of its own",
                out.width,
                "",
                "",
            ),
            "quiet",
        )
    )
    out.print("\nGains that keep sizes", style="head")
    gains = _table(("activation", "forward 1/√E[φ²]", "backward 1/√E[φ′²]"), 3)
    for gain in found.gains[:_GAINS]:
        gains.add_row(gain.activation, f"{gain.forward:.4f}", f"{gain.backward:.4f}")
    out.print(gains)
    out.print(Text("of standard normal z; all activations: nla theory activations", "quiet"))


def _layers(found: Initialisation, out: Console) -> None:
    model = found.checkpoint or {}
    line = Text("model       ").append(whole(model.get("path", "")), "head")
    out.print(line.append("  " + " · ".join(map(whole, checkpoint_facts(model, model.get("parameters"))))))
    for note in found.notes:
        out.print(Text(hanging(note, out.width, "note        ", " " * 12)))
    out.print()
    shown = found.layers[:_MOST_ROWS]
    headings: tuple[str, ...] = ("layer", "weights", "std ratio", "distance", "scheme", "evidence", "because")
    rows = [_row(each) for each in shown]
    kept = fitting(headings[1:], rows, out.width - 14, ("distance", "weights", "std ratio"))
    headings = (headings[0], *(headings[1 + at] for at in kept))
    rows = [tuple(row[at] for at in kept) for row in rows]
    taken = sum(
        2 + max(len(heading), *map(len, column))
        for heading, column in zip(headings[1:], zip(*rows, strict=True), strict=True)
    )
    table = _table(headings, headings.index("scheme"))
    table.columns[-1].no_wrap = False
    names = short_names([each.layer.name for each in shown], max(12, out.width - taken))
    for name, cells in zip(names, rows, strict=True):
        table.add_row(*map(Text, (name, *cells)))
    out.print(table)
    hidden = len(found.layers) - len(shown)
    if hidden:
        out.print(Text(f"and {counted(hidden, 'layer')} more: --format csv lists all", "quiet"))
    out.print("\nEvidence that weights are as they were drawn", style="head")
    for said in _said(found):
        out.print(Text(hanging(said, out.width)))
    if found.unread_layers:
        out.print("\nNot read", style="head")
        for name, why in found.unread_layers:
            out.print(Text(hanging(f"{whole(name)}: {why}", out.width)))


def _row(found: LayerInitialisation) -> tuple[str, ...]:
    layer = found.layer
    like = next((one for one in layer.likenesses if one.scheme == found.scheme), None)
    tied = len(layer.nearest) - 1 if found.strength in ("strong", "weak") and not found.range_filled else 0
    if like is None:
        return count(layer.elements), "", "", "", found.strength, ""
    return (
        count(layer.elements),
        f"{like.std_ratio:.3f}" if like.std_ratio < 1000 else f"{like.std_ratio:.2g}",
        f"{like.distance:.3f}",
        found.scheme + (f" +{tied}" if tied else ""),
        found.strength,
        ", ".join(_because(found)),
    )


def _because(found: LayerInitialisation) -> Iterable[str]:
    if found.range_filled:
        yield "range filled"
    if found.bias_zero:
        yield "bias zero"
    if found.strength == "weak":
        yield f"std within {percent(found.layer.power.detectable)}"


def _said(found: Initialisation) -> Iterable[str]:
    for strength in STRENGTHS:
        names = [whole(each.layer.name) for each in found.layers if each.strength == strength]
        if names:
            yield f"{strength}: {_MEANS[strength]} ({several(names)})"
    if any(each.bias_zero for each in found.layers):
        yield "A bias that was frozen stays zero too, whatever became of the weights."
    yield (
        "A spectrum alone proves nothing. Proof is an initial checkpoint: "
        "nla inspect MODEL --data DATA --initial CHECKPOINT names the neurons that are unchanged."
    )
