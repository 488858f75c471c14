"""`nla track`: how a network came to be as it is, over its checkpoints."""

from __future__ import annotations

from typing import Any

import click

from nla.cli import outputs, progress, replaying
from nla.cli.command import command
from nla.cli.options import comparing, writing


@command(
    "track",
    (
        comparing.series,
        comparing.order,
        comparing.steps,
        comparing.first_is_initial,
        comparing.skip_unlike,
        comparing.different_data,
        writing.json_file,
        comparing.trajectories,
        comparing.recordings,
        writing.quiet,
        writing.verbose,
        *replaying.DATA,
        *replaying.REST,
    ),
    examples=(
        "nla track epoch00.h5 epoch01.h5 epoch02.h5",
        "nla track epoch*.h5 --json tracking.json",
        "nla track checkpoints/*.onnx --data calibration.npz --runs recordings/",
    ),
)
def track(json_file: str | None, trajectories: bool, quiet: bool, **given: Any) -> None:
    """Follow every neuron of a network over its checkpoints.

    RUN is a recording (nla inspect -o) or an inspection document with rows, or, with --data, a checkpoint; they
    are put in training order. Printed are the dead share of each site by step, the matrix of transitions between
    states, survival, and where neurons die, starve and revive.
    """
    outputs.check([json_file], [*given["runs"], given["steps"], *(given[name] for name in replaying.FILES)])
    if given["data"] is not None and given["synthetic"] is not None:
        raise click.UsageError("--data and --synthetic exclude each other")
    if trajectories and not json_file:
        raise click.UsageError("--trajectories is for the document: name it with --json")
    asked = given["criteria"] is not None or bool(given["criterion"])
    replaying.gather(given)
    if not asked:  # inspection documents bring theirs
        given["criteria"] = None

    from nla import api

    with progress.shown(quiet) as report:
        seen = api.track(**given, progress=report)
    if json_file:
        from nla.rendering.strict_json import json_text

        outputs.put(json_file, json_text(seen.to_dict(neurons=trajectories)))
    if not quiet and json_file != outputs.STANDARD_OUTPUT:
        from nla.rendering.tracking import print_tracking

        print_tracking(seen)
