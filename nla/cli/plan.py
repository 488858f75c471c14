"""`nla plan`: from a recording to a manifest of what to do; touches no checkpoint."""

from __future__ import annotations

from typing import Any

import click

from nla.cli import outputs
from nla.cli.command import command
from nla.cli.criteria import chosen
from nla.cli.options import judging, planning, writing


@command(
    "plan",
    (
        judging.run,
        planning.policy,
        planning.fraction,
        planning.target_rate,
        planning.zero_outgoing,
        planning.reset_seed,
        planning.swap_to,
        planning.planned_site,
        planning.planned_state,
        planning.require,
        planning.certificates,
        planning.min_margin,
        planning.max_rate_bound,
        judging.criteria,
        judging.criterion,
        planning.manifest_output,
        writing.json_file,
        writing.quiet,
    ),
    examples=(
        "nla plan run.h5 --policy prune -o manifest.json",
        "nla plan run.h5 --policy prune --require held-out --max-rate-bound 0.001 -o manifest.json",
        "nla plan run.h5 --policy remove --require certificate -o manifest.json",
        "nla plan run.h5 --policy reset --state dead --state dormant -o manifest.json",
    ),
)
def plan(output: str | None, json_file: str | None, quiet: bool, **given: Any) -> None:
    """Decide what to do about the neurons of RUN, and write it as a manifest.

    RUN is a recording, which `nla inspect -o RUN` or `nla merge` wrote. No checkpoint is opened. The manifest
    can be read, edited and kept: strike an action, or a unit, and apply the rest.
    """
    outputs.check([output, json_file], [given["run"], given["criteria"], given["certificates"]])
    if output == json_file == outputs.STANDARD_OUTPUT:
        raise click.UsageError("the manifest goes to standard output once: -o - and --json - are the same")
    given["criteria"] = chosen(given["criteria"], given.pop("criterion"))

    from nla import api

    manifest = api.plan(**given)
    for path in filter(None, (output, json_file)):
        outputs.put(path, manifest.dumps())
    if not quiet and outputs.STANDARD_OUTPUT not in (output, json_file):
        from nla.rendering.plan import print_plan

        print_plan(manifest, output)
