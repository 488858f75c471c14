"""What is added to the output channels of a weighted node: its bias, found, changed, or made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import NodeProto

from nla.checkpoint.editing import ModelEdit
from nla.graph import query
from nla.graph.constants import Constants
from nla.graph.weighted import Weighted
from nla.surgery.weights.layout import Layout
from nla.surgery.weights.stored import Places, Vector, add_after, located, real_attribute

Floats = NDArray[np.float64]

_TAKE_ONE = ("Conv", "ConvTranspose", "Gemm", "com.microsoft.FusedConv", "com.microsoft.FusedGemm")
"""Operators with an operand for a bias."""


@dataclass(frozen=True, eq=False)
class Bias:
    """The bias of a weighted node as it stands in the edited file."""

    edit: ModelEdit
    constants: Constants
    node: NodeProto
    weighted: Weighted
    layout: Layout

    @property
    def there(self) -> bool:
        """True where the node itself adds a constant."""
        return self.weighted.bias is not None or (self._has_operand and self.weighted.added is None)

    @property
    def _has_operand(self) -> bool:
        at = self.layout.bias
        return 0 <= at < len(self.node.input) and bool(self.node.input[at])

    @property
    def _beta(self) -> float:
        return real_attribute(self.node, "beta", 1.0) if self.layout.kind.endswith("Gemm") else 1.0

    @property
    def known(self) -> bool:
        """False where there is one whose numbers cannot be read."""
        return not self.there or self._vector(self.node, self.layout.bias).known

    def clear(self, channels: Sequence[int]) -> None:
        """Set the bias of the channels to zero, where there is one."""
        if self.there and len(channels):
            self._vector(self.node, self.layout.bias).change(
                self._places(self.layout.bias_axes, channels), lambda old, _: 0.0
            )

    def negate(self, channels: Sequence[int]) -> None:
        """Change the sign of the bias of the channels, where there is one."""
        if self.there and len(channels):
            self._vector(self.node, self.layout.bias).change(
                self._places(self.layout.bias_axes, channels), lambda old, _: -old
            )

    def add(self, channels: Sequence[int], amounts: Floats) -> None:
        """Add amounts to output channels; a bias is made where there is none, in the place where one belongs."""
        if not len(channels):
            return
        at, beta = self.layout.bias, self._beta
        behind = self._added_behind()
        if self.there and beta:
            self._vector(self.node, at).change(
                self._places(self.layout.bias_axes, channels), lambda old, k: old + amounts[k] / beta
            )
        elif behind is not None:
            Vector(self.edit, *behind, None, self.constants).change(
                self._places(self.layout.added_axes, channels), lambda old, k: old + amounts[k]
            )
        elif self.layout.kind in _TAKE_ONE and beta and not self._has_operand:
            self.node.input.extend([""] * (at + 1 - len(self.node.input)))
            vector = self._new(self.layout.bias_axes, channels, amounts / beta)
            self.node.input[at] = self.edit.add_weight(f"{self.node.output[0]}_bias", vector)
            self.edit.rewired()
        else:
            vector = self._new(self.layout.added_axes, channels, amounts)
            add_after(self.edit, self.node, vector, f"{self.node.output[0]}_bias")

    def _vector(self, node: NodeProto, at: int) -> Vector:
        return Vector(self.edit, node, at, self.weighted.bias, self.constants)

    def _places(self, axes: tuple[int, ...], channels: Sequence[int]) -> Places:
        return Places(axes, self.layout.out_shape, channels)

    def _added_behind(self) -> tuple[NodeProto, int] | None:
        """(Add, operand) where the node's output is read only by an Add of a constant, one for each channel."""
        name = self.node.output[0]
        readers = self.edit.readers(name)
        if (
            len(readers) != 1
            or self.edit.is_output(name)
            or readers[0].op_type != "Add"
            or self.layout.kind in _TAKE_ONE
        ):
            return None
        at = 1 if readers[0].input[0] == name else 0
        if not self.edit.is_weight(readers[0].input[at]):
            return None
        shape = self.edit.shape(readers[0].input[at])
        wide = self._places(self.layout.added_axes, ()).wide(shape)
        full = (1,) * (len(wide) - len(shape)) + tuple(shape)
        return (readers[0], at) if full == wide and np.prod(full) == self.layout.outputs else None

    def _new(self, axes: tuple[int, ...], channels: Sequence[int], amounts: Floats) -> NDArray[Any]:
        """A bias that is zero but for the channels, in the type of what it is added to."""
        where = self._places(axes, channels)
        array = np.zeros(where.wide(()))
        for k, index in enumerate(where.indices(array.ndim)):
            array[index] = amounts[k]
        return array.astype(computed_type(self.edit, self.node, self.layout.weight))


def computed_type(edit: ModelEdit, node: NodeProto, operand: int) -> np.dtype[Any]:
    """The element type that the node sees at the operand."""
    found = located(edit, node, operand)
    for maker in found.chain:  # nearest to the node first
        if maker.op_type == "DequantizeLinear":
            return edit.dtype(maker.input[1])
        if maker.op_type == "Cast":
            to = next(int(a.i) for a in maker.attribute if a.name == "to")
            return np.dtype(ir.DataType(to).numpy())
    return edit.dtype(found.name)


def named(weighted: Weighted) -> str:
    """The node as messages name it."""
    return f"{query.kind(weighted.node)} '{query.node_name(weighted.node)}'"
