"""Constants of a node as the file stores them: which weight holds them, how its axes lie, who else reads it.

A node may read a weight through copies, casts, transposes and a dequantisation. What is edited is the weight
itself, in the file's own axes and type; where other nodes read it too, the node gets a copy of its own first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import NodeProto, helper

from nla.checkpoint.editing import ModelEdit
from nla.graph import query
from nla.graph.constants import Constants

Array = NDArray[Any]
Floats = NDArray[np.float64]

_SEEN_THROUGH = ("Identity", "Cast", "DequantizeLinear", "Transpose", "Reshape")
_LONGEST = 16
_WEIGHT_ZERO = {
    "QLinearConv": 5,
    "QLinearMatMul": 5,
    "com.microsoft.QGemm": 5,
    "MatMulInteger": 3,
    "ConvInteger": 3,
}
"""Operand that is the zero point of the weight, for operators that compute with integers."""
_OUT_AXIS = {"QLinearConv": 0, "ConvInteger": 0}


def proto_of(edit: ModelEdit, node: ir.Node) -> NodeProto | None:
    """The node as it stands in the edited file; None where it is not in its main graph (inlined, a branch)."""
    name = next((query.name(value) for value in node.outputs if value.name), "")
    found = edit.node(name)
    if found is not None and found.op_type == "Add" != node.op_type:  # a bias that surgery put behind it
        found = edit.node(found.input[0])
    if (
        found is None
        or found.op_type != node.op_type
        or query.STANDARD.count(found.domain) != query.STANDARD.count(node.domain)
    ):
        return None
    return found


@dataclass(frozen=True, eq=False)
class Stored:
    """The weight behind an operand of a node."""

    node: NodeProto
    operand: int
    name: str
    shape: tuple[int, ...]
    """Of the weight, or what a Reshape makes of it, in the order of its elements in the file."""
    axes: tuple[int, ...]
    """The axis of that shape that each axis of the operand is."""
    shared: bool
    """True where the weight, or what is made of it, is read elsewhere too."""
    zero: Array | None = None
    """Zero points, in a shape that spreads over the operand's; None where the weight is not quantised."""
    scale: Floats | None = None
    """Scales, likewise; None where the weight is not quantised, or by a scale that is not constant."""
    chain: tuple[NodeProto, ...] = ()
    """The nodes between, from the operand down to the weight."""

    @property
    def quantised(self) -> bool:
        """True where the weight holds integers that stand for numbers."""
        return self.zero is not None

    def view(self, array: Array) -> Array:
        """The weight's array with the axes of the operand; writing to it writes to the array."""
        return array.reshape(self.shape).transpose(self.axes)

    def real(self, view: Array) -> Floats:
        """float64 numbers that the elements stand for; those of a quantised weight up to its scale."""
        plain = np.asarray(view, np.float64)
        if self.zero is None:
            return plain
        shifted = plain - np.asarray(self.zero, np.float64)
        return shifted if self.scale is None else shifted * self.scale


def stored(edit: ModelEdit, node: NodeProto, operand: int) -> Stored | str:
    """The weight behind the operand; or why it cannot be edited, a sentence. Nothing is changed."""
    name = node.input[operand] if operand < len(node.input) else ""
    chain: list[NodeProto] = []
    shared = len(_reads(edit, name)) > 1 or edit.is_output(name)
    while not edit.is_weight(name):
        maker = edit.node(name)
        if maker is None or maker.op_type not in _SEEN_THROUGH or len(chain) >= _LONGEST:
            return f"The weights of {_named(node)} are computed in the graph."
        chain.append(maker)
        name = maker.input[0]
        shared |= len(_reads(edit, name)) > 1 or edit.is_output(name)
    shape = tuple(edit.shape(name))
    found = Stored(node, operand, name, shape, tuple(range(len(shape))), shared, chain=tuple(chain))
    for maker in reversed(chain):  # from the weight up to the operand
        above = _above(edit, maker, found)
        if isinstance(above, str):
            return f"The weights of {_named(node)} {above}."
        found = above
    return _of_integers(edit, found) if not found.quantised and _kind(node) in _WEIGHT_ZERO else found


