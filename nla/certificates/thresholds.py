"""Where a unit is silent: the z at and below which its activation is zero, or stays near it."""

from __future__ import annotations

from nla.activations import Activation

PLATEAU = 1e-3
"""|a| at and below `zero_plateau_below`, as `nla.activations` has it."""


def silent_below(activation: Activation) -> float | None:
    """The z at and below which a unit is silent: φ is zero there, or on its plateau at zero; None: nowhere.

    >>> silent_below(Activation.named("Relu")), silent_below(Activation.named("Tanh"))
    (0.0, None)
    """
    parameters = dict(activation.parameters)
    if activation.reaches_zero:
        if activation.name == "ThresholdedRelu":
            return parameters["alpha"]
        if activation.name == "HardSwish":
            return -3.0
        if activation.name == "HardSigmoid":
            return -parameters["beta"] / parameters["alpha"] if parameters["alpha"] > 0 else None
        return 0.0 if float(activation.value(0.0)) == 0 and float(activation.value(-1.0)) == 0 else None
    return activation.zero_plateau_below


def plateau(activation: Activation) -> float:
    """What |a| is at most where z is at or below the threshold."""
    return 0.0 if activation.reaches_zero else PLATEAU
