"""The dead shares of every layer under other activations, as text and as a document."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nla.lifecycle.results import Inspection, path_of
from nla.outcomes import Swapped
from nla.rendering.terminal import console, ruled
from nla.rendering.words import count, counted, hanging, percent, short, short_names, whole

SCHEMA = "nla/swap/1"


def swap_document(swapped: Swapped) -> dict[str, Any]:
    """The comparison as plain values for JSON."""
    before = swapped.before
    return {
        "schema": SCHEMA,
        "checkpoint": before.checkpoint,
        "data": before.data,
        "criteria": before.criteria.describe(),
        "candidates": list(swapped.after),
        "summary": {
            "neurons": before.summary["neurons"],
            "dead": {"as it is": before.summary["dead"], **_totals(swapped)},
        },
        "sites": [
            {
                "name": result.name,
                "activation": result.site.activation.name,
                "neurons": result.site.neurons,
                "dead": {"as it is": result.counts["dead"], **_dead(swapped, result.name)},
                "firing_share": {
                    "as it is": _firing(before, result.name),
                    **{name: _firing(seen, result.name) for name, seen in swapped.after.items()},
                },
            }
            for result in before.sites
        ],
        "declined": [entry.to_dict() for entry in swapped.declined],
        "output": None if swapped.output is None else str(swapped.output),
    }


def _totals(swapped: Swapped) -> dict[str, int]:
    return {name: seen.summary["dead"] for name, seen in swapped.after.items()}


def _dead(swapped: Swapped, site: str) -> dict[str, int | None]:
    """By candidate; None where the swapped model has no such site."""
    found = {name: {r.name: r.counts["dead"] for r in seen.sites} for name, seen in swapped.after.items()}
    return {name: counts.get(site) for name, counts in found.items()}


def _firing(inspection: Inspection, site: str) -> float | None:
    """Mean over the site's neurons of the share of positions with |a| above the firing threshold."""
    for result in inspection.sites:
        if result.name == site:
            shares = result.columns["firing_frequency"]
            return float(shares.mean()) if len(shares) else None
    return None


def print_swap(swapped: Swapped, path: str | None, out: Console | None = None) -> None:
    """A line for each site: dead neurons as it is, and under each candidate."""
    out = out or console()
    before = swapped.before
    out.print(Text().append("model   ", "quiet").append(short(path_of(before.checkpoint), 60), "head"))
    data = f"{short(path_of(before.data) or 'arrays', 60)}, {counted(before.data['samples'], 'sample')}"
    out.print(Text().append("data    ", "quiet").append(data))
    out.print("\nDead neurons, with the weights as they are and another activation:")
    out.print(_table(swapped, out.width))
    if swapped.declined:
        out.print("\nKeep their activation", style="head")
        for entry in swapped.declined:
            out.print(Text(hanging(f"{short(entry.site, 40)}: {entry.reason}", out.width)))
    out.print(
        Text(
            hanging(
                "Exchanging an activation changes every output: such a network needs training before it is used.",
                out.width,
                "",
                "",
            ),
            "quiet",
        )
    )
    if path:
        out.print(Text().append("wrote   ", "quiet").append(whole(path), "head"), soft_wrap=True)


def _table(swapped: Swapped, width: int) -> Table:
    before, names = swapped.before, list(swapped.after)
    table = ruled(footer=True)
    total = before.summary
    table.add_column("site", Text(counted(len(before.sites), "site")), no_wrap=True)
    table.add_column("neurons", count(total["neurons"]), justify="right", no_wrap=True)
    table.add_column("as it is", _share(total["dead"], total["neurons"]), justify="right", no_wrap=True)
    for name, dead in _totals(swapped).items():
        table.add_column(name, _share(dead, total["neurons"]), justify="right", no_wrap=True)
    short_ones = short_names([r.name for r in before.sites], max(16, width - 14 * (len(names) + 2)))
    for name, result in zip(short_ones, before.sites, strict=True):
        neurons = result.site.neurons
        under = [_share(dead, neurons) for dead in _dead(swapped, result.name).values()]
        table.add_row(Text(name), count(neurons), _share(result.counts["dead"], neurons), *under)
    return table


def _share(dead: int | None, neurons: int) -> str:
    return "?" if dead is None else f"{count(dead)} ({percent(dead / max(neurons, 1))})"
