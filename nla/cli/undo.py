"""`nla undo`: the original checkpoint back from an edited one."""

from __future__ import annotations

from typing import Any

import click

from nla.cli import options, outputs, progress
from nla.cli.command import command


@command(
    "undo",
    (
        options.undo_file,
        options.model,
        options.model_output,
        options.quiet,
        options.memory_limit,
        options.time_limit,
        options.in_process,
    ),
    examples=("nla undo undo.safetensors pruned.onnx -o restored.onnx",),
)
def undo(quiet: bool, **given: Any) -> None:
    """Bring the original of an edited checkpoint back.

    UNDO is what `nla apply --record-undo` wrote, MODEL the edited checkpoint that it was written with.
    """
    if given["output"] is None:
        raise click.UsageError("name the restored model with -o")
    outputs.check_model([given["output"]])
    outputs.check([given["output"]], [given["undo"], given["model"]], given["output"])

    from nla import api

    with progress.shown(quiet) as report:
        restored = api.undo(**given, progress=report)
    outputs.wrote(given["output"])
    if not quiet:
        from nla.report.surgery import print_restored

        print_restored(restored.identical, given["output"])
