"""Masks laid over a site's positions: what is padding, and the runs of rows that are not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def lay_mask(mask: NDArray[np.bool_], sizes: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """bool [samples, positions], the mask over a site whose position axes have these sizes; None if it does not fit.

    The mask's axes must be found among the position axes, in their order and of their length; it is repeated over
    the others (a mask over tokens, for a site with tokens and something else).

    >>> lay_mask(np.array([[True, False]]), (2, 3)).astype(int).tolist()
    [[1, 1, 1, 0, 0, 0]]
    >>> lay_mask(np.array([[True, False]]), (5,)) is None
    True
    """
    wanted = mask.shape[1:]
    if int(np.prod(sizes)) == int(np.prod(wanted)):
        return mask.reshape(len(mask), -1)
    places, k = [], 0
    for axis, size in enumerate(sizes):
        if k < len(wanted) and size == wanted[k]:
            places.append(axis)
            k += 1
    if k < len(wanted):
        return None
    shape = [size if axis in places else 1 for axis, size in enumerate(sizes)]
    spread = np.broadcast_to(mask.reshape(len(mask), *shape), (len(mask), *sizes))
    return spread.reshape(len(mask), -1)


def masked_runs(valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Runs of counted rows: `valid` is bool [samples, positions], False for padding.

    >>> masked_runs(np.array([[True, True, False], [True, False, True]])).tolist()
    [[0, 2, 0], [3, 4, 1], [5, 6, 1]]
    """
    samples, positions = valid.shape
    padded = np.zeros((samples, positions + 2), np.int8)
    padded[:, 1:-1] = valid
    change = np.diff(padded, axis=1)
    group, first = np.nonzero(change == 1)
    _, last = np.nonzero(change == -1)
    return np.stack([group * positions + first, group * positions + last, group], axis=1).astype(np.int64)
