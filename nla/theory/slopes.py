"""What an activation does to sizes: its steepest slope, and the gains that keep activations or gradients as large."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from nla.activations import Activation

_REACH, _POINTS = 12.0, 240_001
_FAR = 100.0


def largest_slope(activation: Activation) -> float | None:
    """sup |φ′|: the C of eq. 4. None where a is not a function of one z.

    1 for ReLU, tanh and their kin, 1/4 for the sigmoid, and above 1 for GELU (1.1290) and Swish (1.0998).

    >>> largest_slope(Activation.named("Relu")), round(largest_slope(Activation.named("Gelu")), 5)
    (1.0, 1.1289)
    """
    if activation.name == "PRelu":  # slopes differ between channels, so that φ is not one function
        return max(1.0, *(abs(value) for _, value in activation.parameters))
    return _largest_slope(activation) if activation.elementwise else None


@cache
def _largest_slope(activation: Activation) -> float:
    given = dict(activation.parameters)
    if activation.name == "Clip":  # between its ends, which may lie anywhere
        return 1.0 if given["min"] < given["max"] else 0.0
    if activation.name == "HardSigmoid":
        return abs(given["alpha"])
    if activation.name == "HardSwish":  # just below z = 3
        return 1.5
    if activation.name == "Celu" and given["alpha"] < 0:  # e^(z/α) without end
        return math.inf
    if activation.name == "Swish" and given["alpha"] != 0:  # z/α·σ(z): as steep whatever α is
        activation = Activation.named("Swish")
    z = np.linspace(-_REACH, _REACH, 4801)
    at = z[int(np.argmax(np.abs(activation.derivative(z))))]
    step = z[1] - z[0]
    fine = np.linspace(at - step, at + step, 2001)
    far = [-_FAR, _FAR]  # where Softplus comes to its 1
    return float(np.max(np.abs(activation.derivative(np.concatenate([z, fine, far])))))


def forward_gain(activation: Activation) -> float | None:
    """1/√E[φ(z)²] for standard normal z: std·√fan_in that keeps E[a²]. √2 for ReLU; None as in `largest_slope`."""
    return _gain(activation, derivative=False)


def backward_gain(activation: Activation) -> float | None:
    """1/√E[φ′(z)²], likewise: what keeps gradients at their size where layers are square."""
    return _gain(activation, derivative=True)


def _gain(activation: Activation, *, derivative: bool) -> float | None:
    if not activation.elementwise:
        return None
    z = np.linspace(-_REACH, _REACH, _POINTS)
    weight = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    values = activation.derivative(z) if derivative else activation.value(z)
    mean = float(np.sum(np.square(values) * weight))
    return 1 / math.sqrt(mean) if mean > 0 else math.inf
