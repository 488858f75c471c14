"""flip: the parameters of a layer negated where it kills more than half of the samples still alive."""

from __future__ import annotations

import numpy as np

from nla.lifecycle.results import STATES, Inspection, SiteResult
from nla.manifest.policies.base import Answers, Options, Policy, Proposal, Units


def propose(result: SiteResult, units: Units, inspection: Inspection, options: Options) -> Answers:
    """All units of the first layer that kills more than half; later ones see other inputs once it is flipped."""
    first = first_killer(inspection)
    if first is None or first.name != result.name:
        return []
    killed, alive = result.measurements.killed_samples, alive_before(inspection, result)
    expect = (
        f"the layer kills {killed:,} of {alive:,} samples still alive; negated, it kills none of these. Measure "
        "again for the layers after it, or let nla repair --policy flip do so"
    )
    everyone = np.arange(result.site.neurons)
    facts = {"killed_samples": killed, "living_samples": alive}
    return [Proposal("flip", result, everyone, expect, exact=False, facts=facts)]


def first_killer(inspection: Inspection) -> SiteResult | None:
    """The first site, in graph order, that kills more than half of the samples still alive; None: there is none."""
    for result in inspection.sites:
        if 2 * result.measurements.killed_samples > alive_before(inspection, result):
            return result
    return None


def alive_before(inspection: Inspection, result: SiteResult) -> int:
    """Samples that no site before this one had silenced."""
    alive = result.measurements.samples
    for earlier in inspection.sites:
        if earlier.name == result.name:
            break
        alive -= earlier.measurements.killed_samples
    return max(alive, 0)


POLICY = Policy(
    "flip",
    "the first layer that kills most samples negated",
    propose,
    states=STATES,
    by_evidence=False,
    alone=True,
)
