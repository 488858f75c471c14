"""A checked gate as text: verdict first, then a table for each run, then why and what to do."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nla.gate import words as gate_words
from nla.gate.metrics import METRICS
from nla.gate.results import Checked, RuleResult, synthetic
from nla.lifecycle.results import path_of
from nla.rendering.gate.words import verdict
from nla.rendering.terminal import WIDTH_WITHOUT_TERMINAL, console, ruled
from nla.rendering.words import counted, hanging, short, short_names, whole
from nla.runs.run import Run

_MOST_FAILED = 12
"""Rows for one rule."""
_LABEL = 9
_NARROWEST = 14
"""Columns for a rule's name, and for a place, below which the baseline gives way."""
_FAIR = 22
"""Columns for a place, where there are as many; more where the rules' names leave them."""
_FIXED = ("measured", "limit", "baseline")
_Row = tuple[str, RuleResult, int]
"""The verdict, the result that the row shows, and for how many it stands."""
_STYLES = {"FAILS": "alarm", "warns": "warning", "holds": "quiet"}


def render(checked: Checked) -> str:
    """The text without colours, at 100 columns, for a file."""
    target = io.StringIO()
    print_checked(checked, console(target, WIDTH_WITHOUT_TERMINAL))
    return target.getvalue()


def print_checked(checked: Checked, out: Console | None = None) -> None:
    """Everything that a reader needs; the document (`--format json`) is complete."""
    out = out or console()
    style = ("warning" if checked.warned else "head") if checked.held else "alarm"
    _headed(out, "verdict", verdict(checked), style)
    if checked.by_default:
        told = "none was given: the default rules; --max-dead, --rules and --baseline give others"
        _headed(out, "rules", told)
    if checked.baseline is not None:
        _headed_run(out, "baseline", checked.baseline)
    for run in checked.runs:
        _print_run(out, checked, run)
    _print_reasons(out, checked)
    if checked.notes:
        out.print("\nNotes", style="head")
        for note in checked.notes:
            out.print(Text(_wrapped(note, out.width)))


def print_metrics(out: Console | None = None) -> None:
    """What rules can be about: `nla check --list`; both: the network, and each layer."""
    out = out or console()
    table = ruled(3)
    for heading in ("metric", "of", "limit", "meaning"):
        table.add_column(heading, no_wrap=heading != "meaning")
    for metric in METRICS.values():
        side = "max" if metric.better == "low" else "min"
        of = "both" if len(metric.scopes) > 1 else metric.scopes[0]
        unit = f"share/{metric.counts}" if metric.counts else "0" if metric.unit == "flag" else metric.unit
        needs = {"rows": " (needs rows)", "baseline": " (needs --baseline)"}.get(metric.needs, "")
        table.add_row(metric.name, of, f"{side} {unit}", f"{metric.meaning}{needs}")
    out.print(table)


def _wrapped(text: object, width: int, first: str = "  ", rest: str = "    ") -> str:
    r"""As `hanging`; no line begins with '::', which GitHub's runners would take for a command of theirs.

    >>> _wrapped("::stop-commands::x", 80)
    '  \\x3a:stop-commands::x'
    """
    return re.sub(r"^(\s*)::", r"\1\\x3a:", hanging(text, width, first, rest), flags=re.MULTILINE)


def _headed(out: Console, label: str, text: str, style: str = "", facts: Sequence[str] = ()) -> None:
    """A line that begins with a label, wrapped where it must be; the text has the style, the facts behind have none."""
    told = _wrapped(" · ".join([text, *facts]), out.width, f"{label:<{_LABEL}}", " " * _LABEL)
    line = Text(told)
    line.stylize("quiet", 0, _LABEL)
    line.stylize(style, _LABEL, min(len(told), _LABEL + len(whole(text))))
    out.print(line)


def _headed_run(out: Console, label: str, run: Run) -> None:
    model, samples = path_of(run.checkpoint), max((site.samples for site in run.sites), default=0)
    facts = [short(model, 50)] if model else []
    facts += [counted(run.summary["neurons"], "neuron"), counted(samples, "sample")]
    _headed(out, label, short(run.label, 40), "head", facts)


def _print_run(out: Console, checked: Checked, run: Run) -> None:
    out.print()
    _headed_run(out, "run", run)
    if synthetic(run):
        out.print(" SYNTHETIC DATA: random numbers were replayed ", style="alarm")
    results = checked.of(run)
    rows = [row for rule in checked.rules for row in _rows([r for r in results if r.rule.name == rule.name])]
    out.print(_table(rows, out.width))


