"""What each kind of action takes: its parameters, their types and ranges, checked when a manifest is read.

A parameter of a unit (the value of a folded one, the bias change of a shifted one) is a list with an entry
for each unit, in the order of the action's units. In the file it is one value where all are equal, else an
object by unit index, so that a person may strike a unit and touch nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from nla.errors import UsageError, printable

CUTS = ("remove", "fold", "merge")
"""Kinds that take units out of the graph."""
WHOLE_LAYER = ("flip", "swap")
"""Kinds whose units are all of the site's."""
SCHEMES = ("he", "glorot", "lecun")
SWAPS = ("LeakyRelu", "Elu", "Gelu", "Silu")
_WITH_ALPHA = ("LeakyRelu", "Elu")

_FLOAT32_MAX = 3.4e38
_LARGEST_SEED = 2**63 - 1
_LONGEST_COMPARED = 200
"""Characters of a name that is not known: comparing takes their number squared."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kind of action."""

    check: Callable[[Any], bool]
    expected: str
    """What the value has to be, in words; of each entry where there is one for each unit."""
    per_unit: bool = False
    required: bool = True
    optional_value: bool = False
    """True where null is a value too."""


def is_number(value: object) -> bool:
    """True for a finite number; a truth value is none."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and abs(value) <= sys.float_info.max  # type: ignore[arg-type]  # NaN is no number either


def is_index(value: object) -> bool:
    """True for a whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _in_float32(value: object) -> bool:
    return is_number(value) and abs(value) < _FLOAT32_MAX  # type: ignore[arg-type]


def _share(value: object) -> bool:
    return is_number(value) and 0 < value <= 1  # type: ignore[operator]


def _positive(value: object) -> bool:
    return is_number(value) and value > 0  # type: ignore[operator]


def _numbers(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(is_number, value))


def _one_of(names: Sequence[str]) -> Parameter:
    return Parameter(lambda value: value in names, f"one of {', '.join(names)}")


_SHARE = Parameter(_share, "a share in (0, 1]")
_NUMBER = Parameter(is_number, "a number", per_unit=True)

PARAMETERS: dict[str, dict[str, Parameter]] = {
    "remove": {},
    "fold": {"values": _NUMBER},
    "merge": {
        "into": Parameter(is_index, "a unit of the site", per_unit=True),
        "scales": Parameter(_positive, "a number above 0", per_unit=True),
    },
    "mask": {},
    "strip": {"fraction": _SHARE},
    "strip-contribution": {
        "fraction": _SHARE,
        "input_mean": Parameter(_numbers, "a list of numbers or null", optional_value=True),
    },
    "reset": {
        "scheme": _one_of(SCHEMES),
        "seed": Parameter(lambda v: is_index(v) and v <= _LARGEST_SEED, "a whole number from 0 to 2^63 - 1"),
        "means": _NUMBER,
        "input_mean": Parameter(_numbers, "a list of numbers or null", required=False, optional_value=True),
    },
    "shift": {
        "delta": _NUMBER,
        "zero_outgoing": Parameter(lambda v: isinstance(v, bool), "true or false"),
        "target_rate": _SHARE,
    },
    "flip": {},
    "swap": {
        "to": _one_of(SWAPS),
        "alpha": Parameter(_in_float32, "a number that float32 holds", required=False),
    },
}
"""By kind of action; the order of the kinds is that of the documentation."""

KINDS = tuple(PARAMETERS)

PER_UNIT_EVIDENCE = (
    "state",
    "fired_samples",
    "rate_upper_bound",
    "margin",
    "held_out_fired",
    "mean",
    "min",
    "max",
    "activation_rate",
    "certificate",
    "certificate_bound",
)
"""Fields of an action's evidence with an entry for each unit; the others are facts of the whole action."""


def checked_parameters(
    kind: str, units: Sequence[int], given: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """The parameters of an action as Python holds them; per-unit ones as lists in the order of `units`.

    Args:
        kind: one of KINDS.
        units: of the action.
        given: as the file, or the caller, has them.
        where: how messages begin: 'm.json: action 2'.

    Raises:
        UsageError: a parameter that is missing, unknown, of another type, or says nothing about a unit.
    """
    known = PARAMETERS[kind]
    refuse_unknown(given, known, f"{where}: {kind} takes no parameter")
    taken: dict[str, Any] = {}
    for name, parameter in known.items():
        if name not in given:
            if parameter.required:
                raise UsageError(f"{where}: {kind} needs the parameter {name}: {parameter.expected}")
            continue
        value = given[name]
        if parameter.per_unit:
            value = per_unit(value, units, f"{where}: {name}")
        entries = value if parameter.per_unit else [value]
        for entry in entries:
            if not (parameter.check(entry) or (entry is None and parameter.optional_value)):
                raise UsageError(f"{where}: {name} is {_shown(entry)}, expected {parameter.expected}")
        taken[name] = value
    if kind == "swap" and "alpha" in taken and taken["to"] not in _WITH_ALPHA:
        with_one = " and ".join(_WITH_ALPHA)
        raise UsageError(f"{where}: {taken['to']} has no alpha, only {with_one} have; strike it")
    return taken


def per_unit(value: Any, units: Sequence[int], where: str) -> list[Any]:
    """A list in the order of `units`, from one value for all, an object by unit index, or such a list.

    Entries for units that the action does not name (any more) are left out.

    Raises:
        UsageError: nothing is said about one of the units.
    """
    if isinstance(value, Mapping):
        missing = next((unit for unit in units if str(unit) not in value), None)
        if missing is not None:
            raise UsageError(f"{where} has no value for unit {missing}; add one, or strike the unit")
        return [value[str(unit)] for unit in units]
    if isinstance(value, list | tuple):
        if len(value) != len(units):
            raise UsageError(
                f"{where} has {len(value)} values for {len(units)} units, expected one for each unit"
            )
        return list(value)
    return [value] * len(units)


def by_unit(values: Sequence[Any], units: Sequence[int]) -> Any:
    """The inverse of `per_unit`: one value where all are equal, else an object by unit index.

    >>> by_unit([0.5, 0.5], [3, 7]), by_unit([0.5, 0.25], [3, 7])
    (0.5, {'3': 0.5, '7': 0.25})
    """
    first = values[0] if len(values) else None
    if all(type(value) is type(first) and value == first for value in values):
        return first
    return {str(unit): value for unit, value in zip(units, values, strict=True)}


def refuse_unknown(given: Mapping[str, Any], known: Mapping[str, Any] | Sequence[str], what: str) -> None:
    """Raises UsageError, which begins with `what`, where a name is not known: a slip must not be ignored."""
    for name in given:
        if name not in known:
            near = get_close_matches(str(name)[:_LONGEST_COMPARED], list(known), 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none'}"
            raise UsageError(f"{what} {printable(name)!r}; {hint}")


def _shown(value: object) -> str:
    return printable(repr(value), 80)
