"""Names of sites as an axis has room for them: short, printable, and never two alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nla.errors import printable

LONGEST = 24
"""Characters; the whole name stands in the tooltip and in the table."""
_EXPORTED = re.compile(r"_output_\d+$")


def short_names(names: Sequence[str], longest: int = LONGEST) -> list[str]:
    """A short name for each name, all different: what every name begins and ends with is left out.

    >>> short_names(["/net/relu1/Relu_output_0", "/net/relu2/Relu_output_0"])
    ['relu1', 'relu2']
    >>> short_names(["h.0.mlp", "h.1.mlp"])
    ['h.0', 'h.1']
    """
    parts = [_parts(name) for name in names]
    first, last = _common(parts), _common([part[::-1] for part in parts])
    shown = [_joined(name, part, first, last) for name, part in zip(names, parts, strict=True)]
    return _all_different([_cut(each, longest) for each in shown])


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[/.]", _EXPORTED.sub("", name)) if part]


def _common(parts: Sequence[Sequence[str]]) -> int:
    """How many parts all have in common from their first on, where each keeps one of its own."""
    shortest = min((len(part) for part in parts), default=0)
    if len(parts) < 2:
        return 0
    same = 0
    while same < shortest - 1 and len({part[same] for part in parts}) == 1:
        same += 1
    return same


def _joined(name: str, parts: Sequence[str], first: int, last: int) -> str:
    end = max(len(parts) - last, first + 1)
    kept = parts[first:end]
    if first and kept and all(part.isdigit() for part in kept):
        kept = parts[first - 1 : end]  # a bare number says too little
    return printable(("/" if "/" in name else ".").join(kept) or name or "(no name)")


def _cut(text: str, longest: int) -> str:
    """`text` with its middle left out where it is too long: names of one model differ at their ends."""
    if len(text) <= longest:
        return text
    head = longest // 3
    return f"{text[:head]}…{text[head + 1 - longest :]}"


def _all_different(shown: Sequence[str]) -> list[str]:
    taken: set[str] = set()
    made = []
    for each in shown:
        name, number = each, 2
        while name in taken:
            name, number = f"{each} ({number})", number + 1
        taken.add(name)
        made.append(name)
    return made
