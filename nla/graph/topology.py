"""Which nodes every path through a graph crosses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.constants import Constants


def bottlenecks(graph: ir.Graph, nodes: Sequence[ir.Node], constants: Constants) -> set[ir.Node]:
    """The nodes that lie on every path from an input to an output of the graph.

    In topological order, a node on some path lies on every path exactly where no edge leaps over it.
    """
    place = {node: at for at, node in enumerate(nodes)}
    reached = _reached(nodes, constants)
    useful = _useful(graph, nodes, place)
    kept = [node for node in nodes if node in reached and node in useful]
    position = {node: at for at, node in enumerate(kept)}
    leaps = np.zeros(len(kept) + 2, np.int64)

    def edge(start: int, end: int) -> None:  # covers start+1 … end-1
        if end - start > 1:
            leaps[start + 1] += 1
            leaps[end] -= 1

    for node, at in position.items():
        for value in query.captured(node) if query.is_control_flow(node) else query.operands(node):
            if query.kind(node) in query.UNREAD:
                continue
            maker = value.producer()
            if maker is not None and maker in position:
                edge(position[maker], at)
            elif maker is None and value.is_graph_input() and value not in constants and at:
                leaps[0] += 1
                leaps[at] -= 1
    for value in graph.outputs:
        maker = value.producer()
        if maker is not None and maker in position:
            edge(position[maker], len(kept))
        elif value.is_graph_input():
            leaps[0] += 1  # an input that is returned as it is passes every node by
    over = np.cumsum(leaps)
    return {node for node, at in position.items() if over[at] == 0}


def _reached(nodes: Sequence[ir.Node], constants: Constants) -> set[ir.Node]:
    """Nodes whose values depend on those of an input."""
    reached: set[ir.Node] = set()
    for node in nodes:
        if query.kind(node) in query.UNREAD:
            continue
        for value in query.captured(node) if query.is_control_flow(node) else query.operands(node):
            maker = value.producer()
            if maker in reached or (maker is None and value.is_graph_input() and value not in constants):
                reached.add(node)
                break
    return reached


def _useful(graph: ir.Graph, nodes: Sequence[ir.Node], place: dict[ir.Node, int]) -> set[ir.Node]:
    """Nodes on whose values an output depends."""
    useful = {maker for value in graph.outputs if (maker := value.producer()) is not None}
    for node in reversed(nodes):
        if node not in useful or query.kind(node) in query.UNREAD:
            continue
        for value in query.captured(node) if query.is_control_flow(node) else query.operands(node):
            maker = value.producer()
            if maker is not None and maker in place:
                useful.add(maker)
    return useful
