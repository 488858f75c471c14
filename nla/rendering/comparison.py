"""A comparison as text, as Markdown and as CSV: a line for each run, then each measure by layer."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from nla.rendering.table import cell
from nla.rendering.terminal import console, ruled, stream
from nla.rendering.text import SYNTHETIC
from nla.rendering.words import count, hanging, short_names, whole
from nla.tracking.columns import Value
from nla.tracking.comparison import Comparison, Experiment, Layer, layer_row

Cells = list[list[str]]
_LONGEST_NAME = 30
_FOOT = (
    "never on: z > 0 at no position, which neurons that never die can be; rank: effective rank, the mean over the "
    "layers; capacity: eq. 18 as printed, (1 - dead share) × rank, which charges the dead twice."
)


@dataclass(frozen=True)
class _Measure:
    """One number of a layer."""

    title: str
    of: Callable[[Layer], str]
    shown: Callable[[Comparison], bool]
    mean: Callable[[Experiment], str]


def print_comparison(seen: Comparison, out: Console | None = None) -> None:
    """The runs, then a small table for each measure, with runs as lines and layers as columns."""
    out = out or console()
    if any(each.run.data.get("synthetic") for each in seen.experiments):
        out.print(Text(f" {SYNTHETIC} ", "alarm"))
    head, rows = _runs(seen)
    names = short_names([row[0] for row in rows], _LONGEST_NAME)
    _print_table(out, head, [[name, *row[1:]] for name, row in zip(names, rows, strict=True)])
    for measure in _MEASURES:
        if measure.shown(seen):
            out.print(Text(f"\n{measure.title}, by layer from the input", "head"))
            _print_layers(out, seen, measure, names)
    out.print()
    for note in (*seen.notes, _FOOT):
        out.print(Text(hanging(note, out.width, "", ""), "quiet" if note is _FOOT else "warning"))


def print_comparison_markdown(seen: Comparison) -> None:
    """The same tables, to paste into a text."""
    out = stream()
    out.write(_markdown(*_runs(seen)))
    for measure in _MEASURES:
        if measure.shown(seen):
            layers = [f"L{k + 1}" for k in range(seen.depth)]
            rows = [[each.label, *_cells(each, measure, seen.depth)] for each in seen.experiments]
            out.write(f"\n{measure.title}, by layer from the input:\n\n")
            out.write(_markdown(["run", *layers, "mean"], rows))
    for note in (*seen.notes, _FOOT):
        out.write(f"\n{_escaped(note)}\n")


def print_comparison_csv(seen: Comparison) -> None:
    """A row for each layer of each run on standard output; numbers with repr precision, empty where not known."""
    writer = csv.writer(stream(), lineterminator="\n")
    first = next((layer for each in seen.experiments for layer in each.layers), None)
    own = [] if first is None else list(layer_row(first))
    writer.writerow(["run", *own, *(cell(name) for name in seen.columns)])
    for each in seen.experiments:
        for layer in each.layers:
            given = [each.columns[name] for name in seen.columns]
            writer.writerow([cell(value) for value in (each.label, *layer_row(layer).values(), *given)])


def _runs(seen: Comparison) -> tuple[list[str], Cells]:
    """The head and a line for each run."""
    states = [s for s in ("constant", "saturated") if any(each.total(s) for each in seen.experiments)]
    head = ["run", "activation", "layers", "neurons", *seen.columns, "dead", "never on", "dormant", *states]
    head += ["rank", "capacity"]
    rows = []
    for each in seen.experiments:
        names = each.activations
        kinds = "—" if not names else names[0] if len(names) == 1 else f"{len(names)} kinds"
        rows.append(
            [
                each.label,
                kinds,
                count(len(each.layers)),
                count(each.neurons),
                *(_given(each.columns[name]) for name in seen.columns),
                _of(each.total("dead"), each.neurons),
                _of(each.never_positive, each.neurons_with_rates),
                *(_of(each.total(state), each.neurons) for state in ("dormant", *states)),
                _number(each.mean_effective_rank),
                _number(each.mean_effective_capacity),
            ]
        )
    return head, rows


def _of(number: int | None, neurons: int) -> str:
    return "" if number is None else _share(number / neurons if neurons else math.nan)


def _share(share: float) -> str:
    """Percent with one decimal, so that a column reads well.

    >>> _share(0.28125), _share(0.0), _share(float("nan"))
    ('28.1 %', '0 %', '')
    """
    if math.isnan(share):
        return ""
    return f"{100 * share:.1f} %" if share not in (0, 1) else f"{100 * share:.0f} %"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.1f}"


def _given(value: Value) -> str:
    """What the user gave, as it was given."""
    if value is None:
        return ""
    return f"{value:.12g}" if isinstance(value, float) else value


def _state(state: str) -> _Measure:
    always = state in ("dead", "dormant")
    return _Measure(
        f"{state.capitalize()} neurons",
        lambda layer: _share(layer.share(layer.counts[state])),
        lambda seen: always or any(each.total(state) for each in seen.experiments),
        lambda each: _share(_mean([layer.share(layer.counts[state]) for layer in each.layers])),
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


_MEASURES = (
    _state("dead"),
    _Measure(
        "Never on (z > 0 at no position)",
        lambda layer: _share(layer.share(layer.never_positive)),
        lambda seen: any(
            layer.never_positive not in (None, layer.dead)
            for each in seen.experiments
            for layer in each.layers
        ),
        lambda each: _share(each.mean_never_positive_share),
    ),
    _state("dormant"),
    _state("saturated"),
    _state("constant"),
    _Measure(
        "Effective rank",
        lambda layer: _number(layer.effective_rank),
        lambda seen: any(not math.isnan(each.mean_effective_rank) for each in seen.experiments),
        lambda each: _number(each.mean_effective_rank),
    ),
    _Measure(
        "Effective capacity (eq. 18 as printed)",
        lambda layer: _number(layer.effective_capacity),
        lambda seen: (
            any(each.total("dead") for each in seen.experiments)
            and any(not math.isnan(each.mean_effective_capacity) for each in seen.experiments)
        ),
        lambda each: _number(each.mean_effective_capacity),
    ),
)


def _cells(each: Experiment, measure: _Measure, depth: int) -> list[str]:
    """A cell for each layer, empty beyond the run's own; the mean is last."""
    own = [measure.of(layer) for layer in each.layers]
    return [*own, *[""] * (depth - len(own)), measure.mean(each)]


