"""What is known of a tensor's channels: on which axes they lie, and which neuron each of them is.

The neurons of a weighted node are numbered along its output channels. Every step after it moves those
numbers as it moves the data: a Transpose moves the axis, a Reshape splits or merges it, a Split takes a
part, a Concat joins. So nothing is assumed of layouts: NCHW, NHWC, heads, both directions of an LSTM and a
Flatten are all the same case. Axes are counted from the end (-1 is the last), which holds whatever the
rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.errors import ModelError
from nla.graph.query import product
from nla.graph.shapes import Dim, Dims

Numbers = NDArray[np.int32]

NOBODY = -1
"""Source of a channel that is no neuron's."""

_MOST = 1 << 22
"""Numbers that one tensor may carry: beyond, its channels are not followed."""

_MOST_NEURONS = 1 << 25
"""Neurons of one layer: more are a graph's invention."""


@dataclass(frozen=True, eq=False)
class Channels:
    """A tensor whose channels are neurons."""

    axes: tuple[int, ...]
    """The axes on which the channels lie, negative and ascending."""
    index: Numbers
    """The neuron's number within its source, one entry per channel, in the shape of `axes`."""
    source: int | Numbers
    """Id of the source in `Sources`, one for all channels or an entry per channel; NOBODY for none."""
    rank: int | None = None
    """Rank of the tensor, where it is known."""
    mixed: bool = False
    """True after a step in which channels influence one another (LayerNormalization)."""
    others: bool = False
    """True where something that has no neurons was added to, or multiplied with, the channels."""
    noisy: bool = False
    """True where a random operator has a part in the values."""
    extra: int = 0
    """Per-channel parameters (bias, scale) between the source and here, per neuron."""
    bent: ir.Node | None = None
    """The first nonlinear node between the source and here that is no activation (`graph.bending`)."""

    @property
    def size(self) -> int:
        """Number of channels."""
        return int(self.index.size)

    @property
    def single(self) -> int | None:
        """The source, where all channels have the same."""
        if isinstance(self.source, int):
            return self.source
        flat = self.source.reshape(-1)
        return int(flat[0]) if flat.size and bool((flat == flat[0]).all()) else None

    def sources(self) -> tuple[int, ...]:
        """Ids of the sources, NOBODY left out."""
        if isinstance(self.source, int):
            return (self.source,)
        return tuple(int(s) for s in np.unique(self.source) if s != NOBODY)

    def flat(self) -> tuple[Numbers, Numbers]:
        """(source, index) of every channel, [size] each."""
        source = np.broadcast_to(np.asarray(self.source, np.int32), self.index.shape)
        return source.reshape(-1), self.index.reshape(-1)

    def distinct(self) -> bool:
        """True where no neuron stands on two channels, and no channel is nobody's."""
        source, index = self.flat()
        if (source == NOBODY).any():
            return False
        keys = source.astype(np.int64) << 32 | index
        return len(np.unique(keys)) == len(keys)

    def length(self, axis: int) -> int | None:
        """Channels along `axis`; None where the channels do not lie on it."""
        return self.index.shape[self.axes.index(axis)] if axis in self.axes else None

    def front(self, axis: int) -> int | None:
        """`axis` counted from the front; None where the rank is unknown."""
        return None if self.rank is None else axis + self.rank


@dataclass(frozen=True)
class Lost:
    """A tensor of which no channel is followed, and where that began."""

    reason: str
    """A noun phrase that goes on from 'its input comes from'."""
    mixes: bool = False
    """True for a statistic taken over channels: what it is combined with is mixed."""
    noisy: bool = False


Fact = Channels | Lost | None
"""None is a constant."""


@lru_cache(maxsize=512)
def numbers(*shape: int) -> Numbers:
    """0, 1, 2, … in the shape, shared and read-only. Raises ModelError for absurd sizes."""
    if product(shape) > _MOST_NEURONS:
        raise ModelError(f"a layer of {product(shape)} channels: expected at most {_MOST_NEURONS}")
    made = np.arange(product(shape), dtype=np.int32).reshape(shape)
    made.setflags(write=False)
    return made


def fresh(source: int, shape: Sequence[int], axes: Sequence[int], rank: int | None = None) -> Channels:
    """The neurons of a source in their own order."""
    return Channels(tuple(axes), numbers(*shape), source, rank)


def same(left: Channels, right: Channels) -> bool:
    """True where both tensors carry the same neurons in the same places."""
    if left.axes != right.axes or left.index.shape != right.index.shape:
        return False
    one = left.source is right.source or np.array_equal(left.source, right.source)
    return one and (left.index is right.index or np.array_equal(left.index, right.index))


