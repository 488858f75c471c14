"""Runs beside each other: which may be compared, and what is known of them besides."""

from __future__ import annotations

import click

from nla.cli import parameters
from nla.cli.options.parts import OUTPUT, assignments, choice, option
from nla.cli.parameters import Parsed

COMPARE = "Comparison"

before = click.argument("before", type=click.Path(), metavar="A")
after = click.argument("after", type=click.Path(), metavar="B")
different_data = option(
    "--different-data",
    section=COMPARE,
    is_flag=True,
    help="Compare runs on different data too: what changed may then be the data's doing.",
)
common_only = option(
    "--common-only",
    section=COMPARE,
    is_flag=True,
    help="Leave out sites without a counterpart that fits, instead of refusing.",
)
quantised = option(
    "--quantised",
    section=COMPARE,
    is_flag=True,
    help="B is the fp16 or int8 twin of A: say what quantisation did. It is said unasked where it can be seen.",
)
column = assignments(
    "--column",
    "column",
    section=COMPARE,
    metavar="NAME=V,V,V",
    help="Show a column of yours, a value for each run, such as accuracy=0.97,0.98,0.96. Repeatable.",
)
columns = option(
    "--columns",
    section=COMPARE,
    type=click.Path(),
    metavar="FILE.csv",
    help="Show the columns of a table whose first column names the runs, as this command calls them.",
)
name = option(
    "--name",
    section=COMPARE,
    metavar="A,B,C",
    type=Parsed("names", parameters.names),
    help="What the runs are called, in their order; by default as their files.",
)
change_format = choice(
    "--format",
    "change_format",
    section=OUTPUT,
    choices=["table", "csv", "json"],
    default="table",
    show_default=True,
    help="A table for people; csv, a row with all digits for each neuron that changed; or the whole document.",
)
table_format = choice(
    "--format",
    "table_format",
    section=OUTPUT,
    choices=["table", "csv", "json", "markdown"],
    default="table",
    show_default=True,
    help="A table for people; csv, a row with all digits for each layer of each run; the whole document; or a table "
    "to paste into a text.",
)
series = click.argument("runs", type=click.Path(), nargs=-1, metavar="RUN...")
order = choice(
    "--order",
    section=COMPARE,
    choices=["auto", "given", "natural"],
    default="auto",
    show_default=True,
    help="By training step where names or --steps tell it, as given, or by name with numbers as numbers.",
)
steps = option(
    "--steps",
    section=COMPARE,
    type=click.Path(),
    metavar="FILE",
    help="A manifest of training steps: CSV or JSON with path and step, or ML-Agents' training_status.json. Without "
    "RUN, the runs that it lists.",
)
first_is_initial = option(
    "--first-is-initial/--first-is-trained",
    "first_is_initial",
    section=COMPARE,
    default=None,
    help="The first checkpoint is, or is not, the one before training, whose neurons are `born`; by default it is "
    "where its training step is 0.",
)
skip_unlike = option(
    "--skip-unlike",
    section=COMPARE,
    is_flag=True,
    help="Leave out runs of another architecture than the first, and list them, instead of refusing.",
)
recordings = option(
    "--runs",
    "recordings",
    section=OUTPUT,
    type=click.Path(),
    metavar="FOLDER",
    help="Keep the recordings of checkpoints in this folder; one that is there already is used again, so that a "
    "command that was interrupted goes on.",
)
trajectories = option(
    "--trajectories",
    section=OUTPUT,
    is_flag=True,
    help="With --json: write the state of each neuron at each step too.",
)
