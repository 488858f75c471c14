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
neurons = option(
    "--neurons",
    section=OUTPUT,
    is_flag=True,
    help="With --json: write a row for each neuron too, which `nla track` and `nla diff` need of a document.",
)
row_format = choice(
    "--format",
    "row_format",
    section=OUTPUT,
    choices=["table", "csv", "json", "parquet"],
    help="A table for people, or every column with all digits for programs: csv, json, or parquet (the extra "
    "`arrow`). By default as the file of -o ends, and a table without -o.",
)
rows_output = option(
    "-o",
    "--output",
    "rows_output",
    section=OUTPUT,
    type=click.Path(),
    metavar="ROWS.csv",
    help="Write the rows to this file; - is standard output.",
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
