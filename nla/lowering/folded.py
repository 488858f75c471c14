"""The constants of a graph of fixed sizes: also what is computed from sizes alone (Shape -> Gather -> Concat)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from nla.graph import query
from nla.graph.constants import EVALUATED
from nla.graph.evaluate import known_values
from nla.graph.flow import Flow

_LARGEST = 1 << 22
_EXACT = frozenset(
    (
        *("Concat", "ConstantOfShape", "Equal", "Expand", "Gather", "Reshape", "Slice", "Squeeze", "Tile"),
        *("Transpose", "Unsqueeze", "Where"),
    )
)
"""Operators that compute nothing that rounds, followed whatever they read: an expanded class token."""
_ON_SIZES = frozenset(("Range", "Mul", "Add"))
"""Followed where they read sizes."""


class Folded:
    """`Constants`, and the tensors that sizes decide, once every size is known."""

    def __init__(self, graph: ir.Graph, flow: Flow, nodes: Sequence[ir.Node]) -> None:
        constants, opset = flow.constants, flow.opset
        self._constants = constants
        self._made: dict[ir.Value, NDArray[Any]] = {
            value: found.data
            for value, found in known_values(graph).items()
            if found.complete and value not in constants
        }
        self._unread: set[ir.Value] = set()
        """Constants that operators make which are not computed here: they are lowered like data."""
        for node in nodes:
            for value in node.outputs:
                self._follow(value, flow)
            self._compute(node, opset)
            read = query.operands(node)
            if read and (query.kind(node) not in EVALUATED or any(value in self._unread for value in read)):
                self._unread.update(node.outputs)

    def __contains__(self, value: object) -> bool:
        return value in self._made or (value in self._constants and value not in self._unread)

    def is_fixed(self, value: ir.Value) -> bool:
        """Whether no input changes the tensor, though its elements may not be computed here."""
        return value in self._made or value in self._constants

    def array(self, value: ir.Value | None) -> NDArray[Any] | None:
        """A small constant's elements, as `Constants.array`."""
        found = None if value is None else self._made.get(value)
        return self._constants.array(value) if found is None else found

    def weight(self, value: ir.Value) -> NDArray[Any] | None:
        """A constant of any size."""
        found = self._made.get(value)
        return self._constants.weight(value) if found is None else found

    def _follow(self, value: ir.Value, flow: Flow) -> None:
        """A shape tensor whose elements the walk knows, where onnx's inference had stopped."""
        elements = None if value in self else flow.shapes.elements(value)
        whole = [size for size in elements or () if isinstance(size, int)]
        if elements is None or len(whole) != len(elements):
            return
        rank = flow.shapes.rank(value)
        if rank == 1 or (rank == 0 and len(whole) == 1):
            self._made[value] = np.array(whole if rank else whole[0], np.int64)

    def _compute(self, node: ir.Node, opset: int) -> None:
        """What a node makes of sizes that are known: a tensor filled with one number, a mask of ones."""
        if query.kind(node) not in _EXACT | _ON_SIZES or len(node.outputs) != 1 or node.outputs[0] in self:
            return
        read = query.operands(node)
        exact = query.kind(node) in _EXACT
        arrays = [self.weight(value) if exact else self.array(value) for value in read]
        if not read or not (exact or any(value in self._made for value in read)):
            return
        feeds: dict[str, NDArray[Any]] = {}
        for value, array in zip(read, arrays, strict=True):
            if array is None or array.size > _LARGEST:
                return
            feeds[query.name(value)] = array
        if query.kind(node) in ("ConstantOfShape", "Expand", "Tile") and not _fits(arrays[-1]):
            return
        made = alone(node, opset, feeds)
        if made is not None and made[0].size <= _LARGEST:
            self._made[node.outputs[0]] = made[0]


def _fits(sizes: NDArray[Any] | None) -> bool:
    return sizes is not None and 0 <= float(np.prod(sizes.astype(np.float64))) <= _LARGEST


def alone(node: ir.Node, opset: int, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]] | None:
    """What onnx's reference implementation of the node makes of its inputs by name; None where it stumbles."""
    inputs = [onnx.helper.make_empty_tensor_value_info(name) for name in feeds]
    outputs = [
        onnx.helper.make_empty_tensor_value_info(query.name(value)) for value in node.outputs if value.name
    ]
    graph = onnx.helper.make_graph([ir.to_proto(node)], "one", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        return [np.asarray(made) for made in ReferenceEvaluator(model).run(None, feeds)]
    except Exception:  # the reference raises what it stumbles over
        return None
