"""Recordings, the thresholds they are judged by, and which rows are shown."""

from __future__ import annotations

import click

from nla.cli.options.parts import FLAGS, JUDGE, ROWS, assignments, choice, option, site_option, state_option

run = click.argument("run", type=click.Path())
runs = click.argument("runs", type=click.Path(), nargs=-1, required=True, metavar="RUN...")
criteria = option(
    "--criteria",
    section=JUDGE,
    type=click.Path(),
    help="A TOML file of criteria: the thresholds of the states, which are written into every document. "
    "`nla criteria` prints one to start from.",
)
criterion = assignments(
    "--criterion",
    "criterion",
    section=JUDGE,
    metavar="NAME=VALUE",
    help="Change one criterion, such as dormancy_threshold=0.1; `nla criteria` lists them. Repeatable.",
)
site = site_option(ROWS)
state = state_option(ROWS)
flag = choice(
    "--flag",
    metavar="FLAG",
    section=ROWS,
    multiple=True,
    choices=FLAGS,
    help=f"Rows with this flag only: {', '.join(FLAGS)}. Repeatable.",
)
