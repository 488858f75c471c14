"""A difference as text: what happened to how many neurons, whether it is news, what moved, what quantisation did."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nla.lifecycle.results import STATES
from nla.rendering.table import cell
from nla.rendering.terminal import console, ruled, stream
from nla.rendering.text import SYNTHETIC
from nla.rendering.words import count, counted, hanging, percent, several, short, short_names, whole
from nla.runs.run import Run
from nla.tracking.difference import SHIFTING, Difference, SiteDifference

_HEADINGS = {
    "died": ("died", "dead"),
    "revived": ("revived", "specialised"),
    "saturated": ("satu-\nrated", "saturated"),
    "desaturated": ("desatu-\nrated", ""),
    "woke": ("woke", "specialised"),
    "fell_dormant": ("fell\ndormant", "dormant"),
    "became_constant": ("became\nconstant", "constant"),
    "left_constant": ("left\nconstant", ""),
    "specialised": ("special-\nised", ""),
    "generalised": ("general-\nised", ""),
    "left_born": ("left\nborn", ""),
    "unjudged": ("un-\njudged", "unknown"),
    "changed": ("changed", ""),
}
"""By event: its heading, and the style of its counts."""
_ALWAYS = ("died", "revived")
_GIVES_WAY = ("left_born", "generalised", "specialised", "left_constant", "desaturated")
"""Columns that are left out first where a line is too narrow; the sentences below tell of all."""
_NARROWEST_SITE = 12
_FAIR_SITE = 20
_FIXED = 36
"""Characters for neurons, changed and the ranks, gaps included."""
_WITH_RATES = 84
"""Columns from which the changes show activation rates too."""
_MOST_ROWS = 12
_MOST_INDICES = 12
_TINIEST = 1e-99
_MOST_TRANSITIONS = 6
_MOVERS = {
    "activation_rate": "activation rate",
    "mean": "mean activation",
    "dormancy_score": "dormancy score",
}


def print_difference(seen: Difference, out: Console | None = None) -> None:
    """Everything that a reader needs at first; the document (`--json`) and `--format csv` are complete."""
    out = out or console()
    if any(run.data.get("synthetic") for run in (seen.before, seen.after)):
        out.print(Text(f" {SYNTHETIC} ", "alarm"))
    for label, run in (("before", seen.before), ("after", seen.after)):
        out.print(_run_line(label, run))
    for note in seen.notes:
        out.print(
            Text(hanging(note, out.width, "note    ", " " * 8), "warning" if "other data" in note else "")
        )
    out.print()
    out.print(_table(seen, out.width))
    out.print()
    for sentence in sentences(seen):
        out.print(Text(hanging(sentence, out.width, "", "")))
    _print_quantised(out, seen)
    _print_shifts(out, seen)
    _print_changes(out, seen)


def print_difference_csv(seen: Difference) -> None:
    """A row for each neuron that changed, on standard output: numbers with repr precision, empty where not known."""
    writer = csv.writer(stream(), lineterminator="\n")
    head: list[str] | None = None
    for site in seen.sites:
        for row in site.changes(seen.states):
            named = {"site": site.name, "site_after": site.after.name, **row}
            if head is None:
                head = list(named)
                writer.writerow(head)
            writer.writerow([_cell(value) for value in named.values()])
    if head is None:
        writer.writerow(["site", "site_after", "index", "from", "to"])


def sentences(seen: Difference) -> Iterator[str]:
    """What happened, and whether it is news."""
    summary = seen.summary
    neurons, changed = summary["neurons"], summary["changed"]
    if not changed:
        yield f"No neuron of {count(neurons)} changed its state."
    else:
        yield (
            f"{count(changed)} of {counted(neurons, 'neuron')} changed state ({percent(changed / neurons)}): "
            f"{_transitions(seen)}."
        )
    if summary["died"] + summary["revived"]:
        yield _news(seen)
    if summary["unjudged"]:
        yield f"{counted(summary['unjudged'], 'neuron')} could not be judged on one side."
    if seen.quantisation is not None:
        yield seen.quantisation.sentence
        if seen.quantisation.seen_by:
            yield f"That {seen.after.label} is quantised is seen by this: {several(seen.quantisation.seen_by)}."


def _news(seen: Difference) -> str:
    """How many died and revived, and how much of that chance explains."""
    summary, evidence = seen.summary, seen.evidence
    moved = summary["died"] + summary["revived"]
    weak, untested = (evidence["died"][kind] + evidence["revived"][kind] for kind in ("weak", "untested"))
    said = f"{count(summary['died'])} died, {count(summary['revived'])} revived"
    if untested == moved:
        return f"{said}."
    if not weak:
        return f"{said}; chance explains none of it (p < {seen.alpha:g} for each)."
    which = (
        "it"
        if weak == moved == 1
        else "all of it"
        if weak == moved
        else f"{count(weak)} of these {count(moved)}"
    )
    return (
        f"{said}; chance explains {which} (p ≥ {seen.alpha:g}): they fired on so few samples, before or after, that "
        "it is no news."
    ).replace("they fired", "it fired" if weak == 1 else "they fired")


def _run_line(label: str, run: Run) -> Text:
    facts = [counted(run.summary["neurons"], "neuron")]
    samples = run.data.get("samples")
    facts += [counted(samples, "sample")] if isinstance(samples, int) else []
    facts += [f"{count(run.summary['dead'])} dead"]
    line = Text().append(f"{label:<8}", "quiet").append(short(run.label, 40), "head")
    return line.append(f"  {' · '.join(facts)}")


def _widest(name: str) -> int:
    """Characters that the column of an event takes, the gap before it included."""
    return max(map(len, [*_HEADINGS[name][0].split("\n"), "0,000"])) + 2


def _shown(seen: Difference, width: int) -> tuple[list[str], int]:
    """The events that have a column, those that occur, as far as they fit; and the room for the sites' names."""
    totals = seen.summary
    names = [name for name in _HEADINGS if name != "changed" and (name in _ALWAYS or totals[name])]
    for name in ("", *_GIVES_WAY, *(each for each in reversed(_HEADINGS) if each not in _ALWAYS)):
        names = [each for each in names if each != name]
        room = width - _FIXED - sum(map(_widest, names))
        if room >= _FAIR_SITE:
            break
    return names, max(room, _NARROWEST_SITE)


