"""Which samples belong to a shard and to the held-out part: functions of the global index alone.

So every shard, on any machine and in any order, agrees on what is held out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def splitmix64(indices: Indices) -> NDArray[np.uint64]:
    """uint64 [n] hash of each index: the output function of SplitMix64 (Steele, Lea, Flood 2014).

    >>> int(splitmix64(np.array([0]))[0]) == 0xE220A8397B1DCDAF  # the first output for seed 0
    True
    """
    with np.errstate(over="ignore"):
        z = (indices.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def is_held_out(indices: Indices, share: float) -> NDArray[np.bool_]:
    """bool [n]: the samples of the second part, each with probability `share` in [0, 1)."""
    return (splitmix64(indices) >> np.uint64(11)) * 2.0**-53 < share


def in_shard(indices: Indices, k: int, n: int) -> NDArray[np.bool_]:
    """bool [n]: the samples of the k-th of n shards, k from 1: sample i is in shard i mod n + 1."""
    shard: NDArray[np.bool_] = indices % n == k - 1
    return shard
