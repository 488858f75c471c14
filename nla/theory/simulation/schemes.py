"""How a layer is initialised: independently, with all signs flipped where it kills too many, or normalised.

A scheme sees a layer twice. `begin` may change its weights, float32 [networks, neurons, inputs], before they meet the
values, [networks, inputs, points]; it gives None, or what is to be added to every pre-activation of a neuron,
[networks, neurons, 1], and on which points, [networks, points]. `top` sees the pre-activations z, [networks, neurons,
points], may write to them, and gives the largest of every point, [networks, points]: the layer kills the points where
it is ≤ 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Living = NDArray[np.bool_]


class Independent:
    """Independent parameters (the paper's IID)."""

    def begin(self, weights: Values, values: Values, living: Living) -> tuple[Values, Values | Living] | None:
        """Nothing is added."""
        return None

    def top(self, z: Values, living: Living) -> Values:
        """The largest z of each point."""
        return np.asarray(z.max(axis=1))

    def keep(self, kept: Living) -> None:
        """Forget the networks that are not kept."""


class Flipped(Independent):
    """Weights and biases negated where they kill more than half of the points that live (section 7)."""

    def top(self, z: Values, living: Living) -> Values:
        """The largest z of each point, after the flip."""
        top = super().top(z, living)
        killed = np.count_nonzero(living & (top <= 0), axis=1)
        turned = 2 * killed > np.count_nonzero(living, axis=1)
        if turned.any():
            z[turned] = -z[turned]
            top[turned] = z[turned].max(axis=1)
        return top


class Normalised(Independent):
    """Batch normalisation (γ = 1, β = 0) over all points of the data, dead ones too, as a framework does it.

    Centring is done on the inputs, for the mean of Wx is W times that of x; and each neuron is divided by its standard
    deviation where the next layer reads it, for ReLU(z/σ) is ReLU(z)/σ: neither goes through all points once more.
    """

    def __init__(self) -> None:
        self._sizes: Values | None = None
        """1/σ of each neuron of the layer before."""

    def counted(self, living: Living) -> Living:
        """The points over which it normalises."""
        return np.ones_like(living)

    def begin(self, weights: Values, values: Values, living: Living) -> tuple[Values, Values | Living] | None:
        """Minus the means, on the points that are counted."""
        if self._sizes is not None:
            weights *= self._sizes
        counted = self.counted(living)
        total = np.count_nonzero(counted, axis=1).astype(np.float32)[:, None, None]
        weights *= total > 1  # a single point is its own mean: exactly
        mean = np.matmul(values, counted[:, :, None].astype(np.float32)) / total
        return -np.matmul(weights, mean), counted

    def top(self, z: Values, living: Living) -> Values:
        """The largest z of each point; what is not counted is 0 in all of z."""
        total = np.count_nonzero(self.counted(living), axis=1)[:, None]
        variance = np.matmul(z[:, :, None, :], z[:, :, :, None])[:, :, 0, 0] / total
        self._sizes = (1 / np.sqrt(np.where(variance > 0, variance, 1))).astype(np.float32)[:, None, :]
        return super().top(z, living)

    def keep(self, kept: Living) -> None:
        """Forget the networks that are not kept."""
        if self._sizes is not None:
            self._sizes = self._sizes[kept]


class NormalisedLiving(Normalised):
    """Batch normalisation over the points that live: one that is left alone is its own mean, and dies."""

    def counted(self, living: Living) -> Living:
        """Those alone; dead points are 0 behind the layer that killed them, and stay so."""
        return living


SCHEMES: dict[str, Callable[[], Independent]] = {
    "independent": Independent,
    "flipped": Flipped,
    "normalised": Normalised,
    "normalised-living": NormalisedLiving,
}
