"""The neurons of a run packed for the page: a block of bytes a column, compressed, in base64.

A row of JSON for each of 100,000 neurons would be fifty megabytes that a browser must parse before it shows anything.
A column is instead an array of one type, its bytes taken apart by significance (all first bytes, all second, …: like
bytes lie together and compress), deflated (zlib), base64. The page unpacks a column when it first needs it.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.results import FLAGS, STATES
from nla.rendering.page.columns import column, in_order
from nla.rendering.words import short_names, whole
from nla.runs.run import Run, RunSite

_NAME_WIDTH = 34
_MOST_WORDS = 255
_LARGEST_UINT32 = 2**32 - 1
_WHOLE = ("samples", "positions", "fired_samples", "held_out_fired", "nonfinite", "labels_answered")
"""Counts: shown without decimals; a document's rows may hold them as floats where some are not known."""


@dataclass(frozen=True)
class Packed:
    """The neurons of a run: what goes into the page's JSON, and the columns' blocks."""

    about: Mapping[str, Any]
    """rows, sites, states, flags, columns: name, title, meaning, type and, for words, their list."""
    blocks: Mapping[str, str]
    """Base64 by the column's name."""


def pack(run: Run, trajectory: NDArray[np.uint8] | None = None) -> Packed | None:
    """The neurons of `run`, in the order of its sites; None where some site has no rows.

    Args: run: what is packed. trajectory: [neurons, steps] places in STATES, 255 for not known.
    """
    if not run.has_rows or not run.sites:
        return None
    sites = run.sites
    states = np.concatenate([_places(_rows(site).states) for site in sites])
    flags = np.concatenate([_bits(_rows(site).flags) for site in sites])
    described = [
        {"name": "state", "type": "u1"},
        {"name": "flags", "type": "u1"},
    ]
    blocks = {"state": block(states), "flags": block(flags)}
    if trajectory is not None:
        described.append({"name": "trajectory", "type": "u1", "steps": trajectory.shape[1]})
        blocks["trajectory"] = block(np.ascontiguousarray(trajectory.T).reshape(-1))
    for name in in_order({name for site in sites for name in _rows(site).columns}):
        packed = _packed(name, _column(sites, name))
        if packed is not None:
            about, blocks[name] = packed
            described.append({"name": name, **about})
    shown = short_names([site.name for site in sites], _NAME_WIDTH)
    starts = np.cumsum([0, *(site.neurons for site in sites)])
    about = {
        "rows": len(states),
        "states": list(STATES),
        "flags": list(FLAGS),
        "sites": [
            {"name": whole(site.name), "short": short, "start": int(start), "neurons": site.neurons}
            for site, short, start in zip(sites, shown, starts, strict=False)
        ],
        "columns": [
            {**each, "title": column(each["name"]).title, "meaning": column(each["name"]).meaning}
            for each in described
        ],
    }
    return Packed(about, blocks)


def block(values: NDArray[Any]) -> str:
    """The array's bytes, little-endian, by significance, deflated, in base64: the same array gives the same text."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    apart = little.view(np.uint8).reshape(len(little), -1).T
    return base64.b64encode(zlib.compress(apart.tobytes(), 6)).decode("ascii")


def _rows(site: RunSite) -> Any:
    assert site.rows is not None  # `pack` looked
    return site.rows


def _places(states: NDArray[np.str_]) -> NDArray[np.uint8]:
    """[neurons] the place of each state in STATES."""
    places = np.full(len(states), STATES.index("unknown"), np.uint8)
    for place, state in enumerate(STATES):
        places[np.asarray(states) == state] = place
    return places


def _bits(flags: Sequence[tuple[str, ...]]) -> NDArray[np.uint8]:
    """[neurons] bit i is FLAGS[i]."""
    bit = {flag: 1 << place for place, flag in enumerate(FLAGS)}
    return np.array([sum(bit.get(flag, 0) for flag in set(each)) for each in flags], np.uint8)


def _column(sites: Sequence[RunSite], name: str) -> NDArray[Any]:
    """A column over all sites; NaN, or an empty word, where a site does not know it."""
    known = [np.asarray(_rows(site).columns[name]) for site in sites if name in _rows(site).columns]
    words = any(values.dtype.kind not in "iufb" for values in known)
    parts = []
    for site in sites:
        values = _rows(site).columns.get(name)
        if values is None:
            values = np.full(site.neurons, "") if words else np.full(site.neurons, np.nan)
        parts.append(np.asarray(values).astype(object) if words else np.asarray(values))
    return np.concatenate(parts)


def _packed(name: str, values: NDArray[Any]) -> tuple[dict[str, Any], str] | None:
    """Type and block of a column; None for one in which nothing is known."""
    if values.dtype.kind == "O":
        return _words(values)
    numbers = np.asarray(values, np.float64)
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return None
    if name in _WHOLE and len(known) == len(numbers) and known.min() >= 0 and known.max() <= _LARGEST_UINT32:
        return {"type": "u4", "whole": True}, block(numbers.astype(np.uint32))
    if name in _WHOLE and np.abs(known).max() > 2**24:  # beyond what float32 counts exactly
        return {"type": "f8", "whole": True}, block(numbers)
    with np.errstate(over="ignore"):
        return {"type": "f4", "whole": name in _WHOLE}, block(numbers.astype(np.float32))


def _words(values: NDArray[Any]) -> tuple[dict[str, Any], str] | None:
    texts = ["" if value is None or isinstance(value, float) else whole(value) for value in values.tolist()]
    words = sorted(set(texts))
    if words == [""]:
        return None
    if len(words) > _MOST_WORDS:  # free text is for `nla neurons`; a column of the page has a few words
        words = [*words[: _MOST_WORDS - 1], "…"]
    place = {word: number for number, word in enumerate(words)}
    places = np.array([place.get(text, len(words) - 1) for text in texts], np.uint8)
    return {"type": "u1", "words": words}, block(places)
