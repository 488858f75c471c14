"""Where the elements of a constant are stored in the file, and what lies between: transposes, scales, copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from nla.checkpoint.editing import ModelEdit
from nla.graph import query
from nla.graph.constants import Constants

Array = NDArray[Any]
Lines = Sequence[tuple[int, NDArray[np.int64]]]
"""(axis from the front, places that stay)"""

_STEPS_BACK = 64
"""Nodes that a constant expression may have."""


@dataclass(frozen=True, eq=False)
class Stored:
    """A constant of the graph and the weight of the file behind it."""

    value: ir.Value
    name: str
    """Of the weight in the file."""
    shape: tuple[int, ...]
    """Of the weight."""
    axes: tuple[int, ...]
    """The axis of the weight that each axis of the constant is."""
    chain: tuple[ir.Node, ...]
    """The nodes from the weight to the constant, in order: copies, casts, transposes, dequantisations."""

    @property
    def quantised(self) -> ir.Node | None:
        """The dequantisation on the way, if there is one."""
        return next((node for node in self.chain if query.kind(node) == "DequantizeLinear"), None)

    def inward(self, function: Callable[[Array], Array]) -> Callable[[Array], Array]:
        """A function of the constant as a function of the weight: it sees the axes as the constant has them."""
        if self.axes == tuple(range(len(self.axes))):
            return function
        back = np.argsort(self.axes)
        return lambda array: np.transpose(function(np.transpose(array, self.axes)), back)

    def inward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A shape of the constant as the shape of the weight."""
        if len(shape) != len(self.axes):
            return shape
        return tuple(shape[self.axes.index(axis)] for axis in range(len(shape)))

    def scaled(self, edit: ModelEdit) -> list[tuple[ir.Node, int]]:
        """(dequantisation on the way, axis of its input along which it has several scales)"""
        found = []
        for node in self.chain:
            rank = len(self.shape)
            shape = _scale_shape(edit, node) if query.kind(node) == "DequantizeLinear" else None
            if shape is not None and np.prod(shape) > 1 and rank:
                found.append((node, query.integer(node, "axis", 1) % rank))
        return found

    def lines_at(self, node: ir.Node, lines: Lines) -> list[tuple[int, NDArray[np.int64]]]:
        """Lines of the constant as lines of what a node on the way reads."""
        axes = list(range(len(self.axes)))
        for step in reversed(self.chain[self.chain.index(node) :]):
            if query.kind(step) == "Transpose":
                perm = query.integers(step, "perm") or tuple(reversed(range(len(axes))))
                axes = [perm[axis] for axis in axes]
        return [(axes[axis], places) for axis, places in lines]

    def check(self, edit: ModelEdit, lines: Lines, shape: tuple[int, ...]) -> str:
        """Why the constant cannot be cut to this shape, by taking `lines` of it; "" where it can."""
        own = tuple(self.shape[axis] for axis in self.axes)
        for node, axis in self.scaled(edit):
            scales = _scale_shape(edit, node)
            cut = {at for at, _ in self.lines_at(node, lines)}
            odd = {at for at, (a, b) in enumerate(zip(own, shape, strict=True)) if a != b}
            odd -= {at for at, _ in lines}
            if (
                scales is None
                or odd
                or _zero_shape(edit, node, scales) != scales
                or (query.integer(node, "block_size") and axis in cut)
            ):
                return "is quantised in blocks, or with scales that are computed"
        return ""

    def array(self, edit: ModelEdit) -> Array:
        """The constant as it stands in the edited file."""
        array = edit.weight(self.name)
        for node in self.chain:
            array = _STEPS[query.kind(node)](edit, node, array)
        return array


def current(edit: ModelEdit, constants: Constants, value: ir.Value) -> Array | None:
    """A constant as it stands in the edited file, computed where the graph computes it; None where it cannot be."""
    found = stored(edit, constants, value)
    if found is not None:
        return found.array(edit)
    done: dict[ir.Value, Array | None] = {}
    pending = [value]
    while pending:
        top = pending[-1]
        node = top.producer()
        missing = [] if node is None or edit.is_weight(query.name(top)) else query.operands(node)
        missing = [operand for operand in missing if operand not in done]
        if missing and len(pending) <= _STEPS_BACK:
            pending.extend(missing)
            continue
        done[pending.pop()] = _computed(edit, top, done)
        if len(done) > _STEPS_BACK:
            return None
    return done[value]


