"""`nla plot`: one figure of one or several runs, for a paper."""

from __future__ import annotations

from typing import Any

import click

from nla.cli import outputs, progress
from nla.cli.command import command
from nla.cli.criteria import chosen
from nla.cli.options import comparing, drawing, judging, measuring, writing


@command(
    "plot",
    (
        drawing.runs,
        drawing.kind,
        drawing.output,
        drawing.figure_format,
        *drawing.OPTIONS,
        comparing.order,
        comparing.first_is_initial,
        comparing.different_data,
        judging.criteria,
        judging.criterion,
        writing.quiet,
        measuring.memory_limit,
        measuring.time_limit,
    ),
    examples=(
        "nla plot run.h5 dead-share -o dead.svg",
        "nla plot epoch*.h5 transitions -o transitions.pdf",
        "nla plot run.h5 activation-rate -o rates.png --dpi 300",
        "nla plot --list",
    ),
)
def plot(
    output: str | None, format: str | None, quiet: bool, criterion: tuple[tuple[str, str], ...], **given: Any
) -> None:
    """Draw one figure, as SVG, PNG or PDF.

    RUN is a recording (nla inspect -o) or an inspection document; some kinds take several, which are put in training
    order. KIND comes last: `nla plot --list` shows what there is.
    """
    _check_there(given["kind"], given["runs"])
    if output is None:
        raise click.UsageError("name the figure with -o, such as figure.svg, or - for SVG on standard output")
    _check_kind(given["kind"], given["runs"])
    outputs.check([output], [*given["runs"], given["criteria"]])
    if given["criteria"] or criterion:
        given["criteria"] = chosen(given["criteria"], criterion)

    from nla import api

    to_file = output != outputs.STANDARD_OUTPUT
    with progress.shown(quiet) as report:
        figure = api.plot(output=output if to_file else None, format=format, progress=report, **given)
    if to_file:
        outputs.wrote(output)
        return
    from nla.figures.saving import rendered
    from nla.figures.theme import THEMES

    sizes = {name: given[name] for name in ("width", "height", "dpi")}
    drawn = rendered(figure, format or "svg", theme=THEMES[given["theme"]], **sizes)
    outputs.put_binary(output, lambda out: out.write(drawn))


def _check_there(kind: str, runs: tuple[str, ...]) -> None:
    """Raises click.UsageError where one argument only is given: what it is tells which is missing."""
    from nla.figures.registry import KINDS

    if not runs:
        missing = (
            "'RUN...'" if kind in KINDS else "'KIND': it comes behind the runs, and nla plot --list names all"
        )
        raise click.UsageError(f"Missing argument {missing}")


def _check_kind(kind: str, runs: tuple[str, ...]) -> None:
    """Raises UsageError where KIND is none, click.UsageError where it stands among the runs."""
    from nla.figures.registry import KINDS
    from nla.figures.registry import kind as known

    misplaced = next((run for run in runs if run in KINDS), None)
    if kind not in KINDS and misplaced is not None:
        raise click.UsageError(f"the kind of figure comes last: nla plot RUN... {misplaced} -o FIGURE.svg")
    known(kind).check_number(len(runs))