def _table(rows: Sequence[_Row], width: int) -> Table:
    """A line for each row; names give way where they must, numbers never."""
    cells = [_cells(result) for _, result, _ in rows]
    widths = [max(len(heading), *(len(row[k]) for row in cells)) for k, heading in enumerate(_FIXED)]
    number = len(_FIXED) if any(row[-1] for row in cells) else len(_FIXED) - 1
    room = _room(width, widths[:number])
    if room < 2 * _NARROWEST and number == len(_FIXED):  # the limit says it too
        number -= 1
        room = _room(width, widths[:number])
    table = ruled()
    least = dict(zip(("", *_FIXED), (len("FAILS"), *widths), strict=True))
    for heading in ("", "rule", "where", *_FIXED[:number]):
        table.add_column(heading, no_wrap=True, min_width=least.get(heading))
    wanted = max(len(_head(word, number)) + len(result.where) for word, result, number in rows)
    names = [_named(result) for _, result, _ in rows]
    rules = short_names(names, max(room - min(wanted, _FAIR), room // 2, 6))
    places = _places(rows, max(room - max(map(len, rules)), 6))
    for (word, _, _), rule, place, row in zip(rows, rules, places, cells, strict=True):
        table.add_row(Text(word, _STYLES.get(word, "quiet")), rule, place, *row[:number])
    return table


def _room(width: int, widths: Sequence[int]) -> int:
    """Columns for the names, besides the verdict, columns of these widths, and two between any two."""
    return width - len("FAILS") - sum(widths) - 2 * (len(widths) + 2)


def _cells(result: RuleResult) -> tuple[str, ...]:
    """measured, limit, baseline."""
    limit = result.bound.replace("at most", "≤").replace("at least", "≥")
    if result.baseline is None:
        return result.measured, limit, ""
    share = result.metric.unit == "share"
    then = gate_words.percent(result.baseline) if share else gate_words.number(result.baseline)
    return result.measured, limit, then


def _rows(results: Sequence[RuleResult]) -> Iterator[_Row]:
    """For one rule: a row for each place that fails, the worst first, and one for all that hold.

    A verdict of '' says that more fail.
    """
    ordered = sorted(results, key=_excess, reverse=True)
    broken = [result for result in ordered if not result.held]
    for result in broken[:_MOST_FAILED]:
        yield "FAILS" if result.fails else "warns", result, 1
    if len(broken) > _MOST_FAILED:
        yield "", broken[_MOST_FAILED], len(broken) - _MOST_FAILED
    held = [result for result in ordered if result.held]
    if held:
        yield "holds", held[0], len(held)


def _places(rows: Sequence[_Row], room: int) -> list[str]:
    """Where, in at most `room` columns; before it, for how many layers the row stands."""
    heads = [_head(word, number) for word, _, number in rows]
    size = max(map(len, heads), default=0)
    if room < size + 6:  # a name that cannot be told from others says less than none
        heads, size = [""] * len(rows), 0
    every = [result.where for _, result, _ in rows]
    beside, alone = short_names(every, room - size), short_names(every, room)
    return [f"{head}{cut}" if head else full for head, cut, full in zip(heads, beside, alone, strict=True)]


def _head(word: str, number: int) -> str:
    if not word:
        return f"+{number:,}, worst: "
    return f"worst of {number:,}: " if number > 1 else ""


def _named(result: RuleResult) -> str:
    name, metric = result.rule.name, result.metric.name
    return name if metric.replace("_", "-") in name or metric in name else f"{name} ({metric})"


def _print_reasons(out: Console, checked: Checked) -> None:
    """For each metric whose rules do not hold somewhere: what the worst results rest on, and what to do."""
    for title, results in (("Why", checked.failed), ("Warnings", checked.warned)):
        if results:
            out.print(f"\n{title}", style="head")
        for metric in dict.fromkeys(result.metric.name for result in results):
            of_metric = [result for result in results if result.metric.name == metric]
            out.print(Text(_wrapped(f"{metric}: {of_metric[0].metric.meaning}", out.width), "head"))
            said = {result.rule.name: result.rule.message for result in of_metric if result.rule.message}
            for name, message in said.items():
                out.print(_labelled("note", f"{name}: {message}", out.width))
            rules = dict.fromkeys(result.rule.name for result in of_metric)
            worst = [max((r for r in of_metric if r.rule.name == rule), key=_excess) for rule in rules]
            for told in dict.fromkeys(_seen(checked, result) for result in worst):
                out.print(_labelled("seen", told, out.width))
            out.print(_labelled("do", of_metric[0].todo, out.width))


def _excess(result: RuleResult) -> float:
    return result.excess


def _seen(checked: Checked, result: RuleResult) -> str:
    run = result.run if len(checked.runs) > 1 else ""
    where = ", ".join(filter(None, (run, result.site)))
    return f"{where}: {result.evidence}" if where else result.evidence


def _labelled(label: str, text: str, width: int) -> Text:
    lines = Text(_wrapped(text, width, f"    {label:<6}", " " * 10))
    lines.stylize("quiet", 0, 10)
    return lines
