"""How likely a network is to be born trainable, as text and as rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nla.rendering.checkpoint import checkpoint_facts
from nla.rendering.narrow import fitting
from nla.rendering.terminal import console, ruled
from nla.rendering.words import count, counted, hanging, percent, several, short_names, whole
from nla.theory.chances import Chance
from nla.theory.trainability import Placed, Trainability

_MOST_ROWS = 40
_CLOSE = 1e-4
"""Chances that are nearer to 1 are printed as 1 less the rest."""


def trainability_rows(found: Trainability) -> Iterator[dict[str, Any]]:
    """A row for each layer, as the document has it."""
    yield from found.to_dict()["layers"]


def print_trainability(found: Trainability, out: Console | None = None) -> None:
    """The bounds, where the network is thin, and what they do not speak of."""
    out = out or console()
    _heading(found, out)
    if found.depth or found.in_the_way:
        _bounds(found, out)
    else:
        said = (
            "every ReLU layer can be gone round: none of them can kill the network"
            if found.layers
            else "no ReLU layer is there that the bounds could speak of"
        )
        out.print(Text(hanging(said, out.width, "born alive  ", " " * 12)))
    if found.layers:
        out.print()
        out.print(_table(found, out.width))
        hidden = len(found.layers) - _MOST_ROWS
        if hidden > 0:
            out.print(f"and {counted(hidden, 'more layer')}: --format csv lists all", style="quiet")
        _thin(found, out)
    _rest(found, out)


def _heading(found: Trainability, out: Console) -> None:
    if found.checkpoint is not None:
        said = map(whole, checkpoint_facts(found.checkpoint, found.checkpoint.get("parameters")))
        line = Text("model       ").append(whole(found.checkpoint.get("path", "")), "head")
        out.print(line.append(f"  {' · '.join(said)}"))
    widths = [placed.layer.neurons for placed in found.layers if placed.on_shortest]
    wide = f"{count(min(widths))} to {count(max(widths))} neurons" if widths else ""
    if widths and min(widths) == max(widths):
        wide = counted(widths[0], "neuron")
    bias = {placed.layer.bias for placed in found.layers}
    facts = [
        f"{counted(found.depth, 'layer')} of {wide}" if widths else "",
        ("biases drawn like the weights" if True in bias else "no biases, or zero") if len(bias) == 1 else "",
        "orthogonal weights" if found.orthogonal else "",
        "no negative data" if found.non_negative else "data of both signs",
    ]
    out.print(Text(hanging(", ".join(filter(None, facts)), out.width, "network     ", " " * 12)))
    for note in found.notes:
        out.print(Text(hanging(note, out.width, "note        ", " " * 12)))


def _bounds(found: Trainability, out: Console) -> None:
    lower, upper = found.bounds.lower, found.bounds.upper
    if found.in_the_way:
        names = several(list(map(whole, found.in_the_way)))
        said = f"at least 0, as far as is known: {names} may silence it, and no path leads round"
        out.print(Text(hanging(said, out.width, "born alive  ", " " * 12)))
    else:
        out.print(
            Text("born alive  at least ")
            .append(alive(lower), "head")
            .append(f"   dead at most {dead(lower)}")
        )
    if upper is None:
        said = "no upper bound: it does not hold for orthogonal weights"
    elif upper.log2_dead == -math.inf:
        said = "at most 1: no layer is killed for certain by negative weights"
    else:
        said = f"at most {alive(upper)}   dead at least {dead(upper)}"
    out.print(Text(hanging(said, out.width, " " * 12, " " * 12)))
    if found.checkpoint is None:
        said = (
            f"one point lives with probability {alive(lower)}; where layers that kill more than half have their signs "
            f"flipped, of M points M/2^{found.depth}, rounded up, live for certain"
        )
        out.print(Text(hanging(said, out.width, "data        ", " " * 12)))
    width = found.width
    if width is not None:
        said = (
            f"for {width.probability!r} with {counted(width.depth, 'layer')} alike: "
            f"{counted(width.enough, 'neuron')} are enough (eq. 9: {width.exact:.4f})"
        )
        said += f", fewer than {width.needed} never" if width.needed > 1 and not found.orthogonal else ""
        out.print(Text(hanging(said, out.width, "width       ", " " * 12)))


def _table(found: Trainability, width: int) -> Table:
    shown = list(zip(found.layers, found.shares, strict=True))[:_MOST_ROWS]
    headings: tuple[str, ...] = (
        "neurons",
        "weights",
        "bias",
        "groups",
        "kills at most",
        "share",
        "way round",
    )
    rows = [_row(placed, share) for placed, share in shown]
    kept = fitting(headings, rows, width - 14, ("weights", "groups", "bias", "way round"))
    headings, rows = tuple(headings[at] for at in kept), [tuple(row[at] for at in kept) for row in rows]
    used = sum(
        2 + max(len(heading), *map(len, column))
        for heading, column in zip(headings, zip(*rows, strict=True), strict=True)
    )
    names = short_names([_named(placed, at) for at, (placed, _) in enumerate(shown)], max(12, width - used))
    table = ruled()
    table.add_column("layer", no_wrap=True)
    for heading in headings:
        table.add_column(
            heading, justify="left" if heading in ("bias", "way round") else "right", no_wrap=True
        )
    for name, row in zip(names, rows, strict=True):
        table.add_row(Text(name), *map(Text, row))
    return table


def _named(placed: Placed, at: int) -> str:
    layer = placed.layer
    return layer.name or (f"{count(layer.times)} alike" if layer.times > 1 else str(at + 1))


def _row(placed: Placed, share: float) -> tuple[str, ...]:
    layer = placed.layer
    return (
        count(layer.neurons),
        count(layer.fan_in),
        "yes" if layer.bias else "no",
        count(layer.groups) if layer.groups > 1 else "",
        power(layer.log2_death_at_most),
        percent(share) if share >= 1e-6 else "",
        "" if placed.on_every_path else ("a branch" if placed.on_shortest else "yes"),
    )


def _thin(found: Trainability, out: Console) -> None:
    thin = found.thin
    if not thin or len(found.layers) < 2:
        return
    held = math.fsum(found.shares[at] for at in thin)
    names = [whole(_named(found.layers[at], at)) for at in thin]
    if len({placed.layer.log2_death_at_most for placed in found.layers if placed.on_shortest}) == 1:
        said = "nowhere: all layers that count are in the same danger"
    else:
        holds = "holds" if len(thin) == 1 else "hold"
        said = f"at {several(names)}, which {holds} {percent(held)} of the danger"
    out.print(Text(hanging(said, out.width, "thin        ", " " * 12)))


def _rest(found: Trainability, out: Console) -> None:
    uncertain: dict[str, list[str]] = {}
    for at, placed in enumerate(found.layers):
        if placed.certain:
            uncertain.setdefault(placed.certain, []).append(_named(placed, at))
    if uncertain and not found.orthogonal:
        out.print("\nNot counted by the upper bound", style="head")
        for reason, names in uncertain.items():
            out.print(Text(hanging(f"{several(names)}: {reason}", out.width)))
    if found.uncovered:
        out.print("\nThe bounds say nothing of", style="head")
        by_reason: dict[tuple[str, str], list[str]] = {}
        for each in found.uncovered:
            by_reason.setdefault((each.activation, each.reason), []).append(each.name)
        for (activation, reason), names in by_reason.items():
            out.print(Text(hanging(f"{several(names)} ({activation}): {reason}", out.width)))
    out.print("\nNot covered", style="head")
    for said in found.not_covered:
        out.print(Text(hanging(said, out.width)))


def alive(chance: Chance) -> str:
    """The probability of life, as 1 less death where that is rare.

    >>> alive(Chance(-1.0, -1.0)), alive(Chance(0.0, -4000.0)), alive(Chance(-3000.0, 0.0)), alive(Chance(0, -16))
    ('0.5', '1 - 2^-4000', '2^-3000', '1 - 1.52588e-05')
    """
    if chance.log2_dead == -math.inf:
        return "1"
    if chance.dead < _CLOSE:
        return f"1 - {_number(chance.dead, chance.log2_dead)}"
    return _number(chance.alive, chance.log2_alive)


def dead(chance: Chance) -> str:
    """The probability of death, and its power of two."""
    if chance.log2_dead < -900:
        return power(chance.log2_dead)
    return f"{_number(chance.dead, chance.log2_dead)} ({power(chance.log2_dead)})"


def _number(value: float, log2: float) -> str:
    return power(log2) if 0 <= value < 1e-290 else f"{value:.6g}"


def power(log2: float) -> str:
    """A power of two.

    >>> power(-16.0), power(-9.994), power(float("-inf"))
    ('2^-16', '2^-9.99', '0')
    """
    if log2 == -math.inf:
        return "0"
    text = f"{log2:.{2 if log2 > -1000 else 0}f}"
    return f"2^{text.rstrip('0').rstrip('.') if '.' in text else text}"
