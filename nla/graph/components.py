"""Connected components of many small integers at once: which channels leave a graph together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def components(count: int, left: Integers, right: Integers) -> Integers:
    """int64 [count]: for every element the smallest one that the edges left[k]–right[k] connect it with.

    >>> components(5, np.array([4, 1]), np.array([1, 3])).tolist()
    [0, 1, 2, 1, 1]
    """
    label = np.arange(count, dtype=np.int64)
    return joined(label, left, right)


def joined(label: Integers, left: Integers, right: Integers) -> Integers:
    """`label`, as `components` gives it, after further edges."""
    label = label.copy()
    while True:
        left, right = label[left], label[right]
        apart = left != right
        if not apart.any():
            return label
        left, right = left[apart], right[apart]
        np.minimum.at(label, np.maximum(left, right), np.minimum(left, right))
        after = label[label]
        while not np.array_equal(after, label):  # every element points to the smallest one itself
            label, after = after, after[after]