def _above(edit: ModelEdit, maker: NodeProto, below: Stored) -> Stored | str:
    """The weight as the output of one more node shows it; or why it cannot be told, as a verb phrase."""
    if maker.op_type == "Transpose":
        perm = _perm(maker, len(below.axes))
        zero = None if below.zero is None else _turned(below.zero, perm)
        scale = None if below.scale is None else _turned(below.scale, perm)
        return replace(below, axes=tuple(below.axes[axis] for axis in perm), zero=zero, scale=scale)
    if maker.op_type == "DequantizeLinear":
        parts = _quantisation(edit, maker, tuple(below.shape[axis] for axis in below.axes))
        if parts is None or below.quantised:
            return "are quantised in a way that is not known"
        return replace(below, zero=parts[0], scale=parts[1])
    if maker.op_type == "Reshape":
        shape = _reshaped(edit, maker, below)
        if shape is None:
            return "are computed in the graph"
        return replace(below, shape=shape, axes=tuple(range(len(shape))))
    return below


def _reshaped(edit: ModelEdit, node: NodeProto, below: Stored) -> tuple[int, ...] | None:
    """The shape after a Reshape of a weight whose elements lie in the order of the file; else None."""
    spread = below.zero is not None and below.zero.ndim > 0
    if below.axes != tuple(range(len(below.axes))) or spread or not edit.is_weight(node.input[1]):
        return None
    given = [int(size) for size in edit.weight(node.input[1]).reshape(-1)]
    if not _integer(node, "allowzero", 0):
        given = [
            below.shape[at] if size == 0 and at < len(below.shape) else size for at, size in enumerate(given)
        ]
    count = int(np.prod(below.shape))
    if given.count(-1) == 1:
        given[given.index(-1)] = count // max(1, -int(np.prod(given)))
    return tuple(given) if int(np.prod(given)) == count and min(given, default=1) > 0 else None


def located(edit: ModelEdit, node: NodeProto, operand: int) -> Stored:
    """The weight behind an operand that was found to have one."""
    found = stored(edit, node, operand)
    assert isinstance(found, Stored)
    return found


def _turned(part: Array, perm: Sequence[int]) -> Array:
    return part if part.ndim == 0 else part.transpose(perm)


def _perm(node: NodeProto, rank: int) -> tuple[int, ...]:
    given = next((tuple(a.ints) for a in node.attribute if a.name == "perm"), None)
    return tuple(reversed(range(rank))) if given is None else given


def _reads(edit: ModelEdit, name: str) -> list[NodeProto]:
    """The nodes that read the tensor, one entry for each operand."""
    return [node for node in edit.readers(name) for _ in range(max(1, list(node.input).count(name)))]


def _quantisation(
    edit: ModelEdit, node: NodeProto, shape: tuple[int, ...]
) -> tuple[Array, Floats | None] | None:
    """(zero points, scales) of a DequantizeLinear, spread over its input; None where they are not constants."""
    if not edit.is_weight(node.input[1]):
        return None
    scale = np.asarray(edit.weight(node.input[1]), np.float64)
    zero: Array = np.zeros(scale.shape, np.int64)
    if len(node.input) > 2 and node.input[2]:
        if not edit.is_weight(node.input[2]):
            return None
        zero = np.asarray(edit.weight(node.input[2]), np.int64)
    axis, block = _integer(node, "axis", 1), _integer(node, "block_size", 0)
    if block:
        return tuple(
            np.take(np.repeat(part, block, axis), range(shape[axis]), axis) for part in (zero, scale)
        )  # type: ignore[return-value]
    rank = len(shape)
    if scale.size == 1:
        return zero.reshape(()), scale.reshape(())
    along = [-1 if at == axis % rank else 1 for at in range(rank)]
    return zero.reshape(along), scale.reshape(along)


