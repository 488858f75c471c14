"""Inspecting without data: what the weights of a checkpoint tell."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from nla.errors import UsageError
from nla.isolation import Limits
from nla.lifecycle.criteria import Criteria
from nla.verbs.construction import Construction
from nla.verbs.parcel import Constant, Parcel, Progress, StrPath
from nla.weights.results import WeightInspection


def weighed(
    model: StrPath,
    *,
    constants: Mapping[str, Constant] | None,
    include: Sequence[str],
    construction: Construction,
    criteria: Criteria,
    limits: Limits,
    in_process: bool,
    progress: Progress | None,
    verbose: bool,
) -> WeightInspection:
    """What weights alone tell of every site. Raises ModelError, UsageError, LimitError."""
    parcel = Parcel()
    parcel.arguments.update(
        model=os.fspath(model),
        include=list(include),
        construction=construction.given(),
        tolerance=criteria.dead_tolerance_abs,
    )
    parcel.put_constants(constants)
    return WeightInspection.from_plain(
        *parcel.run("nla.weights.tasks:inspect", limits, progress, in_process, verbose)
    )


def refuse_without_data(given: Mapping[str, Any]) -> None:
    """Refuse what is about data or their replay; `given` is what the user said, by name, None where nothing.

    Raises:
        UsageError: something of it was given.
    """
    named = [name for name, value in given.items() if value is not None]
    if "output" in named:
        raise UsageError(
            "no data were given, and a recording holds what a replay of data leaves: give --data, or --synthetic N, "
            "or write the document of what the weights tell with --json"
        )
    if named:
        raise UsageError(
            f"no data were given, and {named[0].replace('_', '-')} is about data: give --data, or --synthetic N, "
            f"or leave {named[0].replace('_', '-')} out"
        )
