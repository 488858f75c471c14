"""Cheap checks of a parsed model, before any C++ of onnx or onnxruntime sees it.

Neither onnx's checker nor onnxruntime is a gate: each accepts models that crash or hang the other. These
checks look at sizes, counts, names and definitions only; what they refuse would hang, crash or mislead a
library.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from nla.checkpoint.limits import ModelLimits
from nla.checkpoint.scopes import check_function_body, check_scopes
from nla.checkpoint.tensors import check_sparse, check_tensor, named
from nla.checkpoint.walking import attribute_tensors, graphs, nodes, subgraphs, type_names
from nla.errors import ModelError, printable

_MESSAGES = {
    AttributeProto.TENSOR: ("t", "tensor"),
    AttributeProto.GRAPH: ("g", "graph"),
    AttributeProto.SPARSE_TENSOR: ("sparse_tensor", "sparse tensor"),
    AttributeProto.TYPE_PROTO: ("tp", "type"),
}

FunctionKey = tuple[str, str, str]


def precheck(proto: ModelProto, limits: ModelLimits) -> None:
    """Check the whole model; nodes that are out of order are put in order, in place. Raises ModelError."""
    _check_frame(proto)
    _check_nesting(proto, limits.nesting)
    _check_names(proto)
    _check_counts(proto, limits)
    _check_functions(proto, limits)
    for graph in graphs(proto):
        _check_initializers(graph)
    for node in nodes(proto):
        _check_attributes(node)
    check_scopes(proto.graph)
    for function in proto.functions:
        check_function_body(function)


def _check_frame(proto: ModelProto) -> None:
    if not proto.HasField("graph"):
        raise ModelError("there is no graph in it: not an ONNX model, or an empty one")
    if proto.ir_version < 1:
        raise ModelError(f"ir_version {proto.ir_version}: not an ONNX model, or a damaged one")
    if proto.graph.node and not proto.opset_import and proto.ir_version >= 3:
        raise ModelError("it does not say which opset its operators come from (opset_import is missing)")


def _check_nesting(proto: ModelProto, deepest: int) -> None:
    level = [node for holder in (proto.graph, *proto.functions) for node in holder.node]
    for _ in range(deepest):
        level = [inner for node in level for graph in subgraphs(node) for inner in graph.node]
        if not level:
            return
    raise ModelError(f"subgraphs are nested more than {deepest} deep")


def _check_names(proto: ModelProto) -> None:
    """python-protobuf hands out bytes for a name that is not UTF-8; every f-string or sort would stumble."""
    for owner, name in _all_names(proto):
        if not isinstance(name, str):
            raise ModelError(f"{owner} has a name that is not UTF-8: {printable(name)}")


def _all_names(proto: ModelProto) -> Iterator[tuple[str, object]]:
    for opset in proto.opset_import:
        yield "an operator set", opset.domain
    for function in proto.functions:
        yield from (
            ("a function", name)
            for name in (function.name, function.domain, function.overload, *function.input, *function.output)
        )
        for info in function.value_info:
            yield from (("a function's value", name) for name in (info.name, *type_names(info.type)))
    for graph in graphs(proto):
        yield "a graph", graph.name
        yield from (("an initializer", tensor.name) for tensor in graph.initializer)
        yield from (("a sparse initializer", tensor.values.name) for tensor in graph.sparse_initializer)
        for info in (*graph.input, *graph.output, *graph.value_info):
            yield "an input, output or value", info.name
            yield from (("a type or dimension", name) for name in type_names(info.type))
    for node in nodes(proto):
        yield from (
            ("a node", name)
            for name in (node.name, node.op_type, node.domain, node.overload, *node.input, *node.output)
        )
        for attribute in node.attribute:
            types = (attribute.tp, *attribute.type_protos)
            yield from (("an attribute", name) for name in (attribute.name, attribute.ref_attr_name))
            yield from (("an attribute's type", name) for kind in types for name in type_names(kind))


def _check_counts(proto: ModelProto, limits: ModelLimits) -> None:
    initializers = sum(len(graph.initializer) + len(graph.sparse_initializer) for graph in graphs(proto))
    if initializers > limits.initializers:
        raise ModelError(
            f"{initializers:,} initializers, more than the {limits.initializers:,} that nla reads"
        )
    for graph in graphs(proto):
        readers = Counter(name for node in graph.node for name in set(node.input) if name)
        name, count = max(readers.items(), key=lambda item: item[1], default=("", 0))
        if count > limits.consumers:
            raise ModelError(
                f"tensor '{printable(name)}' is read by {count:,} nodes, more than the {limits.consumers:,} "
                "that nla follows"
            )


def _check_functions(proto: ModelProto, limits: ModelLimits) -> None:
    """Function calls form no circle, and expanding them all keeps within the limit of nodes."""
    bodies = {(f.domain, f.name, f.overload): f for f in proto.functions}
    if len(bodies) != len(proto.functions):
        raise ModelError("two functions bear the same name")
    counts = {key: Counter(_calls(body.node)) for key, body in bodies.items()}
    try:
        order = list(
            TopologicalSorter(
                {k: [c for c in calls if c in bodies] for k, calls in counts.items()}
            ).static_order()
        )
    except CycleError as error:
        raise ModelError(f"function '{printable(error.args[1][0][1])}' calls itself, if by detours") from None
    expanded: dict[FunctionKey, int] = {}
    for key in order:
        expanded[key] = min(_expanded(counts[key], expanded), limits.nodes + 1)
    total = _expanded(Counter(_calls(proto.graph.node)), expanded)
    if total > limits.nodes:
        raise ModelError(f"more than {limits.nodes:,} nodes, each call of a function counted with its body")


def _expanded(calls: Counter[FunctionKey], expanded: dict[FunctionKey, int]) -> int:
    return sum(count * expanded.get(key, 1) for key, count in calls.items())


def _calls(nodes: Iterable[NodeProto]) -> Iterator[FunctionKey]:
    """Operator of every node, those in subgraphs too."""
    waiting = [iter(nodes)]
    while waiting:
        for node in waiting.pop():
            yield node.domain, node.op_type, node.overload
            waiting.extend(iter(graph.node) for graph in subgraphs(node))


def _check_initializers(graph: GraphProto) -> None:
    names: set[str] = set()
    for tensor in graph.initializer:
        try:
            check_tensor(tensor)
        except ModelError as error:
            raise named("initializer", tensor.name, error) from None
        _once(names, tensor.name)
    for sparse in graph.sparse_initializer:
        try:
            check_sparse(sparse)
        except ModelError as error:
            raise named("sparse initializer", sparse.values.name, error) from None
        _once(names, sparse.values.name)


def _once(names: set[str], name: str) -> None:
    if not name:
        raise ModelError("an initializer has no name")
    if name in names:
        raise ModelError(
            f"two initializers bear the name '{printable(name)}'; which of them counts is not defined"
        )
    names.add(name)


def _check_attributes(node: NodeProto) -> None:
    for attribute in node.attribute:
        try:
            _check_attribute_type(attribute)
            for tensor in attribute_tensors(attribute):
                check_tensor(tensor)
            if attribute.HasField("sparse_tensor"):
                check_sparse(attribute.sparse_tensor)
            for sparse in attribute.sparse_tensors:
                check_sparse(sparse)
        except ModelError as error:
            where = node.name or (node.output[0] if node.output else node.op_type)
            raise named(f"attribute '{printable(attribute.name)}' of node", where, error) from None


def _check_attribute_type(attribute: AttributeProto) -> None:
    """An attribute says what it holds and holds it, or refers to one of the function around it."""
    if attribute.ref_attr_name:
        return
    if attribute.type == AttributeProto.UNDEFINED:
        raise ModelError("it does not say of which type it is, or the type is unknown")
    field, what = _MESSAGES.get(attribute.type, ("", ""))
    if field and not attribute.HasField(field):
        raise ModelError(f"it says that it holds a {what}, and does not")
