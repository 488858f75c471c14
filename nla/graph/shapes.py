"""Shapes and shape tensors, followed through a graph: what onnx inferred, and what it leaves open.

onnx's inference stops at operators of other domains and at shapes that a graph computes from another shape
through casts. Where it stopped, the sizes that can be known are still followed here, one node at a time
(`shape_sizes`, `shape_elements`). A size is an int, a symbol (equal symbols are equal sizes), or None.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from nla.graph import query, shape_elements, shape_sizes
from nla.graph.constants import Constants
from nla.graph.shape_elements import LARGEST, LONGEST

Dim = int | str | None
Dims = tuple[Dim, ...]


class Shapes:
    """Dims of values, and elements of integer tensors of at most one axis. Fed every node in order."""

    def __init__(self, constants: Constants, inputs: Sequence[ir.Value] = ()) -> None:
        self._constants = constants
        self.free: frozenset[str] = frozenset(
            size for value in inputs for size in query.dims_of(value) or () if isinstance(size, str)
        )
        """The symbols in the shapes of the graph's inputs: sizes that may be any number."""
        self._dims: dict[ir.Value, Dims] = {}
        self._elements: dict[ir.Value, Dims] = {}

    def dims(self, value: ir.Value | None) -> Dims | None:
        """The value's sizes; None where even the rank is unknown."""
        if value is None:
            return None
        known = self._dims.get(value)
        known = query.dims_of(value) if known is None else known
        return self._constants.shape(value) if known is None else known

    def rank(self, value: ir.Value | None) -> int | None:
        """The value's rank; None where it is unknown."""
        dims = self.dims(value)
        return None if dims is None else len(dims)

    def elements(self, value: ir.Value | None) -> Dims | None:
        """What a shape tensor (or an integer scalar) holds; None where nothing is known of it."""
        if value is None:
            return None
        if value in self._elements:
            return self._elements[value]
        return self._constants.integers(value) if value in self._constants else None

    def scales(self, value: ir.Value | None) -> tuple[float, ...] | None:
        """What a constant of real numbers holds, by which sizes are multiplied."""
        found = self._constants.array(value)
        return None if found is None or found.ndim != 1 else tuple(map(float, found))

    def visit(self, node: ir.Node) -> None:
        """Learn what the node's outputs are, from its inputs."""
        outputs = [value for value in node.outputs if value.name]
        if not outputs or all(value in self._constants for value in outputs):
            return
        kind = query.kind(node)
        elements = shape_elements.RULES[kind](self, node) if kind in shape_elements.RULES else None
        if elements is not None and len(elements) <= LONGEST:
            self._elements[outputs[0]] = elements
        if kind == "Split":
            self._elements.update(zip(node.outputs, shape_elements.split(self, node), strict=False))
        open_ = any(dims is None or not _fixed(dims) for dims in map(query.dims_of, outputs))
        if open_ and kind in shape_sizes.RULES:
            for value, inferred in zip(node.outputs, shape_sizes.RULES[kind](self, node), strict=False):
                if inferred is not None:
                    self._dims[value] = _better(query.dims_of(value), _plausible(inferred))


def _plausible(dims: Dims) -> Dims:
    return tuple(None if isinstance(size, int) and not 0 <= size <= LARGEST else size for size in dims)


def _fixed(dims: Dims) -> bool:
    return all(isinstance(size, int) for size in dims)


def _better(stated: Dims | None, inferred: Dims) -> Dims:
    if stated is None or len(stated) != len(inferred):
        return inferred if stated is None else stated
    return tuple(_best(s, i) for s, i in zip(stated, inferred, strict=True))


def _best(stated: Dim, inferred: Dim) -> Dim:
    if isinstance(stated, int):
        return stated
    if isinstance(inferred, int) or stated is None or stated.startswith("unk__"):
        return stated if inferred is None else inferred
    return stated
