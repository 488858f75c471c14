"""The weight of one layer as blocks of numbers, whatever its axes: read lazily, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.graph import query
from nla.graph.constants import Constants
from nla.graph.weighted import Weighted
from nla.surgery.weights.layout import Layout, layout

Array = NDArray[Any]
Floats = NDArray[np.float64]

_BLOCK = 1 << 17
"""Weights that are turned to float64 at a time."""
_PLAIN = ("Identity", "Cast", "Transpose")


@dataclass(frozen=True)
class Block:
    """A part of a layer's weights: [first, second, kernel] float64, and where it lies on the first two axes."""

    first: slice
    second: slice
    values: Floats


@dataclass(frozen=True, eq=False)
class Matrix:
    """The weights of a layer as [first, second, kernel]: outputs and inputs, in the order in which they are stored.

    Of a grouped convolution the second axis is that of one group.
    """

    weighted: Weighted
    lies: Layout
    array: Array
    """As it is stored, with the axes of the node's operand; mapped where the file holds it so."""
    first_axes: tuple[int, ...]
    second_axes: tuple[int, ...]
    outputs_first: bool

    @property
    def node(self) -> ir.Node:
        """The layer."""
        return self.weighted.node

    @property
    def groups(self) -> int:
        """Parts of the first axis that have a second axis of their own."""
        return self.weighted.groups

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Lengths of the three axes."""
        first, second = (self._length(axes) for axes in (self.first_axes, self.second_axes))
        return first, second, max(1, self.array.size // max(1, first * second))

    @property
    def kernel(self) -> int:
        """Weights between one input channel and one output channel."""
        return self.sizes[2]

    @property
    def fan_in(self) -> int:
        """Weights of one output channel."""
        first, second, kernel = self.sizes
        return (second if self.outputs_first else first // self.groups) * kernel

    def _length(self, axes: tuple[int, ...]) -> int:
        return query.product([self.array.shape[axis] for axis in axes])

    @property
    def _view(self) -> Array:
        rest = [a for a in range(self.array.ndim) if a not in (*self.first_axes, *self.second_axes)]
        return self.array.transpose((*self.first_axes, *self.second_axes, *rest))

    def blocks(self) -> Iterator[Block]:
        """All weights, each once, no block across groups of inputs."""
        first, second, kernel = self.sizes
        view = self._view
        each_first = first // view.shape[0]  # numbers of the flattened axis that one step makes
        inner = len(self.first_axes)
        each_second = second // view.shape[inner]
        steps = max(1, _BLOCK // max(1, each_first * second * kernel))
        if self.groups > 1 and not self.outputs_first:
            steps = min(steps, max(1, first // self.groups))
            while (first // self.groups) % steps:
                steps -= 1
        inside = (
            max(1, _BLOCK // max(1, each_first * each_second * kernel)) if steps == 1 else view.shape[inner]
        )
        for start in range(0, view.shape[0], steps):
            for at in range(0, view.shape[inner], inside):
                index = (slice(start, start + steps), *[slice(None)] * (inner - 1), slice(at, at + inside))
                part = view[index]
                rows, columns = part.shape[0] * each_first, part.shape[inner] * each_second
                yield Block(
                    slice(start * each_first, start * each_first + rows),
                    slice(at * each_second, at * each_second + columns),
                    np.asarray(part, np.float64).reshape(rows, columns, kernel),
                )

    def flat(self, group: int) -> Array:
        """[first of the group, second·kernel], the matrix of one group; a view where the file allows it."""
        first, second, kernel = self.sizes
        each = first // self.groups
        view = self._view
        if len(self.first_axes) == 1:
            view = view[group * each : (group + 1) * each]
        return view.reshape(each, second * kernel)

    def row(self, channel: int) -> Floats:
        """float64, the weights that make one output channel, in an order that is the same for all of them."""
        return np.asarray(self.lies.row(self.array, channel), np.float64).reshape(-1)


def matrix(weighted: Weighted, constants: Constants) -> Matrix | str:
    """The weights of a layer; or why they are not read, a sentence."""
    lies = layout(weighted)
    if isinstance(lies, str):
        return lies
    named = f"{query.kind(weighted.node)} '{query.node_name(weighted.node)}'"
    if not lies.floating:
        return f"{named} computes with integers, whose scales are not followed."
    array = _array(weighted.weight, constants)
    if array is None or array.dtype.kind in "OSUbiuc":
        return f"The weights of {named} are computed in a way that is not followed, or are no floating-point numbers."
    if array.size != query.product(
        [lies.outputs, lies.inputs, array.size // max(1, lies.outputs * lies.inputs)]
    ) and (weighted.groups == 1):
        return f"The weights of {named} do not have the shape of its operator."
    out, into = lies.out_axes, lies.in_axes
    if weighted.groups > 1 or lies.kind == "ConvTranspose":
        outputs_first = lies.kind != "ConvTranspose"
    else:
        outputs_first = _stride(array, out) >= _stride(array, into)
    first, second = (out, into) if outputs_first else (into, out)
    return Matrix(weighted, lies, array, tuple(first), tuple(second), outputs_first)


def _stride(array: Array, axes: tuple[int, ...]) -> int:
    return max(abs(array.strides[axis]) for axis in axes)


def _array(value: ir.Value, constants: Constants) -> Array | None:
    """The operand's numbers; casts to a wider type are left out, so that a mapped file stays mapped."""
    root, axes = constants.root(value)
    current = value
    while current is not root:
        node = current.producer()
        if node is None or query.kind(node) not in _PLAIN:
            return constants.weight(value)
        current = query.operands(node)[0]
    stored = constants.weight(root)
    if stored is None or (stored.dtype.itemsize > 4 and root is not value):
        return constants.weight(value)
    return stored.transpose(axes) if stored.ndim == len(axes) else constants.weight(value)
