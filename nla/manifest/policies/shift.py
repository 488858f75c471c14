"""shift: the smallest change of the bias that brings a unit to a target activation rate."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from nla.activations import Activation
from nla.lifecycle.results import Inspection, SiteResult
from nla.manifest.policies.base import Answers, Options, Policy, Proposal, Units, refuse, split

_ROUNDING = 2.0**-20
"""Share of the size of z by which the target is passed: some roundings of fp32."""

Floats = NDArray[np.float64]


def propose(result: SiteResult, units: Units, inspection: Inspection, options: Options) -> Answers:
    """The units whose z was observed; those that fire as often already are left alone."""
    known, unknown = split(units, np.isfinite(result.measurements.pre_max))
    why = "its z was not observed; nla inspect --pre-activations observes it"
    answers = refuse("shift", result, unknown, why)
    if not len(known):
        return answers
    delta, source = _delta(result, known, options.target_rate)
    needed = delta > 0
    answers += refuse("shift", result, known[~needed], "it fires as often as that already")
    if not needed.any():
        return answers
    expect = f"each unit fires on {100 * options.target_rate:g} % of positions or a little more; " + (
        "outgoing weights become zero, so that the output stays wherever it was silent"
        if options.zero_outgoing
        else "the output changes where it does"
    )
    parameters = {
        "delta": delta[needed],
        "zero_outgoing": options.zero_outgoing,
        "target_rate": options.target_rate,
    }
    exact = options.zero_outgoing and bool((result.states[known[needed]] == "dead").all())
    facts = {"z_from": source}
    return [
        *answers,
        Proposal("shift", result, known[needed], expect, exact=exact, parameters=parameters, facts=facts),
    ]


def _delta(result: SiteResult, units: Units, rate: float) -> tuple[Floats, str]:
    """What to add to z [units] so that it passes the threshold at `rate` of positions; and from what it is known."""
    m = result.measurements
    rows = m.pre_rows
    if rows is not None and len(rows):
        z = np.asarray(rows[:, units], np.float64)
        rank = max(1, math.ceil(rate * len(z) - 1e-9))  # so many rows have to fire
        least = -np.sort(-z, axis=0)[rank - 1]  # NaN stands last: it does not fire
        least = np.where(np.isnan(least), m.pre_max[units], least)
        source = f"{len(z)} rows of z"
    else:
        least = m.pre_mean[units] + m.pre_std[units] * NormalDist().inv_cdf(1 - min(rate, 1 - 1e-9))
        least = np.where(np.isfinite(least), np.minimum(least, m.pre_max[units]), m.pre_max[units])
        source = "mean and standard deviation of z, taken as normal"
    threshold = _threshold(result.site.activation)
    beyond = _ROUNDING * np.maximum(np.maximum(np.abs(least), np.abs(threshold)), 1e-3)
    return np.where(least > threshold, 0.0, threshold - least + beyond), source


def _threshold(activation: Activation) -> float:
    """The z above which a unit fires."""
    return dict(activation.parameters)["alpha"] if activation.name == "ThresholdedRelu" else 0.0


POLICY = Policy("shift", "bias raised until the unit fires at a target rate", propose, rewires=True)
