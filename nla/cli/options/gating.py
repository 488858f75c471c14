"""Rules that runs are held to."""

from __future__ import annotations

from typing import Any

import click

from nla.cli.options.parts import OUTPUT, RULES, choice, option

FORMATS = ("text", "json", "junit", "sarif", "github", "prometheus")
"""nla.rendering.gate.FORMATS, written out once more: importing rich would make `--help` slow."""


def _list(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    if given and not context.resilient_parsing:
        from nla.rendering.gate.text import print_metrics

        print_metrics()
        context.exit()


max_dead = option(
    "--max-dead",
    section=RULES,
    metavar="LIMIT",
    help="At most so many dead neurons in the network: a share such as 5% or 0.05, or a whole number of neurons.",
)
max_dead_layer = option(
    "--max-dead-layer",
    section=RULES,
    metavar="LIMIT",
    help="The same for every layer by itself.",
)
min_effective_rank = option(
    "--min-effective-rank",
    section=RULES,
    metavar="SHARE",
    help="Every layer's effective rank is at least this share of its neurons, such as 0.3.",
)
rules = option(
    "--rules",
    section=RULES,
    type=click.Path(),
    metavar="FILE",
    help='A TOML file of rules, [[rule]] with metric = "dead", max = "20%", site = "*fc*", say.',
)
baseline = option(
    "--baseline",
    section=RULES,
    type=click.Path(),
    metavar="RUN",
    help="A run of the same architecture that RUN may not be worse than: dead shares and effective ranks.",
)
baseline_slack = option(
    "--baseline-slack",
    section=RULES,
    metavar="SHARE",
    help="By how much it may be worse all the same; 1% by default.",
)
list_metrics = option(
    "--list",
    "list_metrics",
    section=RULES,
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list,
    help="Print the metrics that a rule can be about, and end.",
)
report_format = choice(
    "--format",
    "report_format",
    section=OUTPUT,
    choices=FORMATS,
    default="text",
    show_default=True,
    help="What is written: a table for people; JSON; JUnit XML, SARIF or GitHub annotations for a CI; Prometheus text.",
)
report_output = option(
    "-o",
    "--output",
    "report_file",
    section=OUTPUT,
    type=click.Path(),
    metavar="FILE",
    help="Write it to a file, and print the table all the same; - is standard output, the default.",
)
OPTIONS: tuple[Any, ...] = (
    max_dead,
    max_dead_layer,
    min_effective_rank,
    rules,
    baseline,
    baseline_slack,
    list_metrics,
)
"""All that make a rule, or tell of them."""
