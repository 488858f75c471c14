"""Numbers changed in the text of a JSON file, everything else as it was written: order, indentation, spelling."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from nla.errors import ModelError, printable

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


def with_number(text: str, path: Sequence[str], number: int | float) -> str:
    """The text with the number as the value of a key; of nested objects, `path` names the keys to go down.

    A key that the innermost object lacks comes last in it. Raises ModelError where an object on the way is none.

    >>> with_number('{"a": 1,  "b": {"c": null}}', ("b", "c"), 7)
    '{"a": 1,  "b": {"c": 7}}'
    >>> print(with_number('{\\n  "a": 1\\n}', ("b",), 7))
    {
      "a": 1,
      "b": 7
    }
    """
    begin = _skip(text, text.startswith("\ufeff"))
    try:
        return _changed(text, begin, list(path), json.dumps(number))
    except (ValueError, IndexError, RecursionError) as error:
        raise ModelError(f"its '{printable('.'.join(path))}' cannot be set: {error}") from None


def _changed(text: str, begin: int, path: list[str], value: str) -> str:
    found, last = None, None
    for key, first, end in _members(text, begin):
        last = (first, end)
        if key == path[0]:
            found = last
    if found is not None and len(path) > 1:
        return _changed(text, found[0], path[1:], value)
    if found is not None:
        return text[: found[0]] + value + text[found[1] :]
    if len(path) > 1 or last is None:
        raise ValueError("the object in which it belongs is missing or empty")
    before = text[begin + 1 : _skip(text, begin + 1)]
    return f"{text[: last[1]]},{before}{json.dumps(path[0])}: {value}{text[last[1] :]}"


def _members(text: str, begin: int) -> Iterator[tuple[str, int, int]]:
    """(key, where its value begins, and ends) of the object that begins there; the text is known to be JSON."""
    if text[begin] != "{":
        raise ValueError("no object")
    at = _skip(text, begin + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)  # past the colon
        _, end = _DECODER.raw_decode(text, at)
        yield key, at, end
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()
