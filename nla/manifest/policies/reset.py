"""reset: incoming weights drawn anew, bias and outgoing weights zero (ReDo, Sokar et al. 2023)."""

from __future__ import annotations

import math

import numpy as np

from nla.activations import Activation
from nla.lifecycle.results import Inspection, SiteResult
from nla.manifest.policies.base import Answers, Options, Policy, Proposal, Units, refuse, split


def propose(result: SiteResult, units: Units, inspection: Inspection, options: Options) -> Answers:
    """All of the units of known mean, which goes into the next bias; the silent apart, for nothing changes there."""
    means = result.measurements.mean
    known, unknown = split(units, np.isfinite(means))
    silent, heard = split(known, means == 0)
    answers: Answers = []
    start = "units start anew, with random incoming and no outgoing weights, for further training; "
    for group, exact, ending in (
        (silent, True, "the output stays as it is wherever they were silent"),
        (heard, False, "their mean goes into the next bias, and the output loses what they said beyond it"),
    ):
        if len(group):
            parameters = {
                "scheme": scheme(result.site.activation),
                "seed": options.seed,
                "means": means[group],
            }
            answers.append(Proposal("reset", result, group, start + ending, exact, parameters))
    return answers + refuse("reset", result, unknown, "its mean activation is not known")


def scheme(activation: Activation) -> str:
    """The variance of fresh weights that keeps signals alive: he, glorot or lecun.

    >>> scheme(Activation.named("Relu")), scheme(Activation.named("Tanh")), scheme(Activation.named("Selu"))
    ('he', 'glorot', 'lecun')
    """
    if activation.name == "Selu":
        return "lecun"
    bounded = activation.name in (
        "Tanh",
        "Sigmoid",
        "Softsign",
        "HardSigmoid",
        "LSTM",
        "GRU",
        "RNN",
        "Identity",
    )
    below = activation.name == "Clip" and -math.inf < dict(activation.parameters)["min"] < 0  # a hard tanh
    return "glorot" if bounded or below else "he"


POLICY = Policy("reset", "incoming weights drawn anew, outgoing ones zero", propose)
