"""Effective rank (lifecycle paper, eq. 6; Roy and Vetterli 2007) and effective capacity (eq. 18)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def effective_rank(singular_values: ArrayLike) -> float:
    """exp of the entropy, in nats, of the singular values over their sum: in [1, rank], 0 for A = 0.

    The values themselves count, not their squares; zeros are dropped.

    >>> [round(effective_rank(values), 5) for values in ([1.0] * 8, [0.0, 5.0], [3.0, 1.0], [0.0])]
    [8.0, 1.0, 1.75477, 0.0]
    """
    values = np.asarray(singular_values, np.float64)
    values = values[values > 0]
    if not values.size:
        return 0.0
    share = values / values.max()  # first by the largest: a sum of huge values would overflow
    share = share / share.sum()
    share = share[share > 0]
    return float(np.exp(-np.sum(share * np.log(share))))


def rank_of_rows(rows: ArrayLike) -> tuple[float, int]:
    """Effective rank of the rows [R, C], not centred, and the number of finite rows it was taken of.

    Rows that hold NaN or infinity are left out; NaN where no row is left.
    """
    matrix = np.asarray(rows, np.float64)
    matrix = matrix[np.isfinite(matrix).all(axis=1)]
    if not len(matrix):
        return float("nan"), 0
    largest = float(np.abs(matrix).max(initial=0.0))
    if largest == 0.0:
        return 0.0, len(matrix)
    matrix = matrix / largest
    narrow = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    return rank_of_gram(narrow.T @ narrow), len(matrix)


def rank_of_gram(gram: NDArray[np.float64]) -> float:
    """Effective rank of A, not centred, from AᵀA [C, C] (or AAᵀ).

    Eigenvalues below C·ε times the largest are round-off of zeros and are dropped.
    """
    largest = float(np.abs(gram).max(initial=0.0))
    if largest == 0.0:
        return 0.0
    eigenvalues = np.linalg.eigvalsh(gram / largest)
    floor = len(gram) * np.finfo(np.float64).eps * eigenvalues[-1]
    return effective_rank(np.sqrt(eigenvalues[eigenvalues > floor]))


def effective_capacity(rank: float, dead_share: float) -> float:
    """(1 - d)·r_eff: eq. 18, whose n cancels. It charges the dead twice: they add no rank anyway."""
    return (1.0 - dead_share) * rank
