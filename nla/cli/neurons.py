"""`nla neurons`: a row for each neuron of a recording, with its numbers and evidence."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from nla.cli import outputs
from nla.cli.command import command
from nla.cli.criteria import chosen
from nla.cli.options import judging, measuring, writing
from nla.errors import OutputError

if TYPE_CHECKING:
    from nla.lifecycle.table import NeuronTable

_ENDINGS = {".csv": "csv", ".json": "json", ".parquet": "parquet"}


@command(
    "neurons",
    (
        judging.run,
        judging.site,
        judging.state,
        judging.flag,
        writing.row_format,
        writing.rows_output,
        judging.criteria,
        judging.criterion,
        measuring.memory_limit,
        measuring.time_limit,
    ),
    examples=(
        "nla neurons run.h5 --state dead",
        "nla neurons run.h5 --format csv > neurons.csv",
        "nla neurons run.h5 -o neurons.parquet",
    ),
)
def neurons(
    row_format: str | None, rows_output: str | None, criterion: tuple[tuple[str, str], ...], **given: Any
) -> None:
    """Print a row for each neuron, with its evidence.

    RUN is a recording, which `nla inspect -o RUN` or `nla merge` wrote.
    """
    kind = _format(row_format, rows_output)
    outputs.check([rows_output], [given["run"], given["criteria"]])
    _check_parquet(kind, rows_output)
    given["criteria"] = chosen(given["criteria"], criterion)

    from nla import api
    from nla.rendering import table

    rows = api.neurons(**given)
    if kind == "parquet":
        outputs.put_binary(rows_output or outputs.STANDARD_OUTPUT, lambda out: table.write_parquet(rows, out))
    elif rows_output not in (None, outputs.STANDARD_OUTPUT):
        outputs.put_binary(rows_output, lambda out: _fill(out, rows, kind))
    elif kind == "csv":
        table.print_csv(rows)
    elif kind == "json":
        table.print_json(rows)
    else:
        table.print_table(rows)


def _format(asked: str | None, output: str | None) -> str:
    """The format asked for, else that of the file's ending, else the table. Raises click.UsageError."""
    file = None if output == outputs.STANDARD_OUTPUT else output
    kind = asked or next((k for ending, k in _ENDINGS.items() if (file or "").lower().endswith(ending)), None)
    if file is not None and kind in (None, "table"):
        raise click.UsageError("a file of rows is csv, json or parquet: say which with --format")
    return kind or "table"


def _check_parquet(kind: str, output: str | None) -> None:
    """Raises MissingExtraError, or OutputError where bytes would go to a terminal."""
    if kind != "parquet":
        return
    if output in (None, outputs.STANDARD_OUTPUT) and sys.stdout.isatty():
        raise OutputError("cannot write Parquet to a terminal: name a file with -o, such as neurons.parquet")
    from nla.rendering import table

    table.need_parquet()


def _fill(out: BinaryIO, rows: NeuronTable, kind: str) -> None:
    """Write the rows as text in UTF-8, what that cannot hold escaped."""
    from nla.rendering import table

    text = io.TextIOWrapper(out, "utf-8", "backslashreplace", newline="", write_through=False)
    (table.print_csv if kind == "csv" else table.print_json)(rows, text)
    text.detach()
