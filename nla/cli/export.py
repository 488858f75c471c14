"""`nla export`: the graph built for a safetensors checkpoint, as an ONNX file."""

from __future__ import annotations

from typing import Any

import click

from nla.cli import outputs, progress
from nla.cli.command import command
from nla.cli.options import checkpoint, editing, measuring, writing


@command(
    "export",
    (
        checkpoint.model,
        editing.model_output,
        editing.copy_weights,
        *checkpoint.CONSTRUCTION,
        writing.quiet,
        measuring.memory_limit,
        measuring.time_limit,
        measuring.in_process,
    ),
    examples=(
        "nla export checkpoint/ -o model.onnx",
        "nla export checkpoint/ -o checkpoint/model.onnx --reference",
        "nla export mlp.safetensors --layers fc1,fc2,out --activation relu -o mlp.onnx",
    ),
)
def export(quiet: bool, **given: Any) -> None:
    """Write the graph built for a safetensors checkpoint as an ONNX file.

    MODEL is a folder in Hugging Face layout, a .safetensors file, or the index of its shards. The result has passed
    onnx's checker and loads in onnxruntime. Its weights are in it, or, from 100 MB on, in a file beside it.
    """
    if given["output"] is None:
        raise click.UsageError("name the ONNX file with -o")
    outputs.check_model([given["output"]])
    outputs.check([given["output"]], [given["model"], given["graph"]], given["output"])

    from nla import api

    with progress.shown(quiet) as report:
        made = api.export(**given, progress=report)
    outputs.wrote(given["output"])
    if not quiet:
        from nla.rendering.export import print_export

        print_export(made)
