"""What options are made of: their sections in the help, and the kinds that several groups share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from nla.cli import parameters
from nla.cli.command import Option
from nla.cli.parameters import Parsed

Decorator = Callable[[Any], Any]
DATA = "Calibration data"
OUTPUT = "Output"
JUDGE = "Judgement"
MODEL = "Model"
IMAGES = "Image folders"
TEXT = "Text"
MEASURE = "Measurements"
REPLAY = "Replay"
LIMITS = "Limits"
ROWS = "Rows"
POLICY = "What to do"
WHICH = "Which units"
SURGERY = "Surgery"
VERIFY = "Verification"
RULES = "Rules"
# nla.lifecycle.results.STATES and FLAGS, written out once more: importing numpy would make `--help` slow.
# A test holds them together.
STATES = ("dead", "constant", "saturated", "dormant", "born", "specialised", "active", "unknown")
FLAGS = ("linear", "near_dead", "starved", "polysemantic", "nonfinite")
COUNT = Parsed("number", parameters.positive)


def option(*names: str, section: str, help: str, **settings: Any) -> Decorator:
    return click.option(*names, cls=Option, section=section, help=help, **settings)


def assignments(*names: str, section: str, metavar: str, help: str) -> Decorator:
    kind = Parsed(metavar, parameters.assignment)
    return option(*names, section=section, metavar=metavar, multiple=True, type=kind, help=help)


def seed_option(section: str) -> Decorator:
    kind = Parsed("number", parameters.natural)
    about = "Seed of what is drawn at random: synthetic samples, fresh weights."
    return option("--seed", section=section, metavar="N", type=kind, default=0, show_default=True, help=about)


def site_option(section: str) -> Decorator:
    about = "This site only, by its full name. Repeatable."
    return option("--site", section=section, multiple=True, metavar="S", help=about)


def state_option(section: str) -> Decorator:
    about = f"Neurons in this state only: {', '.join(STATES)}. Repeatable."
    return choice("--state", section=section, metavar="STATE", multiple=True, choices=STATES, help=about)


def choice(*names: str, section: str, help: str, choices: Sequence[str], **settings: Any) -> Decorator:
    """An option whose help names its choices where it does not list them."""
    metavar = settings.pop("metavar", "|".join(choices))
    kind = click.Choice(choices, case_sensitive=False)
    return option(*names, section=section, help=help, type=kind, metavar=metavar, **settings)