def _of_integers(edit: ModelEdit, found: Stored) -> Stored | str:
    """The weight of an operator on integers, with the zero point that the operator is given."""
    kind, rank = _kind(found.node), len(found.axes)
    if found.operand == _BIAS_OF_INTEGERS.get(kind):
        return replace(found, zero=np.zeros((), np.int64))
    at = _WEIGHT_ZERO[kind]
    name = found.node.input[at] if at < len(found.node.input) else ""
    if name and not edit.is_weight(name):
        return f"The weights of {_named(found.node)} have a zero point that is not constant."
    zero = np.asarray(edit.weight(name), np.int64) if name else np.zeros((), np.int64)
    axis = 0 if kind in _OUT_AXIS or _integer(found.node, "transB", 0) else rank - 1
    return replace(
        found,
        zero=zero.reshape(())
        if zero.size == 1
        else zero.reshape([-1 if at == axis else 1 for at in range(rank)]),
    )


_BIAS_OF_INTEGERS = {"QLinearConv": 8, "com.microsoft.QGemm": 6}


def claimed(edit: ModelEdit, found: Stored) -> Stored:
    """The same weight as the node's own: where others read it too, the node is given a copy of it."""
    if not found.shared:
        return found
    name = edit.copy_weight(found.name)
    top = name
    chain: list[NodeProto] = []
    for maker in reversed(found.chain):
        clone = NodeProto()
        clone.CopyFrom(maker)
        clone.input[0] = top
        top = edit.fresh(f"{maker.output[0]}_copy")
        clone.name = edit.fresh(f"{maker.name or maker.output[0]}_copy")
        del clone.output[:]
        clone.output.append(top)
        chain.insert(0, edit.add_node(clone, before=found.node))
    found.node.input[found.operand] = top
    edit.rewired()
    return replace(found, name=name, shared=False, chain=tuple(chain))


def rewrite(edit: ModelEdit, found: Stored, change: Callable[[Array], None]) -> None:
    """Change the weight when it is written: `change` gets its array with the operand's axes, to write to."""

    def apply(array: Array) -> Array:
        made = array if array.flags.writeable and array.flags.c_contiguous else array.copy()
        change(found.view(made))
        return made

    edit.transform(found.name, apply)


# --- constants with an element per channel


