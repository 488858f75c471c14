"""`nla report`: one page of HTML about a run, or about several."""

from __future__ import annotations

from typing import Any

from nla.cli import outputs, progress
from nla.cli.command import command
from nla.cli.criteria import chosen
from nla.cli.options import comparing, judging, measuring, paging, writing
from nla.errors import OutputError


@command(
    "report",
    (
        judging.runs,
        paging.output,
        paging.title,
        paging.theme,
        comparing.order,
        comparing.first_is_initial,
        comparing.different_data,
        writing.quiet,
        judging.criteria,
        judging.criterion,
        measuring.memory_limit,
        measuring.time_limit,
    ),
    examples=("nla report run.h5 -o report.html", "nla report epoch*.h5 -o training.html --title 'Run 17'"),
)
def report(quiet: bool, output: str, criterion: tuple[tuple[str, str], ...], **given: Any) -> None:
    """Write a page about a run, or about several in training order.

    RUN is a recording (nla inspect -o) or an inspection document. The page is one file that holds all it needs:
    verdict, pictures, a searchable table of neurons.
    """
    if output == outputs.STANDARD_OUTPUT:
        raise OutputError("cannot write a report to standard output: name a file, such as report.html")
    outputs.check([output], [*given["runs"], given["criteria"]])
    if given["criteria"] or criterion:
        given["criteria"] = chosen(given["criteria"], criterion)

    from nla import api

    with progress.shown(quiet) as shown:
        api.report(output=output, progress=shown, **given)
    outputs.wrote(output)
