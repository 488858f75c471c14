"""Whether two kernels gave the same activations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_PIECE = 1 << 16
"""Values compared at a time: float64 copies of whole tensors would be what takes most memory."""
_SMALLEST_SCALE = 1e-6


def agree(a: NDArray[Any], b: NDArray[Any], relative: float, absolute: float) -> bool:
    """Whether two tensors of one shape are equal up to the rounding of another kernel.

    `absolute` is in units of the largest finite |b|, as rounding follows the tensor's size, not each value's. NaN
    equals NaN.

    >>> a = np.array([1000.0, 0.0, np.nan])
    >>> agree(a + 0.01, a, 1e-3, 1e-4), agree(a + 1.0, a, 1e-4, 1e-4), agree(a[:2], a, 1.0, 1.0)
    (True, False, False)
    """
    if a.shape != b.shape:
        return False
    ours, theirs = a.reshape(-1), b.reshape(-1)
    pieces = [slice(first, first + _PIECE) for first in range(0, len(theirs), _PIECE)]
    scale = max((_largest(theirs[piece]) for piece in pieces), default=0.0)
    tolerance = absolute * max(scale, _SMALLEST_SCALE)
    return all(
        np.allclose(
            ours[piece].astype(np.float64),
            theirs[piece].astype(np.float64),
            rtol=relative,
            atol=tolerance,
            equal_nan=True,
        )
        for piece in pieces
    )


def _largest(values: NDArray[Any]) -> float:
    """The largest finite magnitude, 0 where there is none."""
    sizes = np.abs(values.astype(np.float64))
    return float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))
