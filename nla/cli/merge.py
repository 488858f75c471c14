"""`nla merge`: the recordings of shards into one, equal to one pass."""

from __future__ import annotations

from typing import Any

import click

from nla.cli import outputs
from nla.cli.command import command
from nla.cli.options import judging, measuring, writing


@command(
    "merge",
    (
        judging.runs,
        writing.output,
        writing.json_file,
        writing.neurons,
        writing.quiet,
        measuring.memory_limit,
        measuring.time_limit,
    ),
    examples=("nla merge shard1.h5 shard2.h5 -o run.h5",),
)
def merge(
    runs: tuple[str, ...],
    output: str | None,
    json_file: str | None,
    neurons: bool,
    quiet: bool,
    **limits: Any,
) -> None:
    """Merge the recordings of shards into one.

    RUN... are recordings of `nla inspect --shard K/N`, on any machine; the merged one equals a single pass.
    """
    if output is None:
        raise click.UsageError("name the merged recording with -o")
    outputs.check_neurons(neurons, json_file)
    outputs.check_recording(output)
    outputs.check([output, json_file], runs)

    from nla import api

    inspection = api.merge(runs, output, **limits)
    outputs.wrote(output)
    outputs.show(inspection, json_file, quiet, neurons)
