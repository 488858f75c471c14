"""One site's tensor, as it came out of a run, seen the way a kernel wants it: samples, positions, neurons told apart.

A `Layout` says which axis of the tensor counts the samples; it was found by running one sample, then several, and
comparing (`replay.probe`), never assumed. A `View` is the same memory in the order of one of the kernels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.errors import ModelError, printable
from nla.replay.kernels import Sums

Array = NDArray[Any]
Runs = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Where a site's samples and neurons lie in its tensor.

    `sample_axis` is None where the whole tensor belongs to one sample. Where samples and tokens share one axis
    (`flattened`), `sample_major` tells [sample, token] from [token, sample].
    """

    neurons: int
    channel_axes: tuple[int, ...]
    """Counted from the end."""
    unit_size: int = 1
    sample_axis: int | None = 0
    flattened: bool = False
    sample_major: bool = True
    per_sample: bool = False
    """True where a sample has several positions, so that a group of the summary is one sample."""

    @property
    def channels(self) -> int:
        """Size of the channel axes together."""
        return self.neurons * self.unit_size


class View(ABC):
    """A site's tensor in the memory order of one kernel: `samples` × `positions` × `neurons`."""

    samples: int
    positions: int
    neurons: int

    @abstractmethod
    def add_to(self, sums: Sums) -> None:
        """Sums up every sample as a group of its own."""

    @abstractmethod
    def rows(self, sample: NDArray[np.int64], within: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [R, neurons], the activations of each sample `sample[i]` at position `within[i]`."""

    @abstractmethod
    def columns(self) -> Columns:
        """The same values in [samples × positions, neurons] order, copied if they must be."""


class Columns(View):
    """[samples × positions, neurons], neurons innermost: dense layers, tokens, NHWC maps."""

    def __init__(self, values: Array, samples: int) -> None:
        self.values = values
        self.samples = samples
        self.neurons = values.shape[1]
        self.positions = values.shape[0] // samples if samples else 0

    def add_to(self, sums: Sums) -> None:
        sums.columns(self.values, whole_runs(self.samples, self.positions), self.samples)

    def rows(self, sample: NDArray[np.int64], within: NDArray[np.int64]) -> NDArray[np.float32]:
        return _as_float32(self.values[sample * self.positions + within])

    def columns(self) -> Columns:
        return self


class Maps(View):
    """[samples, neurons, positions], positions innermost: NCHW feature maps."""

    def __init__(self, values: Array) -> None:
        self.values = values
        self.samples, self.neurons, self.positions = values.shape

    def add_to(self, sums: Sums) -> None:
        sums.maps(self.values)

    def rows(self, sample: NDArray[np.int64], within: NDArray[np.int64]) -> NDArray[np.float32]:
        # One flat take: NumPy's indexing with two arrays and a slice is several times slower.
        maps = sample[:, None] * self.neurons + np.arange(self.neurons)
        return _as_float32(self.values.reshape(-1).take(maps * self.positions + within[:, None]))

    def columns(self) -> Columns:
        neurons = self.values.shape[1]
        return Columns(
            np.ascontiguousarray(self.values.transpose(0, 2, 1)).reshape(-1, neurons), self.samples
        )


class Blocked(View):
    """[samples, blocks, positions, block]: onnxruntime's NCHWc, with channels padded to whole blocks."""

    def __init__(self, values: Array, neurons: int) -> None:
        self.values = values
        self.neurons = neurons
        self.samples, _, self.positions, _ = values.shape

    def add_to(self, sums: Sums) -> None:
        sums.blocked(self.values, self.neurons)

    def rows(self, sample: NDArray[np.int64], within: NDArray[np.int64]) -> NDArray[np.float32]:
        _, blocks, _, block = self.values.shape
        slabs = sample[:, None] * blocks + np.arange(blocks)
        picked = self.values.reshape(-1, block).take(slabs * self.positions + within[:, None], axis=0)
        return _as_float32(picked.reshape(len(sample), blocks * block)[:, : self.neurons])

    def columns(self) -> Columns:
        flat = self.values.transpose(0, 2, 1, 3).reshape(self.samples * self.positions, -1)
        return Columns(np.ascontiguousarray(flat[:, : self.neurons]), self.samples)


def view(values: Array, layout: Layout, samples: int) -> View:
    """The tensor of a run of `samples` samples, in the memory order of the kernel that costs least.

    Raises:
        ModelError: the tensor's shape does not hold this many samples or neurons.
    """
    array, sample_axis, channel_axes = _unfold(values, layout, samples)
    positions = [k for k in range(array.ndim) if k != sample_axis and k not in channel_axes]
    if prod(array.shape[k] for k in channel_axes) != layout.channels or array.shape[sample_axis] != samples:
        raise ModelError(
            f"a tensor of shape {list(values.shape)} does not hold {samples} samples of {layout.channels} channels"
        )
    count = prod(array.shape[k] for k in positions)
    by_column = array.transpose([sample_axis, *positions, *channel_axes])
    if layout.unit_size == 1 and count > 1 and not by_column.flags.c_contiguous:
        by_map = array.transpose([sample_axis, *channel_axes, *positions])
        if by_map.flags.c_contiguous:
            return Maps(by_map.reshape(samples, layout.neurons, count))
    columns = np.ascontiguousarray(by_column).reshape(samples * count, layout.channels)
    return Columns(columns if layout.unit_size == 1 else _norms(columns, layout), samples)


def blocked_view(values: Array, neurons: int, block: int) -> Blocked:
    """An NCHWc tensor, declared by onnxruntime as [n, padded channels, …], in its true order."""
    samples, padded = values.shape[:2]
    return Blocked(values.reshape(samples, padded // block, -1, block), neurons)


def position_shape(values: Array, layout: Layout, samples: int) -> tuple[int, ...]:
    """Sizes of the position axes of one sample, in the order in which `view` flattens them."""
    array, sample_axis, channel_axes = _unfold(values, layout, samples)
    return tuple(size for k, size in enumerate(array.shape) if k != sample_axis and k not in channel_axes)


def whole_runs(samples: int, positions: int) -> Runs:
    """Runs (first row, one past the last, group) of samples of equal length, each its own group."""
    first = np.arange(samples, dtype=np.int64) * positions
    return np.stack([first, first + positions, np.arange(samples, dtype=np.int64)], axis=1)


def _unfold(values: Array, layout: Layout, samples: int) -> tuple[Array, int, tuple[int, ...]]:
    """The tensor with an axis of its own for the samples, that axis, and the channel axes, counted from the front."""
    channel_axes = tuple(axis + values.ndim for axis in layout.channel_axes)
    if any(axis < 0 for axis in channel_axes):
        raise ModelError(
            f"a tensor of shape {list(values.shape)} has no axis {printable(layout.channel_axes)}"
        )
    k = layout.sample_axis
    if k is None:
        return values[None], 0, tuple(axis + 1 for axis in channel_axes)
    if not layout.flattened:
        return values, k, channel_axes
    inner = values.shape[k] // samples
    pair = (samples, inner) if layout.sample_major else (inner, samples)
    array = values.reshape(*values.shape[:k], *pair, *values.shape[k + 1 :])
    return array, k if layout.sample_major else k + 1, tuple(a + 1 if a > k else a for a in channel_axes)


def _norms(columns: Array, layout: Layout) -> NDArray[np.float32]:
    """float32 [rows, neurons], the Euclidean norm of each neuron's slice of adjacent channels."""
    slices = columns.reshape(len(columns), layout.neurons, layout.unit_size)
    return _as_float32(np.sqrt(np.einsum("rnu,rnu->rn", slices, slices, dtype=np.float64)))


def _as_float32(values: Array) -> NDArray[np.float32]:
    return values.astype(np.float32, copy=False)
