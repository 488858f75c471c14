"""Whether a certificate's document says one thing only: verdicts, numbers, words, counts and digests must agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nla.certificates.domains import OBSERVED, digest, sentence
from nla.certificates.results import CERTIFIED, REFUTED, Certificates, SiteCertificates
from nla.certificates.sets import Box
from nla.errors import one_line

_BOXES = ("box", "file", "data", "non-negative", OBSERVED)
_LARGEST = 1 << 24
"""Elements of a box whose digest is made again."""


class Strange(Exception):  # noqa: N818 - becomes a UsageError with the name of the file
    """What is not as nla writes it."""


def check(made: Certificates, plain: Mapping[str, Any]) -> None:
    """Raises Strange: where `plain`, from which the certificates were made, contradicts them or itself."""
    names = [*(each.name for each in made.sites), *(each.name for each in made.undecidable)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Strange(f"{twice} is there twice")
    for site in made.sites:
        _verdicts(site, made.methods)
    for stated in made.domain["inputs"]:
        _domain(stated, made.domain["kind"])
    _same(made.to_dict(), _without_witnesses(plain), "")


def _verdicts(site: SiteCertificates, methods: tuple[str, ...]) -> None:
    """A verdict without what it rests on is none."""
    named = np.isin(site.method, [*methods, ""])
    certified, seen = site.verdict == CERTIFIED, site.found != ""
    wrong = certified & ~((site.bound <= site.threshold) & (site.method != ""))
    wrong |= (site.verdict == REFUTED) & ~(seen & (site.z > site.threshold))
    wrong |= (site.verdict != REFUTED) & seen
    wrong |= seen & (site.z > site.bound)
    wrong |= ~named | (site.verdict == "undecided") & (site.bound <= site.threshold)
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        raise Strange(
            f"{site.name}: neuron {site.index[k]} is {site.verdict[k]}, which its numbers do not show"
        )


def _domain(stated: Mapping[str, Any], kind: str) -> None:
    """The words of a domain are those of its numbers, and so is the digest where all elements are alike."""
    name = one_line(stated["tensor"], 60)
    low = -np.inf if stated["low"] is None else float(stated["low"])
    high = np.inf if stated["high"] is None else float(stated["high"])
    if stated["kind"] != kind:
        raise Strange(
            f"the domain of {name} is of kind {one_line(stated['kind'], 20)}, and the whole is {kind}"
        )
    facts = (stated["samples"], float(stated["margin"]), stated["source"])
    if stated["text"] != sentence(stated["tensor"], kind, (low, high), *facts):
        raise Strange(f"the words of the domain of {name} are not those of its numbers")
    shape = tuple(stated["shape"])
    uniform = stated.get("uniform") is True and kind in _BOXES
    if not uniform or np.prod(shape, dtype=np.float64) > _LARGEST:
        return
    if stated.get("sha256") != digest(Box(np.full(shape, low), np.full(shape, high))):
        raise Strange(f"the digest of the domain of {name} is not that of its numbers")


def _without_witnesses(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the inputs of witnesses left out, which are not read back."""
    return {
        **plain,
        "sites": [
            {
                **site,
                "rows": [
                    {**row, "witness": {**row["witness"], "inputs": None}} if "witness" in row else row
                    for row in site["rows"]
                ],
            }
            for site in plain["sites"]
        ],
    }


def _same(ours: Any, theirs: Any, where: str) -> None:
    """Raises Strange with the place of the first difference."""
    at = where.removeprefix(".") or "the document"
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in theirs:
            if key not in ours:
                raise Strange(f"{at} has a field {one_line(key, 40)!r}, which nla does not write")
        for key, value in ours.items():
            if key not in theirs:
                raise Strange(f"{at} lacks {key!r}")
            _same(value, theirs[key], f"{where}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for k, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            _same(mine, other, f"{where}[{k}]")
    elif ours != theirs or isinstance(ours, bool) != isinstance(theirs, bool):
        raise Strange(f"{at} is {one_line(theirs, 60)}, which the rest contradicts: {one_line(ours, 60)}")
