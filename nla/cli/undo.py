"""`nla undo`: the original checkpoint back from an edited one."""

from __future__ import annotations

from typing import Any

import click

from nla.cli import outputs, progress
from nla.cli.command import command
from nla.cli.options import checkpoint, editing, measuring, writing


@command(
    "undo",
    (
        editing.undo_file,
        checkpoint.model,
        editing.model_output,
        writing.quiet,
        measuring.memory_limit,
        measuring.time_limit,
        measuring.in_process,
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
        from nla.rendering.surgery import print_restored

        print_restored(restored.identical, given["output"])
