"""strip: the most negative incoming weights to zero (Synaptic Stripping, as published)."""

from __future__ import annotations

from nla.lifecycle.results import Inspection, SiteResult
from nla.manifest.policies.base import Answers, Options, Policy, Proposal, Units

DEFAULT_FRACTION = 0.2


def propose(result: SiteResult, units: Units, inspection: Inspection, options: Options) -> Answers:
    """All of the units; the surgery ranks the weights."""
    fraction = DEFAULT_FRACTION if options.fraction is None else options.fraction
    expect = (
        f"the most negative weights of each unit, at most {100 * fraction:g} % of them, become zero; it fires more "
        "where its inputs are not negative, and the output changes where it does"
    )
    return [Proposal("strip", result, units, expect, exact=False, parameters={"fraction": fraction})]


POLICY = Policy("strip", "most negative incoming weights to zero", propose, rewires=True)
