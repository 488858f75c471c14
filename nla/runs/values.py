"""Values of a stranger's JSON document, each checked for type and range before it is believed.

Every function takes the object, a key of it, and where the object stands (`sites[3]`), and raises RecordingError in
one line that names the place, the value and what was expected there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from nla.errors import RecordingError, one_line, printable

Plain = Mapping[str, Any]

_LARGEST = 2**63
_DEEPEST = 16
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}


def refuse(where: str, key: str, value: object, expected: str) -> NoReturn:
    """Raises RecordingError: what stands at the key, and what should."""
    place = f"{where}.{printable(key, 60)}" if where else printable(key, 60)
    shown = _KINDS.get(type(value)) if isinstance(value, dict | list) else one_line(repr(value)[:200], 60)
    raise RecordingError(f"{place} is {shown}, expected {expected}")


def member(about: Plain, key: str, where: str) -> Any:
    """What stands at the key."""
    if key not in about:
        raise RecordingError(f"{where or 'the document'} has no {printable(key, 60)}")
    return about[key]


def mapping(about: Plain, key: str, where: str = "") -> dict[str, Any]:
    """An object."""
    value = member(about, key, where)
    return value if isinstance(value, dict) else refuse(where, key, value, "an object")


def listed(about: Plain, key: str, where: str = "") -> list[Any]:
    """A list."""
    value = member(about, key, where)
    return value if isinstance(value, list) else refuse(where, key, value, "a list")


def objects(about: Plain, key: str, where: str = "") -> list[dict[str, Any]]:
    """A list of objects."""
    return _all_of(about, key, where, lambda item: isinstance(item, dict), "a list of objects")


def texts(about: Plain, key: str, where: str = "") -> tuple[str, ...]:
    """A list of strings."""
    return tuple(_all_of(about, key, where, lambda item: isinstance(item, str), "a list of strings"))


def text(about: Plain, key: str, where: str = "", among: Sequence[str] = ()) -> str:
    """A string, of those given where there are such."""
    value = member(about, key, where)
    if not isinstance(value, str):
        refuse(where, key, value, "a string")
    if among and value not in among:
        refuse(where, key, value, f"one of {', '.join(among)}")
    return value


def truth(about: Plain, key: str, where: str = "") -> bool:
    """True or false."""
    value = member(about, key, where)
    return value if isinstance(value, bool) else refuse(where, key, value, "true or false")


def count(about: Plain, key: str, where: str = "", least: int = 0, most: int = _LARGEST - 1) -> int:
    """A whole number in [least, most]."""
    value = member(about, key, where)
    if not is_count(value) or not least <= value <= most:
        end = "on" if most == _LARGEST - 1 else f"to {most}"
        refuse(where, key, value, f"a whole number from {least} {end}")
    return int(value)


def is_count(value: object) -> bool:
    """Whether it is a whole number from 0 on that 64 bits hold."""
    return type(value) is int and 0 <= value < _LARGEST


def number(about: Plain, key: str, where: str = "", *, share: bool = False) -> float:
    """A number from 0 on, in [0, 1] where it is a `share`; NaN where null stands."""
    value = member(about, key, where)
    if value is None:
        return math.nan
    if not is_number(value) or value < 0 or (share and value > 1):
        refuse(where, key, value, f"null or a number {'in [0, 1]' if share else 'from 0 on'}")
    return float(value)


def is_number(value: object) -> bool:
    """Whether it is a number that a double holds; true and false are none.

    >>> is_number(1), is_number(True), is_number(10**400), is_number(float("inf"))
    (True, False, False, False)
    """
    whole = type(value) is int and abs(value) < _LARGEST
    return whole or (type(value) is float and math.isfinite(value))


def check_plain(value: Any, where: str) -> None:
    """Nothing nested deeper than documents of ours are, and no number that another document could not hold."""
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict | list):
                inner += each.values() if isinstance(each, dict) else each
            elif isinstance(each, int | float) and type(each) is not bool and not is_number(each):
                raise RecordingError(f"{where} holds a number that is infinite or too large")
        level = inner
        if not level:
            return
    raise RecordingError(f"{where} is nested deeper than {_DEEPEST} levels")


def _all_of(about: Plain, key: str, where: str, good: Callable[[Any], bool], expected: str) -> list[Any]:
    values = listed(about, key, where)
    for item in values:
        if not good(item):
            refuse(where, f"{key}[{values.index(item)}]", item, expected)
    return values
