"""What the page's templates ask of a run: rows of tables, bars, facts in words."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nla.lifecycle.results import STATES, Finding, path_of
from nla.rendering.page.verdict import trouble
from nla.rendering.words import count, counted, percent, short_names, size, whole
from nla.runs.run import Run, RunSite

_NAME_WIDTH = 40
_MOST_ITEMS = 12
_RECORDING = (".h5", ".hdf5")
MEANINGS = {
    "dead": "exactly zero at every position",
    "constant": "the same value, not zero, at every position",
    "saturated": "on a flat part of φ at nearly every position",
    "dormant": "small beside the others of its layer",
    "born": "unchanged since the first checkpoint",
    "specialised": "alive and selective",
    "active": "none of the others",
    "unknown": "no finite value was seen",
}


@dataclass(frozen=True)
class Part:
    """A stretch of a bar, in percent of its width."""

    state: str
    start: float
    width: float
    label: str


def bar(counts: Mapping[str, int]) -> list[Part]:
    """The states of a site or a run as stretches of one bar, in the order of STATES.

    >>> [(part.state, part.start, part.width) for part in bar({"dead": 1, "active": 3})]
    [('dead', 0.0, 25.0), ('active', 25.0, 75.0)]
    """
    total, start, parts = sum(counts.get(state, 0) for state in STATES), 0.0, []
    for state in STATES:
        number = counts.get(state, 0)
        if number:
            width = 100 * number / total
            parts.append(Part(state, round(start, 3), round(width, 3), f"{count(number)} {state}"))
            start += width
    return parts


def bar_words(counts: Mapping[str, int]) -> str:
    """A bar for those who do not see it."""
    return ", ".join(part.label for part in bar(counts)) or "no neurons"


def tiles(run: Run) -> list[dict[str, Any]]:
    """A tile for each state that occurs, and for the dead always."""
    totals = run.summary
    neurons = totals["neurons"]
    return [
        {
            "state": s,
            "count": totals[s],
            "share": totals[s] / neurons if neurons else 0.0,
            "meaning": MEANINGS[s],
        }
        for s in STATES
        if totals[s] or s == "dead"
    ]


def states_of(run: Run) -> list[str]:
    """The states that occur in a run, and `dead`, in order."""
    return [tile["state"] for tile in tiles(run)]


def shown_names(run: Run) -> list[str]:
    """The names of the run's sites as a table has room for them."""
    return short_names([site.name for site in run.sites], _NAME_WIDTH)


def kind(site: RunSite) -> str:
    """Role and activation."""
    return whole(site.role if site.activation == "Identity" else f"{site.role} · {site.activation}")


def number(value: float) -> str:
    """One decimal; a dash for what is not known.

    >>> number(104.12), number(float("nan"))
    ('104.1', '–')
    """
    return f"{value:,.1f}" if math.isfinite(value) else "–"


def findings(run: Run) -> list[dict[str, Any]]:
    """The findings that are trouble, the most urgent first, with their command made ready to paste."""
    places = {site.name: place for place, site in enumerate(run.sites)}
    return [
        {
            "finding": finding,
            "urgency": _urgency(finding),
            "command": whole(_command(finding, run)),
            "sites": [(whole(name), places[name]) for name in finding.sites if name in places],
        }
        for finding in trouble(run)
    ]


def _urgency(finding: Finding) -> str:
    return (
        "urgent" if finding.severity >= 0.5 else "important" if finding.severity >= 0.3 else "worth knowing"
    )


def _command(finding: Finding, run: Run) -> str:
    """The command, reading the recording that the run came from where it came from one."""
    if run.path.endswith(_RECORDING) and " -o RUN.h5" not in finding.command:
        return finding.command.replace("RUN.h5", shlex.quote(run.path))
    return finding.command


def reasons(refused: Sequence[Any]) -> list[tuple[str, list[str]]]:
    """Why pictures could not be drawn, each reason with the kinds it holds for."""
    kinds: dict[str, list[str]] = {}
    for each in refused:
        kinds.setdefault(whole(each.reason), []).append(each.kind)
    return list(kinds.items())


def checkpoint_line(run: Run) -> str:
    """What was inspected, in one line."""
    known = run.checkpoint
    parts = [whole(path_of(known) or run.label)]
    if known.get("format"):
        parts.append(whole(known["format"]))
    if isinstance(known.get("parameters"), int):
        parts.append(counted(known["parameters"], "parameter"))
    if isinstance(known.get("bytes"), int):
        parts.append(size(known["bytes"]))
    return " · ".join(parts)


def data_line(run: Run) -> str:
    """What it was inspected on, in one line."""
    samples = max((site.samples for site in run.sites), default=run.data.get("samples", 0))
    where = path_of(run.data) or ("random numbers" if run.data.get("synthetic") else "arrays")
    return f"{whole(where)} · {counted(samples, 'sample')}"


def facts(mapping: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known, name by name, in words; what is empty is left out."""
    for name, value in mapping.items():
        text = _said(value)
        if text:
            yield whole(name).replace("_", " "), text


def _said(value: Any) -> str:
    if value is None or value in ("", [], (), {}):
        return ""
    if isinstance(value, Mapping):
        return "; ".join(f"{whole(key)}: {_said(each)}" for key, each in value.items() if _said(each))
    if isinstance(value, Sequence) and not isinstance(value, str):
        said = [_said(each) for each in value[:_MOST_ITEMS]]
        more = len(value) - _MOST_ITEMS
        return ", ".join(filter(None, said)) + (f" and {more:,} more" if more > 0 else "")
    return _plainly(value)


def _plainly(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "–"
    return count(value) if isinstance(value, int) else whole(value)


def criteria(run: Run) -> Iterator[dict[str, Any]]:
    """The thresholds in force: name, value, unit, meaning, source, and whether it is not the default."""
    for name, about in run.criteria.items():
        value, default = about.get("value"), about.get("default")
        yield {
            "name": whole(name),
            "value": ""
            if value is None
            else f"{value:g}"
            if isinstance(value, int | float)
            else whole(value),
            "changed": default is not None and value != default,
            **{key: whole(about.get(key, "")) for key in ("unit", "meaning", "source")},
        }


def attribute(**asked: Any) -> str:
    """What a link asks of the table of neurons, as JSON for `data-show`."""
    return json.dumps(asked, ensure_ascii=True)


def dead_share(run: Run) -> str:
    """Of all neurons of a run."""
    totals = run.summary
    return percent(totals["dead"] / totals["neurons"]) if totals["neurons"] else "–"


def mean_rank(run: Run) -> str:
    """Mean effective rank over width of the sites where it is known."""
    known = [s.effective_rank / s.neurons for s in run.sites if s.neurons and math.isfinite(s.effective_rank)]
    return percent(sum(known) / len(known)) if known else "–"


def capitalised(text: str) -> str:
    """With a capital first letter, the rest as it is.

    >>> capitalised("dying ReLU")
    'Dying ReLU'
    """
    return text[:1].upper() + text[1:]


def cell(value: Any) -> str:
    """A value of a figure's table.

    >>> cell(None), cell(1280), cell(28.125), cell("relu")
    ('–', '1,280', '28.12', 'relu')
    """
    return "–" if value is None else _plainly(value)
