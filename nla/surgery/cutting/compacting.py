"""Leaving slices of an array out in its own memory: fresh pages for every large weight take longer than the cut."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_BLOCK_BYTES = 1 << 20
"""What is copied at once: a part of a core's second-level cache."""


def compacted(array: Array, axis: int, kept: NDArray[np.int64]) -> Array:
    """`np.take(array, kept, axis)`, in the memory of `array` where that is possible; its values are lost then.

    Args:
        array: any shape; overwritten where it is contiguous and may be written to, and `kept` rises.
        axis: counted from the front.
        kept: [K] places along the axis.
    """
    rises = len(kept) < 2 or bool((np.diff(kept) > 0).all())
    if not (rises and array.flags.c_contiguous and array.flags.writeable and array.size):
        return np.take(array, kept, axis)
    outer, inner = prod(array.shape[:axis]), prod(array.shape[axis + 1 :])
    lines = array.reshape(outer, array.shape[axis], inner)
    flat = array.reshape(-1)
    step = max(_BLOCK_BYTES // max(inner * array.itemsize, 1), 1)  # places along the axis that make a block
    end = 0
    for first in range(0, outer, many := max(step // max(len(kept), 1), 1)):
        for begin in range(0, len(kept), step):
            # A kept place never moves back, so that what is still to be read lies behind what is written.
            part = np.take(lines[first : first + many], kept[begin : begin + step], 1)
            flat[end : end + part.size] = part.reshape(-1)
            end += part.size
    shape = (*array.shape[:axis], len(kept), *array.shape[axis + 1 :])
    return flat[:end].reshape(shape)
