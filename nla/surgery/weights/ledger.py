"""The units of an action, and why some of them stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.errors import UsageError, printable
from nla.manifest.document import Action
from nla.surgery.report import Refused, refused_together


class Ledger:
    """Units still to be done, and the first reason that was found against each of the others."""

    def __init__(self, units: Sequence[int]) -> None:
        self._units = tuple(units)
        self._reasons: dict[int, str] = {}

    def refuse(self, units: Iterable[int], reason: str) -> None:
        """Take units out, unless they are out already."""
        for unit in units:
            self._reasons.setdefault(int(unit), reason)

    @property
    def left(self) -> list[int]:
        """The units against which nothing was found, in the order of the action."""
        return [unit for unit in self._units if unit not in self._reasons]

    def refused(self) -> list[Refused]:
        """The others, by reason."""
        found = [(unit, self._reasons[unit]) for unit in self._units if unit in self._reasons]
        return list(refused_together(found))


def by_unit(action: Action, name: str, default: float | None = None) -> dict[int, float]:
    """A parameter with a number for each unit, by unit.

    Raises:
        UsageError: another count of numbers than the action has units.
    """
    given: Any = action.parameters.get(name)
    if given is None and default is not None:
        return dict.fromkeys(action.units, default)
    values = [given] * len(action.units) if isinstance(given, int | float) else given
    if values is None or len(values) != len(action.units):
        found = "nothing" if values is None else f"{len(values)} numbers"
        raise UsageError(
            f"action {printable(action.id)} ({action.kind} at {printable(action.site, 80)}): {name} has {found} "
            f"for {len(action.units)} units, expected a number for each"
        )
    return {unit: float(value) for unit, value in zip(action.units, values, strict=True)}


def chosen(unit: NDArray[np.int64], units: Sequence[int]) -> NDArray[np.int64]:
    """Places of an array of unit numbers that hold one of `units`."""
    return np.flatnonzero(np.isin(unit, np.asarray(units, np.int64)))
