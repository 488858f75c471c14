"""Masks: which positions of a sample count. Padding is not evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration.columns import Column, Rows
from nla.errors import DataError


@dataclass(frozen=True)
class Mask:
    """The array [n, T] or [n, H, W] that is 1 where a position counts."""

    what: str
    """What errors call it."""
    column: Column

    def read(self, rows: Rows) -> NDArray[np.bool_]:
        """bool [b, …]; DataError where a value is neither 0 nor 1."""
        values = self.column.read(rows)
        counted = values != 0
        if values.dtype.kind != "b" and not bool((values == counted).all()):
            wrong: Any = values[values != counted].reshape(-1)[0]
            raise DataError(f"{self.what}: holds {wrong}; a mask holds 1 where a position counts, else 0")
        return np.ascontiguousarray(counted)


def check(mask: Mask, samples: int) -> Mask:
    """`mask`, if it has a row for each of `samples` samples; DataError otherwise."""
    shape, dtype = mask.column.shape, mask.column.dtype
    if dtype.kind not in "biuf":
        raise DataError(f"{mask.what}: a mask holds 0 and 1, not {dtype} values")
    if len(shape) < 2:
        raise DataError(f"{mask.what}: shape {list(shape)}; a mask is [n, positions] (or [n, height, width])")
    if shape[0] != samples:
        raise DataError(f"{mask.what}: {shape[0]} rows for {samples} samples")
    return mask
