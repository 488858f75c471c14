"""Proofs of silence as evidence: what `nla certify` said of a checkpoint's neurons, beside what a replay saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.results import Inspection, SiteResult

VERDICTS = ("certified", "refuted", "undecided")
"""As `nla.certificates.results.VERDICTS`; a test holds them together."""


@dataclass(frozen=True)
class Certified:
    """What was proved, neuron by neuron."""

    about: dict[str, Any]
    """checkpoint (digest), domain (kind), text (the domain in words), sha256 (of its ranges), methods, arithmetic."""
    verdicts: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    """By site [neurons]: 0 where nothing was asked, else 1 and the place in VERDICTS."""
    bounds: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """By site [neurons]: an upper bound of z over the domain; NaN where there is none."""


def with_certificates(inspection: Inspection, found: Certified | None) -> Inspection:
    """The inspection with the columns `certificate` and `certificate_bound`; as it is where nothing was proved."""
    if found is None or not found.about:
        return inspection
    sites = tuple(_with(result, found) for result in inspection.sites)
    return replace(inspection, sites=sites, certificates=dict(found.about))


def _with(result: SiteResult, found: Certified) -> SiteResult:
    neurons = result.site.neurons
    codes = found.verdicts.get(result.name, np.zeros(neurons, np.uint8))
    words = np.array([None, *VERDICTS], object)[np.where(codes > len(VERDICTS), 0, codes)]
    bounds = found.bounds.get(result.name, np.full(neurons, np.nan))
    return replace(result, columns={**result.columns, "certificate": words, "certificate_bound": bounds})


def certified(result: SiteResult) -> NDArray[np.bool_]:
    """bool [neurons], True where silence is proved for every input of the domain."""
    words = result.columns.get("certificate")
    return np.zeros(result.site.neurons, bool) if words is None else np.asarray(words == VERDICTS[0], bool)


def counts(results: Sequence[SiteResult], state: str = "dead") -> dict[str, int]:
    """How many neurons in this state have each verdict; `unasked`: those that none was sought for."""
    seen = [
        word
        for result in results
        if (words := result.columns.get("certificate")) is not None
        for word in words[result.states == state]
    ]
    told = {verdict: sum(word == verdict for word in seen) for verdict in VERDICTS}
    return {**told, "unasked": len(seen) - sum(told.values())}
