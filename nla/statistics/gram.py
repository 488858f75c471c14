"""The Gram matrix of all rows: effective rank of every counted position instead of a sample of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.errors import UsageError
from nla.statistics.base import Additive, Field

MOST_NEURONS = 4096
"""Beyond this the matrix of one site would take more than 128 MiB."""
_CHUNK_BYTES = 8 << 20


class Gram(Additive[NDArray[Any]]):
    """AᵀA in float64 [neurons, neurons] over the rows without NaN or infinity, and their number."""

    name = "gram"
    rows: int
    gram: NDArray[np.float64]

    def __init__(self, neurons: int) -> None:
        """Raises UsageError for a site of more than `MOST_NEURONS` neurons."""
        if neurons > MOST_NEURONS:
            raise UsageError(
                f"the exact effective rank holds a matrix of neurons × neurons: {neurons} neurons, at most "
                f"{MOST_NEURONS}; use the row sample (leave out --effective-rank exact)"
            )
        super().__init__(neurons=neurons)

    @classmethod
    def layout(cls, neurons: int) -> dict[str, Field]:
        return {"rows": Field("int64"), "gram": Field("float64", (neurons, neurons))}

    def update(self, seen: NDArray[Any]) -> None:
        """Adds the rows of `seen` [R, neurons], all counted positions of a batch, of any float type."""
        step = max(_CHUNK_BYTES // (8 * seen.shape[1]), 1)
        for start in range(0, len(seen), step):
            part = seen[start : start + step].astype(np.float64)
            finite = np.isfinite(part).all(axis=1)
            if not finite.all():
                part = part[finite]
            self.gram += part.T @ part
            self.rows += len(part)
