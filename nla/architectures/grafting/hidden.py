"""Weights in places of a graph that no checkpoint can be matched with: refused, for they would stay silently."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

from nla.checkpoint.tensors import type_name
from nla.checkpoint.walking import attribute_tensors, graphs, nodes, subgraphs
from nla.errors import ModelError, printable

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
SMALL = 16
"""Elements up to which a constant of the graph may be its own: a scale, an epsilon, a shape."""

_WIDE_INTEGERS = (
    TensorProto.INT16,
    TensorProto.UINT16,
    TensorProto.INT32,
    TensorProto.UINT32,
    TensorProto.INT64,
    TensorProto.UINT64,
    TensorProto.BOOL,
    TensorProto.STRING,
)
HOW = "with torch.onnx.export(model, args, 'model.onnx', dynamo=True, optimize=False)"
"""The export that keeps names and tensors as they are (the default one folds and merges them)."""


def refuse_hidden(proto: ModelProto) -> None:
    """Raises ModelError: weights in attributes, in subgraphs or sparse, or quantised."""
    for node in nodes(proto):
        for attribute in node.attribute:
            _check_attribute(node, attribute)
    for graph in graphs(proto):
        main = graph is proto.graph
        for tensor in graph.initializer:
            _check_initializer(tensor, main)
        for sparse in graph.sparse_initializer:
            raise ModelError(
                f"initializer '{printable(sparse.values.name)}' is sparse, and no safetensors tensor is"
            )


def _check_attribute(node: NodeProto, attribute: AttributeProto) -> None:
    sizes = [_weights_in(tensor) for tensor in (*attribute_tensors(attribute), *_sparse(attribute))]
    found = max([len(attribute.floats), *sizes])
    if found > SMALL:
        where = printable(node.output[0] if node.output else node.name)
        raise ModelError(
            f"the {printable(node.op_type)} node of '{where}' holds {found:,} numbers, and no name says what they are: "
            f"export the graph with its weights as initializers, {HOW}"
        )


def _sparse(attribute: AttributeProto) -> Iterator[TensorProto]:
    found: list[SparseTensorProto] = list(attribute.sparse_tensors)
    if attribute.HasField("sparse_tensor"):
        found.append(attribute.sparse_tensor)
    yield from (sparse.values for sparse in found)


def _check_initializer(tensor: TensorProto, main: bool) -> None:
    size = prod(tensor.dims)
    if size <= SMALL or tensor.data_type in _WIDE_INTEGERS or (main and tensor.data_type in FLOATS):
        return
    kind = type_name(tensor.data_type)
    why = (
        "inside a subgraph, where no tensor of the checkpoint is matched"
        if tensor.data_type in FLOATS
        else f"of type {kind}: a quantised weight; give a graph of the network before it was quantised"
    )
    raise ModelError(f"initializer '{printable(tensor.name)}' is {kind} {list(tensor.dims)}, {why}")


def _weights_in(tensor: TensorProto) -> int:
    """How many numbers of it may be weights."""
    return 0 if tensor.data_type in _WIDE_INTEGERS else prod(tensor.dims)


def own_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and every subgraph below it: where its names hold. Functions have names of their own."""
    waiting = [graph]
    while waiting:
        current = waiting.pop()
        yield current
        for node in current.node:
            waiting.extend(subgraphs(node))


def initializers(graph: GraphProto) -> dict[str, TensorProto]:
    """The floating initializers of the main graph, by name."""
    return {tensor.name: tensor for tensor in graph.initializer if tensor.data_type in FLOATS}
