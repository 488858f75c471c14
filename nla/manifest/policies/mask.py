"""mask: incoming and outgoing weights of units to zero; every shape stays."""

from __future__ import annotations

from nla.lifecycle.results import Inspection, SiteResult
from nla.manifest.policies.base import Answers, Options, Policy, Proposal, Units, split
from nla.manifest.policies.remove import silent


def propose(result: SiteResult, units: Units, inspection: Inspection, options: Options) -> Answers:
    """The dead exactly; units of other states too where they are asked for, at a price."""
    dead, lively = split(units, result.states == "dead")
    answers: Answers = []
    if len(dead):
        answers.append(silent("mask", result, dead, inspection, "lose their weights"))
    if len(lively):
        expect = "units that were not silent lose their weights: the output changes by what they said"
        answers.append(Proposal("mask", result, lively, expect, exact=False))
    return answers


POLICY = Policy("mask", "weights of dead units to zero, shapes unchanged", propose)
