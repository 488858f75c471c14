"""Options are declared once, bear the names of the Python parameters, and explain themselves."""

from __future__ import annotations

import inspect

import click
import pytest

from nla import api
from nla.cli.app import nla as group
from nla.cli.options import parts
from nla.lifecycle.results import FLAGS, STATES
from nla.verbs.replaying import ReplayOptions

COMMANDS = tuple(group.commands.values())
RENDERING = {
    "json_file",
    "neurons",
    "trajectories",
    "quiet",
    "row_format",
    "rows_output",
    "report_format",
    "report_file",
    "list_metrics",
    "list_kinds",
    "change_format",
    "all_neurons",
    "table_format",
    "help",
    "version",
    "shell",
}
"""Parameters that say how results are shown, which Python callers decide for themselves."""
FOLDED = {
    "criterion": "criteria",
    **dict.fromkeys(("resize", "resample", "scale", "mean", "std", "layout", "channels"), "image"),
}
"""Options that together make up one parameter."""
PYTHON_ONLY = {"progress"}
WRITES = {"-o", "--output", "--format", "--list", "--theme"}
"""What a command writes is its own."""


def takes(verb: str) -> set[str]:
    """The parameters of a Python verb, those of a replay that it passes on among them."""
    parameters = inspect.signature(getattr(api, verb)).parameters
    own = {name for name, each in parameters.items() if each.kind is not each.VAR_KEYWORD}
    return own | (set(ReplayOptions.__annotations__) if len(own) < len(parameters) else set())


def parameters_of(command: click.Command) -> set[str]:
    return {FOLDED.get(p.name, p.name) for p in command.params if p.name not in RENDERING}


VERBS = ["inspect", "certify", "sites", "neurons", "plan", "merge"]
VERBS += [
    "apply",
    "verify",
    "undo",
    "masks",
    "prune",
    "repair",
    "swap",
    "export",
    "check",
    "diff",
    "compare",
    "track",
    "plot",
    "report",
]


@pytest.mark.parametrize("verb", VERBS)
def test_the_command_line_and_python_offer_the_same_under_the_same_names(verb):
    python = takes(verb) - PYTHON_ONLY
    command_line = parameters_of(group.commands[verb])
    assert command_line <= python
    only_python = python - command_line
    # Reading our own recordings needs no limits on the command line.
    assert only_python <= {"in_process"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_option_has_a_sentence_of_help(command):
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            assert option.help.rstrip().endswith("."), option.help
            assert option.help[0].isupper() or option.help[0] in "|[", option.help


def test_an_option_means_the_same_in_every_command():
    declared: dict[str, tuple[object, ...]] = {}
    for command in COMMANDS:
        for option in command.params:
            if isinstance(option, click.Option) and option.name != "help":
                meaning = (tuple(option.opts), option.help, option.type.name, option.default, option.multiple)
                for name in set(option.opts) - WRITES:
                    assert declared.setdefault(name, meaning) == meaning


def test_states_and_flags_are_those_of_the_results():
    assert parts.STATES == STATES
    assert parts.FLAGS == FLAGS


def test_the_options_of_a_replay_are_those_of_inspect():
    of_inspect = inspect.signature(api.inspect).parameters
    assert set(ReplayOptions.__annotations__) <= set(of_inspect)
