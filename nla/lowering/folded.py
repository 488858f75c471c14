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
from nla.graph.evaluate import known_values
from nla.graph.flow import Flow

_LARGEST = 1 << 22
_COMPUTED = frozenset(
    ("ConstantOfShape", "Range", "Expand", "Where", "Equal", "Tile", "Mul", "Add", "Unsqueeze")
)


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
        for node in nodes:
            for value in node.outputs:
                self._follow(value, flow)
            self._compute(node, opset)

    def __contains__(self, value: object) -> bool:
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
        if query.kind(node) not in _COMPUTED or len(node.outputs) != 1 or node.outputs[0] in self:
            return
        read = query.operands(node)
        arrays = [self.array(value) for value in read]
        if not read or not any(value in self._made for value in read):
            return
        feeds: dict[str, NDArray[Any]] = {}
        for value, array in zip(read, arrays, strict=True):
            if array is None:
                return
            feeds[query.name(value)] = array
        if query.kind(node) in ("ConstantOfShape", "Expand") and not _fits(arrays[-1]):
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
