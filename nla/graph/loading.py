"""From a checked protobuf to an onnx_ir model; external weights are mapped files, read when asked for."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterator
from functools import cache

import numpy as np
import onnx
import onnx_ir as ir

from nla.checkpoint.external import ExternalFile
from nla.checkpoint.onnx_file import OnnxCheckpoint
from nla.checkpoint.tensors import dense_array
from nla.checkpoint.walking import graphs
from nla.errors import ModelError, one_line

OVERRIDABLE = "nla.overridable"
"""In `Value.meta` of an initializer that the file declares as an input too: a default to be overridden.

onnxruntime folds nothing into such a weight, so a replay that made it constant would round differently from
the model that its users run."""
_OVERRIDES_FROM_IR = 4
_LIFTED_ELEMENTS = 16
_COPIED_BYTES = 1 << 18
"""Smaller weights are copied: who keeps one would else keep the whole file mapped."""


class ExternalWeight(ir.LazyTensor):
    """A weight in an external file: mapped when its values are asked for, by nla's own opener.

    onnx_ir's ExternalTensor opens the file by path, with other checks than those that the file passed.
    """

    __slots__ = ("length", "location", "offset")

    def __init__(self, external: ir.ExternalTensor, file: MappedFile) -> None:
        self.location = str(external.location)
        self.offset = external.offset or 0
        self.length = external.nbytes

        def read() -> ir.TensorProtocol:
            raw = file.bytes()[self.offset : self.offset + self.length]
            return _tensor(raw, external)

        super().__init__(read, external.dtype, external.shape, name=external.name)


class MappedFile:
    """An external file, mapped for as long as something of it is in use: its pages count as memory of ours."""

    def __init__(self, file: ExternalFile) -> None:
        self._file = file
        self._mapped: weakref.ref[np.ndarray] | None = None

    def bytes(self) -> np.ndarray:
        """uint8 [size of the file]"""
        mapped = None if self._mapped is None else self._mapped()
        if mapped is None:
            mapped = self._file.map()
            self._mapped = weakref.ref(mapped)
        return mapped


def load(checkpoint: OnnxCheckpoint) -> ir.Model:
    """The model with external weights lazy, sparse initializers dense, no maps, negative sizes unknown.

    Initializers that are also declared as inputs (IR 3, CNTK) are constants: they leave the inputs.
    Raises ModelError.
    """
    try:
        model = ir.from_proto(_readable(checkpoint.proto))
    except Exception as error:  # onnx_ir raises what it happens to stumble over in a malformed graph
        raise ModelError(f"{checkpoint.path}: the graph cannot be read: {one_line(error)}") from error
    files = {file.location: MappedFile(file) for file in checkpoint.external_files}
    for graph in all_graphs(model):
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = ExternalWeight(value.const_value, files[str(value.const_value.location)])
        graph.remove([node for node in graph if not node.outputs], safe=True)  # they make nothing
        _forget_remarks(graph)
        for value in _values(graph):
            _forget_negative_sizes(value)
            value.doc_string = None
    _name_apart(model.graph)
    constants = set(model.graph.initializers.values())
    for value in model.graph.inputs:
        value.meta[OVERRIDABLE] = value in constants and (model.ir_version or 0) >= _OVERRIDES_FROM_IR
    inputs = [value for value in model.graph.inputs if value not in constants]
    model.graph.inputs.clear()
    model.graph.inputs.extend(inputs)
    return model


def _forget_remarks(graph: ir.Graph) -> None:
    """Drops doc strings and metadata: nothing reads them, and bytes that are no text could not be written again."""
    graph.doc_string = None
    graph.metadata_props.clear()
    for node in graph:
        node.doc_string = None
        node.metadata_props.clear()


def lift_constants(graph: ir.Graph) -> None:
    """Turn Constant nodes that hold weights into initializers of the same name."""
    for node in list(graph):
        attribute = node.attributes.get("value")
        if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or attribute is None:
            continue
        tensor, output = attribute.value, node.outputs[0]
        large = isinstance(tensor, ir.TensorProtocol) and tensor.size >= _LIFTED_ELEMENTS
        if large and not output.is_graph_output():
            replace_by_constant(graph, node, tensor)


def replace_by_constant(graph: ir.Graph, node: ir.Node, tensor: ir.TensorProtocol) -> None:
    """Put an initializer of the same name in the place of a node's only output, which is no graph output."""
    old = node.outputs[0]
    shape, kind = ir.Shape(tensor.shape.numpy()), ir.TensorType(tensor.dtype)
    new = ir.Value(name=old.name, shape=shape, type=kind, const_value=tensor)
    old.replace_all_uses_with(new)
    graph.remove(node, safe=True)
    graph.register_initializer(new)


