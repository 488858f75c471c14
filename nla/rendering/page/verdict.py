"""The verdict on a run in one paragraph: plain sentences from its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nla.lifecycle.results import Finding
from nla.lifecycle.special import joint_upper_bound
from nla.rendering.words import count, counted, percent, whole
from nla.runs.run import Run, RunSite

_ILL = 0.5
"""Severity of a finding from which a network is called ill: a fifth of a layer dead, samples silenced, …"""
_ALL_WELL = "no sign of trouble"
"""The symptom of the finding that says so (`nla.lifecycle.diagnosis.HEALTHY`)."""
_TINY_BOUND = 0.01
LEVELS = {
    "dead": "The network is dead",
    "ill": "Not healthy",
    "worn": "Works, with faults",
    "healthy": "Healthy",
    "unknown": "Not judged",
}
"""What each level of health is called."""


@dataclass(frozen=True)
class Verdict:
    """How a checkpoint is."""

    level: str
    """One of LEVELS."""
    sentences: tuple[str, ...]

    @property
    def heading(self) -> str:
        """The level in words."""
        return LEVELS[self.level]


def verdict(run: Run) -> Verdict:
    """What the numbers of `run` come to."""
    if not run.sites:
        return Verdict(
            "unknown", ("No layer of neurons was found that nla understands, so nothing can be said.",)
        )
    level = _level(run)
    sentences = [*_synthetic(run), _size(run), *_evidence(run), _health(run, level), *_first(run, level)]
    return Verdict(level, tuple(sentences))


def trouble(run: Run) -> tuple[Finding, ...]:
    """The findings that are trouble, the most urgent first."""
    found = [finding for finding in run.findings if finding.symptom != _ALL_WELL]
    return tuple(sorted(found, key=lambda finding: -finding.severity))


def _level(run: Run) -> str:
    found = trouble(run)
    if run.data.get("synthetic"):
        return "unknown"
    if run.living.get("network_dead"):
        return "dead"
    if found and found[0].severity >= _ILL:
        return "ill"
    return "worn" if found else "healthy"


def _synthetic(run: Run) -> Iterator[str]:
    if run.data.get("synthetic"):
        yield "The data were random numbers, so that nothing here is true of real inputs."


def _size(run: Run) -> str:
    totals = run.summary
    neurons, dead = totals["neurons"], totals["dead"]
    has = f"The network has {counted(neurons, 'neuron')} in {counted(len(run.sites), 'layer')}"
    if not dead:
        return f"{has}, and none of them is dead."
    share = f"{has}; {count(dead)} of them ({percent(dead / neurons)}) {_are(dead)} dead"
    if len(run.sites) == 1:
        return f"{share}."
    worst = max(run.sites, key=lambda site: site.dead_share)
    if worst.counts["dead"] == dead:
        return f"{share}, all at {_place(worst)} ({percent(worst.dead_share)} of it)."
    return (
        f"{share}, most at {_place(worst)}, where {count(worst.counts['dead'])} of {count(worst.neurons)} "
        f"({percent(worst.dead_share)}) {_are(worst.counts['dead'])}."
    )


def _evidence(run: Run) -> Iterator[str]:
    """What the silence of the dead is worth."""
    dying = [site for site in run.sites if site.counts["dead"]]
    if not dying:
        return
    samples = min(site.samples for site in dying)
    alpha = float(run.criteria.get("confidence_alpha", {}).get("value", 0.05))
    bound = joint_upper_bound(run.summary["neurons"], samples, alpha) if samples else 1.0
    weak = bound > float(run.criteria.get("weak_bound", {}).get("value", _TINY_BOUND))
    says = (
        "which is weak evidence: more may fire on more data"
        if weak
        else "which is firm evidence on data like these"
    )
    yield (
        f"They were silent on all {counted(samples, 'sample')}, so that with {percent(1 - alpha)} confidence none of "
        f"them fires on more than {percent(bound)} of such samples, {says}."
    )
    held = [site.held_out for site in dying if site.held_out]
    if held:
        woke, fresh = sum(each["dead_that_fired"] for each in held), max(each["samples"] for each in held)
        of = f"On {counted(fresh, 'held-out sample')}"
        yield f"{of} {count(woke)} of them fired after all." if woke else f"{of} they stayed silent, too."
    else:
        yield "They were not tested on held-out samples."


def _health(run: Run, level: str) -> str:
    totals = run.summary
    idle = totals["dead"] + totals["constant"] + totals["dormant"]
    share = percent(idle / totals["neurons"]) if totals["neurons"] else "0 %"
    killed = sum(site.killed_samples for site in run.sites if site.bottleneck)
    lost = f"; {counted(killed, 'sample')} {_are(killed)} silenced by a layer on every path" if killed else ""
    idling = f"{share} of all neurons do nothing or next to nothing (dead, constant or dormant)"
    match level:
        case "dead":
            return "The network is dead: its output does not depend on the input."
        case "ill":
            return f"The network is not healthy: {idling}{lost}."
        case "worn":
            return f"The network works, with faults: {idling}{lost}."
        case "unknown":
            return f"On such data {idling}{lost}; of the network that says little."
        case _:
            return "The network is healthy by these criteria."


def _first(run: Run, level: str) -> Iterator[str]:
    found = trouble(run)
    if level == "unknown":
        yield "First thing to do: replay real data."
    elif found:
        yield f"First thing to do ({whole(found[0].symptom)}): {whole(found[0].intervention)}."
    elif level == "healthy":
        yield "Nothing needs doing."


def change(first: Run, last: Run) -> str:
    """How the last run differs from the first, in one sentence; totals only, so that any two runs can be told of."""
    was, now = first.summary, last.summary
    before, after = (
        totals["dead"] / totals["neurons"] if totals["neurons"] else 0.0 for totals in (was, now)
    )
    told = "stayed" if before == after else ("rose" if after > before else "fell")
    to = f"at {percent(after)}" if before == after else f"from {percent(before)} to {percent(after)}"
    return (
        f"From {whole(first.label)} to {whole(last.label)} the share of dead neurons {told} {to} "
        f"({count(was['dead'])} of {count(was['neurons'])}, then {count(now['dead'])} of {count(now['neurons'])})."
    )


def _place(site: RunSite) -> str:
    return f"site {whole(site.name)}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
