"""`nla verify`: what an edit did to a checkpoint, and whether its promises were kept."""

from __future__ import annotations

from typing import Any

from nla.cli import outputs, progress, replaying
from nla.cli.command import command
from nla.cli.options import checkpoint, editing, writing


@command(
    "verify",
    (
        checkpoint.original,
        checkpoint.edited,
        *replaying.DATA,
        editing.manifest_file,
        editing.tolerance,
        writing.json_file,
        writing.quiet,
        writing.verbose,
        *replaying.REST,
    ),
    examples=(
        "nla verify model.onnx pruned.onnx --data calibration.npz",
        "nla verify model.onnx pruned.onnx --data calibration.npz --held-out 0.2 --manifest manifest.json",
    ),
)
def verify(json_file: str | None, quiet: bool, **given: Any) -> int:
    """Compare a checkpoint with its edit: outputs, states, size, speed.

    Both are replayed over the data. The exit code is 1 where a promise is broken: without --manifest, that no
    output changes; with it, what each of its actions promised.
    """
    replaying.check_data(given)
    read = [given[name] for name in ("original", "edited", "manifest", *replaying.FILES)]
    outputs.check([json_file], read)
    replaying.gather(given)

    from nla import api

    with progress.shown(quiet) as report:
        seen = api.verify(**given, progress=report)
    outputs.show_verification(seen, json_file, quiet)
    return 0 if seen.holds else 1
