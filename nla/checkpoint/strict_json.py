"""JSON from strangers' files: one object, each key once, numbers that are numbers. Readers differ on all else."""

from __future__ import annotations

import json
import re
from collections import Counter
from math import isfinite
from pathlib import Path
from typing import Any

from nla.checkpoint.opening import open_regular
from nla.errors import ModelError, one_line, printable

_LONGEST_NUMBER = 400
"""Characters; Python itself takes quadratic time on long integers."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_MOST_ITEMS = 2_000_000
"""Commas and opening brackets: what stands at each may take hundreds of bytes of memory. A tensor takes ten."""


def read_json_file(path: Path, largest_bytes: int) -> dict[str, Any]:
    """The object in a JSON file of at most `largest_bytes` bytes. Raises ModelError without the file's name."""
    with open_regular(path) as (file, status):
        if status.st_size > largest_bytes:
            raise ModelError(f"it has {status.st_size:,} bytes, and at most {largest_bytes:,} are read")
        content = file.read(largest_bytes + 1)
    if not content:
        raise ModelError("an empty file, where a JSON object is expected")
    if content.startswith(b"version https://git-lfs.github.com/spec/"):
        raise ModelError("a git-LFS pointer, not the file itself; run `git lfs pull`")
    return json_object(content)


def json_object(content: bytes) -> dict[str, Any]:
    """The JSON object that the bytes are, in UTF-8. Raises ModelError: what is wrong, and where.

    >>> json_object(b'{"a": [1, 2]}')
    {'a': [1, 2]}
    >>> json_object(b'{"a": 1, "a": 2}')
    Traceback (most recent call last):
        ...
    nla.errors.ModelError: the key 'a' comes twice in one object, and readers differ on which counts
    """
    items = sum(content.count(mark) for mark in (b",", b"[", b"{"))
    if items > _MOST_ITEMS:
        raise ModelError(
            f"its {len(content):,} bytes of JSON list {items:,} things; no checkpoint has as many"
        )
    try:
        text = content.decode("utf-8")
        found = json.loads(
            text,
            object_pairs_hook=_once,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except UnicodeDecodeError as error:
        raise ModelError(f"not UTF-8 at byte {error.start:,}") from None
    except RecursionError:
        raise ModelError("its JSON is nested too deep") from None
    except ValueError as error:
        raise ModelError(f"not valid JSON: {one_line(error, 200)}") from None
    if _SURROGATE.search(content):
        _check_text(found)
    if not isinstance(found, dict):
        raise ModelError(f"its JSON is no object but {_kind(found)}")
    return found


def _check_text(found: Any) -> None:
    """JSON can spell half a surrogate pair, which no encoding of text can write."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ModelError("it spells half a surrogate pair, which is no text") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ModelError(
            f"the key '{printable(twice)}' comes twice in one object, and readers differ on which counts"
        )
    return found


def _constant(text: str) -> Any:
    raise ModelError(f"{text} is no JSON number")


def _integer(text: str) -> int | float:
    if len(text) > _LONGEST_NUMBER:
        raise ModelError(f"a number of {len(text):,} digits")
    return int(text) if text != "-0" else -0.0


def _float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ModelError(f"the number {printable(text, 40)} is beyond what a double holds")
    return number


def _kind(found: object) -> str:
    kinds = {"list": "a list", "str": "a string", "NoneType": "null", "bool": "true or false"}
    return kinds.get(type(found).__name__, "a number")