def mapped(fact: Channels, axes: Sequence[int], function: Callable[[Any], Any], **changes: Any) -> Channels:
    """The fact with `function` applied to its numbers, on other axes."""
    source = fact.source if isinstance(fact.source, int) else function(fact.source)
    return replace(fact, axes=tuple(axes), index=function(fact.index), source=source, **changes)


def transposed(fact: Channels, perm: Sequence[int]) -> Channels | None:
    """After a Transpose; None where `perm` is no permutation."""
    rank = len(perm)
    if sorted(perm) != list(range(rank)) or fact.axes[0] < -rank:
        return None
    moved = [perm.index(axis + rank) - rank for axis in fact.axes]
    order = sorted(range(len(moved)), key=moved.__getitem__)
    return mapped(fact, sorted(moved), lambda numbers: numbers.transpose(order), rank=rank)


def removed(fact: Channels, axes: Sequence[int]) -> Channels | None:
    """After axes (negative) that carry no channels have gone; None where one of them carries channels."""
    for axis in axes:
        if axis in fact.axes and fact.length(axis) != 1:
            return None
    gone = [axis for axis in axes if axis not in fact.axes]
    single = [axis for axis in axes if axis in fact.axes]
    if len(single) == len(fact.axes):
        return None
    kept = [axis for axis in fact.axes if axis not in single]
    places = tuple(fact.axes.index(axis) for axis in single)
    shifted = [axis + sum(a > axis for a in (*gone, *single)) for axis in kept]
    rank = None if fact.rank is None else fact.rank - len(axes)
    return mapped(fact, shifted, lambda numbers: np.squeeze(numbers, places), rank=rank)


def inserted(fact: Channels, axes: Sequence[int], rank: int | None) -> Channels:
    """After axes of size one have come in; `axes` negative, in the new tensor."""
    new, shifted, at = set(axes), [], -1
    for axis in range(-1, fact.axes[0] - 1, -1):
        while at in new:
            at -= 1
        if axis in fact.axes:
            shifted.append(at)
        at -= 1
    return replace(fact, axes=tuple(sorted(shifted)), rank=rank)


def taken(fact: Channels, axis: int, where: Any) -> Channels:
    """After some channels of `axis` were taken: `where` is a slice or an array of positions."""
    at = (slice(None),) * fact.axes.index(axis) + (where,)
    return mapped(fact, fact.axes, lambda numbers: numbers[at])


def tiled(fact: Channels, axis: int, times: int) -> Channels | None:
    """After the channels of `axis` were repeated as a whole."""
    if fact.size * times > _MOST:
        return None
    shape = [times if a == axis else 1 for a in fact.axes]
    return mapped(fact, fact.axes, lambda numbers: np.tile(numbers, shape))


