"""A verification as text: verdict first, then outputs, promises, states, size and speed."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from nla.lifecycle.results import path_of
from nla.outcomes import Outcome
from nla.rendering.checkpoint import checkpoint_facts
from nla.rendering.surgery import print_notes, print_stayed, sizes
from nla.rendering.terminal import console, ruled
from nla.rendering.words import count, counted, hanging, percent, short, short_names, whole
from nla.verification.results import Accuracy, Latency, OutputResult, Promise, SiteChange, Verification

_SPLITS = {"calibration": "the data", "held_out": "held-out data"}
_MOST_OUTPUTS = 8
_MOST_PROMISES = 12
_STATES = ("dead", "constant", "saturated", "dormant", "specialised", "active")


def print_outcome(outcome: Outcome, out: Console | None = None) -> None:
    """What `nla prune` or `nla repair` did, and its verification."""
    out = out or console()
    verification = outcome.verification
    for number, each in enumerate(outcome.rounds, 1):
        by_kind: dict[str, int] = {}
        for action in each.manifest.actions:
            by_kind[action.kind] = by_kind.get(action.kind, 0) + len(action.units)
        did = ", ".join(f"{kind} {counted(units, 'unit')}" for kind, units in by_kind.items())
        label = f"round {number}" if len(outcome.rounds) > 1 else "did"
        found = f"{counted(each.dead, 'neuron')} dead before"
        out.print(Text().append(f"{label:<9}", "quiet").append(f"{did or 'nothing to do'}  ({found})"))
    print_verification(verification, out)
    for each in outcome.rounds:
        print_stayed(out, each.report)
    print_notes(out, tuple(dict.fromkeys(note for each in outcome.rounds for note in each.report.notes)))
    _print_worth(out, outcome)
    if outcome.output is None:
        out.print("\nverification did not hold: nothing was written", style="warning")
        return
    for path in (outcome.output, *outcome.manifests):
        out.print(Text().append("wrote    ", "quiet").append(whole(path), "head"), soft_wrap=True)


def _print_worth(out: Console, outcome: Outcome) -> None:
    words = outcome.manifest.worth.get("words", ())
    if words and outcome.manifest.actions:
        out.print("\nWhat the evidence is worth", style="head")
        for sentence in words:
            out.print(Text(hanging(sentence, out.width)))


def print_verification(seen: Verification, out: Console | None = None) -> None:
    """Everything that a reader needs; the document (`--json`) is complete."""
    out = out or console()
    for label, about in (("model", seen.before), ("edited", seen.after), ("data", seen.data)):
        line = Text().append(f"{label:<9}", "quiet").append(short(path_of(about) or "arrays", 80), "head")
        if about.get("format") == "safetensors":
            line.append(f"  {' · '.join(map(whole, checkpoint_facts(about)))}")
        out.print(line)
    if seen.data.get("synthetic"):
        out.print("SYNTHETIC DATA: random numbers were replayed", style="alarm")
    broken = [promise for promise in seen.promises if promise.kept is False]
    verdict = "holds" if seen.holds else f"DOES NOT HOLD: {counted(len(broken), 'promise')} broken"
    out.print(Text().append(f"{'verdict':<9}", "quiet").append(verdict, "head" if seen.holds else "alarm"))
    _print_outputs(out, seen)
    _print_promises(out, seen)
    _print_states(out, seen)
    out.print("\nSize and speed", style="head")
    before, after = seen.size_before, seen.size_after
    for line in sizes(
        (before.parameters, after.parameters),
        (before.bytes, after.bytes),
        (before.multiply_adds, after.multiply_adds),
    ):
        out.print(Text("  ").append(line))
    for latency in seen.latencies:
        out.print(_latency(latency))
    print_notes(out, seen.notes)


def _print_outputs(out: Console, seen: Verification) -> None:
    for name, split in seen.splits.items():
        where = f"{_SPLITS.get(name, name)}, {counted(split.samples, 'sample')}"
        out.print(f"\nOutputs on {where}", style="head")
        for output in split.outputs[:_MOST_OUTPUTS]:
            out.print(Text(hanging(f"{whole(output.name)}: {_output(output, split.samples)}", out.width)))
        if len(split.outputs) > _MOST_OUTPUTS:
            out.print(Text(f"  and {len(split.outputs) - _MOST_OUTPUTS:,} more: --json has them", "quiet"))
        if split.accuracy is not None:
            out.print(Text(f"  {_accuracy(split.accuracy)}"))


def _output(output: OutputResult, samples: int) -> str:
    if output.largest_absolute == 0:
        return ", ".join(["the same bits", *_not_finite(output)])
    if math.isinf(output.largest_absolute):
        moved = "differs in shape, in text, or in what is finite"
    else:
        share = percent(output.largest_relative)
        moved = f"moved by {output.largest_absolute:.2g} at most ({share} of its largest value)"
    parts = [moved]
    if output.samples_changed:
        parts.append(
            f"beyond the tolerance on {count(output.samples_changed)} of {counted(samples, 'sample')}"
        )
    elif output.unchanged:
        parts.append(f"within the tolerance of {output.tolerance:g}")
    if output.top1 is not None:
        parts.append(f"the same top-1 on {percent(output.top1)}")
    elif not output.unchanged:
        parts.append(f"{percent(output.within_share)} of the values within the tolerance")
    return ", ".join([*parts, *_not_finite(output)])


def _not_finite(output: OutputResult) -> list[str]:
    """What is neither equal nor different, and must not pass for either."""
    if not output.nonfinite:
        return []
    return [f"{count(output.nonfinite)} of {counted(output.values, 'value')} NaN or infinite in the original"]


def _accuracy(accuracy: Accuracy) -> str:
    counts = (accuracy.before, accuracy.after)
    before, after = (percent(correct / max(accuracy.samples, 1)) for correct in counts)
    of = f"{count(accuracy.before)} → {count(accuracy.after)} of {count(accuracy.samples)}"
    return f"accuracy {before} → {after} ({of})"


def _print_promises(out: Console, seen: Verification) -> None:
    """Those that are broken first; where all actions of a kind went alike, one line for the kind."""
    out.print("\nPromises", style="head")
    lines = list(_promises(seen.promises))
    for text, style in lines[:_MOST_PROMISES]:
        out.print(Text(hanging(text, out.width), style))
    if len(lines) > _MOST_PROMISES:
        out.print(Text(f"  and {len(lines) - _MOST_PROMISES:,} more: --json has them", "quiet"))


def _promises(promises: tuple[Promise, ...]) -> Iterator[tuple[str, str]]:
    words = {True: "kept", False: "BROKEN", None: "told"}
    gathered: dict[tuple[str, str, str, bool | None], list[Promise]] = {}
    for promise in promises:
        gathered.setdefault((promise.kind, promise.promised, promise.happened, promise.kept), []).append(
            promise
        )
    ordered = sorted(gathered.items(), key=lambda item: {False: 0, None: 1, True: 2}[item[0][3]])
    for (kind, promised, happened, kept), each in ordered:
        units = sum(promise.units for promise in each)
        sites = list(dict.fromkeys(promise.site for promise in each if promise.site))
        where = f" {short(sites[0], 40)}" if len(sites) == 1 else f" at {len(sites)} sites" if sites else ""
        of = f", {counted(units, 'unit')}" if units else ""
        style = "alarm" if kept is False else ""
        yield f"{words[kept]:<6} {kind}{where}{of}: {promised}; {happened}", style


def _print_states(out: Console, seen: Verification) -> None:
    changes = [change for change in seen.states if _changed(change)]
    out.print("\nStates", style="head")
    if not changes:
        total = sum(change.neurons_before for change in seen.states)
        out.print(
            f"  the same at every site ({counted(total, 'neuron')})" if seen.states else "  not compared"
        )
        return
    states = [s for s in _STATES if any(c.counts_before.get(s) or c.counts_after.get(s) for c in changes)]
    table = ruled()
    table.add_column("  site", no_wrap=True)
    for heading in ("neurons", *states):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("revived", "died"):
        table.add_column(heading, justify="right", no_wrap=True)
    names = short_names([change.site for change in changes], max(12, out.width - 14 * (len(states) + 2)))
    for name, change in zip(names, changes, strict=True):
        cells = [_moved(change.neurons_before, change.neurons_after)]
        cells += [_moved(change.counts_before[s], change.counts_after[s]) for s in states]
        cells += ["?" if number is None else count(number) for number in (change.revived, change.died)]
        table.add_row(Text(f"  {name}"), *cells)
    out.print(table)
    same = len(seen.states) - len(changes)
    if same:
        out.print(Text(f"  the same at {counted(same, 'other site')}", "quiet"))
    if any(not change.matched for change in changes):
        out.print(Text("  ? which units left is not known: give the manifest with --manifest", "quiet"))


def _changed(change: SiteChange) -> bool:
    return bool(
        change.neurons_before != change.neurons_after
        or change.revived
        or change.died
        or change.counts_before != change.counts_after
    )


def _moved(before: int, after: int) -> str:
    return count(before) if before == after else f"{count(before)} → {count(after)}"


def _latency(latency: Latency) -> Text:
    line = Text().append(f"  {f'ms, batch {latency.batch}':<15}", "quiet")
    times = f"{_ms(latency.before_ms)} → {_ms(latency.after_ms)}"
    return line.append(
        f"{times}  (× {latency.ratio:.2f}, the median of {latency.pairs} paired runs on one thread)"
    )


def _ms(value: float) -> str:
    return f"{value:.3g}"
