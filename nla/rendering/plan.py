"""A manifest as text: what would be done where, what it saves, what the evidence is worth, what was declined."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from nla.manifest.document import Action, Manifest
from nla.manifest.parameters import CUTS
from nla.rendering.terminal import console, ruled
from nla.rendering.words import count, counted, hanging, short, short_names, size, whole

_MOST_DECLINED = 6
_SAVED = ("parameters", "bytes", "multiply_adds")
_HEADINGS = ("parameters", "bytes", "multiply-adds")
_ALWAYS = 4
"""Columns beside the site's that stand however narrow the terminal is."""
_GAP = 2
_NARROWEST_SITE = 16


def print_plan(manifest: Manifest, path: str | None = None, out: Console | None = None) -> None:
    """The whole plan on a page; the manifest itself is complete. `path`: where it was written."""
    out = out or console()
    for line in _header(manifest):
        out.print(line)
    out.print()
    if manifest.actions:
        out.print(_table(manifest, out.width))
        out.print()
        _print_expectations(out, manifest)
    else:
        out.print("nothing to do: no unit is as the policy asks", style="warning")
    _print_list(out, "What the evidence is worth", manifest.worth.get("words", ()))
    _print_declined(out, manifest)
    _print_list(out, "Notes", manifest.notes)
    if path and manifest.actions:
        line = Text("\nnext    ", "quiet")
        file = whole(manifest.checkpoint.get("path") or "model.onnx")
        output = "edited.onnx" if file.endswith(".onnx") else "edited"
        line.append(f"nla apply {whole(shlex.quote(path))} {shlex.quote(file)} -o {output}", "command")
        out.print(line, soft_wrap=True)


def _header(manifest: Manifest) -> Iterator[Text]:
    checkpoint, data = manifest.checkpoint, manifest.data
    facts = [counted(checkpoint["parameters"], "parameter")] if checkpoint.get("parameters") else []
    facts += [size(checkpoint["bytes"])] if checkpoint.get("bytes") else []
    yield _line("policy", manifest.policy.get("name", ""), [])
    yield _line("model", checkpoint.get("path", ""), facts)
    facts = [counted(data["samples"], "sample")] if data.get("samples") else []
    facts += [f"{count(data['held_out_samples'])} held out"] if data.get("held_out_samples") else []
    yield _line("data", "random numbers" if data.get("synthetic") else "", facts)


def _line(label: str, name: object, facts: Sequence[str]) -> Text:
    line = Text().append(f"{label:<8}", "quiet").append(short(str(name), 60), "head")
    return line.append(("  " if str(name) else "") + " · ".join(facts))


def _table(manifest: Manifest, width: int) -> Table:
    """A line for each action: kind, units of how many, and, where something leaves the graph, what it saves."""
    saves = any(action.kind in CUTS for action in manifest.actions)
    rows = [_row(action, saves) for action in manifest.actions]
    total = ["", count(manifest.units()), "", *(_saved(manifest.effect) if saves else [])]
    headings = ["action", "units", "of", *(_HEADINGS if saves else ())]
    widths = [max(map(len, column)) for column in zip(headings, total, *rows, strict=True)]
    room = width - sum(widths) - _GAP * len(widths)
    while room < _NARROWEST_SITE and len(widths) > _ALWAYS:  # the site's name gives way last
        room += widths.pop() + _GAP
    names = short_names([action.site for action in manifest.actions], max(room, 4))
    table = ruled(_GAP, footer=True)
    sites = counted(len({action.site for action in manifest.actions}), "site")
    table.add_column("site", Text(sites), no_wrap=True)
    for heading, foot in zip(headings[: len(widths)], total, strict=False):
        justify: JustifyMethod = "left" if heading == "action" else "right"
        table.add_column(heading, Text(foot), justify=justify, no_wrap=True)
    for name, row in zip(names, rows, strict=True):
        table.add_row(Text(name), *map(Text, row[: len(widths)]))
    return table


def _row(action: Action, saves: bool) -> list[str]:
    of = action.evidence.get("neurons")
    row = [action.kind, count(len(action.units)), count(of) if isinstance(of, int) else ""]
    return row + ((_saved(action.effect) if action.kind in CUTS else [""] * len(_SAVED)) if saves else [])


def _saved(effect: Mapping[str, object]) -> list[str]:
    numbers = [value if isinstance(value := effect.get(name), int) else 0 for name in _SAVED]
    return [count(numbers[0]), size(numbers[1]), count(numbers[2])]


def _print_expectations(out: Console, manifest: Manifest) -> None:
    """What each kind of action does, once for all sites where it does the same."""
    told: dict[tuple[str, str], int] = {}
    for action in manifest.actions:
        key = (action.kind, str(action.effect.get("expect", "")))
        told[key] = told.get(key, 0) + len(action.units)
    for (kind, expect), units in told.items():
        if expect:
            out.print(
                Text(
                    hanging(
                        f"{kind}: {counted(units, 'unit')}. {expect[0].upper()}{expect[1:]}.",
                        out.width,
                        "",
                        "  ",
                    )
                )
            )


def _print_list(out: Console, title: str, sentences: Sequence[str]) -> None:
    if sentences:
        out.print(f"\n{title}", style="head")
        for sentence in sentences:
            out.print(Text(hanging(sentence, out.width)))


def _print_declined(out: Console, manifest: Manifest) -> None:
    """What was left alone, the largest sets first."""
    if not manifest.declined:
        return
    units = sum(len(entry.units) for entry in manifest.declined)
    out.print(f"\nDeclined: {counted(units, 'unit')}", style="head")
    ordered = sorted(manifest.declined, key=lambda entry: -len(entry.units))
    for entry in ordered[:_MOST_DECLINED]:
        what = f"{entry.kind} {counted(len(entry.units), 'unit')} of {short(entry.site, 40)}: {entry.reason}"
        out.print(Text(hanging(what, out.width)))
    if len(ordered) > _MOST_DECLINED:
        out.print(Text(f"  and {len(ordered) - _MOST_DECLINED:,} more: the manifest lists them", "quiet"))
