"""What a pass wants done to the file: changes of constant operands, attributes, new nodes. Nothing is done yet."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.surgery.cutting.compacting import compacted
from nla.surgery.cutting.masks import Places

Array = NDArray[Any]


@dataclass(frozen=True)
class Change:
    """A function of one constant operand that makes it smaller."""

    function: Callable[[Array], Array]
    shape: tuple[int, ...]
    """Of the result."""
    key: Hashable
    """Equal keys do the same: a weight that several nodes read is then changed once for all."""
    lines: tuple[tuple[int, Places], ...] = ()
    """(axis from the front, places that stay) where the change takes slices along an axis."""


def taking(shape: Sequence[int], cuts: Sequence[tuple[int, Places]]) -> Change:
    """The change that keeps some places along axes counted from the front."""
    cuts = sorted(cuts, key=lambda cut: cut[0])
    after = list(shape)
    for axis, places in cuts:
        after[axis] = len(places)

    def take(array: Array) -> Array:
        for axis, places in reversed(cuts):
            array = compacted(array, axis, places)
        return array

    return Change(take, tuple(after), tuple((axis, places.tobytes()) for axis, places in cuts), tuple(cuts))


def summing(change: Change, axis: int, pairs: Sequence[tuple[int, int, float]]) -> Change:
    """The change after some slices along an axis were added, scaled, to others: (from, to, factor)."""

    def add_up(array: Array) -> Array:
        slices = np.moveaxis(array, axis, 0)
        for source, target, factor in pairs:
            slices[target] += (factor * slices[source]).astype(array.dtype)
        return change.function(array)

    return replace(change, function=add_up, key=(change.key, axis, tuple(pairs)))


@dataclass(eq=False)
class Requests:
    """The requests of one pass. An operand is named by its node and its place among the inputs."""

    changes: dict[tuple[ir.Node, int], Change] = field(default_factory=dict)
    """Of constant operands."""
    deltas: dict[tuple[ir.Node, int], Array] = field(default_factory=dict)
    """What is added, with broadcasting, to constant operands once they are changed."""
    constants: dict[tuple[ir.Node, int], Array] = field(default_factory=dict)
    """New constants in the place of operands, computed or left out ones included."""
    left_out: set[tuple[ir.Node, int]] = field(default_factory=set)
    """Optional operands that go."""
    attributes: dict[tuple[ir.Node, str], Any] = field(default_factory=dict)
    """New values of attributes; None: the attribute goes."""
    additions: dict[ir.Node, Array] = field(default_factory=dict)
    """What is added to a node's first output, by an Add behind it."""
    shrunk: set[str] = field(default_factory=set)
    """Tensors whose shape changes."""

    def add(self, node: ir.Node, at: int, delta: Array) -> None:
        """Ask for an addition to the constant operand."""
        before = self.deltas.get((node, at))
        self.deltas[node, at] = delta if before is None else before + delta
