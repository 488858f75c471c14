"""The rows of a site in an inspection document, one object for each neuron, as columns of arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.errors import RecordingError, printable
from nla.lifecycle.results import FLAGS, STATES
from nla.lifecycle.table import EVIDENCE
from nla.runs import values
from nla.runs.run import Rows

_COUNTS = ("samples", "positions", "fired_samples", "held_out_fired", "nonfinite")
_TEXTS = ("decided_by", "certificate")
_SHARES = ("activation_rate", "firing_frequency", "rate_upper_bound", "saturated_share", "p_value")
_IDENTITY = ("index", "state", "flags")


def rows_of(
    rows: Sequence[Mapping[str, Any]], counts: Mapping[str, int], flags: Mapping[str, int], where: str
) -> Rows:
    """The rows as a `Rows`, counts int64, other numbers float64 with NaN for null.

    Args:
        rows: objects with the columns of `nla neurons`, all with the same ones; in the order of `index`.
        counts: neurons by state, as the site says.
        flags: neurons by flag, likewise.
        where: the place in the document, for errors.

    Raises:
        RecordingError: rows that are not of as many neurons, or contradict the site's counts.
    """
    neurons = sum(counts.values())
    if len(rows) != neurons:
        raise RecordingError(f"{where} has {len(rows)} rows, expected one for each of {neurons} neurons")
    names = list(rows[0]) if rows else []
    for lacking in (name for name in (*_IDENTITY, *EVIDENCE) if name not in names):
        raise RecordingError(f"{where}.rows[0] has no {lacking}")
    for index, row in enumerate(rows):
        if row.keys() != rows[0].keys():
            odd = min(row.keys() ^ rows[0].keys())
            raise RecordingError(
                f"{where}.rows[{index}] has other columns than the first row: {printable(odd)}"
            )
        if row["index"] != index or type(row["index"]) is not int:
            values.refuse(f"{where}.rows[{index}]", "index", row["index"], f"{index}, its place in the list")
    states = _states(rows, counts, where)
    raised = _flags(rows, flags, where)
    evidence = (name for name in names if name not in _IDENTITY)
    return Rows(
        states, raised, {name: _column([row[name] for row in rows], name, where) for name in evidence}
    )


def _states(rows: Sequence[Mapping[str, Any]], counts: Mapping[str, int], where: str) -> NDArray[np.str_]:
    states = [values.text(row, "state", f"{where}.rows[{k}]", STATES) for k, row in enumerate(rows)]
    _agree(Counter(states), counts, "state", where)
    return np.array(states, dtype=np.str_)


def _flags(
    rows: Sequence[Mapping[str, Any]], flags: Mapping[str, int], where: str
) -> tuple[tuple[str, ...], ...]:
    raised = []
    for index, row in enumerate(rows):
        found = row["flags"]
        if not isinstance(found, list) or any(flag not in FLAGS for flag in found) or _repeat(found):
            expected = f"a list of different flags of {', '.join(FLAGS)}"
            values.refuse(f"{where}.rows[{index}]", "flags", found, expected)
        raised.append(tuple(found))
    _agree(Counter(flag for found in raised for flag in found), flags, "flag", where)
    return tuple(raised)


def _repeat(found: Sequence[str]) -> bool:
    return len(found) > 1 and len(set(found)) != len(found)


def _agree(counted: Mapping[str, int], said: Mapping[str, int], what: str, where: str) -> None:
    for name, number in said.items():
        if counted.get(name, 0) != number:
            raise RecordingError(
                f"{where} says {number} neurons of the {what} {name}, and its rows hold {counted.get(name, 0)}"
            )


def _column(column: list[Any], name: str, where: str) -> NDArray[Any]:
    """[neurons] int64, float64 or str."""
    kinds = set(map(type, column))
    place = f"{where}.rows"
    if name in _TEXTS:
        _expect(column, kinds <= {str, type(None)}, lambda v: isinstance(v, str | None), name, "text", place)
        return np.array([value or "" for value in column], dtype=np.str_)
    if name in _COUNTS:
        good = kinds <= {int} and (not column or (min(column) >= 0 and max(column) < 2**63))
        _expect(column, good, values.is_count, name, "a whole number from 0 on", place)
        return np.array(column, dtype=np.int64)
    good = kinds <= {int, float, type(None)}
    _expect(column, good, lambda v: v is None or values.is_number(v), name, "a number or null", place)
    return _numbers(column, name, place)


def _numbers(column: list[Any], name: str, place: str) -> NDArray[np.float64]:
    known = [value for value in column if value is not None]
    try:
        finite = bool(np.isfinite(np.array(known, np.float64)).all())
    except OverflowError:  # an integer of hundreds of digits
        finite = False
    _expect(column, finite, lambda v: v is None or values.is_number(v), name, "a number or null", place)
    numbers = np.array([np.nan if value is None else value for value in column], np.float64)
    if name in _SHARES:
        inside = not ((numbers < 0) | (numbers > 1)).any()
        _expect(column, inside, lambda v: v is None or 0 <= v <= 1, name, "null or a number in [0, 1]", place)
    return numbers


def _expect(column: list[Any], good: bool, is_good: Any, name: str, expected: str, place: str) -> None:
    """Refuses the first value of the column that is not good; all are looked at only where some are not."""
    if not good:
        index = next((k for k, value in enumerate(column) if not is_good(value)), 0)
        values.refuse(f"{place}[{index}]", name, column[index], expected)
