"""`nla theory initialisation`: schemes, gains, and what a checkpoint's layers look like, on the command line."""

from __future__ import annotations

from typing import Any

from nla.cli import outputs, parameters, progress
from nla.cli.command import command
from nla.cli.options import checkpoint, measuring, writing
from nla.cli.options import theory as options
from nla.cli.theory_outputs import show


@command(
    "initialisation",
    (
        options.model,
        options.fan_in,
        options.fan_out,
        writing.json_file,
        options.row_format,
        checkpoint.constants,
        *checkpoint.CONSTRUCTION,
        measuring.memory_limit,
        measuring.time_limit,
        measuring.in_process,
    ),
    examples=(
        "nla theory initialisation",
        "nla theory initialisation --fan-in 784 --fan-out 128 --format csv",
        "nla theory initialisation model.onnx",
    ),
)
def initialisation(json_file: str | None, row_format: str, **given: Any) -> None:
    """List initialisation schemes, or name those of a model.

    Variances, bounds and gains of the usual schemes for one layer, and the gains that activations ask for. With a
    checkpoint MODEL: which scheme each of its layers still looks like, and how strong that is as evidence.
    """
    outputs.check([json_file], [given["model"], given["graph"]])
    given["constants"] = parameters.table(given["constants"], "--set", parameters.constant)

    from nla import api
    from nla.rendering.initialisation import print_initialisation

    with progress.shown() as report:
        found = api.initialisation(**given, progress=report)
    show(found, json_file, row_format, print_initialisation, lambda seen: seen.rows())
