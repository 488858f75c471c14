"""`nla theory phases`: what lives by depth and width, on the command line."""

from __future__ import annotations

from typing import Any

from nla.cli import outputs, progress
from nla.cli.command import command
from nla.cli.options import drawing, writing
from nla.cli.options import theory as options
from nla.cli.theory_outputs import check, draw, show


@command(
    "phases",
    (
        options.phase_networks,
        options.phase_points,
        options.phase_width,
        options.phase_depth,
        options.seed,
        options.non_negative_data,
        options.work,
        writing.json_file,
        options.row_format,
        options.plot,
        drawing.theme,
        writing.quiet,
        options.threads,
    ),
    examples=(
        "nla theory phases",
        "nla theory phases --plot phases.svg",
        "nla theory phases --max-width 16 --depth 1024 --networks 1024 --work phases.npz --json phases.json",
    ),
)
def phases(
    json_file: str | None, row_format: str, plot: str | None, theme: str, quiet: bool, **given: Any
) -> None:
    """Map what is born alive by depth and width.

    Plain ReLU networks and residual ones, x + ReLU(Wx), at initialisation and without biases: counted, with 95 %
    intervals, beside the widths at which the bounds say one in two.
    """
    check(json_file, plot, given["work"])

    from nla import api
    from nla.rendering.simulation import print_simulation

    with progress.shown(quiet) as report:
        found = api.phases(**given, progress=report)
    if given["work"]:
        outputs.wrote(given["work"])
    if plot is not None:
        draw(found, plot, theme)
    show(found, json_file, row_format, print_simulation, lambda seen: seen.rows(), quiet)
