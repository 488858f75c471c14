"""`nla prune`: inspect, plan, apply and verify in one."""

from __future__ import annotations

from typing import Any

from nla.cli import outputs, progress, replaying
from nla.cli.command import command
from nla.cli.options import certifying, checkpoint, editing, planning, writing


@command(
    "prune",
    (
        checkpoint.model,
        *replaying.DATA,
        planning.planned_site,
        planning.planned_state,
        planning.require,
        planning.min_margin,
        planning.max_rate_bound,
        planning.certificates,
        *certifying.PROOFS,
        editing.round_to,
        editing.model_output,
        editing.manifest_file,
        editing.tolerance,
        writing.json_file,
        writing.quiet,
        writing.verbose,
        *replaying.REST,
    ),
    examples=(
        "nla prune model.onnx --data calibration.npz -o pruned.onnx",
        "nla prune model.onnx --data calibration.npz --held-out 0.2 --require held-out -o pruned.onnx",
        "nla prune model.onnx --data calib.npz --certify --box 0:1 --require certificate -o pruned.onnx",
    ),
)
def prune(json_file: str | None, quiet: bool, **given: Any) -> int:
    """Take dead, constant and duplicate neurons out, and prove that nothing changed.

    Inspects MODEL, plans, applies and verifies. The result is kept only where every output stays the same on the
    data; where it does not, nothing is written and the exit code is 1.
    """
    replaying.check_data(given)
    outputs.check_edit(given, json_file)
    replaying.gather(given)

    from nla import api

    with progress.shown(quiet) as report:
        outcome = api.prune(**given, progress=report)
    return outputs.show_outcome(outcome, json_file, quiet)
