"""Which units a policy may act on: by site, by state, and by how strong the evidence is.

A unit outside `site` and `state` was never asked for; one that the evidence filters hold back is declined,
with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.errors import UsageError, printable
from nla.lifecycle.certified import certified
from nla.lifecycle.results import STATES, Inspection, SiteResult
from nla.lifecycle.special import binomial_upper_bound

HELD_OUT, CERTIFICATE = "held-out", "certificate"
REQUIREMENTS = (HELD_OUT, CERTIFICATE)
NO_PROOFS = (
    "certificates are required, and there are none: ask nla inspect, nla prune or nla repair for proofs with "
    "--certify, or give what nla certify -o wrote with --certificates"
)

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """The filters of a plan."""

    site: tuple[str, ...] = ()
    """Names of sites; empty: all."""
    state: tuple[str, ...] = ()
    """States; empty: those that each policy is for."""
    require: tuple[str, ...] = ()
    """Of REQUIREMENTS: `held-out`, the unit did not fire on the held-out split (a constant one kept its
    value); `certificate`, it is proved silent for every input of a domain."""
    min_margin: float | None = None
    """Least margin, in standard deviations of z: how far the unit is from waking."""
    max_rate_bound: float | None = None
    """Largest upper bound on the share of samples on which the unit fires, or a constant one varies."""

    def check(self, inspection: Inspection) -> None:
        """Make sure that the filters can be applied to this inspection.

        Raises:
            UsageError: an unknown site, state or requirement, a number out of its range, or held-out data or
                certificates required of a recording that has none.
        """
        _known("site", self.site, [result.name for result in inspection.sites])
        _known("state", self.state, STATES)
        _known("requirement", self.require, REQUIREMENTS)
        if self.min_margin is not None and not math.isfinite(self.min_margin):
            raise UsageError(f"min_margin is {self.min_margin}, expected a number of standard deviations")
        bound = self.max_rate_bound
        if bound is not None and not 0 < bound <= 1:
            raise UsageError(f"max_rate_bound is {bound}, expected a share of samples in (0, 1]")
        if HELD_OUT in self.require and any(result.held_out is None for result in inspection.sites):
            raise UsageError(
                "held-out data is required, and the recording has none; record some with "
                "nla inspect --held-out 0.2"
            )
        if CERTIFICATE in self.require and not inspection.certificates:
            raise UsageError(NO_PROOFS)

    def to_dict(self) -> dict[str, Any]:
        """The filters that are set."""
        given: dict[str, Any] = {
            "site": list(self.site),
            "state": list(self.state),
            "require": list(self.require),
            "min_margin": self.min_margin,
            "max_rate_bound": self.max_rate_bound,
        }
        return {name: value for name, value in given.items() if value not in (None, [])}

    def names(self, result: SiteResult) -> bool:
        """True where the site is asked for."""
        return not self.site or result.name in self.site

    def in_state(self, result: SiteResult, usual: Sequence[str]) -> Bools:
        """bool [neurons], the units in a state that is asked for, or that is usual for the policy."""
        return np.isin(result.states, self.state or tuple(usual))

    def held_back(self, result: SiteResult, alpha: float) -> list[tuple[Bools, str]]:
        """Of the site's units, those that each evidence filter holds back, and why: bool [neurons]."""
        found: list[tuple[Bools, str]] = []
        if HELD_OUT in self.require:
            found.append((woken(result), "not the same on the held-out data (--require held-out)"))
        if CERTIFICATE in self.require:
            found.append((~certified(result), "not proved silent over the domain (--require certificate)"))
        if self.min_margin is not None:
            margin = result.columns["margin"]
            far = margin >= self.min_margin
            near = f"nearer to waking than the margin {self.min_margin:g} (--min-margin)"
            found.append((~far & ~np.isnan(margin), near))
            unknown = "its margin is not known; nla inspect --pre-activations observes z (--min-margin)"
            found.append((np.isnan(margin), unknown))
        if self.max_rate_bound is not None:
            why = f"the data leave room for a rate above {self.max_rate_bound:g} (--max-rate-bound)"
            found.append((~(rate_bound(result, alpha) <= self.max_rate_bound), why))
        return found


def woken(result: SiteResult) -> Bools:
    """bool [neurons], True where the held-out split shows another unit than the calibration split did.

    A constant unit is another where it leaves its value by more than its range or a rounding; every other
    one where it fires. False everywhere where there is no held-out split.
    """
    if result.held_out is None:
        return np.zeros(result.site.neurons, bool)
    fired = result.columns["held_out_fired"] > 0
    m, held = result.measurements, result.held_out
    room = 1e-5 * np.maximum(np.abs(m.min), np.abs(m.max))
    same = (held.min >= m.min - room) & (held.max <= m.max + room)
    return np.where(result.states == "constant", ~same, fired)


def rate_bound(result: SiteResult, alpha: float) -> Floats:
    """float64 [neurons], with confidence 1 - alpha the unit fires on no larger share of samples.

    Of a constant unit: leaves its value; no sample of the calibration data did.
    """
    samples = np.full(result.site.neurons, result.measurements.samples)
    never = binomial_upper_bound(np.zeros(len(samples)), samples, alpha)
    return np.where(result.states == "constant", never, result.columns["rate_upper_bound"])


def _known(what: str, asked: Sequence[str], known: Sequence[str]) -> None:
    for name in asked:
        if name not in known:
            near = get_close_matches(name, known, 3, 0.4)
            listed = ", ".join(map(printable, near or known[:5]))
            also = f" and {len(known) - 5} more" if not near and len(known) > 5 else ""
            hint = "did you mean" if near else "there are"
            raise UsageError(f"no {what} {printable(name)!r}; {hint} {listed}{also}")
