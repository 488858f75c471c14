"""What a layer does to its pre-activations when it is initialised: nothing, a flip of all signs, a normalisation.

Each scheme takes z, float32 [networks, neurons, points], and which points live, bool [networks, points]; it may write
to z, and gives back the largest z of every point, [networks, points]: the layer kills the points where it is ≤ 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Living = NDArray[np.bool_]


def independent(z: Values, living: Living) -> Values:
    """Independent parameters (the paper's IID)."""
    return np.asarray(z.max(axis=1))


def flipped(z: Values, living: Living) -> Values:
    """Weights and biases negated where they kill more than half of the points that live (section 7)."""
    top = z.max(axis=1)
    killed = np.count_nonzero(living & (top <= 0), axis=1)
    turned = 2 * killed > np.count_nonzero(living, axis=1)
    if turned.any():
        z[turned] = -z[turned]
        top[turned] = z[turned].max(axis=1)
    return np.asarray(top)


def normalised(z: Values, living: Living) -> Values:
    """Batch normalisation (γ = 1, β = 0) over all points of the data, dead ones too, as a framework does it."""
    return _normalised(z, np.ones_like(living))


def normalised_living(z: Values, living: Living) -> Values:
    """Batch normalisation over the points that live: one that is left alone is its own mean, and dies."""
    return _normalised(z, living)


def _normalised(z: Values, counted: Living) -> Values:
    weights = counted.astype(np.float32)[:, :, None]
    z *= weights.transpose(0, 2, 1)  # what is not counted is not scaled either, and would grow without end
    total = weights.sum(axis=1, keepdims=True)
    z -= np.matmul(z, weights) / total
    variance = np.matmul(z * z, weights) / total
    z /= np.sqrt(np.where(variance > 0, variance, 1))
    return np.asarray(z.max(axis=1))


Scheme = Callable[[Values, Living], Values]

SCHEMES: dict[str, Scheme] = {
    "independent": independent,
    "flipped": flipped,
    "normalised": normalised,
    "normalised-living": normalised_living,
}
