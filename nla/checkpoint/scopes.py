"""Definitions and order in a graph: every tensor that is read is made once, before it is read."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from graphlib import CycleError, TopologicalSorter

from onnx import FunctionProto, GraphProto, NodeProto

from nla.checkpoint.walking import subgraphs
from nla.errors import ModelError, printable


def check_scopes(graph: GraphProto) -> None:
    """Check the main graph and its subgraphs, and put nodes in order where need be. Raises ModelError."""
    missing = _check_graph(graph)
    if missing:
        name, reader = next(iter(missing.items()))
        raise ModelError(
            f"{reader} '{printable(name)}', which no node makes and which is no input or initializer"
        )


def check_function_body(function: FunctionProto) -> None:
    """Check the body of a function, which sees its own inputs only. Raises ModelError."""
    where = f"function '{printable(function.name)}'"
    made = _defined(function.node, function.input, where)
    missing = _order(function, made, where)
    missing |= {name: "its output is" for name in function.output if name not in made and name not in missing}
    if missing:
        name, reader = next(iter(missing.items()))
        raise ModelError(f"{where}: {reader} '{printable(name)}', which no node of it makes")


def _check_graph(graph: GraphProto) -> dict[str, str]:
    """Names read but not defined here, with who reads them; recursion is bounded by the check of nesting."""
    where = f"graph '{printable(graph.name)}'"
    constants = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    inputs = [info.name for info in graph.input]
    if len(set(inputs)) != len(inputs):
        raise ModelError(f"{where} declares two inputs of one name")
    made = _defined(graph.node, constants.union(inputs), where)
    missing = _order(graph, made, where)
    for info in graph.output:
        if info.name not in made:
            missing.setdefault(info.name, "an output of the graph is")
    return missing


def _defined(nodes: Iterable[NodeProto], given: Collection[str], where: str) -> dict[str, int]:
    """Every name defined in a graph, with the index of the node that makes it (-1: it is given)."""
    made = dict.fromkeys(given, -1)
    for index, node in enumerate(nodes):
        for name in node.output:
            if not name:
                continue
            if name in made:
                raise ModelError(
                    f"{where}: '{printable(name)}' is made twice, the second time by {_called(node)}"
                )
            made[name] = index
    return made


def _order(graph: GraphProto | FunctionProto, made: dict[str, int], where: str) -> dict[str, str]:
    """Sort the nodes where need be; the names that they read and `made` does not have."""
    missing: dict[str, str] = {}
    needs: list[set[int]] = []
    for node in graph.node:
        read = {name: f"{_called(node)} reads" for name in node.input if name}
        for inner in subgraphs(node):
            read |= _check_graph(inner)
        missing |= {name: reader for name, reader in read.items() if name not in made}
        needs.append({made[name] for name in read if made.get(name, -1) >= 0})
    if any(need >= index for index, wanted in enumerate(needs) for need in wanted):
        _sort(graph, needs, where)
    return missing


def _sort(graph: GraphProto | FunctionProto, needs: list[set[int]], where: str) -> None:
    try:
        order = list(TopologicalSorter(dict(enumerate(needs))).static_order())
    except CycleError as error:
        names = [_called(graph.node[index]) for index in error.args[1][:3]]
        raise ModelError(f"{where}: nodes wait for each other in a circle: {', '.join(names)}") from None
    nodes = list(graph.node)
    copies = []
    for index in order:
        copy = NodeProto()
        copy.CopyFrom(nodes[index])
        copies.append(copy)
    del graph.node[:]
    graph.node.extend(copies)


def _called(node: NodeProto) -> str:
    """How an error names a node: its own name, else its first output."""
    name = node.name or next((name for name in node.output if name), "")
    return (
        f"{printable(node.op_type)} node '{printable(name)}'" if name else f"a {printable(node.op_type)} node"
    )