def _table(seen: Difference, width: int) -> Table:
    """A line for each site."""
    totals = seen.summary
    names, room = _shown(seen, width)
    table = ruled(footer=True)
    table.add_column("site", Text(counted(len(seen.sites), "site")), no_wrap=True)
    for name in ("neurons", "changed"):
        table.add_column(name, count(totals[name]), justify="right", no_wrap=True)
    for name in names:
        heading, style = _HEADINGS[name]
        table.add_column(heading, _number(totals[name], style), justify="right", no_wrap=True)
    table.add_column("effective\nrank", justify="right", no_wrap=True)
    for label, site in zip(short_names([s.name for s in seen.sites], room), seen.sites, strict=True):
        summary = site.summary
        cells = [_number(summary[name], _HEADINGS[name][1]) for name in ("changed", *names)]
        table.add_row(Text(label), count(site.neurons), *cells, Text(_ranks(site)))
    return table


def _number(value: int, style: str) -> Text:
    return Text(count(value), style if value else "quiet")


def _ranks(site: SiteDifference) -> str:
    ranks = (site.before.effective_rank, site.after.effective_rank)
    return " → ".join("?" if math.isnan(rank) else f"{rank:,.1f}" for rank in ranks)


def _transitions(seen: Difference) -> str:
    """The commonest changes, in words."""
    total = sum((site.transitions for site in seen.sites), start=0 * seen.sites[0].transitions)
    pairs = [
        (int(total[i, j]), f"{STATES[i]} → {STATES[j]}")
        for i in range(len(STATES))
        for j in range(len(STATES))
        if i != j and total[i, j] and "unknown" not in (STATES[i], STATES[j])
    ]
    ordered = sorted(pairs, key=lambda pair: -pair[0])
    told = [f"{name} {count(number)}" for number, name in ordered[:_MOST_TRANSITIONS]]
    rest = sum(number for number, _ in ordered[_MOST_TRANSITIONS:])
    return ", ".join([*told, *([f"other {count(rest)}"] if rest else [])])


_DECIDED = {
    "below_resolution": "killed: the largest activation in float is below half a step, which rounds to zero",
    "clipped": "clipped: in float more than half a step beyond the end of the grid, and quantised at that end",
    "made_constant": "constant, and not in float",
    "overflowed": "NaN or infinite, and not in float",
}
"""What quantisation did that no change of state shows, and how that is decided."""


def _print_quantised(out: Console, seen: Difference) -> None:
    """Which neurons, where there are any."""
    if seen.quantisation is None:
        return
    for name, decided in _DECIDED.items():
        found = [(site.name, getattr(site, name)) for site in seen.quantisation.sites]
        found = [(site, indices) for site, indices in found if indices is not None and len(indices)]
        if found:
            out.print(Text(f"\n{decided[0].upper()}{decided[1:]}", "head"))
        for site, indices in found:
            listed = several([count(int(index)) for index in indices], _MOST_INDICES)
            out.print(Text(hanging(f"{short(site, 40)}: {listed}", out.width)))


