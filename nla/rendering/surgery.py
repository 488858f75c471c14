"""What surgery did, as text: units, parameters, bytes, multiply-adds, and what stayed and why."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nla.manifest.masks import Masks
from nla.rendering.terminal import console, ruled
from nla.rendering.words import count, counted, hanging, percent, short, short_names, size, whole
from nla.surgery.report import SurgeryReport

_MOST_STAYED = 8
_ROOM = 40


def print_surgery(done: SurgeryReport, path: str | None, out: Console | None = None) -> None:
    """The whole report; `path` None: nothing was written, and this is what would change."""
    out = out or console()
    if path is None:
        out.print("DRY RUN: nothing is written; this is what would change", style="warning")
    else:
        out.print(Text().append("wrote   ", "quiet").append(whole(path), "head"), soft_wrap=True)
    if done.actions:
        out.print()
        out.print(_actions(done, out.width))
    else:
        out.print("the manifest has no action: the graph and every weight stay as they are")
    out.print()
    for line in sizes(
        (done.parameters_before, done.parameters_after),
        (done.bytes_before, done.bytes_after),
        (done.multiply_adds_before, done.multiply_adds_after),
    ):
        out.print(line)
    _print_widths(out, done)
    print_stayed(out, done)
    print_notes(out, done.notes)


def _actions(done: SurgeryReport, width: int) -> Table:
    table = ruled()
    table.add_column("site", no_wrap=True)
    table.add_column("action", no_wrap=True)
    for heading in ("units", "stayed"):
        table.add_column(heading, justify="right", no_wrap=True)
    stayed = done.stayed()
    names = short_names([action.site for action in done.actions], max(16, min(width, 100) - _ROOM))
    for name, action in zip(names, done.actions, strict=True):
        left = len(stayed.get(action.id, ()))
        refused = {unit for entry in action.refused for unit in entry.units}
        asked = len(refused.union(action.done))
        cells = (action.kind, count(asked - left), Text(count(left), "quiet" if not left else "warning"))
        table.add_row(Text(name), *cells)
    return table


def sizes(
    parameters: tuple[int, int],
    size_bytes: tuple[int, int | None],
    multiply_adds: tuple[int | None, int | None],
) -> list[Text]:
    """Before and after, a line each; what is not known is said."""
    lines = [
        _before_after("parameters", count(parameters[0]), count(parameters[1]), *parameters),
        _before_after(
            "bytes",
            size(size_bytes[0]),
            "not known" if size_bytes[1] is None else size(size_bytes[1]),
            *size_bytes,
        ),
    ]
    known = [None if value is None else count(value) for value in multiply_adds]
    if None in known:
        return [*lines, Text("multiply-adds  not known: the size of an operator is free before a run")]
    return [*lines, _before_after("multiply-adds", str(known[0]), str(known[1]), *multiply_adds)]


def _before_after(label: str, before: str, after: str, was: float | None, now: float | None) -> Text:
    line = Text().append(f"{label:<15}", "quiet").append(f"{before} → {after}")
    if was and now is not None and now != was:
        change = "less" if now < was else "more"
        line.append(f"  ({percent(abs(now - was) / was)} {change})")
    return line


def _print_widths(out: Console, done: SurgeryReport) -> None:
    kept = [width for width in done.widths if width.kept]
    for width in kept:
        text = f"{short(width.site, 40)} keeps {counted(len(width.kept), 'unit')} for its width of {count(width.after)}"
        out.print(Text(hanging(f"{text}: {_units(width.kept)}", out.width, "", "  ")))


def print_stayed(out: Console, done: SurgeryReport) -> None:
    """What the surgery left alone, and why."""
    entries = [(action, entry) for action in done.actions for entry in action.refused]
    if not entries:
        return
    out.print(f"\nLeft as they were: {counted(done.refused(), 'unit')}", style="head")
    for action, entry in entries[:_MOST_STAYED]:
        what = (
            f"{action.kind} {counted(len(entry.units), 'unit')} of {short(action.site, 40)}: {entry.reason}"
        )
        out.print(Text(hanging(what, out.width)))
    if len(entries) > _MOST_STAYED:
        out.print(Text(f"  and {len(entries) - _MOST_STAYED:,} more: --json lists them", "quiet"))


def print_notes(out: Console, notes: Sequence[str]) -> None:
    """Sentences under a heading; nothing where there are none."""
    if notes:
        out.print("\nNotes", style="head")
        for note in notes:
            out.print(Text(hanging(note, out.width)))


def print_restored(identical: bool, path: str, out: Console | None = None) -> None:
    """Where the original lies, and how equal it is."""
    out = out or console()
    out.print(Text().append("wrote   ", "quiet").append(whole(path), "head"), soft_wrap=True)
    out.print(
        "byte for byte the original"
        if identical
        else "the graph and the bytes of every weight are the original's; the files are laid out anew"
    )


def print_masks(made: Masks, path: str, out: Console | None = None) -> None:
    """What is masked, and what masks cannot stand for."""
    out = out or console()
    out.print(Text().append("wrote   ", "quiet").append(whole(path), "head"), soft_wrap=True)
    zeros = sum(int((~mask).sum()) for mask in made.masks.values())
    tensors = counted(len(made.masks), "tensor")
    out.print(f"{counted(zeros, 'weight')} of {tensors} masked")
    for entry in made.left_out:
        what = f"{entry.kind} {counted(len(entry.units), 'unit')} of {short(entry.site, 40)}: {entry.reason}"
        out.print(Text(hanging(f"not masked: {what}", out.width)))


def _units(units: Sequence[int]) -> str:
    shown = ", ".join(map(str, units[:12]))
    return f"{shown}, …" if len(units) > 12 else shown
