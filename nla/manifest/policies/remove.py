"""remove: dead units out of the graph, with everything that makes or reads them."""

from __future__ import annotations

import numpy as np

from nla.lifecycle.results import Inspection, SiteResult
from nla.manifest.policies.base import Answers, Options, Policy, Proposal, Units, refuse, split


def propose(result: SiteResult, units: Units, inspection: Inspection, options: Options) -> Answers:
    """The dead; where φ only comes near zero, with how near."""
    dead, others = split(units, result.states == "dead")
    constant, lively = split(others, result.states == "constant")
    answers: Answers = []
    if len(dead):
        answers.append(silent("remove", result, dead, inspection, "leave the graph"))
    answers += refuse("remove", result, constant, "constant but not silent: fold removes such a unit")
    why = "it was not silent on the calibration data: remove is exact; mask cuts at a price, reset restarts"
    return answers + refuse("remove", result, lively, why)


def silent(kind: str, result: SiteResult, units: Units, inspection: Inspection, what: str) -> Proposal:
    """The proposal for dead units: their value is zero, or within the tolerance, which is then told."""
    m = result.measurements
    largest = np.maximum(np.abs(m.min), np.abs(m.max))[units]
    if not largest.any():
        expect = f"silent units {what}; the output stays as it is wherever they are silent"
        return Proposal(kind, result, units, expect, exact=True)
    tolerance, bound = inspection.criteria.dead_tolerance_abs, float(largest.max())
    expect = (
        f"units within {tolerance:g} of zero {what}; what they added to the output, at most {bound:.3g} times "
        "their outgoing weights, is lost"
    )
    facts = {"tolerance": tolerance, "value_bound": bound}
    return Proposal(kind, result, units, expect, exact=False, facts=facts)


POLICY = Policy("remove", "dead units out of the graph", propose)
