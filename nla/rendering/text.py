"""An inspection as text: what was looked at, the table, the evidence, the findings, what was left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from nla.lifecycle.certified import counts
from nla.lifecycle.results import FLAGS, Inspection, path_of
from nla.rendering.bars import legend
from nla.rendering.checkpoint import checkpoint_facts
from nla.rendering.site_table import site_table, totals_by_state
from nla.rendering.terminal import console
from nla.rendering.words import count, counted, hanging, percent, several, short, whole
from nla.site import NotUnderstood

SYNTHETIC = "SYNTHETIC DATA: random numbers were replayed; nothing below is true of real inputs"
_MOST_FINDINGS = 3
_MOST_PLACES = 3
_INDENT = " " * 5


def print_inspection(inspection: Inspection, out: Console | None = None) -> None:
    """Everything that a reader needs at first; the document (`--json`) is complete."""
    out = out or console()
    for line in _header(inspection):
        out.print(line)
    out.print()
    if inspection.sites:
        out.print(site_table(inspection, out.width))
        out.print(Padding(legend(totals_by_state(inspection.summary)), (0, 0, 1, 0)))
    else:
        out.print("no site was found: no layer of neurons that nla understands\n", style="warning")
    for sentence in evidence(inspection):
        out.print(Text(sentence))
    _print_findings(out, inspection)
    _print_rest(out, inspection)


def _header(inspection: Inspection) -> Iterator[Text]:
    checkpoint, data = inspection.checkpoint, inspection.data
    if data.get("synthetic"):
        yield Text(f" {SYNTHETIC} ", "alarm")
    yield _line("model", path_of(checkpoint), checkpoint_facts(checkpoint))
    yield _line("data", path_of(data) or _unnamed(data), _data_facts(data))
    replayed = _replay_facts(inspection.replay)
    if replayed:
        yield _line("replay", "", replayed)


def _line(label: str, path: object, facts: list[str]) -> Text:
    line = Text().append(f"{label:<8}", "quiet").append(short(str(path), 60), "head")
    return line.append(("  " if str(path) else "") + " · ".join(map(whole, facts)))


def _each(value: Any) -> list[Any]:
    """The values of a fact: one, or several where merged recordings differ."""
    return value if isinstance(value, list) else [value]


def _unnamed(data: Mapping[str, Any]) -> str:
    return "random numbers" if data.get("synthetic") else "arrays"


def _data_facts(data: Mapping[str, Any]) -> list[str]:
    facts = [counted(data["samples"], "sample")] if "samples" in data else []
    if data.get("held_out_samples"):
        facts.append(f"{count(data['held_out_samples'])} held out")
    shards = [shard for shard in _each(data.get("shard")) if shard]
    if shards:
        one = isinstance(shards[0], int)
        facts.append(f"shard {'/'.join(map(str, shards))}" if one else f"{len(shards)} shards")
    labels = [labels for labels in _each(data.get("labels")) if labels]
    if labels:
        facts.append(counted(len(labels[0]["names"]), "label"))
    return facts + (["mask"] if data.get("mask") else [])


def _replay_facts(replay: Mapping[str, Any]) -> list[str]:
    facts = [f"{replay['seconds']:.1f} s"] if replay.get("seconds") is not None else []
    if workers := _either(replay.get("workers")):
        facts.append(f"{workers} worker{'' if workers == '1' else 's'}")
    if replay.get("one_by_one"):
        facts.append("samples one by one")
    elif sizes := _either(replay.get("batch_size")):
        facts.append(f"batches of {sizes}")
    return facts + ([f"{kernels} kernel"] if (kernels := _either(replay.get("kernel"))) else [])


def _either(value: Any) -> str:
    """The values of a fact in words; empty where there is none."""
    return " or ".join(str(item) for item in _each(value) if item)


def evidence(inspection: Inspection) -> Iterator[str]:
    """What the totals rest on, in sentences."""
    totals = inspection.summary
    dead, neurons = totals["dead"], totals["neurons"]
    if dead:
        share = percent(dead / neurons)
        yield f"{count(dead)} of {counted(neurons, 'neuron')} {_are(dead)} dead ({share}).{_held(inspection)}"
        yield _bound(inspection, dead)
        yield from _on_held_out(inspection)
        yield from _proved(inspection)
    elif neurons:
        yield f"None of {counted(neurons, 'neuron')} is dead."
    flags = _flags(inspection)
    flagged = [f"{count(flags[flag])} {flag.replace('_', ' ')}" for flag in FLAGS if flags[flag]]
    if flagged:
        yield f"Flags: {', '.join(flagged)}."
    yield from _living(inspection.living)
    yield from _nonfinite(inspection)


def _flags(inspection: Inspection) -> Counter[str]:
    """How many neurons bear each flag."""
    sets = Counter(flags for result in inspection.sites for flags in result.flags)
    total: Counter[str] = Counter()
    for flags, number in sets.items():
        total.update(dict.fromkeys(flags, number))
    return total


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _held(inspection: Inspection) -> str:
    """What the dead hold; nothing where that is not known."""
    held = sum(result.parameters_dead for result in inspection.sites)
    of = inspection.checkpoint.get("parameters")
    if not held or not of:
        return ""
    hold = "It holds" if inspection.summary["dead"] == 1 else "They hold"
    return f" {hold} {count(held)} of {counted(of, 'parameter')} ({percent(held / of)})."


def _bound(inspection: Inspection, dead: int) -> str:
    samples = min(result.measurements.samples for result in inspection.sites if result.counts["dead"])
    confidence = percent(1 - inspection.criteria.confidence_alpha)
    these, none = (f"these {count(dead)}", "none") if dead > 1 else ("it", "it")
    never = "more" if dead > 1 else "no more"
    bound = percent(inspection.joint_rate_upper_bound)
    return (
        f"0 of {counted(samples, 'sample')} fired {these}; with {confidence} confidence {none} fires on "
        f"{never} than {bound} of samples."
    )


def _on_held_out(inspection: Inspection) -> Iterator[str]:
    tested = [r for r in inspection.sites if r.held_out is not None and r.counts["dead"]]
    if tested:
        samples = min(result.held_out.samples for result in tested if result.held_out is not None)
        woke = sum(int((r.columns["held_out_fired"][r.states == "dead"] > 0).sum()) for r in tested)
        fire = "fires" if woke == 1 else "fire"
        yield f"On {counted(samples, 'held-out sample')} {count(woke) if woke else 'none'} of them {fire}."


def _proved(inspection: Inspection) -> Iterator[str]:
    """What proofs say of the dead, where there are any."""
    if not inspection.certificates:
        return
    told = counts(inspection.sites)
    proved, refuted, rest = told["certified"], told["refuted"], told["undecided"] + told["unasked"]
    parts = [
        f"{count(proved) if proved else 'None'} of them {_are(proved or 1)} proved silent for every input of the "
        f"domain ({inspection.certificates.get('text', '')})",
        f"{count(refuted)} {_are(refuted)} woken by an input of it" if refuted else "",
        f"{count(rest)} {_are(rest)} undecided" if rest else "",
    ]
    yield whole(f"{', '.join(filter(None, parts))}.")


def _living(living: Mapping[str, Any]) -> Iterator[str]:
    """Samples and layers that are lost as a whole ('living data' of the trainability paper)."""
    killed = living.get("killed_samples", {})
    if killed:
        number = sum(killed.values())
        where = several([short(name, 40) for name in killed])
        yield f"{counted(number, 'sample')} {_are(number)} killed, a whole layer being silent: at {where}."
    dead = living.get("dead_layers", ())
    if dead:
        sites = several([short(name, 40) for name in dead])
        yield f"{counted(len(dead), 'layer')} {_are(len(dead))} silent for every sample: {sites}."
    if living.get("network_dead"):
        yield "The network is dead: one of these lies on every path from the inputs to the outputs."


def _nonfinite(inspection: Inspection) -> Iterator[str]:
    met = [r for r in inspection.sites if r.measurements.nonfinite.any()]
    if met:
        values = sum(int(r.measurements.nonfinite.sum()) for r in met)
        where = several([short(r.name, 40) for r in met])
        yield f"{counted(values, 'activation')} were NaN or infinite, and were not counted: at {where}."


def _print_findings(out: Console, inspection: Inspection) -> None:
    findings = sorted(inspection.findings, key=lambda finding: -finding.severity)
    if not findings:
        return
    out.print("\nFindings", style="head")
    for number, finding in enumerate(findings[:_MOST_FINDINGS], 1):
        out.print(Text(hanging(finding.symptom, out.width, f"  {number}. ", _INDENT), "head"))
        out.print(Text(hanging(finding.evidence, out.width, _INDENT, _INDENT)))
        for label, text in (
            ("cause", finding.diagnosis),
            ("do", finding.intervention),
            ("expect", finding.expected),
        ):
            out.print(_labelled(label, text, out.width))
        if finding.command:
            # Not wrapped: a command is there to be pasted.
            line = Text().append(f"{_INDENT}run    ", "quiet").append(whole(finding.command), "command")
            out.print(line, soft_wrap=True)
    rest = [finding.symptom for finding in findings[_MOST_FINDINGS:]]
    if rest:
        told = f"less urgent, in full with --json: {'; '.join(rest)}"
        out.print(Text(hanging(told, out.width, _INDENT, _INDENT), "quiet"))


def _labelled(label: str, text: str, width: int) -> Text:
    lines = Text(hanging(text, width, f"{_INDENT}{label:<7}", _INDENT + " " * 7))
    lines.stylize("quiet", 0, len(_INDENT) + 7)
    return lines


def _print_rest(out: Console, inspection: Inspection) -> None:
    """What was not understood, and what was done to the model and the data."""
    print_not_understood(out, inspection.not_understood)
    notes = [*(inspection.data.get("account") or ()), *inspection.notes]
    if notes:
        out.print("\nNotes", style="head")
        for note in notes:
            out.print(Text(hanging(note, out.width)))


def print_not_understood(out: Console, places: Sequence[NotUnderstood]) -> None:
    """The first places that were left alone, and why."""
    if not places:
        return
    out.print(f"\nNot understood, and left alone: {counted(len(places), 'place')}", style="head")
    for place in places[:_MOST_PLACES]:
        out.print(Text(hanging(f"{place.op_type} {short(place.name, 40)}: {place.reason}", out.width)))
    if len(places) > _MOST_PLACES:
        out.print(Text(f"  and {len(places) - _MOST_PLACES:,} more: nla sites MODEL lists them", "quiet"))