def _computed(edit: ModelEdit, value: ir.Value, done: dict[ir.Value, Array | None]) -> Array | None:
    """One step of a constant expression, by ONNX's reference."""
    name, node = query.name(value), value.producer()
    if edit.is_weight(name):
        return edit.weight(name)
    proto = edit.node(name)
    if node is None or proto is None or proto.op_type != node.op_type or node.domain not in query.STANDARD:
        return None
    feeds = {query.name(operand): done.get(operand) for operand in query.operands(node)}
    if any(array is None for array in feeds.values()):
        return None
    version = 1 if node.graph is None else node.graph.opset_imports.get("", 1)
    return evaluate(proto, version, feeds, name)


def evaluate(proto: onnx.NodeProto, opset: int, feeds: dict[str, Any], output: str) -> Array | None:
    """An output of one node, by ONNX's reference; None where that lacks the operator or refuses."""
    from onnx.reference import ReferenceEvaluator

    try:
        with np.errstate(all="ignore"):
            results: Any = ReferenceEvaluator(proto, opsets={"": opset}).run([output], feeds)
            return np.asarray(results[0])
    except Exception:  # whatever NumPy stumbles over in a stranger's node
        return None


def stored(edit: ModelEdit, constants: Constants, value: ir.Value) -> Stored | None:
    """Where the constant's elements are stored; None where no weight of the main graph holds them one by one."""
    root, axes = constants.root(value)
    name, shape = query.name(root), constants.shape(root)
    if shape is None or not edit.is_weight(name) or tuple(edit.shape(name)) != tuple(shape):
        return None
    chain: list[ir.Node] = []
    while value is not root:
        node = value.producer()
        if node is None or query.kind(node) not in _STEPS:
            return None
        proto = edit.node(query.name(node.outputs[0]))
        if proto is None or proto.op_type != node.op_type or not _has_its_numbers(edit, node):
            return None
        chain.insert(0, node)
        value = query.operands(node)[0]
    return Stored(chain[-1].outputs[0] if chain else root, name, tuple(shape), axes, tuple(chain))


def _has_its_numbers(edit: ModelEdit, node: ir.Node) -> bool:
    """Whether the scales and zero points of a dequantisation, if it is one, are weights of the file."""
    numbers = query.operands(node)[1:] if query.kind(node) == "DequantizeLinear" else []
    return all(edit.is_weight(query.name(number)) for number in numbers)


def _scale_shape(edit: ModelEdit, node: ir.Node) -> tuple[int, ...] | None:
    """The shape of a dequantisation's scales; None where they are no weight of the file."""
    name = query.name(query.operands(node)[1])
    return edit.shape(name) if edit.is_weight(name) else None


def _zero_shape(edit: ModelEdit, node: ir.Node, scales: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of a dequantisation's zero points, which where there are none is that of the scales."""
    zero = query.operand(node, 2)
    if zero is None:
        return scales
    return edit.shape(query.name(zero)) if edit.is_weight(query.name(zero)) else None


def _transpose(edit: ModelEdit, node: ir.Node, array: Array) -> Array:
    return np.transpose(array, query.integers(node, "perm"))


def _cast(edit: ModelEdit, node: ir.Node, array: Array) -> Array:
    return array.astype(ir.DataType(query.integer(node, "to", 1)).numpy())


def _dequantise(edit: ModelEdit, node: ir.Node, array: Array) -> Array:
    parts = [query.operand(node, at) for at in (1, 2)]
    scale, zero = (None if part is None else edit.weight(query.name(part)) for part in parts)
    assert scale is not None
    axis, block = query.integer(node, "axis", 1), query.integer(node, "block_size")

    def spread(part: Array) -> Array:
        if block:
            return np.take(np.repeat(part, block, axis), range(array.shape[axis]), axis)
        if part.size == 1:
            return part.reshape(())
        return part.reshape([-1 if at == axis % array.ndim else 1 for at in range(array.ndim)])

    shift = 0.0 if zero is None else spread(zero).astype(np.float32)
    result: Array = (array.astype(np.float32) - shift) * spread(scale).astype(np.float32)
    return result


_STEPS: dict[str, Callable[[ModelEdit, ir.Node, Array], Array]] = {
    "Identity": lambda edit, node, array: array,
    "Cast": _cast,
    "Transpose": _transpose,
    "DequantizeLinear": _dequantise,
}

CHAINED = frozenset(_STEPS)
"""Operators that may lie between a weight and the constant that a node reads."""
