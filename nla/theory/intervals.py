"""What a count says of the probability behind it: of random networks, of neurons that changed state."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
"""Of the intervals, unless another is asked for."""


def wilson(successes: ArrayLike, trials: ArrayLike, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """Wilson's interval of a probability: (low, high), each of the common shape, in [0, 1]; NaN where trials are none.

    >>> low, high = wilson([0, 512, 1024], 1024)
    >>> [round(float(value), 4) for value in (*low, *high)]
    [0.0, 0.4694, 0.9963, 0.0037, 0.5306, 1.0]
    """
    z, given = _normal(confidence), np.asarray(trials, np.float64)
    total = np.where(given > 0, given, np.nan)
    share, square = np.asarray(successes, np.float64) / total, z * z
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = z / (1 + square / total) * np.sqrt(share * (1 - share) / total + square / (4 * total * total))
    # what rounding leaves of an end that is 0 or 1 is put right
    low = np.where(share == 0, 0.0, np.clip(middle - half, 0, 1))
    return low, np.where(share == 1, 1.0, np.clip(middle + half, 0, 1))


def _normal(confidence: float) -> float:
    """Standard errors between which this share of a normal lies."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def mean_interval(sums: ArrayLike, squares: ArrayLike, trials: int) -> tuple[Floats, Floats]:
    """The normal 95 % interval of the mean of numbers in [0, 1], of their sum and their sum of squares."""
    mean = np.asarray(sums, np.float64) / trials
    spread = np.maximum(np.asarray(squares, np.float64) / trials - mean * mean, 0.0)
    half = _normal(CONFIDENCE) * np.sqrt(spread / max(1, trials - 1))
    return np.maximum(mean - half, 0.0), np.minimum(mean + half, 1.0)
