"""Gradient flow as text."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nla.rendering.checkpoint import checkpoint_facts
from nla.rendering.terminal import console, ruled
from nla.rendering.words import count, counted, hanging, several, short_names, whole
from nla.theory.gradient_flow import EXPLODING, FAR, NONE, VACUOUS, VANISHING, GradientFlow, LayerGradient

_MOST_ROWS = 60
_HEADINGS = ("neurons", "mean ‖δ‖", "median", "× output", "eq. 4", "too high by", "no gradient")
_LABEL = 11


def print_gradient(found: GradientFlow, out: Console | None = None) -> None:
    """The verdict, a line a layer from the output down, and what the bound is worth."""
    out = out or console()
    _heading(found, out)
    out.print(Text(hanging(_verdict(found), out.width, "gradient   ", " " * _LABEL)))
    out.print()
    out.print(_table(found, out.width))
    hidden = len(found.layers) - _MOST_ROWS
    if hidden > 0:
        out.print(f"and {counted(hidden, 'more layer')}: --format json has all", style="quiet")
    out.print()
    for sentence in _sentences(found):
        out.print(Text(hanging(sentence, out.width, "", "")))


def _heading(found: GradientFlow, out: Console) -> None:
    said = map(whole, checkpoint_facts(found.checkpoint, found.checkpoint.get("parameters")))
    line = Text("model      ").append(whole(found.checkpoint.get("path", "")), "head")
    out.print(line.append(f"  {' · '.join(said)}"))
    facts = [counted(found.samples, "sample")]
    if found.data.get("path"):
        facts.insert(0, whole(found.data["path"]))
    if found.data.get("synthetic"):
        facts.append("drawn at random: the gradients say nothing about real inputs")
    if found.left_out:
        facts.append(f"{count(found.left_out)} with NaN or infinity left out")
    out.print(Text(hanging(" · ".join(facts), out.width, "data       ", " " * _LABEL)))
    loss = f"{found.loss} of '{whole(found.output.tensor)}', mean {found.mean_loss:.5g}"
    out.print(Text(hanging(loss, out.width, "loss       ", " " * _LABEL)))
    for note in found.notes:
        out.print(Text(hanging(whole(note), out.width, "note       ", " " * _LABEL)))


def _verdict(found: GradientFlow) -> str:
    if found.verdict == NONE:
        return "no layer's gradient can be compared with the output's"
    first, factor = found.layers[0], found.factor
    if factor == 0:
        return f"vanishes: none arrives at the first layer, '{whole(first.name)}'"
    change = (
        f"{factor:.3g} times that at the output"
        if factor >= 1
        else f"1/{1 / factor:.3g} of that at the output"
    )
    layers = len(found.layers) - 1
    each = f" ({factor ** (1 / layers):.3g} a layer)" if layers > 1 else ""
    words = {VANISHING: "vanishes", EXPLODING: "explodes"}
    said = words.get(found.verdict, f"neither vanishes nor explodes (by {FAR:g})")
    return f"{said}: at the first layer it is {change}{each}"


def _table(found: GradientFlow, width: int) -> Table:
    shown = list(reversed(found.layers))[:_MOST_ROWS]
    rows = [_row(layer, found.output.mean) for layer in shown]
    columns = zip(_HEADINGS, zip(*rows, strict=True), strict=True)
    used = sum(2 + max(len(heading), *map(len, column)) for heading, column in columns)
    names = short_names([_named(layer) for layer in shown], max(12, width - used - 2))
    table = ruled()
    table.add_column("layer", no_wrap=True)
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in zip(names, rows, strict=True):
        table.add_row(Text(name), *map(Text, row))
    return table


def _named(layer: LayerGradient) -> str:
    return f"{layer.name} (output)" if layer.role == "output" else layer.name


def _row(layer: LayerGradient, output: float) -> list[str]:
    bound, apart = "", ""
    if layer.bound is not None:
        bound = f"≤ {_power(layer.bound.log10)}"
        apart = "" if math.isnan(layer.bound.log10_apart) else f"{_power(layer.bound.log10_apart)}"
        apart += " vacuous" if layer.bound.vacuous else ""
    return [
        count(layer.neurons),
        f"{layer.mean:.3g}",
        f"{layer.quantiles[len(layer.quantiles) // 2]:.2g}",
        f"{layer.mean / output:.3g}" if output > 0 else "",
        bound,
        apart,
        count(layer.without),
    ]


def _power(log10: float) -> str:
    """10 to this power, with three digits.

    >>> _power(5.97712), _power(0.0), _power(-math.inf), _power(400.30103)
    ('9.49e+05', '1', '0', '2.00e+400')
    """
    if log10 == -math.inf:
        return "0"
    if -300 < log10 < 300:
        return f"{10**log10:.3g}"
    whole_part = math.floor(log10)
    return f"{10 ** (log10 - whole_part):.2f}e{whole_part:+d}"


def _sentences(found: GradientFlow) -> Iterator[str]:
    yield (
        "‖δ‖: norm of the gradient of one sample's loss at the pre-activations of a layer, mean over samples; "
        "no gradient: neurons that get exactly none from any sample."
    )
    bounded = [layer for layer in found.layers if layer.bound is not None]
    if bounded:
        yield (
            f"eq. 4 bounds ‖δ‖ here over ‖δ‖ at the end of the chain ({_ends(bounded)}) by the product of slopes and "
            "spectral norms, summed over all paths where branches are added. It is one-sided: far below 1 it proves "
            "that gradients vanish, above 1 it says nothing."
        )
    if found.vacuous:
        worst = max((b for layer in bounded if (b := layer.bound) and b.vacuous), key=lambda b: b.log10_apart)
        yield (
            f"The bound is vacuous, more than {VACUOUS:g} times what was measured, at {found.vacuous} of "
            f"{counted(len(bounded), 'layer')}: {_power(worst.log10)} against {worst.measured:.3g} at the worst."
        )
    reasons: dict[str, list[str]] = {}
    for layer in found.layers[:-1]:
        if layer.bound is None and layer.unbounded:
            reasons.setdefault(layer.unbounded, []).append(whole(layer.name))
    for reason, names in list(reasons.items())[:3]:
        yield f"No bound at {several(names)}: {whole(reason)}"
    if found.not_measured:
        names = [whole(name) for name in found.not_measured]
        yield f"Not measured: {several(names)}. {whole(next(iter(found.not_measured.values())))}"


def _ends(bounded: list[LayerGradient]) -> str:
    return several(
        [whole(name) for name in dict.fromkeys(layer.bound.end for layer in bounded if layer.bound)]
    )
