"""Eq. 4 of the lifecycle paper: a bound of the gradient along a chain of layers.

‖δ at z_1‖ ≤ ‖δ at z_L‖ · ∏ C_k·σ_{k+1}, k = 1 … L - 1: C_k is the steepest slope of φ_k, σ_{k+1} the spectral norm of
what leads from a_k to z_{k+1}. It holds for a chain, in which a_k goes nowhere but to z_{k+1} and z_{k+1} is
made of nothing else; where branches are added (residual connections) the products are summed over all paths
(`nla.gradients.branches`), and where they are gated nothing is said. It is one-sided: a product far below 1 proves
that gradients vanish, one above 1 says nothing (9.5e5 was met where the truth was 1.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def log10_bounds(factors: Sequence[float]) -> tuple[float, ...]:
    """log10 of the product of `factors` from each one to the last; factors ≥ 0. Logarithms, for products overflow.

    >>> log10_bounds([10.0, 0.1, 1000.0])
    (3.0, 2.0, 3.0)
    """
    total, made = 0.0, []
    for factor in reversed(factors):
        total += math.log10(factor) if factor > 0 else -math.inf
        made.append(total)
    return tuple(reversed(made))
