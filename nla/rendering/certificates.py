"""What was proved of neurons, as text: a line for each site, then the neurons themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nla.certificates.results import (
    CERTIFIED,
    REFUTED,
    UNDECIDED,
    VERDICTS,
    Certificates,
    SiteCertificates,
    rounded_down,
)
from nla.rendering.checkpoint import checkpoint_facts
from nla.rendering.terminal import console, ruled
from nla.rendering.words import count, counted, hanging, short, short_names, whole

_STYLES = {CERTIFIED: "specialised", REFUTED: "dead", UNDECIDED: "saturated"}
_MOST, _OF_EACH = 12, 4
"""Rows of neurons unless all are asked for: at most so many, and so many of a site and verdict."""
_MOST_SITES = 40
_LABEL = " " * 12


def print_certificates(found: Certificates, out: Console | None = None, *, every: bool = False) -> None:
    """Domain, sites, neurons, and what the verdicts mean; `every` lists all neurons."""
    out = out or console()
    _heading(found, out)
    if found.sites:
        out.print()
        shown = _worth_a_row(found, every)
        out.print(_sites(found, shown, out.width))
        if (left := len(found.sites) - len(shown)) > 0:
            out.print(f"  and {counted(left, 'site')} more: --all lists every one", style="quiet")
        _neurons(found, out, every)
    _undecidable(found, out)
    _meaning(found, out)


def _heading(found: Certificates, out: Console) -> None:
    said = map(whole, checkpoint_facts(found.checkpoint, found.checkpoint.get("parameters")))
    path = whole(found.checkpoint.get("path", ""))
    line = Text(hanging(f"{path}  {' · '.join(said)}", out.width, "model       ", _LABEL))
    line.highlight_words([path], "head")
    out.print(line)
    stated = found.words if found.domain["inputs"] else found.domain["assumes"]
    said_of = stated if found.domain["kind"] == "any" else f"{found.domain['kind']}: {stated}"
    out.print(Text(hanging(said_of, out.width, "domain      ", _LABEL)))
    if found.free_sizes and found.sites and all(site.every_size for site in found.sites):
        same = "any: what is proved at one position holds at all of them"
        out.print(Text(hanging(same, out.width, "size        ", _LABEL)))
    elif found.free_sizes:
        sizes = ", ".join(f"{name} {'x'.join(map(str, found.shapes[name]))}" for name in found.free_sizes)
        out.print(Text(hanging(f"{sizes}: other sizes are not spoken of", out.width, "size        ", _LABEL)))
    budget = "" if found.budget is None else f" of {found.budget:g} s"
    done = f"{', '.join(found.methods)} · {found.arithmetic} · {found.seconds:.1f}{budget} s".replace(
        " s s", " s"
    )
    out.print(Text(hanging(done, out.width, "methods     ", _LABEL)))
    for note in found.notes:
        out.print(Text(hanging(note, out.width, "note        ", _LABEL)))


def _worth_a_row(found: Certificates, every: bool) -> list[SiteCertificates]:
    """In graph order; of very many those with certified neurons come first, then those with undecided ones."""
    sites = found.sites
    if every or len(sites) <= _MOST_SITES:
        return list(sites)
    told = sorted(
        range(len(sites)), key=lambda k: (not sites[k].count(CERTIFIED), not sites[k].count(UNDECIDED))
    )
    return [sites[k] for k in sorted(told[:_MOST_SITES])]


def _sites(found: Certificates, shown: Sequence[SiteCertificates], width: int) -> Table:
    headings = ("activation", "asked", "of", *VERDICTS)
    rows = [_row(site) for site in shown]
    totals = ["", count(sum(len(site.index) for site in found.sites)), ""]
    totals += [count(sum(site.count(verdict) for site in found.sites)) for verdict in VERDICTS]
    used = sum(2 + max(map(len, column)) for column in zip(headings, totals, *rows, strict=True))
    names = short_names([site.name for site in shown], max(12, width - used))
    table = ruled(footer=True)
    table.add_column("site", Text(counted(len(found.sites), "site")), no_wrap=True)
    for heading, foot in zip(headings, totals, strict=True):
        table.add_column(
            heading, Text(foot), justify="left" if heading == "activation" else "right", no_wrap=True
        )
    for name, row, site in zip(names, rows, shown, strict=True):
        cells = [
            Text(cell, _STYLES[verdict] if site.count(verdict) else "quiet")
            for verdict, cell in zip(VERDICTS, row[3:], strict=True)
        ]
        table.add_row(Text(name), *map(Text, row[:3]), *cells)
    return table


def _row(site: SiteCertificates) -> list[str]:
    counts = [count(site.count(verdict)) for verdict in VERDICTS]
    return [whole(site.activation), count(len(site.index)), count(site.neurons), *counts]


def _neurons(found: Certificates, out: Console, every: bool) -> None:
    """Certified neurons first: they are the rare ones; then what is open, then what was refuted."""
    for verdict in (CERTIFIED, UNDECIDED, REFUTED):
        listed = [
            (site, k) for site in found.sites for k in _ordered(site, verdict)[: None if every else _OF_EACH]
        ]
        total = sum(site.count(verdict) for site in found.sites)
        if not total:
            continue
        shown = listed if every else listed[:_MOST]
        out.print()
        reasons = {str(reason) for site in found.sites for reason in site.reason if reason}
        common = reasons.pop() if verdict == UNDECIDED and len(reasons) == 1 else ""
        out.print(
            Text(hanging(f"{verdict.capitalize()}{': ' * bool(common)}{common}", out.width, "", "  "), "head")
        )
        out.print(_listing(shown, verdict, out.width, beside=not common))
        if total > len(shown):
            out.print(f"  and {count(total - len(shown))} more: --all lists every one", style="quiet")


def _ordered(site: SiteCertificates, verdict: str) -> list[int]:
    """The nearest calls first: certified with the highest bound, refuted with the lowest z."""
    places = np.flatnonzero(site.verdict == verdict)
    key = {CERTIFIED: -site.bound, REFUTED: site.z, UNDECIDED: site.bound}[verdict]
    return [int(k) for k in places[np.argsort(key[places], kind="stable")]]


def _listing(
    shown: Sequence[tuple[SiteCertificates, int]], verdict: str, width: int, *, beside: bool
) -> Table:
    table = Table(box=None, show_header=False, show_edge=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    room = max(16, width // 3)
    for site, k in shown:
        name = Text(f"  {short(site.name, room)}").append(f" [{site.index[k]}]", "head")
        table.add_row(
            name,
            Text(site.inequality(k), _STYLES[verdict]),
            Text(_beside(site, k) if beside else "", "quiet"),
        )
    return table


def _beside(site: SiteCertificates, k: int) -> str:
    """How it was proved, where the witness is from, or why it is open."""
    seen = site.witness(k)
    if seen is not None:
        where = {"data": f"sample {seen.sample}", "random": "a random input", "ascent": "by ascent"}
        return f"a = {seen.a:.4g}, {where[seen.found]}"
    if site.reason[k]:
        return whole(site.reason[k])
    reach = site.radius[k]
    if np.isnan(reach):
        return f"by {site.method[k]}"
    return f"by {site.method[k]}, radius {'∞' if np.isinf(reach) else rounded_down(reach)}"


def _undecidable(found: Certificates, out: Console) -> None:
    if not found.undecidable:
        return
    out.print()
    out.print(Text("Cannot be decided", "head"))
    by_reason: dict[str, list[str]] = {}
    for each in found.undecidable:
        by_reason.setdefault(each.reason, []).append(each.name)
    for reason, names in by_reason.items():
        more = f" and {count(len(names) - 3)} more" if len(names) > 3 else ""
        listed = ", ".join(short(name, 40) for name in names[:3])
        out.print(Text(hanging(f"{listed}{more}: {reason}", out.width)))


def _meaning(found: Certificates, out: Console) -> None:
    totals = found.summary
    out.print()
    if totals[CERTIFIED]:
        near = max((site.plateau for site in found.sites if site.count(CERTIFIED)), default=0.0)
        silent = f"stays within {near:g} of zero" if near else "is silent"
        cut = "loses no more than that times its outgoing weights" if near else "changes no output there"
        said = (
            f"a certified neuron {silent} for every input of this domain, in exact arithmetic and in "
            f"{found.arithmetic} with any order of summation: taking it out {cut}. It says nothing of other inputs, "
            "nor of other weights than those of this file"
        )
        if found.domain["kind"] == "observed":
            said += ". Which inputs belong to this domain shows only when they are run"
    elif not found.sites:
        said = "nothing is claimed: of none of these neurons can anything be proved"
    else:
        said = "no neuron is proved to be silent over this domain; a narrower one may allow it"
    out.print(Text(hanging(said[0].upper() + said[1:] + ".", out.width, "", "")))
    if any(np.isfinite(site.radius).any() for site in found.sites):
        legend = (
            "radius: a neuron of the first layer is silent as well wherever every element is moved by at most so much "
            "from the hull of the data (L∞)"
        )
        out.print(Text(hanging(legend, out.width, "  ", " " * 11), "quiet"))
    assumed = [sentence for site in found.sites if site.count(CERTIFIED) for sentence in site.assumes]
    for sentence in dict.fromkeys(assumed):
        out.print(Text(hanging(sentence, out.width, "  assumed: ", " " * 11), "quiet"))
