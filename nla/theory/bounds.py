"""Bounds of the probability that a ReLU network is born alive (Rister and Rubin, eq. 4, 8, 10 and 22).

Dead at layer k, for a point, is: for some j ≤ k all pre-activations of layer j are ≤ 0. It is cumulative, for with
biases what follows a dead layer has outputs that are not zero, but the same for every input. A network lives while
any point of its data does.

Lower bound: ∏ (1 - 2^-n_j), for what is drawn so that the sign of any one neuron may be turned (independent weights,
orthogonal and truncated ones too); it is the probability that one given point (not 0, without biases) lives.
Upper bound: ∏ (1 - 2^-(parameters of layer j)), over the layers that read what is not negative: all but the first, and
the first too where the data are not negative (pixels, outputs of a ReLU). The paper prints the exponent k - 1, which
is right there but looser. It wants independent signs of single weights: **for orthogonal initialisation it does not
hold** (at width 2, depth 2, 20,000 of 20,000 live where 15 in 16 were allowed).
Other corrections: the parameters of a convolution (`nla.theory.layers`), and grouped layers without bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nla.theory.chances import Chance, surviving
from nla.theory.layers import Layer

NOT_COVERED = (
    "networks that are trained already: the bounds are of what is drawn anew",
    "weights that layers share, or that are not symmetric about zero",
)
"""What no bound here speaks of."""


@dataclass(frozen=True)
class Bounds:
    """Between what the probability lies that a network is born alive."""

    lower: Chance
    """At least this alive: `lower.dead` is the most that death can have."""
    upper: Chance | None
    """At most this alive; None where no upper bound holds."""

    def to_dict(self) -> dict[str, Any]:
        """`at_least` and `at_most`, each with alive and dead."""
        return {
            "at_least": self.lower.to_dict(),
            "at_most": None if self.upper is None else self.upper.to_dict(),
        }


def bounds(layers: Sequence[Layer], *, non_negative: bool = False, orthogonal: bool = False) -> Bounds:
    """Both bounds of a chain of layers, the first of which reads the data.

    Args:
        layers: in their order, each on the outputs of the one before.
        non_negative: no value of the data is negative.
        orthogonal: the weights of a layer are drawn as an orthogonal matrix: there is no upper bound then.

    """
    lower = surviving((layer.log2_death_at_most, layer.times) for layer in layers)
    if orthogonal:
        return Bounds(lower, None)
    times = [layer.times for layer in layers]
    if times and not non_negative:
        times[0] -= 1
    sure = ((layer.log2_death_at_least, many) for layer, many in zip(layers, times, strict=True))
    return Bounds(lower, surviving(sure))