def _print_shifts(out: Console, seen: Difference) -> None:
    """For each kind of evidence: how far it moved, and the neuron that moved most."""
    rows = [row for name in SHIFTING if (row := _shift_row(seen, name, out.width))]
    if rows:
        out.print()
        table = Table(box=None, show_edge=False, padding=(0, 2, 0, 0), pad_edge=False, header_style="head")
        table.add_column("Evidence", no_wrap=True)
        table.add_column("mean over neurons", justify="right", no_wrap=True)
        table.add_column("a neuron moved by", justify="right", no_wrap=True)
        table.add_column("most of all", no_wrap=True)
        for row in rows:
            table.add_row(*map(Text, row))
        out.print(table)


def _shift_row(seen: Difference, name: str, width: int) -> tuple[str, ...]:
    """What moved, in words; empty where nothing is known, or nothing moved."""
    known = [(site, site.shifts[name]) for site in seen.sites if not math.isnan(site.shifts[name].moved)]
    if not known or all(shift.moved == 0 for _, shift in known):
        return ()
    neurons = sum(site.neurons for site, _ in known)
    before, after, moved = (
        sum(site.neurons * getattr(shift, part) for site, shift in known) / neurons
        for part in ("before", "after", "moved")
    )
    most = [(abs(b - a), site, index, a, b) for site, shift in known for index, a, b in shift.movers[:1]]
    _, site, index, one, other = max(most, key=lambda mover: mover[0])
    place = f"{short(site.name, max(width - 81, _NARROWEST_SITE))} {index}"
    means = "" if name == "dormancy_score" else f"{before:.3g} → {after:.3g}"  # it averages to 1, always
    return f"  {_MOVERS[name]}", means, f"{moved:.3g}", f"{place}: {one:.3g} → {other:.3g}"


def _print_changes(out: Console, seen: Difference) -> None:
    """The first changes, the firmest first."""
    total = sum(len(site.changed(seen.states)) for site in seen.sites)
    if not total:
        return
    rows = [(site.name, row) for site in seen.sites for row in site.foremost(_MOST_ROWS, seen.states)]
    rows = sorted(rows, key=lambda item: _surprise(item[1]))[:_MOST_ROWS]
    out.print(f"\nChanges, the firmest first ({len(rows)} of {count(total)})", style="head")
    table = Table(box=None, show_edge=False, padding=(0, 2, 0, 0), pad_edge=False, header_style="quiet")
    table.add_column("  site", no_wrap=True)
    table.add_column("index", justify="right", no_wrap=True)
    table.add_column("from → to", no_wrap=True)
    with_rates = out.width >= _WITH_RATES
    for heading in ("fired samples", *(["activation rate"] if with_rates else []), "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    taken = 76 if with_rates else 54
    names = short_names(
        [name for name, _ in rows], max(out.width - taken, _NARROWEST_SITE if with_rates else 6)
    )
    for name, (_, row) in zip(names, rows, strict=True):
        p = row["p_value"]
        table.add_row(
            Text(f"  {name}"),
            count(row["index"]),
            Text(row["from"], row["from"]).append(" → ").append(row["to"], row["to"]),
            f"{_digits(row['fired_samples_before'])} → {_digits(row['fired_samples_after'])}",
            *(
                [f"{_digits(row['activation_rate_before'])} → {_digits(row['activation_rate_after'])}"]
                * with_rates
            ),
            Text(_chance(p), "" if row["firm"] else "quiet"),
        )
    out.print(table)
    if total > len(rows):
        out.print(Text("  every change, with its evidence: --format csv", "quiet"))


def _surprise(row: Mapping[str, Any]) -> tuple[bool, float, float]:
    """Sorts a change that no chance explains first, then the one that moved the activation rate more."""
    p, one, other = row["p_value"], row["activation_rate_before"], row["activation_rate_after"]
    moved = abs(other - one)
    return row["firm"] is None, 1.0 if math.isnan(p) else p, 0.0 if math.isnan(moved) else -moved


def _chance(p: float) -> str:
    if math.isnan(p):
        return ""
    return f"{p:.2g}" if p > _TINIEST else f"< {_TINIEST:g}"


def _digits(value: float) -> str:
    if isinstance(value, int):
        return count(value)
    return "?" if math.isnan(value) else f"{value:.3g}"


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ";".join(map(whole, value))
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    return cell(value)
