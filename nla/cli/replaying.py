"""The options of every command that replays data, and what they come to for the Python verb."""

from __future__ import annotations

from typing import Any

import click

from nla.cli import parameters
from nla.cli.criteria import chosen
from nla.cli.options import calibration, checkpoint, judging, measuring

DATA = (
    calibration.data,
    calibration.labels,
    calibration.mask,
    calibration.inputs,
    calibration.limit,
    calibration.held_out,
    calibration.synthetic,
    calibration.seed,
    calibration.processor,
)
REST = (
    judging.criteria,
    judging.criterion,
    checkpoint.constants,
    *checkpoint.CONSTRUCTION,
    *calibration.PREPARATION,
    measuring.batch_size,
    measuring.providers,
    measuring.threads,
    measuring.kernel,
    measuring.memory_limit,
    measuring.time_limit,
    measuring.in_process,
)
_IMAGE = ("resize", "resample", "scale", "mean", "std", "layout", "channels")
FILES = ("data", "labels", "mask", "criteria", "tokenizer", "graph", "processor")
"""Options that may name files which are read."""


def check_data(given: dict[str, Any]) -> None:
    """Make sure that there is data, from one place. Raises click.UsageError."""
    if (given["data"] is None) == (given["synthetic"] is None):
        raise click.UsageError(
            "give calibration data with --data, or ask for random numbers with --synthetic N"
            if given["data"] is None
            else "--data and --synthetic exclude each other"
        )


def gather(given: dict[str, Any]) -> None:
    """Turn, in place, what the options gave into what the Python verb takes. Raises UsageError."""
    given["criteria"] = chosen(given["criteria"], given.pop("criterion"))
    given["constants"] = parameters.table(given["constants"], "--set", parameters.constant)
    given["inputs"] = parameters.table(given["inputs"], "--input")
    given["image"] = {name: value for name in _IMAGE if (value := given.pop(name)) is not None}
