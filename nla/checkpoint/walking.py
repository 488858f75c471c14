"""Walking over a protobuf model: every graph, every node, every tensor of an attribute."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a node carries in its attributes (If, Loop, Scan)."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def graphs(proto: ModelProto) -> Iterator[GraphProto]:
    """The main graph, then every subgraph, those in function bodies too."""
    yield proto.graph
    for node in nodes(proto):
        yield from subgraphs(node)


def nodes(proto: ModelProto) -> Iterator[NodeProto]:
    """Every node of the model, those of subgraphs and functions too, each once."""
    waiting = [proto.graph.node, *(function.node for function in proto.functions)]
    while waiting:
        for node in waiting.pop():
            yield node
            waiting.extend(graph.node for graph in subgraphs(node))


def type_names(declared: TypeProto) -> Iterator[object]:
    """Every name in the declaration of a value: of its sizes, and what it and they are said to mean."""
    waiting = [declared]
    while waiting:
        kind = waiting.pop()
        yield kind.denotation
        for tensor in (kind.tensor_type, kind.sparse_tensor_type):
            yield from (name for dim in tensor.shape.dim for name in (dim.dim_param, dim.denotation))
        if kind.HasField("sequence_type"):
            waiting.append(kind.sequence_type.elem_type)
        if kind.HasField("optional_type"):
            waiting.append(kind.optional_type.elem_type)
        if kind.HasField("map_type"):
            waiting.append(kind.map_type.value_type)


def attribute_tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    """The dense tensors that an attribute holds."""
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