def concatenated(parts: Sequence[tuple[Fact, int | None]], axis: int) -> Channels | None:
    """After a Concat along `axis` that carries channels; None where the parts do not fit.

    A part is a fact and its length along the axis; what has no neurons needs a known length.
    """
    known = [fact for fact, _ in parts if isinstance(fact, Channels)]
    first = known[0]
    at = first.axes.index(axis)
    sources, indices = [], []
    for fact, length in parts:
        shape = list(first.index.shape)
        if isinstance(fact, Channels) and fact.axes == first.axes:
            shape[at] = fact.index.shape[at]
            if list(fact.index.shape) != shape:
                return None
            indices.append(fact.index)
            sources.append(np.broadcast_to(np.asarray(fact.source, np.int32), fact.index.shape))
        elif length is None or length * (first.size // max(1, shape[at])) > _MOST:
            return None
        else:
            shape[at] = length
            indices.append(np.zeros(shape, np.int32))
            sources.append(np.full(shape, NOBODY, np.int32))
    if sum(part.size for part in indices) > _MOST:
        return None
    only = {fact.source if isinstance(fact.source, int) else None for fact in known}
    one = len(only) == 1 and None not in only and len(known) == len(parts)
    joined = first.source if one else np.concatenate(sources, at)
    return combined(
        replace(first, index=np.concatenate(indices, at), source=joined), [fact for fact, _ in parts]
    )


def combined(base: Channels, parts: Sequence[Fact]) -> Channels:
    """`base` with the flags that any of the parts brings."""
    channels = [part for part in parts if isinstance(part, Channels)]
    lost = [part for part in parts if isinstance(part, Lost)]
    return replace(
        base,
        mixed=base.mixed or any(part.mixed for part in channels) or any(part.mixes for part in lost),
        others=base.others or bool(lost) or any(part.others for part in channels),
        noisy=base.noisy or any(part.noisy for part in channels) or any(part.noisy for part in lost),
        extra=max(base.extra, *(part.extra for part in channels)) if channels else base.extra,
        bent=next((part.bent for part in (base, *channels) if part.bent is not None), None),
    )


def reshaped(fact: Channels, before: Dims | None, after: Dims | None) -> Channels | None:
    """After a Reshape; None where the sizes do not tell where the channels went.

    Axes that are equal on both sides, from the right and then from the left, stay. Between them the
    channels are followed from the right: in row-major order they repeat with a period that needs no
    knowledge of the axes before.
    """
    if after is None or 0 in after:
        return None
    fact = _squeezed(fact) or fact
    inside = _known(fact, before)
    right = _alike(reversed(inside), reversed(after))
    left = _alike(inside[: len(inside) - right], after[: len(after) - right]) if before is not None else 0
    middle = inside[left : len(inside) - right]
    target = after[left : len(after) - right]
    axes = [axis + len(inside) for axis in fact.axes]
    before_, within, behind = _thirds(axes, left, left + len(middle))
    if not within:
        stay = [a - len(inside) if a >= len(inside) - right else a - len(after) for a in axes]
        return replace(fact, axes=tuple(stay), rank=len(after))
    shape = [fact.index.shape[axes.index(a)] for a in within]
    plan = _plan(middle, [a - left for a in within], target)
    if plan is None or plan[0] * fact.size // product(shape) > _MOST:
        return None
    size, spread, out = plan
    wide = [n for _, n in spread]

    def move(numbers: Numbers) -> Numbers:
        lead, tail = numbers.shape[: len(before_)], numbers.shape[len(before_) + len(within) :]
        full = np.broadcast_to(numbers.reshape(*lead, *(s for s, _ in spread), *tail), (*lead, *wide, *tail))
        period = product(wide)
        flat = full.reshape(*lead, period, *tail)
        repeats = [1] * len(lead) + [size // period] + [1] * len(tail)
        return np.tile(flat, repeats).reshape(*lead, *out, *tail)

    start = len(after) - right - len(out)
    new = [a - len(after) for a in before_] + [start + i - len(after) for i in range(len(out))]
    new += [a - len(inside) for a in behind]
    return _squeezed(mapped(fact, new, move, rank=len(after)))


def _known(fact: Channels, before: Dims | None) -> list[Dim]:
    """Sizes before the Reshape, those of channel axes included; of unknown rank, as far as channels reach."""
    inside: list[Dim] = [None] * (1 - fact.axes[0]) if before is None else list(before)
    if len(inside) < -fact.axes[0]:
        inside = [None] * (1 - fact.axes[0])
    for axis, length in zip(fact.axes, fact.index.shape, strict=True):
        inside[axis] = length
    return inside


def _alike(left: Any, right: Any) -> int:
    count = 0
    for a, b in zip(left, right, strict=False):
        if a is None or a != b:
            break
        count += 1
    return count


def _thirds(axes: Sequence[int], start: int, stop: int) -> tuple[list[int], list[int], list[int]]:
    return (
        [a for a in axes if a < start],
        [a for a in axes if start <= a < stop],
        [a for a in axes if a >= stop],
    )


def _plan(
    middle: Sequence[Dim], within: Sequence[int], target: Sequence[Dim]
) -> tuple[int, list[tuple[int, int]], list[int]] | None:
    """(numbers made, (size given, size wanted) by axis from the first with channels, new trailing sizes)."""
    spread = []
    for at in range(within[0], len(middle)):
        size = middle[at]
        if not isinstance(size, int) or size < 1:
            return None
        spread.append((size if at in within else 1, size))
    period, size = product([n for _, n in spread]), 1
    out: list[int] = []
    for dim in reversed(target):
        if not isinstance(dim, int):
            return None
        out.insert(0, dim)
        size *= dim
        if size % period == 0:
            return size, spread, out
    return None


def _squeezed(fact: Channels) -> Channels | None:
    """The fact without axes along which nothing changes: they carry no channels. None where none is left."""
    source = np.broadcast_to(np.asarray(fact.source, np.int32), fact.index.shape)
    still = [
        at
        for at in range(len(fact.axes))
        if bool((fact.index == fact.index.take([0], at)).all())
        and bool((source == source.take([0], at)).all())
    ]
    if len(still) == len(fact.axes):
        return None
    first = tuple(0 if at in still else slice(None) for at in range(len(fact.axes)))
    axes = [axis for at, axis in enumerate(fact.axes) if at not in still]
    return mapped(fact, axes, lambda numbers: numbers[first])
