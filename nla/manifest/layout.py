"""JSON that a person can read, diff and edit: what fits a line stands on one, and so does every list of numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_WIDTH = 110
_ALWAYS_OPEN = 1
"""Levels that are opened however short they are: each action and each note has lines of its own."""


def laid_out(document: Mapping[str, Any]) -> str:
    r"""`document` as ASCII JSON with a newline at the end, in the order of its keys.

    Raises:
        ValueError: a number that is not finite.

    >>> laid_out({"units": [1, 2], "notes": ["a"]})
    '{\n "units": [1, 2],\n "notes": [\n  "a"\n ]\n}\n'
    """
    return _text(document, 0, 0) + "\n"


def _text(value: Any, depth: int, before: int) -> str:
    """The value; its first line stands behind `before` characters."""
    flat = json.dumps(value, allow_nan=False, ensure_ascii=True)
    if not _opens(value) or (depth > _ALWAYS_OPEN and before + len(flat) <= _WIDTH):
        return flat
    indent = " " * (depth + 1)
    if isinstance(value, Mapping):
        heads = [f"{indent}{json.dumps(str(key), ensure_ascii=True)}: " for key in value]
        members = list(value.values())
    else:
        heads, members = [indent] * len(value), list(value)
    lines = [head + _text(member, depth + 1, len(head)) for head, member in zip(heads, members, strict=True)]
    left, right = "{}" if isinstance(value, Mapping) else "[]"
    return f"{left}\n" + ",\n".join(lines) + f"\n{' ' * depth}{right}"


def _opens(value: Any) -> bool:
    """False for what always stands on one line: plain values, lists of numbers, values by unit."""
    if isinstance(value, Mapping):
        return bool(value) and not all(str(key).isdigit() for key in value)
    if isinstance(value, list | tuple):
        return any(not isinstance(member, int | float) for member in value)
    return False
