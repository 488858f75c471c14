"""What the manifest wants cut: for every site the units, and the value that each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nla.errors import UsageError, printable
from nla.manifest.document import Action
from nla.surgery.structure import Structure

Unit = tuple[str, int]
"""Site and index."""


@dataclass(eq=False)
class Wanted:
    """Units that are to leave together."""

    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """By site, [neurons] the value that a unit has wherever it is read; NaN for units that nobody wants cut."""
    groups: dict[Unit, int] = field(default_factory=dict)
    """The channel group of every wanted unit that can leave as far as the graph goes."""
    merges: dict[int, int] = field(default_factory=dict)
    """The group that stays and stands in for a wanted one, for duplicates."""
    refused: dict[Unit, str] = field(default_factory=dict)
    """Wanted units that cannot leave, and why."""

    @property
    def units(self) -> list[Unit]:
        """All wanted units, in the order of the manifest."""
        return [*self.groups, *self.refused]


def wanted(structure: Structure, actions: Sequence[Action]) -> Wanted:
    """The units that these actions (remove, fold, merge) want cut.

    Raises UsageError: a site or unit that the graph does not have, or a unit that two actions name.
    """
    found = Wanted()
    owner: dict[Unit, str] = {}
    for action in actions:
        structure.check_units(action.site, action.units)
        for place, unit in enumerate(action.units):
            key = (action.site, unit)
            if key in owner:
                raise UsageError(
                    f"unit {unit} of '{printable(action.site)}' is in action '{printable(owner[key])}' and in "
                    f"'{printable(action.id)}': expected one way to cut it; strike it from one of them"
                )
            owner[key] = action.id
            _add(found, structure, key, action, place)
    _check_merges(found)
    return found


def _add(found: Wanted, structure: Structure, unit: Unit, action: Action, place: int) -> None:
    name, index = unit
    if name not in structure.drafts:
        found.refused[unit] = "no activation makes it: only units of activations, products and heads are cut"
        return
    values = found.values.setdefault(name, np.full(structure.site(name).neurons, np.nan))
    everyone = structure.coupling.everyone(name)
    group = int(everyone[index])
    lock = structure.coupling.lock(group)
    if lock is not None:
        found.refused[unit] = f"kept by {lock}"
    elif action.kind == "merge":
        _merge(found, structure, unit, group, int(action.parameters["into"][place]))
    else:
        values[index] = action.parameters["values"][place] if action.kind == "fold" else 0.0
        found.groups[unit] = group


def _merge(found: Wanted, structure: Structure, unit: Unit, group: int, into: int) -> None:
    """Let the unit be stood in for by another of its site."""
    structure.check_units(unit[0], (into,))
    other = int(structure.coupling.everyone(unit[0])[into])
    if other == group:
        found.refused[unit] = f"it cannot leave without unit {into}, whose duplicate it is"
    elif found.merges.setdefault(group, other) != other:
        found.refused[unit] = "it leaves together with a unit that is another's duplicate"
    else:
        found.groups[unit] = group


def _check_merges(found: Wanted) -> None:
    """Refuse duplicates of units that leave themselves."""
    leaving = set(found.groups.values())
    for unit, group in list(found.groups.items()):
        if found.merges.get(group) in leaving:
            found.refused[unit] = "the unit whose duplicate it is leaves too"
            del found.groups[unit]
    found.merges = {group: other for group, other in found.merges.items() if group in found.groups.values()}
