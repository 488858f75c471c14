"""`nla check`: whether runs hold rules, as an exit code and in the formats of a CI."""

from __future__ import annotations

from typing import Any

from nla.cli import outputs, progress
from nla.cli.command import command
from nla.cli.criteria import chosen
from nla.cli.options import gating, judging, measuring, writing


@command(
    "check",
    (
        judging.runs,
        *gating.OPTIONS,
        judging.criteria,
        judging.criterion,
        gating.report_format,
        gating.report_output,
        writing.quiet,
        measuring.memory_limit,
        measuring.time_limit,
    ),
    examples=(
        "nla check run.h5 --max-dead 5%",
        "nla check run.h5 --rules rules.toml --format junit -o check.xml",
        "nla check run.h5 --baseline last-release.h5",
    ),
)
def check(
    report_format: str,
    report_file: str | None,
    quiet: bool,
    criterion: tuple[tuple[str, str], ...],
    **given: Any,
) -> int:
    """Hold runs to rules, with an exit code for a pipeline.

    RUN is a recording (`nla inspect -o RUN`) or an inspection document (`nla inspect --json RUN`). The exit code is 0
    where every rule holds, 1 where one does not, and 2 where that cannot be said: a rule that is none, a run that
    cannot be read, a metric that was not measured. Without any rule the default rules are taken, and printed.
    """
    outputs.check([report_file], [*given["runs"], given["rules"], given["baseline"], given["criteria"]])
    given["rules"] = () if given["rules"] is None else given["rules"]
    if given["criteria"] or criterion:
        given["criteria"] = chosen(given["criteria"], criterion)

    from nla import api

    with progress.shown(quiet) as report:
        checked = api.check(**given, progress=report)
    to_file = report_file not in (None, outputs.STANDARD_OUTPUT)
    if report_file is not None and to_file:
        from nla.rendering.gate import render

        outputs.put(report_file, render(checked, report_format))
    if not quiet:
        _show(checked, "text" if to_file else report_format)
    return 0 if checked.held else 1


def _show(checked: Any, report_format: str) -> None:
    if report_format == "text":
        from nla.rendering.gate.text import print_checked

        print_checked(checked)
    else:
        from nla.rendering.gate import render

        outputs.put(outputs.STANDARD_OUTPUT, render(checked, report_format))
