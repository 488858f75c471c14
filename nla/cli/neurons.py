"""`nla neurons`: a row for each neuron of a recording, with its numbers and evidence."""

from __future__ import annotations

from typing import Any

from nla.cli.command import command
from nla.cli.criteria import chosen
from nla.cli.options import judging, measuring, writing


@command(
    "neurons",
    (
        judging.run,
        judging.site,
        judging.state,
        judging.flag,
        writing.row_format,
        judging.criteria,
        judging.criterion,
        measuring.memory_limit,
        measuring.time_limit,
    ),
    examples=("nla neurons run.h5 --state dead", "nla neurons run.h5 --format csv > neurons.csv"),
)
def neurons(row_format: str, criterion: tuple[tuple[str, str], ...], **given: Any) -> None:
    """Print a row for each neuron, with its evidence.

    RUN is a recording, which `nla inspect -o RUN` or `nla merge` wrote.
    """
    given["criteria"] = chosen(given["criteria"], criterion)

    from nla import api
    from nla.rendering import table

    rows = api.neurons(**given)
    if row_format == "csv":
        table.print_csv(rows)
    elif row_format == "json":
        table.print_json(rows)
    else:
        table.print_table(rows)
