"""`nla criteria`: every threshold with its unit and source, as the TOML that `--criteria` reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nla.cli import parameters
from nla.cli.command import command
from nla.cli.options import judging

if TYPE_CHECKING:
    from nla.lifecycle.criteria import Criteria


def chosen(path: str | None, overrides: tuple[tuple[str, str], ...]) -> Criteria:
    """The criteria of `--criteria` with every `--criterion` on top; raises UsageError."""
    from nla.lifecycle.criteria import Criteria

    stated = Criteria.from_toml(path) if path else Criteria()
    return stated.replace(**parameters.table(overrides, "--criterion", parameters.constant))


@command(
    "criteria",
    (judging.criteria, judging.criterion),
    examples=("nla criteria > criteria.toml", "nla criteria --criterion dormancy_threshold=0.1"),
)
def criteria(criteria: str | None, criterion: tuple[tuple[str, str], ...]) -> None:
    """Print every threshold with its unit and source.

    The output is the TOML that `--criteria` reads.
    """
    from nla.rendering.criteria import criteria_toml
    from nla.rendering.terminal import stream

    stream().write(criteria_toml(chosen(criteria, criterion)))
