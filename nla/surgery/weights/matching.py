"""Channels of one tensor among those of another, and constants that are combined with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nla.graph.channels import NOBODY, Channels

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def matched(out: Channels, into: Channels, *, by_place: bool = False) -> Integers | None:
    """For every channel of `out`, its place among those of `into` or NOBODY; None where that cannot be told."""
    if by_place:
        return np.arange(out.size) if alike(into, out) else None
    wanted, there = keys(out), keys(into)
    order = np.argsort(there, kind="stable")
    ordered = there[order]
    if bool(((ordered[1:] == ordered[:-1]) & (ordered[1:] >= 0)).any()):
        return None  # one neuron on several channels: which of them, no one says
    at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.where((ordered[at] == wanted) & (wanted >= 0), order[at], NOBODY)


def keys(fact: Channels) -> Integers:
    """int64 [channels], a number for each neuron of the graph; NOBODY for a channel that is none's."""
    source, index = fact.flat()
    return np.where(source == NOBODY, NOBODY, source.astype(np.int64) << 32 | index)


def alike(left: Channels | None, right: Channels) -> bool:
    """True where the channels of both lie on the same axes, in the same number."""
    return left is not None and left.axes == right.axes and left.index.shape == right.index.shape


def is_per_channel(shape: Sequence[int], fact: Channels) -> bool:
    """True where a constant of the shape has an element for every channel."""
    lengths = zip(fact.axes, fact.index.shape, strict=True)
    return all(len(shape) >= -axis and shape[axis] == size for axis, size in lengths)


def spread(array: Floats, fact: Channels) -> Floats | None:
    """float64 [channels] from a constant that is combined with them; None where it differs within a channel."""
    shape = [1] * max(array.ndim, -fact.axes[0])
    for axis, size in zip(fact.axes, fact.index.shape, strict=True):
        shape[axis] = size
    full = (1,) * (len(shape) - array.ndim) + array.shape
    if any(size not in (1, wanted) for size, wanted in zip(full, shape, strict=True)):
        return None
    return np.broadcast_to(array.reshape(full), shape).reshape(-1)
