"""How the size of pre-activations goes from layer to layer (lifecycle paper, eq. 5 and figure 3), predicted.

Three quantities, for layers of one width, inputs of mean 0 and variance 1 that are independent, and no biases:

- E[z²] over weights and data: q_1 = n·Var(w), q_{k+1} = n·Var(w)·E[φ(√q_k g)²], g standard normal. He keeps it: at 2
  with ReLU, not at 1 as figure 3 says.
- Var[z] over the data at given weights, averaged over weights: q_k(1 - c_k), c_k the correlation of two samples, which
  begins at 0 and grows for every φ that is not odd. He with ReLU: 2, 1.36, 1.01, .79, …: no bad initialisation.
- eq. 5 as printed takes Var[a] for E[a²] in the first: × 0.682 a layer with He and ReLU, which is wrong: a has a mean.

Widths are taken as large: a single network of width n drifts, by a standard deviation of √(5k/n) in ln E[z²] with ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from nla.activations import Activation
from nla.errors import UsageError, printable
from nla.theory.initialisation import SCHEMES, Fans, Scheme
from nla.theory.layers import checked

Floats = NDArray[np.float64]
_REACH, _POINTS = 8.0, 641
_LARGEST_DEPTH = 4096


@dataclass(frozen=True, eq=False)
class Propagated:
    """Of each layer's pre-activations, an entry a layer from the first."""

    scheme: str
    activation: Activation
    width: int
    mean_square: Floats
    """E[z²] over weights and data."""
    over_data: Floats
    """Var[z] over the data, averaged over weights."""
    as_printed: Floats
    """E[z²] as eq. 5 has it, with Var[a] for E[a²]."""


def scheme_named(name: str) -> Scheme:
    """The scheme of that name. Raises UsageError."""
    found = {scheme.name: scheme for scheme in SCHEMES}
    if name not in found:
        raise UsageError(f"no scheme {printable(name)!r}; there are {', '.join(found)}")
    return found[name]


def propagated(scheme: str, activation: Activation, width: int, depth: int) -> Propagated:
    """What `depth` layers of one width make of standard normal inputs. Raises UsageError."""
    checked(width, "width")
    if checked(depth, "depth") > _LARGEST_DEPTH:
        raise UsageError(f"depth is {depth}, expected at most {_LARGEST_DEPTH}")
    if not activation.elementwise:
        raise UsageError(
            f"{activation.name} is not a function of one pre-activation: nothing is predicted for it"
        )
    gain = scheme_named(scheme).gain(Fans(width, width, width, width)) ** 2
    square, printed, alike = gain, gain, 0.0
    found = []
    for _ in range(depth):
        found.append((square, square * (1 - alike), printed))
        alike = correlation(activation, square, alike)
        square = gain * moments(activation, square)[1]
        mean, mean_of_square = moments(activation, printed)
        printed = gain * (mean_of_square - mean * mean)
    columns = np.array(found).T
    return Propagated(scheme, activation, width, columns[0], columns[1], columns[2])


def moments(activation: Activation, variance: float) -> tuple[float, float]:
    """(E[a], E[a²]) of a = φ(z), z normal of mean 0."""
    g, weight = _normal()
    value = activation.value(np.sqrt(variance) * g)
    return float(value @ weight), float(np.square(value) @ weight)


def correlation(activation: Activation, variance: float, alike: float) -> float:
    """E[a·a′]/E[a²] of two samples whose z have that correlation: that of their z in the next layer.

    >>> relu = Activation.named("Relu")
    >>> [round(correlation(relu, 2.0, c), 4) for c in (0.0, 0.5, 1.0)]
    [0.3183, 0.609, 1.0]
    """
    square = moments(activation, variance)[1]
    if square == 0:
        return 0.0
    g, weight = _normal()
    scale, rest = np.sqrt(variance), np.sqrt(max(0.0, 1 - alike * alike))
    first = activation.value(scale * g)
    second = activation.value(scale * (alike * g[:, None] + rest * g)) @ weight
    return min(1.0, float((first * second) @ weight) / square)


@cache
def _normal() -> tuple[Floats, Floats]:
    """Points and weights that take the mean over a standard normal."""
    g = np.linspace(-_REACH, _REACH, _POINTS)
    weight = np.exp(-g * g / 2)
    return g, weight / weight.sum()
