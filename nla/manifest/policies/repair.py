"""repair: what suits each state. Not a kind of action of its own: it proposes those of others."""

from __future__ import annotations

import numpy as np

from nla.lifecycle.results import Inspection, SiteResult
from nla.manifest.policies import reset, strip_contribution
from nla.manifest.policies.base import Answers, Options, Policy, Units, refuse, split

_STATES = ("dead", "dormant", "saturated", "constant")


def propose(result: SiteResult, units: Units, inspection: Inspection, options: Options) -> Answers:
    """Dead units are stripped by contribution where the means of their inputs are known, else reset.

    Dormant, saturated and constant ones are reset. A near-dead unit lives: nothing is done to it.
    """
    units, well = split(units, np.isin(result.states, _STATES))
    dead, others = split(units, result.states == "dead")
    strippable = strip_contribution.input_mean(result, inspection) is not None
    stripped, fresh = (dead, others) if strippable else (dead[:0], np.sort(np.concatenate([dead, others])))
    answers: Answers = []
    if len(stripped):
        answers += strip_contribution.propose(result, stripped, inspection, options)
    if len(fresh):
        answers += reset.propose(result, fresh, inspection, options)
    return answers + refuse("repair", result, well, "there is nothing to repair in a unit of this state")


POLICY = Policy(
    "repair",
    "what suits each state: strip-contribution or reset",
    propose,
    states=_STATES,
    rewires=True,
)
