"""fold: constant units out of the graph, what they add into the biases of those that read them."""

from __future__ import annotations

import numpy as np

from nla.lifecycle.results import Inspection, SiteResult
from nla.manifest.policies.base import Answers, Options, Policy, Proposal, Units, refuse, split


def propose(result: SiteResult, units: Units, inspection: Inspection, options: Options) -> Answers:
    """The constant, and the saturated that had one value only; other saturated units were never meant."""
    m = result.measurements
    one_value = (m.min == m.max) & (m.nonfinite == 0) & (m.counted > 0)
    foldable = (result.states == "constant") | ((result.states == "saturated") & one_value)
    constant, others = split(units, foldable)
    dead, lively = split(others, result.states == "dead")
    answers: Answers = []
    if len(constant):
        answers.append(_proposal(result, constant, inspection))
    answers += refuse("fold", result, dead, "silent: remove takes such a unit out")
    _, asked_for = split(lively, result.states == "saturated")
    why = "it was not constant on the calibration data: fold is exact; mask cuts at a price, reset restarts"
    return answers + refuse("fold", result, asked_for, why)


def _proposal(result: SiteResult, units: Units, inspection: Inspection) -> Proposal:
    m = result.measurements
    values = np.where(m.min == m.max, m.min, m.mean)[units]  # the mean of one value may be a rounding away
    bound = float(np.maximum(m.max[units] - values, values - m.min[units]).max())
    parameters = {"values": values}
    if bound == 0:
        expect = "units of one value leave the graph; the output stays as it is wherever they keep it"
        return Proposal("fold", result, units, expect, exact=True, parameters=parameters)
    expect = (
        f"units that stay within {bound:.3g} of one value leave the graph; what they added beyond it, at most "
        "that times their outgoing weights, is lost"
    )
    facts = {"tolerance": inspection.criteria.constant_tolerance, "value_bound": bound}
    return Proposal("fold", result, units, expect, exact=False, parameters=parameters, facts=facts)


POLICY = Policy(
    "fold",
    "constant units out of the graph, into the next biases",
    propose,
    states=("constant", "saturated"),
)
