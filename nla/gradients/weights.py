"""Gradients of weights: what a layer read, times the gradient at what it made, summed over samples and positions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.graph import query
from nla.graph.backward.windows import Windows
from nla.graph.weighted import Weighted

Array = NDArray[Any]
Floats = NDArray[np.float64]
Summed = Callable[[Array, Array], Floats]
"""From what a layer read and the gradient at what it made to [outputs, weights of one output]."""


def dense(weighted: Weighted) -> Summed:
    """Of a matrix product: both have the channels on their last axis."""
    alpha = query.real(weighted.node, "alpha", 1.0) if query.kind(weighted.node) == "Gemm" else 1.0

    def summed(read: Array, gradient: Array) -> Floats:
        left = np.asarray(gradient, np.float64).reshape(-1, gradient.shape[-1])
        right = np.asarray(read, np.float64).reshape(-1, read.shape[-1])
        return np.asarray(alpha * (left.T @ right))

    return summed


def convolution(weighted: Weighted, seen: Windows) -> Summed:
    """Of a convolution: for each offset in the kernel the values that it met, against the gradient there."""
    groups = weighted.groups

    def summed(read: Array, gradient: Array) -> Floats:
        pads = [(0, 0), (0, 0), *zip(seen.begins, seen.ends, strict=True)]
        padded = np.pad(read, pads)
        outputs, made = gradient.shape[1], gradient.shape[2:]
        left = _grouped(gradient, groups)
        parts = []
        for offset in itertools.product(*map(range, seen.kernel)):
            place = (slice(None), slice(None), *(_along(seen, k, at, made) for k, at in enumerate(offset)))
            right = _grouped(padded[place], groups)
            parts.append(left @ right.transpose(0, 2, 1))  # [groups, outputs of one, inputs of one]
        return np.stack(parts, axis=-1).reshape(outputs, -1)

    return summed


def _grouped(values: Array, groups: int) -> Floats:
    """[N, C, …] as [groups, C of a group, N·positions]."""
    samples, channels = values.shape[:2]
    parts = np.asarray(values, np.float64).reshape(samples, groups, channels // groups, -1)
    return np.asarray(parts.transpose(1, 2, 0, 3).reshape(groups, channels // groups, -1))


def _along(seen: Windows, axis: int, at: int, made: Sequence[int]) -> slice:
    first, step = at * seen.dilations[axis], seen.strides[axis]
    return slice(first, first + (made[axis] - 1) * step + 1, step)
