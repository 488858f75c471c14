"""What is written, and what is printed meanwhile."""

from __future__ import annotations

import click

from nla.cli.options.parts import OUTPUT, choice, option

output = option(
    "-o",
    "--output",
    section=OUTPUT,
    type=click.Path(),
    metavar="RUN.h5",
    help="Write the recording, from which `nla neurons` and `nla merge` work.",
)
json_file = option(
    "--json",
    "json_file",
    section=OUTPUT,
    type=click.Path(),
    metavar="FILE",
    help="Write the whole document as JSON; - writes it to standard output, in place of the table.",
)
row_format = choice(
    "--format",
    "row_format",
    section=OUTPUT,
    choices=["table", "csv", "json"],
    default="table",
    show_default=True,
    help="A table for people, or every column with all digits for programs.",
)
quiet = option(
    "-q", "--quiet", section=OUTPUT, is_flag=True, help="Print no table and no progress, only errors."
)
verbose = option(
    "-v",
    "--verbose",
    section=OUTPUT,
    is_flag=True,
    help="Let onnxruntime's own messages through, on stderr.",
)
