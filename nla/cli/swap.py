"""`nla swap`: the dead shares of every layer under other activations."""

from __future__ import annotations

from typing import Any

import click

from nla.cli import outputs, progress, replaying
from nla.cli.command import command
from nla.cli.options import checkpoint, editing, planning, writing


@command(
    "swap",
    (
        checkpoint.model,
        *replaying.DATA,
        planning.candidates,
        planning.swap_to,
        planning.planned_site,
        editing.model_output,
        writing.json_file,
        writing.quiet,
        writing.verbose,
        *replaying.REST,
    ),
    examples=(
        "nla swap model.onnx --data calibration.npz --candidates gelu,silu,elu,leakyrelu",
        "nla swap model.onnx --data calibration.npz --to gelu -o gelu.onnx",
    ),
)
def swap(json_file: str | None, quiet: bool, **given: Any) -> None:
    """Compare the dead shares of every layer under other activations.

    The weights of MODEL stay as they are; a network whose activation is exchanged needs training before use.
    """
    replaying.check_data(given)
    if (given["output"] is None) != (given["to"] is None):
        raise click.UsageError(
            "-o and --to go together: the model that is written has the activation of --to"
        )
    outputs.check_model([given["output"]])
    outputs.check(
        [given["output"], json_file], [given[name] for name in ("model", *replaying.FILES)], given["output"]
    )
    replaying.gather(given)

    from nla import api

    with progress.shown(quiet) as report:
        swapped = api.swap(**given, progress=report)
    if given["output"]:
        outputs.wrote(given["output"])
    if json_file:
        from nla.rendering.strict_json import json_text
        from nla.rendering.swap import swap_document

        outputs.put(json_file, json_text(swap_document(swapped)))
    if not quiet and json_file != outputs.STANDARD_OUTPUT:
        from nla.rendering.swap import print_swap

        print_swap(swapped, given["output"])