def _print_layers(out: Console, seen: Comparison, measure: _Measure, names: Sequence[str]) -> None:
    head = ["run", *(f"L{k + 1}" for k in range(seen.depth)), "mean"]
    rows = [
        [name, *_cells(each, measure, seen.depth)] for name, each in zip(names, seen.experiments, strict=True)
    ]
    _print_table(out, head, rows)


def _print_table(out: Console, head: Sequence[str], rows: Cells) -> None:
    """As many columns on a line as fit beside the runs' names; then the next."""
    lines = [[whole(text) for text in line] for line in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    start = 1
    while start < len(head):
        end = start + 1
        while (
            end < len(head) and sum(widths[start : end + 1]) + 2 * (end - start) + widths[0] + 2 <= out.width
        ):
            end += 1
        if start > 1:
            out.print()
        _print_columns(out, [[line[0], *line[start:end]] for line in lines])
        start = end


def _print_columns(out: Console, lines: Cells) -> None:
    table = ruled()
    for k, name in enumerate(lines[0]):
        left = k == 0 or name == "activation"
        table.add_column(Text(name), justify="left" if left else "right", no_wrap=True)
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    out.print(table)


def _markdown(head: Sequence[str], rows: Cells) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(map(_escaped, line))} |\n" for line in lines)


def _escaped(text: str) -> str:
    r"""A text that stands in Markdown as it is.

    >>> print(_escaped("a|b <script> *x*"))
    a\|b &lt;script> \*x\*
    """
    shown = whole(text).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in "|`*_[]\\" else c for c in shown)
