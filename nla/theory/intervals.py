"""Monte Carlo error: what a count of random networks says of the probability behind it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_NORMAL = 1.959963984540054
"""Standard errors between which 95 % of a normal lie."""


def wilson(successes: ArrayLike, trials: ArrayLike) -> tuple[Floats, Floats]:
    """Wilson's 95 % interval of a probability: (low, high) of the shape of `successes`; trials ≥ 1.

    >>> low, high = wilson([0, 512, 1024], 1024)
    >>> [round(float(value), 4) for value in (*low, *high)]
    [0.0, 0.4694, 0.9963, 0.0037, 0.5306, 1.0]
    """
    count, total = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    share, square = count / total, _NORMAL * _NORMAL
    middle = (share + square / (2 * total)) / (1 + square / total)
    root = np.sqrt(share * (1 - share) / total + square / (4 * total * total))
    half = _NORMAL * root / (1 + square / total)
    low = np.where(count == 0, 0.0, np.maximum(middle - half, 0.0))
    return low, np.where(count == total, 1.0, np.minimum(middle + half, 1.0))


def mean_interval(sums: ArrayLike, squares: ArrayLike, trials: int) -> tuple[Floats, Floats]:
    """The normal 95 % interval of the mean of numbers in [0, 1], of their sum and their sum of squares."""
    mean = np.asarray(sums, np.float64) / trials
    spread = np.maximum(np.asarray(squares, np.float64) / trials - mean * mean, 0.0)
    half = _NORMAL * np.sqrt(spread / max(1, trials - 1))
    return np.maximum(mean - half, 0.0), np.minimum(mean + half, 1.0)
