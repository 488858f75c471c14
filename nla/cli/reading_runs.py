"""The options of commands that read runs, and replay checkpoints where there is data: what they come to."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from nla.cli import replaying

_OF_RUNS = ("criteria", "criterion", "memory_limit", "time_limit", "in_process")
"""Options of a replay that reading runs takes too."""


def gather(given: dict[str, Any]) -> None:
    """Turn, in place, what the options gave into what the Python verb takes.

    The criteria are None where nothing was said of them: those of the documents among the runs hold then.

    Raises:
        click.UsageError: data from two places, or an option of a replay where nothing is replayed.
        UsageError: a value that makes no sense.
    """
    if given["data"] is not None and given["synthetic"] is not None:
        raise click.UsageError("--data and --synthetic exclude each other")
    if given["data"] is None and given["synthetic"] is None:
        _refuse_replay_options()
    said = given["criteria"] or given["criterion"]
    replaying.gather(given)
    if not said:
        given["criteria"] = None


def _refuse_replay_options() -> None:
    context = click.get_current_context()
    decorated = click.Command("", params=[])
    for decorate in (*replaying.DATA, *replaying.REST):
        decorate(decorated)
    for option in decorated.params:
        name = option.name or ""
        if name not in _OF_RUNS and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"{option.opts[0]} is for checkpoints, which are replayed on data: give --data, or leave it out"
            )
