"""swap: another activation function at whole sites."""

from __future__ import annotations

import numpy as np

from nla.errors import UsageError, printable
from nla.lifecycle.results import STATES, Inspection, SiteResult
from nla.manifest.parameters import SWAPS
from nla.manifest.policies.base import Answers, Options, Policy, Proposal, Units, refuse

_SAME = {"Silu": "Swish"}
"""nla.activations' name of an activation where it is another."""


def propose(result: SiteResult, units: Units, inspection: Inspection, options: Options) -> Answers:
    """All units of the site, where its activation is a function of one pre-activation."""
    to, activation = activation_name(options.to), result.site.activation
    everyone = np.arange(result.site.neurons)
    if not activation.elementwise or activation.name == "Identity":
        why = f"{activation.name} is no function of one pre-activation that could be exchanged"
        return refuse("swap", result, everyone, why)
    if activation.name == _SAME.get(to, to):
        return refuse("swap", result, everyone, f"its activation is {to} already")
    expect = f"{activation.name} becomes {to}: every output changes; nla swap compares the dead shares"
    return [Proposal("swap", result, everyone, expect, exact=False, parameters={"to": to})]


def activation_name(to: str | None) -> str:
    """The name of a candidate, whatever its case; raises UsageError where there is none."""
    known = ", ".join(name.lower() for name in SWAPS)
    if to is None:
        raise UsageError(f"swap needs --to: one of {known}")
    for name in SWAPS:
        if name.lower() == to.lower():
            return name
    raise UsageError(f"no activation {printable(to)!r} to swap to; there are {known}")


POLICY = Policy(
    "swap",
    "another activation function at whole sites",
    propose,
    states=STATES,
    by_evidence=False,
    alone=True,
)
