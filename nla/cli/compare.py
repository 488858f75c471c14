"""`nla compare`: experiments side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nla.cli import outputs, parameters, progress, reading_runs, replaying
from nla.cli.command import command
from nla.cli.options import comparing, judging, writing

if TYPE_CHECKING:
    pass


@command(
    "compare",
    (
        judging.runs,
        comparing.name,
        comparing.column,
        comparing.columns,
        comparing.table_format,
        writing.json_file,
        writing.quiet,
        writing.verbose,
        *replaying.DATA,
        *replaying.REST,
    ),
    examples=(
        "nla compare relu.h5 leaky.h5 elu.h5 --column accuracy=0.974,0.977,0.976",
        "nla compare runs/*.h5 --columns results.csv --format markdown",
    ),
)
def compare(table_format: str, json_file: str | None, quiet: bool, **given: Any) -> None:
    """Set experiments side by side: health of every layer.

    RUN is a recording (nla inspect -o) or an inspection document, or, with --data, a checkpoint. Networks of any
    architecture: layers are set beside each other by their number from the input.
    """
    outputs.check([json_file], [*given["runs"], given["columns"], *(given[name] for name in replaying.FILES)])
    given["column"] = parameters.table(given["column"], "--column")
    given["name"] = given["name"] or ()
    reading_runs.gather(given)

    from nla import api

    with progress.shown(quiet) as report:
        seen = api.compare(**given, progress=report)
    if json_file:
        outputs.put_document(json_file, seen)
    if quiet or json_file == outputs.STANDARD_OUTPUT:
        return
    if table_format == "json":
        outputs.put_document(outputs.STANDARD_OUTPUT, seen)
        return
    from nla.rendering import comparison

    shows = {
        "csv": comparison.print_comparison_csv,
        "markdown": comparison.print_comparison_markdown,
        "table": comparison.print_comparison,
    }
    shows[table_format](seen)
