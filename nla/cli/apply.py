"""`nla apply`: carry a manifest out on a checkpoint."""

from __future__ import annotations

from typing import Any

import click

from nla.cli import outputs, progress
from nla.cli.command import command
from nla.cli.options import checkpoint, editing, measuring, writing


@command(
    "apply",
    (
        editing.manifest,
        checkpoint.model,
        editing.round_to,
        editing.force,
        editing.dry_run,
        *checkpoint.CONSTRUCTION,
        editing.model_output,
        editing.record_undo,
        writing.json_file,
        writing.quiet,
        measuring.memory_limit,
        measuring.time_limit,
        measuring.in_process,
    ),
    examples=(
        "nla apply manifest.json model.onnx -o pruned.onnx",
        "nla apply manifest.json model.onnx -o pruned.onnx --record-undo undo.safetensors",
        "nla apply manifest.json model.onnx --dry-run",
        "nla apply manifest.json checkpoint/ -o pruned/",
    ),
)
def apply(json_file: str | None, quiet: bool, **given: Any) -> None:
    """Carry a manifest out on a checkpoint, and write the result.

    MANIFEST is what `nla plan` wrote, perhaps edited since; MODEL is the checkpoint that it was made for. The
    result has passed onnx's checker and loads in onnxruntime; units that cannot be edited stay, and are listed.
    """
    written = [given["output"], given["record_undo"]]
    if given["dry_run"] != (given["output"] is None):
        raise click.UsageError(
            "--dry-run writes no model: leave -o out"
            if given["dry_run"]
            else "name the resulting model with -o, or ask for --dry-run"
        )
    outputs.check_model(written)
    outputs.check([*written, json_file], [given["manifest"], given["model"], given["graph"]], given["output"])

    from nla import api

    with progress.shown(quiet) as report:
        done = api.apply(**given, progress=report)
    for path in filter(None, written):
        outputs.wrote(path)
    if json_file:
        from nla.rendering.strict_json import json_text

        outputs.put(json_file, json_text(done.to_dict()))
    if not quiet and json_file != outputs.STANDARD_OUTPUT:
        from nla.rendering.surgery import print_surgery

        print_surgery(done, given["output"])
