"""The width that a wanted probability of life needs (eq. 9), and below which it cannot be had.

Eq. 9 is n = -log2(1 - p^(1/k)); its ceiling is taken. By expm1 and log: for p = 1 - 1e-12, k = 10 the naive form gives
43.18462, the true value is 43.18510. What lies above a whole number by no more than the last digit of p is that number,
for at (1 - 2^-n)^k itself round-off decides otherwise (39 of 190 such cells came out one too wide).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nla.theory.layers import alike, checked, checked_probability

_LAST_DIGIT = 2.0**-51
_MOST_SLACK = 0.01
"""A width that is exact to the last digit of p is that only while this says little: at p = 1 - 2^-53 it says ± 4."""


@dataclass(frozen=True)
class Width:
    """Widths of `depth` layers alike, for a wanted probability that the network is born alive."""

    probability: float
    depth: int
    enough: int
    """From this width on the lower bound gives the probability."""
    exact: float
    """Eq. 9 before it is rounded up."""
    needed: int
    """Below this width the upper bound forbids it (it holds for independent weights)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "probability": self.probability,
            "depth": self.depth,
            "enough": self.enough,
            "exact": self.exact,
            "needed": self.needed,
        }


def width_for(probability: float, depth: int, *, bias: bool = True, non_negative: bool = False) -> Width:
    """The widths that a probability in (0, 1) asks of `depth` layers alike. Raises UsageError.

    >>> width_for(0.99, 64).enough, width_for(0.75**3, 3).enough
    (13, 2)
    """
    probability = checked_probability(probability)
    exact = _exponent(probability, checked(depth, "depth"))
    slack = 1e-12 + min(_MOST_SLACK, _LAST_DIGIT / (1 - probability))
    counted = depth if non_negative else depth - 1
    most = _exponent(probability, counted) if counted else 0.0
    needed = 1
    while alike(needed, 1, bias=bias)[0].parameters < most - slack:
        needed += 1
    return Width(probability, depth, max(1, math.ceil(exact - slack)), exact, needed)


def borders(
    probability: float, depth: int, *, bias: bool = True, non_negative: bool = False
) -> tuple[float, float]:
    """The widths, as real numbers, at which the lower and the upper bound are that probability; 0 for no layer.

    >>> [round(width, 3) for width in borders(0.5, 64, bias=False)]
    [6.537, 2.552]
    """
    counted = checked(depth, "depth") if non_negative else checked(depth, "depth") - 1
    parameters = _exponent(probability, counted) if counted else 0.0
    wide = (math.sqrt(1 + 4 * parameters) - 1) / 2 if bias else math.sqrt(parameters)
    return _exponent(probability, depth), wide


def _exponent(probability: float, layers: int) -> float:
    """The x with (1 - 2^-x)^layers = probability."""
    each = math.log(probability) / layers
    if each > -1e-300:  # below the least normal number: 1 - p^(1/k) is -each to every digit
        return -math.log2(-math.log(probability)) + math.log2(layers)
    return -math.log2(-math.expm1(each))
