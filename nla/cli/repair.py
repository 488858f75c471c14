"""`nla repair`: wake neurons by changing weights, and measure what that did."""

from __future__ import annotations

from typing import Any

from nla.cli import outputs, progress, replaying
from nla.cli.command import command
from nla.cli.options import certifying, checkpoint, editing, planning, writing


@command(
    "repair",
    (
        checkpoint.model,
        *replaying.DATA,
        planning.policy,
        planning.fraction,
        planning.target_rate,
        planning.zero_outgoing,
        planning.rounds,
        planning.planned_site,
        planning.planned_state,
        planning.require,
        planning.min_margin,
        planning.max_rate_bound,
        planning.certificates,
        *certifying.PROOFS,
        editing.model_output,
        editing.manifest_file,
        editing.tolerance,
        writing.json_file,
        writing.quiet,
        writing.verbose,
        *replaying.REST,
    ),
    examples=(
        "nla repair model.onnx --data calibration.npz --policy reset -o repaired.onnx",
        "nla repair model.onnx --data calibration.npz --policy strip --rounds 10 -o repaired.onnx",
    ),
)
def repair(json_file: str | None, quiet: bool, **given: Any) -> int:
    """Wake dead neurons by changing weights, and measure what that did.

    Inspects MODEL, plans, applies and verifies. The result is kept only where every action did what it promised;
    where one did not, nothing is written and the exit code is 1. Nothing is trained: waking a neuron gives the next
    training something to work with, and no accuracy by itself.
    """
    replaying.check_data(given)
    outputs.check_edit(given, json_file)
    replaying.gather(given)

    from nla import api

    with progress.shown(quiet) as report:
        outcome = api.repair(**given, progress=report)
    return outputs.show_outcome(outcome, json_file, quiet)
