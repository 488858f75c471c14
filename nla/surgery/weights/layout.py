"""Where the weights of one output channel, or of one input channel, lie in the weight of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.graph import query
from nla.graph.einsum import terms
from nla.graph.weighted import Weighted

Array = NDArray[Any]
Floats = NDArray[np.float64]

_CONVOLUTIONS = ("Conv", "com.microsoft.FusedConv", "ConvInteger", "QLinearConv")
_UNREADABLE = {"com.microsoft.MatMulNBits": "whose weights are packed in blocks"}
_OPERANDS = {
    "QLinearConv": (3, 8),
    "QLinearMatMul": (3, -1),
    "com.microsoft.QGemm": (3, 6),
    "ConvInteger": (1, -1),
    "MatMulInteger": (1, -1),
    "MatMul": (1, -1),
    "com.microsoft.FusedMatMul": (1, -1),
    "Einsum": (1, -1),
}
"""Operands that are weight and bias; 1 and 2 for the others, and the weight may stand on the left."""


@dataclass(frozen=True)
class Layout:
    """How a weight is indexed, in the axes that its node sees."""

    kind: str
    weight: int
    """Operand of the node."""
    bias: int
    """Operand of the node, -1 where the operator has none."""
    inputs: int
    outputs: int
    groups: int
    in_axes: tuple[int, ...]
    in_shape: tuple[int, ...]
    out_axes: tuple[int, ...]
    out_shape: tuple[int, ...]
    bias_axes: tuple[int, ...]
    """Axes, from the end, on which the output channels lie in the operand for a bias."""
    added_axes: tuple[int, ...]
    """Likewise in a constant that is added to the output."""

    @property
    def floating(self) -> bool:
        """False for operators that compute with integers."""
        return "Integer" not in self.kind and "QLinear" not in self.kind and not self.kind.endswith("QGemm")

    def row(self, view: Array, channel: int) -> Array:
        """The weights that make an output channel, as a view."""
        if self.kind == "ConvTranspose":
            each, group = self.outputs // self.groups, self.inputs // self.groups
            at = channel // each
            return view[at * group : (at + 1) * group, channel % each]
        return _at(view, self.out_axes, self.out_shape, channel)

    def column(self, view: Array, channel: int) -> Array:
        """The weights that read an input channel, as a view."""
        if self.kind in _CONVOLUTIONS:
            each, group = self.outputs // self.groups, self.inputs // self.groups
            at = channel // group
            return view[at * each : (at + 1) * each, channel % group]
        return _at(view, self.in_axes, self.in_shape, channel)

    def inputs_of(self, row: Array, channel: int) -> NDArray[np.int64]:
        """The number of the input channel that each weight of an output channel's row reads, in the row's shape."""
        if self.kind == "ConvTranspose" or self.kind in _CONVOLUTIONS:
            group = self.inputs // self.groups
            first = channel // (self.outputs // self.groups) * group
            numbers = np.arange(first, first + group).reshape(-1, *[1] * (row.ndim - 1))
            return np.broadcast_to(numbers, row.shape)
        kept = [axis for axis in range(row.ndim + len(self.out_axes)) if axis not in self.out_axes]
        shape = [1] * row.ndim
        order = sorted(self.in_axes)
        for axis, size in zip(self.in_axes, self.in_shape, strict=True):
            shape[kept.index(axis)] = size
        numbers = np.arange(self.inputs).reshape(self.in_shape)
        numbers = numbers.transpose([self.in_axes.index(axis) for axis in order])
        return np.broadcast_to(numbers.reshape(shape), row.shape)

    def share(self, real: Floats, channel: int) -> Floats:
        """float64 [outputs]: what an input channel that is 1 everywhere adds to each output channel.

        `real` has the numbers of the whole weight. Not for transposed convolutions, whose outputs differ by place.
        """
        column = np.asarray(self.column(real, channel), np.float64)
        made = np.zeros(self.outputs)
        if self.kind in _CONVOLUTIONS:
            each = self.outputs // self.groups
            start = channel // (self.inputs // self.groups) * each
            made[start : start + each] = column.reshape(each, -1).sum(1)
            return made
        kept = [axis for axis in range(real.ndim) if axis not in self.in_axes]
        front = [kept.index(axis) for axis in self.out_axes]
        made[:] = np.moveaxis(column, front, range(len(front))).reshape(self.outputs, -1).sum(1)
        return made


def layout(weighted: Weighted) -> Layout | str:
    """The layout of a weighted node's weight; or why it has none that can be edited, a sentence."""
    node, kind = weighted.node, query.kind(weighted.node)
    if kind in _UNREADABLE:
        return f"{kind} '{query.node_name(node)}' is a node {_UNREADABLE[kind]}."
    at, bias = _OPERANDS.get(kind, (1, 2))
    if query.operand(node, at) is not weighted.weight:
        at = 1 - at if at < 2 else at
    if query.operand(node, at) is not weighted.weight:
        return f"The weights of {kind} '{query.node_name(node)}' are not among its operands."
    out_axes: tuple[int, ...] = (weighted.weight_out_axis,)
    out_shape: tuple[int, ...] = (weighted.outputs,)
    if weighted.spread is not None:
        found = _einsum_axes(weighted)
        if found is None:
            return f"The weights of {kind} '{query.node_name(node)}' have their channels on several axes."
        out_axes, out_shape = found, weighted.out_shape
    return Layout(
        kind, at, bias, weighted.inputs, weighted.outputs, weighted.groups,
        weighted.weight_in_axes, weighted.in_shape, out_axes, out_shape,
        (-1,) if weighted.spatial else weighted.out_axes, weighted.out_axes,
    )  # fmt: skip


def _einsum_axes(weighted: Weighted) -> tuple[int, ...] | None:
    """The axes of an Einsum's weight that belong to its output axes."""
    letters = terms(weighted.node)
    if letters is None:
        return None
    if query.operand(weighted.node, 0) is weighted.weight:
        letters = letters.swapped()
    made = [c for c in letters.out if c in letters.right and c not in letters.left]
    return tuple(letters.right.index(c) for c in made)


def _at(view: Array, axes: tuple[int, ...], shape: tuple[int, ...], channel: int) -> Array:
    index: list[Any] = [slice(None)] * view.ndim
    for axis, place in zip(axes, np.unravel_index(channel, shape), strict=True):
        index[axis] = int(place)
    found: Array = view[tuple(index)]
    return found