@dataclass(frozen=True, eq=False)
class Places:
    """Channels of a constant that is combined with a tensor: the tensor's channel axes, and which are meant."""

    axes: tuple[int, ...]
    """Negative."""
    lengths: tuple[int, ...]
    flat: Sequence[int]
    """Their numbers in row-major order."""

    def indices(self, rank: int) -> list[tuple[Any, ...]]:
        """What to index an array of the rank with, for each channel."""
        made = []
        for at in self.flat:
            index: list[Any] = [slice(None)] * rank
            for axis, place in zip(self.axes, np.unravel_index(at, self.lengths), strict=True):
                index[axis] = int(place)
            made.append(tuple(index))
        return made

    def wide(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape with an element for every channel."""
        full = [1] * max(0, -min(self.axes) - len(shape)) + list(shape)
        for axis, length in zip(self.axes, self.lengths, strict=True):
            full[axis] = length
        return tuple(full)


@dataclass(frozen=True, eq=False)
class Vector:
    """A constant operand of a node with an element for each channel, or one for all."""

    edit: ModelEdit
    node: NodeProto
    operand: int
    value: ir.Value | None
    """As the walk saw it."""
    constants: Constants

    def change(self, places: Places, function: Callable[[Floats, int], Any]) -> None:
        """Put `function(numbers, k)` in the place of the numbers of channel `places.flat[k]`, at once.

        A constant with one number for all channels is replaced by one with a number for each; one that others
        read, or that the graph computes, by one of the node's own.
        """
        found = stored(self.edit, self.node, self.operand)
        if isinstance(found, str):
            array = self._computed()
            self._replace(places, function, array, array.astype(np.float64))
            return
        view = found.view(self.edit.weight(found.name))
        if places.wide(view.shape) != view.shape:
            self._replace(places, function, view, found.real(view))
            return
        found = claimed(self.edit, found)
        array = np.ascontiguousarray(self.edit.weight(found.name))
        view, real = found.view(array), found.real(found.view(array))
        for k, index in enumerate(places.indices(view.ndim)):
            view[index] = _requantised(found, function(real[index], k), index, view)
        self.edit.set_weight(found.name, array)

    def _replace(
        self, places: Places, function: Callable[[Floats, int], Any], old: Array, real: Floats
    ) -> None:
        shape = places.wide(old.shape)
        wide = np.broadcast_to(real.reshape((1,) * (len(shape) - real.ndim) + real.shape), shape).copy()
        for k, index in enumerate(places.indices(wide.ndim)):
            wide[index] = function(wide[index].copy(), k)
        dtype = old.dtype if old.dtype.kind not in "iub" else np.dtype(np.float32)
        hint = f"{self.node.input[self.operand]}_per_channel"
        self.node.input[self.operand] = self.edit.add_weight(hint, wide.astype(dtype))
        self.edit.rewired()

    def real(self) -> Floats:
        """The numbers that it holds now."""
        found = stored(self.edit, self.node, self.operand)
        if isinstance(found, str):
            return np.asarray(self._computed(), np.float64)
        return found.real(found.view(self.edit.weight(found.name)))

    @property
    def known(self) -> bool:
        """False where the graph computes it by what nla does not compute."""
        return not isinstance(stored(self.edit, self.node, self.operand), str) or self._value() is not None

    def _value(self) -> Array | None:
        value = self.value
        if value is None or query.name(value) != self.node.input[self.operand]:
            return None
        return self.constants.weight(value)

    def _computed(self) -> Array:
        array = self._value()
        assert array is not None, f"{_named(self.node)}: the caller asks whether it is known"
        return array


def _requantised(found: Stored, real: Any, index: tuple[Any, ...], view: Array) -> Any:
    if not found.quantised:
        return real
    scale = 1.0 if found.scale is None else np.broadcast_to(found.scale, view.shape)[index]
    zero = np.broadcast_to(np.asarray(found.zero, np.float64), view.shape)[index]
    bounds = np.iinfo(view.dtype)
    return np.clip(np.rint(np.asarray(real) / scale) + zero, bounds.min, bounds.max)


# --- nodes


def add_after(edit: ModelEdit, node: NodeProto, vector: Array, hint: str) -> None:
    """Put an Add of a new constant behind the node; the sum bears the name that the node's output had."""
    name, inner = node.output[0], edit.fresh(f"{node.output[0]}_before_bias")
    weight = edit.add_weight(hint, vector)
    node.output[0] = inner
    edit.rewired()
    made = helper.make_node("Add", [inner, weight], [name], edit.fresh(f"{name}_bias"))
    edit.add_node(made, before=node_after(edit, node))


def node_after(edit: ModelEdit, node: NodeProto) -> NodeProto | None:
    """The node that stands behind it in the file."""
    nodes = edit.graph.node
    at = next(at for at, one in enumerate(nodes) if one.output and one.output[0] == node.output[0])
    return nodes[at + 1] if at + 1 < len(nodes) else None


def _integer(node: NodeProto, key: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == key), default)


def real_attribute(node: NodeProto, key: str, default: float) -> float:
    """The float attribute, or the default where the node has none."""
    return next((float(a.f) for a in node.attribute if a.name == key), default)


def _kind(node: NodeProto) -> str:
    return node.op_type if node.domain in query.STANDARD else f"{node.domain}.{node.op_type}"


def _named(node: NodeProto) -> str:
    return f"{_kind(node)} '{node.name or next(iter(node.output), '')}'"
