"""How far floating point can lead from the exact result, and the slack that makes a bound sound in spite of it.

Two arithmetics are covered. The model runs in `unit` roundoff u (float32: 2⁻²⁴) with sums in any order, products
fused or not, and per-channel constants folded into weights: γ_n·Σ|terms| bounds the distance from the exact sum, with
γ_n = n·u / (1 - n·u) (Higham, Accuracy and Stability of Numerical Algorithms, lemma 3.1), n the number of terms and
`FOLDED` further roundings. The bounds themselves are computed in float64, whose γ_n is added. Products by Winograd's
or Strassen's schemes round differently and are not covered, nor is overflow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SINGLE = 2.0**-24
HALF = 2.0**-11
BRAIN = 2.0**-8
"""Of bfloat16, which has eight bits of significand."""
_DOUBLE = 2.0**-53
FOLDED = 16
"""Roundings beside those of the sum: constants folded into weights, a bias added apart, a scale multiplied."""
_NORMAL = {HALF: 2.0**-14}


def gamma(terms: int, unit: float) -> float:
    """γ_n for a sum of so many terms in arithmetic of roundoff `unit`; infinite where n·u ≥ 1.

    >>> gamma(0, SINGLE) < 1.1e-6
    True
    """
    product = (terms + FOLDED) * unit
    return product / (1 - product) if product < 1 else float("inf")


def slack(terms: int, unit: float, ours: int = 0) -> float:
    """γ_n of the model's arithmetic and, several times, of our own float64: relative to the sum of |terms|.

    `ours` is the number of further terms that sums of ours have where the model's have none: a coefficient carried
    backward is a sum over the outputs.
    """
    return gamma(terms, unit) + 8 * gamma(terms + ours, _DOUBLE)


def smallest(unit: float) -> float:
    """A product that underflows is off by less than this, flushed to zero or not: the smallest normal number."""
    return _NORMAL.get(unit, 2.0**-126)


def own(terms: int) -> float:
    """γ_n of float64 alone, with room: for what we compute and the model does not."""
    return 4 * gamma(terms, _DOUBLE)


def summed_product(A: Floats, x: Floats) -> Floats:
    """[rows] Σ A·x, A [rows, *shape], x [*shape] or [rows, *shape], with 0·∞ = 0."""
    rows = A.reshape(len(A), -1)
    if not np.isfinite(x).all():
        return np.asarray(times(A, x).reshape(len(A), -1).sum(axis=1))
    if x.ndim == A.ndim:
        return np.asarray(np.einsum("rk,rk->r", rows, np.broadcast_to(x, A.shape).reshape(rows.shape)))
    return np.asarray(rows @ x.ravel())


def times(a: ArrayLike, b: ArrayLike) -> Floats:
    """a·b with 0·∞ = 0: a coefficient of zero reads nothing, however wide the range."""
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with np.errstate(invalid="ignore"):
        product = left * right
    return np.where((left == 0) | (right == 0), 0.0, product)
