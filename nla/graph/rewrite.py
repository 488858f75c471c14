"""Graphs cut out for replay: what the observed tensors need, with a free batch where it was fixed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from nla.errors import ModelError, one_line, printable
from nla.graph.batch import free_batch
from nla.graph.loading import OVERRIDABLE, ExternalWeight

__all__ = ["Lifted", "extract", "frame", "free_batch", "lift", "output", "read_by", "top_level", "written"]

_LARGEST_PROTO_BYTES = 2**31 - 1
_WORTH_LIFTING = 4096
"""Bytes from which on a weight is handed over beside the protobuf; what shapes depend on is smaller and stays."""
_LIFTED = "nla-inline-"
_PLAIN = frozenset(
    ir.DataType[name]
    for name in (
        "FLOAT",
        "DOUBLE",
        "FLOAT16",
        "BFLOAT16",
        "INT8",
        "UINT8",
        "INT16",
        "UINT16",
        "INT32",
        "INT64",
    )
)
_OLDEST_IR = 4
"""From here on an initializer need not be an input too."""


@dataclass(frozen=True)
class Lifted:
    """Large inline weights, taken out of the protobuf: it is written and parsed several times, they need not be."""

    locations: Mapping[str, str]
    """By the weight's name, the location under which a graph cut out refers to it."""
    files: Mapping[str, NDArray[np.uint8]]
    """The bytes by location, for onnxruntime's external files in memory."""


def lift(model: ir.Model) -> Lifted:
    """The large inline weights of the main graph; locations of files that the model names are not used."""
    taken = {
        tensor.location
        for value in model.graph.initializers.values()
        if isinstance(tensor := value.const_value, ExternalWeight)
    }
    locations: dict[str, str] = {}
    files: dict[str, NDArray[np.uint8]] = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or isinstance(tensor, ExternalWeight) or tensor.dtype not in _PLAIN:
            continue
        location = f"{_LIFTED}{len(files)}"
        if tensor.nbytes >= _WORTH_LIFTING and location not in taken:
            locations[name] = location
            files[location] = np.frombuffer(tensor.tobytes(), np.uint8)
    return Lifted(locations, files)


def extract(model: ir.Model, taps: Sequence[str], lifted: Lifted | None = None) -> onnx.ModelProto:
    """The part of the graph that computes `taps`, with them as its outputs, in their order.

    Tensor names stay; external weights stay references relative to the model's folder, those in `lifted`
    refer to its files; `model` is not changed. The inputs are those that the taps need, and weights that
    the file lets a caller override.
    Raises ModelError: no such tensor, or more than 2 GB of inline weights.
    """
    values = {value.name: value for value in top_level(model.graph) if value.name}
    missing = [name for name in taps if name not in values]
    if missing:
        raise ModelError(
            f"tensor '{printable(missing[0])}' is not in the graph (it may be inside a subgraph)"
        )
    needed = _needed(values[name] for name in taps)
    proto = frame(model)
    proto.graph.input.extend(_declared(v) for v in model.graph.inputs if v in needed)
    for node in model.graph:
        if any(output in needed for output in node.outputs):
            proto.graph.node.append(written(node))
    weights = [value for value in model.graph.initializers.values() if value in needed]
    proto.graph.input.extend(_declared(v) for v in weights if v.meta.get(OVERRIDABLE))
    _add_weights(proto, weights, {} if lifted is None else lifted.locations)
    proto.graph.output.extend(output(values[name]) for name in taps)
    return proto


def _declared(value: ir.Value) -> onnx.ValueInfoProto:
    """Name, type and shape of a value; remarks stay behind, which may be in any encoding."""
    return ir.serde.serialize_value(ir.Value(name=value.name, shape=value.shape, type=value.type))


def written(node: ir.Node) -> onnx.NodeProto:
    """The node as a protobuf. Raises ModelError: it cannot be written."""
    try:
        return ir.serde.serialize_node(node)
    except Exception as error:  # an attribute that onnx_ir read and cannot write
        where = printable(node.name or node.outputs[0].name)
        raise ModelError(
            f"{node.op_type} node '{where}' cannot be written: {one_line(error, 200)}"
        ) from error


def top_level(graph: ir.Graph) -> Iterable[ir.Value]:
    """Inputs, initializers and what nodes make; nothing inside subgraphs."""
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _needed(taps: Iterable[ir.Value]) -> set[ir.Value]:
    """Every value on the way to the taps, what subgraphs read from outside included."""
    needed: set[ir.Value] = set()
    waiting = list(taps)
    while waiting:
        value = waiting.pop()
        if value in needed:
            continue
        needed.add(value)
        node = value.producer()
        if node is not None:
            waiting.extend(read_by(node))
    return needed


def read_by(node: ir.Node) -> Iterable[ir.Value]:
    """Inputs of the node and of every node in its subgraphs; those made inside do no harm."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        for graph in _graphs(attribute):
            for inner in graph.all_nodes():
                yield from (value for value in inner.inputs if value is not None)
            yield from graph.outputs


def _graphs(attribute: ir.Attr) -> Iterable[ir.Graph]:
    if attribute.type == ir.AttributeType.GRAPH:
        return (attribute.as_graph(),)
    return attribute.as_graphs() if attribute.type == ir.AttributeType.GRAPHS else ()


def frame(model: ir.Model) -> onnx.ModelProto:
    """A model with an empty graph: opsets and functions."""
    proto = onnx.ModelProto(ir_version=max(model.ir_version or 0, _OLDEST_IR), producer_name="nla")
    proto.graph.name = model.graph.name or "graph"
    for domain, version in model.graph.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    proto.functions.extend(ir.serde.serialize_function(function) for function in model.functions.values())
    return proto


def _add_weights(proto: onnx.ModelProto, constants: Sequence[ir.Value], lifted: Mapping[str, str]) -> None:
    inline = proto.ByteSize() + sum(_inline_bytes(value) for value in constants if value.name not in lifted)
    if inline > _LARGEST_PROTO_BYTES:
        raise ModelError(
            f"the weights inside the model file take {inline:,} bytes, and onnxruntime takes at most "
            f"{_LARGEST_PROTO_BYTES:,}; save the model with external data"
        )
    for value in constants:
        tensor = value.const_value
        added = proto.graph.initializer.add()
        if isinstance(tensor, ExternalWeight):
            _refer(added, tensor, tensor.location, tensor.offset, tensor.length)
        elif tensor is not None and (location := lifted.get(str(value.name))):
            _refer(added, tensor, location, 0, tensor.nbytes)
        elif tensor is not None:
            added.CopyFrom(ir.serde.serialize_tensor(tensor))
        added.name = value.name


def _inline_bytes(value: ir.Value) -> int:
    tensor = value.const_value
    return 0 if tensor is None or isinstance(tensor, ExternalWeight) else tensor.nbytes


def _refer(
    added: onnx.TensorProto, tensor: ir.TensorProtocol, location: str, offset: int, length: int
) -> None:
    added.data_type = tensor.dtype.value
    added.dims.extend(tensor.shape.numpy())
    added.data_location = onnx.TensorProto.EXTERNAL
    entries = {"location": location, "offset": offset, "length": length}
    for key, entry in entries.items():
        added.external_data.add(key=key, value=str(entry))


def output(value: ir.Value) -> onnx.ValueInfoProto:
    """The tap as an output. Without its shape: onnxruntime finds it, and a declared one may be wrong."""
    info = onnx.ValueInfoProto(name=value.name)
    if isinstance(value.type, ir.TensorType):
        info.type.tensor_type.elem_type = value.type.dtype.value
    return info