def all_graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """The main graph and every subgraph below it."""
    yield model.graph
    yield from model.graph.subgraphs()


def count_parameters(model: ir.Model, apart: Collection[str] = ()) -> int:
    """Elements of the tensors that can be weights: floating, or integers of at most a byte.

    `apart` names initializers that are none.
    """
    total = 0
    for graph in all_graphs(model):
        tensors = [value.const_value for name, value in graph.initializers.items() if name not in apart]
        for node in graph:
            attribute = node.attributes.get("value") if node.op_type == "Constant" else None
            tensors.append(attribute.value if attribute is not None else None)
        total += sum(t.size for t in tensors if isinstance(t, ir.TensorProtocol) and _can_be_weight(t))
    return total


def _can_be_weight(tensor: ir.TensorProtocol) -> bool:
    kind = tensor.dtype
    return kind.is_floating_point() or (kind.is_integer() and kind.bitwidth <= 8 and tensor.size > 1)


def _name_apart(graph: ir.Graph) -> None:
    """Give nodes that share a name one each: onnxruntime refuses two nodes of one name."""
    taken: set[str] = set()
    for number, node in enumerate(graph):
        if node.name and node.name in taken:
            node.name = f"{node.name}_{number}"
        taken.add(node.name or "")


def _readable(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself, or a copy without what onnx_ir cannot read: sparse initializers and types with maps."""
    typed = [info for graph in graphs(proto) for info in (*graph.input, *graph.output, *graph.value_info)]
    sparse = any(graph.sparse_initializer for graph in graphs(proto))
    if not sparse and not any(_has_map(info.type) for info in typed):
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for graph in graphs(copy):
        for tensor in graph.sparse_initializer:
            graph.initializer.append(onnx.numpy_helper.from_array(dense_array(tensor), tensor.values.name))
        del graph.sparse_initializer[:]
        for info in (*graph.input, *graph.output, *graph.value_info):
            if _has_map(info.type):
                info.ClearField("type")
        for node in graph.node:
            if (
                node.domain == "ai.onnx.ml" and node.op_type == "ZipMap"
            ):  # a tensor of scores, with their labels
                node.op_type, node.domain = "Identity", ""
                del node.attribute[:]
    return copy


def _has_map(kind: onnx.TypeProto) -> bool:
    """Whether values of the type are maps, or lists of maps (scikit-learn's class probabilities)."""
    for holder in ("sequence_type", "optional_type"):
        if kind.HasField(holder):
            return _has_map(getattr(kind, holder).elem_type)
    return bool(kind.HasField("map_type"))


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _forget_negative_sizes(value: ir.Value) -> None:
    """Some exporters write -1 for a size that is not fixed."""
    shape = value.shape
    if shape is not None and any(isinstance(size, int) and size < 0 for size in shape):
        value.shape = ir.Shape([None if isinstance(size, int) and size < 0 else size for size in shape])


def _tensor(raw: np.ndarray, external: ir.ExternalTensor) -> ir.TensorProtocol:
    """The bytes as a tensor of the declared type; a view of the file for whole-byte types, unless they are few."""
    if external.dtype.bitwidth >= 8:
        kind = _little_endian(external.dtype)
        array = np.frombuffer(raw.data, kind) if raw.size else np.zeros(0, kind)
        if raw.size <= _COPIED_BYTES:
            array = array.copy()
        return ir.Tensor(array.reshape(external.shape.numpy()), dtype=external.dtype, name=external.name)
    proto = onnx.TensorProto(name=external.name, data_type=external.dtype.value, dims=external.shape.numpy())
    proto.raw_data = raw.tobytes()
    return ir.serde.TensorProtoTensor(proto)


@cache
def _little_endian(dtype: ir.DataType) -> np.dtype:
    return dtype.numpy().newbyteorder("<")
