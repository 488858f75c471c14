"""What a notebook shows of an inspection and of a table of neurons: small HTML that brings nothing and loads nothing.

Every name from a file is escaped. Colours are those of the page, so that it reads on light and on dark; only the bars
have one of their own. However large the checkpoint, the output stays small.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from nla.errors import printable
from nla.lifecycle.results import STATES, Inspection, SiteResult, path_of
from nla.lifecycle.table import NeuronTable

MOST_SITES = 40
MOST_ROWS = 20
MOST_FINDINGS = 5
_LONGEST_NAME = 80
_LONGEST_PATH = 300
_NEURON_COLUMNS = (
    *("site", "index", "state", "flags", "activation_rate", "mean_abs", "max", "dormancy_score"),
    *("contribution_score", "fired_samples", "rate_upper_bound", "margin"),
)
_TEXT_COLUMNS = ("site", "state", "flags", "kind")
_STYLE = """<style>
.nla{color:inherit;font-size:.9em;line-height:1.4;overflow-x:auto;--nla-bar:#b4501e}
.nla p,.nla ol{margin:.3em 0;color:inherit}
.nla table{border-collapse:collapse;color:inherit;font-size:inherit;background:transparent;margin:.5em 0}
.nla th,.nla td{padding:.15em .6em;text-align:right;border:0;border-bottom:1px solid rgba(128,128,128,.35);\
background:transparent;color:inherit;white-space:nowrap;font-variant-numeric:tabular-nums}
.nla th{white-space:normal;vertical-align:bottom}
.nla .t{text-align:left}
.nla .b{display:inline-block;width:5em;height:.7em;margin-left:.5em;border:1px solid rgba(128,128,128,.5)}
.nla .b i{display:block;height:100%;background:var(--nla-bar)}
@media (prefers-color-scheme:dark){.nla{--nla-bar:#f08c4b}}
body[data-jp-theme-light="false"] .nla,.vscode-dark .nla{--nla-bar:#f08c4b}
body[data-jp-theme-light="true"] .nla,.vscode-light .nla{--nla-bar:#b4501e}
</style>"""


def inspection_html(inspection: Inspection) -> str:
    """The totals in sentences, a row for each of the first sites, and what was found."""
    shown, others = inspection.sites[:MOST_SITES], inspection.sites[MOST_SITES:]
    states = [state for state in STATES if state == "dead" or inspection.summary[state]]
    heads = ["site", "kind", "neurons", *states, "dead share", "effective rank"]
    rows = [_site(result, states) for result in shown]
    return _wrapped(
        _paragraph(f"<b>{_totals(inspection)}</b>"),
        _paragraph(_source(inspection)),
        _table(heads, rows) if rows else _paragraph("No site was found."),
        _more_sites(others) if others else "",
        _findings(inspection),
    )


def neurons_html(table: NeuronTable) -> str:
    """The first rows, in the columns that say most."""
    names = [name for name in _NEURON_COLUMNS if name in table.columns]
    rows = [[_cell(name, row[name]) for name in names] for row in table.head(MOST_ROWS).rows()]
    more = (
        f"the first {len(rows)} of {len(table):,} neurons" if len(table) > len(rows) else _neurons(len(table))
    )
    return _wrapped(
        _table([name.replace("_", " ") for name in names], rows) if rows else "",
        _paragraph(f"{more}; <code>to_pandas()</code> has all {len(table.columns)} columns"),
    )


def _totals(inspection: Inspection) -> str:
    total = inspection.summary
    dead, neurons = total["dead"], total["neurons"]
    if not dead:
        return f"None of {_neurons(neurons)} is dead." if neurons else "No neurons."
    said = f"{dead:,} of {_neurons(neurons)} are dead ({_percent(dead / neurons)})."
    bound = inspection.joint_rate_upper_bound
    if math.isnan(bound):
        return said
    confidence = _percent(1 - inspection.criteria.confidence_alpha)
    return f"{said} With {confidence} confidence none fires on more than {_percent(bound)} of samples."


def _source(inspection: Inspection) -> str:
    """Checkpoint and data; that samples were drawn at random is never left out."""
    data = inspection.data
    parts = [f"<code>{_name(path_of(inspection.checkpoint), _LONGEST_PATH)}</code>"]
    samples = max((r.measurements.samples for r in inspection.sites), default=0)
    if data.get("synthetic"):
        parts.append(f"<b>{samples:,} random samples, not data</b>")
    else:
        parts.append(f"<code>{_name(path_of(data), _LONGEST_PATH)}</code>, {samples:,} samples")
    return " on ".join(part for part in parts if part != "<code></code>")


def _site(result: SiteResult, states: Sequence[str]) -> list[str]:
    share = f"{_percent(result.dead_share)}{_bar(result.dead_share)}"
    kind = f"{result.site.role} {result.site.activation.name}"
    counts = [f"{result.counts[state]:,}" for state in states]
    rank = "" if math.isnan(result.effective_rank) else f"{result.effective_rank:.3g}"
    return [_cell("site", result.name), escape(kind), f"{result.site.neurons:,}", *counts, share, rank]


def _bar(share: float) -> str:
    """A share as a bar; the number stands beside it."""
    return f'<span class="b" aria-hidden="true"><i style="width:{100 * share:.0f}%"></i></span>'


def _more_sites(others: Sequence[SiteResult]) -> str:
    dead, neurons = sum(r.counts["dead"] for r in others), sum(r.site.neurons for r in others)
    return _paragraph(
        f"and {len(others):,} more sites, with {dead:,} dead of {_neurons(neurons)}; "
        "<code>to_pandas(per='site')</code> has all"
    )


def _findings(inspection: Inspection) -> str:
    found = inspection.findings[:MOST_FINDINGS]
    if not found:
        return ""
    items = "".join(f"<li>{escape(printable(finding.symptom, _LONGEST_PATH))}</li>" for finding in found)
    more = len(inspection.findings) - len(found)
    return f"<p>Findings</p><ol>{items}</ol>" + (_paragraph(f"and {more:,} more") if more else "")


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "site":
        return f"<code>{_name(value, _LONGEST_NAME)}</code>"
    if isinstance(value, tuple):
        return escape(", ".join(value))
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else escape(printable(value, _LONGEST_NAME))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The cells of `rows` are HTML, `heads` are texts."""
    sides = [' class="t"' if head in _TEXT_COLUMNS else "" for head in heads]
    top = "".join(
        f'<th scope="col"{side}>{escape(head)}</th>' for side, head in zip(sides, heads, strict=True)
    )
    lines = ("".join(f"<td{side}>{cell}</td>" for side, cell in zip(sides, row, strict=True)) for row in rows)
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f"<table><thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table>"


def _wrapped(*parts: str) -> str:
    return f'{_STYLE}<div class="nla">{"".join(filter(None, parts))}</div>'


def _paragraph(html: str) -> str:
    return f"<p>{html}</p>"


def _name(name: str, longest: int) -> str:
    return escape(printable(name, longest))


def _neurons(number: int) -> str:
    return f"{number:,} neuron{'' if number == 1 else 's'}"


def _percent(share: float) -> str:
    """With three significant digits, and never rounded to 0 % or 100 %.

    >>> _percent(0.5365), _percent(0.00621), _percent(0.9999), _percent(1.0)
    ('53.6 %', '0.621 %', '> 99.9 %', '100 %')
    """
    text = f"{100 * share:.3g}"
    return "> 99.9 %" if text == "100" and share < 1 else f"{text} %"
