"""An edit of a checkpoint: the graph as a small copy, the weights left where they are until they are written."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    TensorShapeProto,
)

from nla.checkpoint.onnx_file import OnnxCheckpoint
from nla.checkpoint.skeleton import leave_out, skeleton, weight_tensors
from nla.checkpoint.tensors import size_bytes, type_name
from nla.checkpoint.undo import UndoRecord
from nla.checkpoint.values import onnx_type
from nla.checkpoint.walking import graphs, nodes, subgraphs
from nla.checkpoint.weights import Weight, given, range_piece, weights_of
from nla.checkpoint.wire import Piece
from nla.checkpoint.writing import EXTERNAL_SUFFIX, Outcome, Written, lay_out, write_model

Array = NDArray[Any]

_INPUTS_UNTIL_IR = 4
"""Before, every initializer is declared as an input too."""
_INLINE_BYTES = 1024
"""New weights below this stay in the protobuf, where onnxruntime looks for the sizes of shapes."""


class ModelEdit:
    """A checkpoint's protobuf, copied, and what is to change in it; weights are read when asked for, one at a time.

    `graph` may be changed in place: inputs, outputs and attributes of nodes. It holds the names, types and shapes
    of weights (initializers of the main graph, values of Constant nodes) without their values: these are asked
    for with `weight` and changed with `transform` and `set_weight`. Nodes come and go by `add_node` and
    `remove_node`; after a change of the inputs or outputs of a node, `rewired` makes `node` and `readers` look again.
    """

    checkpoint: OnnxCheckpoint
    model: ModelProto
    """The copy, all but the values."""

    def __init__(self, checkpoint: OnnxCheckpoint) -> None:
        self.checkpoint = checkpoint
        self.model = skeleton(checkpoint.proto)
        self._source = weights_of(checkpoint.proto.graph, checkpoint.place)
        self._weights = dict(self._source)
        self._names = _all_names(checkpoint.proto)
        self._headers: dict[str, TensorProto] = {}
        self.rewired()

    @property
    def graph(self) -> GraphProto:
        """The main graph of the copy."""
        return self.model.graph

    # --- the graph

    def node(self, output: str) -> NodeProto | None:
        """The node of the main graph that makes this tensor."""
        return self._index()[0].get(output)

    def readers(self, tensor: str) -> list[NodeProto]:
        """The nodes of the main graph that read the tensor, in order, those whose subgraphs read it too."""
        return list(self._index()[1].get(tensor, ()))

    def is_output(self, tensor: str) -> bool:
        """Whether the tensor is an output of the main graph."""
        return any(info.name == tensor for info in self.graph.output)

    def add_node(self, node: NodeProto, before: NodeProto | None = None) -> NodeProto:
        """Put a copy of the node into the graph, at its end or before another; the copy, to be changed in place."""
        at = len(self.graph.node) if before is None else _position(self.graph, before)
        self.graph.node.insert(at, node)
        self._names.update(name for name in (node.name, *node.output) if name)
        self.rewired()
        added: NodeProto = self.graph.node[at]
        return added

    def remove_node(self, node: NodeProto) -> None:
        """Take the node out of the graph."""
        del self.graph.node[_position(self.graph, node)]
        self.rewired()

    def rewired(self) -> None:
        """Say that inputs or outputs of nodes were changed in place."""
        self._found: tuple[dict[str, NodeProto], dict[str, list[NodeProto]]] | None = None

    def fresh(self, hint: str) -> str:
        """A name that nothing in the model bears: the hint, or the hint with a number."""
        name, number = hint, 0
        while not name or name in self._names:
            number += 1
            name = f"{hint}_{number}"
        self._names.add(name)
        return name

    # --- the weights

    def is_weight(self, name: str) -> bool:
        """Whether the tensor is an initializer of the main graph or made by a Constant node in it, and of numbers."""
        return name in self._weights

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape that the weight has with the pending changes."""
        return self._weights[name].shape

    def dtype(self, name: str) -> np.dtype[Any]:
        """The type of the weight's elements (ml_dtypes for bfloat16, float8, int4). Raises ModelError."""
        return self._weights[name].dtype

    def weight(self, name: str) -> Array:
        """The weight's values with the pending changes: an array of the caller's own, computed at each call."""
        return self._weights[name].values()

    def piece(self, name: str) -> Piece:
        """The bytes that an external weight will have, in its own type, computed when their turn comes."""
        return self._weights[name].content().piece

    def transform(
        self, name: str, function: Callable[[Array], Array], shape: tuple[int, ...] | None = None
    ) -> None:
        """Change the weight when it is written: `function` gets its values (and may write to them).

        `shape` is that of the result, where it is another. The result is cast to the weight's type. Functions
        compose in the order of the calls; each must give the same result every time that it is called.
        """
        weight = self._densified(name)
        self._put(weight.with_change(function, weight.shape if shape is None else tuple(shape)))

    def set_weight(self, name: str, array: Array) -> None:
        """Give the weight other values, of any shape, cast to the weight's type. They stay in memory."""
        weight = self._densified(name)
        values = np.array(array, dtype=weight.dtype)
        self._put(weight.with_change(lambda _: values.copy(), values.shape))

    def add_weight(self, hint: str, array: Array) -> str:
        """A new initializer with these values (copied); its name, made from the hint. Raises ModelError."""
        name = self.fresh(hint)
        weight = given(name, self.checkpoint.place, array, external=False)
        large = size_bytes(TensorProto(data_type=weight.data_type, dims=weight.shape)) >= _INLINE_BYTES
        self._add(replace(weight, external=large and bool(self.checkpoint.external_files)))
        return name

    def copy_weight(self, name: str) -> str:
        """A new initializer with the values that the weight has now, which are not read yet; its name."""
        copy = self.fresh(f"{name}_copy")
        self._add(replace(self._weights[name], name=copy, copied=True))
        return copy

    def drop_unread(self) -> None:
        """Take out initializers and nodes that nothing reads any more; what nothing read before stays."""
        idle = _unread(self.checkpoint.proto.graph)
        while gone := _unread(self.graph) - idle:
            _remove(self.graph, gone)
            self._weights = {name: weight for name, weight in self._weights.items() if name not in gone}
        self.rewired()

    @property
    def touched(self) -> tuple[str, ...]:
        """Weights of the checkpoint whose values change or that are gone, in the checkpoint's order."""
        return tuple(name for name, weight in self._source.items() if self._weights.get(name) is not weight)

    @property
    def structural(self) -> bool:
        """Whether a shape, a node, an attribute or the set of weights changed."""
        return bool(self.model != skeleton(self.checkpoint.proto))

    @property
    def changed(self) -> bool:
        """Whether anything changed."""
        return bool(self.touched) or self.structural

    def parameters(self) -> int:
        """Elements of all tensors that can be weights: floating, or integers of at most a byte."""
        apart = self.checkpoint.constants
        weights = [
            weight
            for name, weight in self._weights.items()
            if name not in apart and not isinstance(weight.base, AttributeProto)
        ]
        found = [(weight.data_type, weight.shape) for weight in weights]
        inner = [
            tensor for graph in list(graphs(self.model))[1:] for tensor in weight_tensors(graph).values()
        ]
        found += [(tensor.data_type, tuple(tensor.dims)) for tensor in inner]
        return sum(_parameters(data_type, shape) for data_type, shape in found)

    def size_bytes(
        self, path: str | os.PathLike[str] = "model.onnx", *, metadata: Mapping[str, str] | None = None
    ) -> int:
        """Bytes that the edited model would take at `path`, its external file included; nothing is written."""
        return lay_out(self._outcome(metadata or {}), Path(path).name + EXTERNAL_SUFFIX).size_bytes

    def write(
        self,
        path: str | os.PathLike[str],
        *,
        metadata: Mapping[str, str] | None = None,
        undo: str | os.PathLike[str] | None = None,
    ) -> Written:
        """Write the edited model, whole or not at all, and never over its source.

        Weights that were external go to `<path>.data`, in the order and with the alignment that they had; those
        that were inline stay so. `metadata` is added where the edit changes anything. `undo` names a file that
        keeps what the edit overwrote (`nla.checkpoint.undo`). The same edit gives the same bytes. Raises
        OutputError, and ModelError where the source changed meanwhile.
        """
        record = None if undo is None else UndoRecord(self.checkpoint, self.touched)
        extra = None if undo is None or record is None else (Path(undo), record.pieces)
        return write_model(path, self._outcome(metadata or {}), sources=self.checkpoint.files, extra=extra)

    # --- inside

    def _index(self) -> tuple[dict[str, NodeProto], dict[str, list[NodeProto]]]:
        if self._found is None:
            makers = {name: node for node in self.graph.node for name in node.output if name}
            readers: dict[str, list[NodeProto]] = defaultdict(list)
            for node in self.graph.node:
                for name in _read_by(node):
                    readers[name].append(node)
            self._found = makers, readers
        return self._found

    def _header(self, name: str) -> TensorProto | None:
        """The tensor in the copy that stands for a weight; None for sparse ones and for plain numbers."""
        if name not in self._headers:
            self._headers = weight_tensors(self.graph)
        return self._headers.get(name)

    def _densified(self, name: str) -> Weight:
        """The weight; a sparse one is a dense one from now on."""
        weight = self._weights[name]
        if not isinstance(weight.base, SparseTensorProto) or self._header(name) is not None:
            return weight
        header = TensorProto(name=name, data_type=weight.data_type, dims=weight.shape)
        leave_out(header, "raw_data")
        for index, sparse in enumerate(self.graph.sparse_initializer):
            if sparse.values.name == name:
                del self.graph.sparse_initializer[index]
                self.graph.initializer.append(header)
                return weight
        node = next(node for node in self.graph.node if name in node.output)
        header.ClearField("name")
        del node.attribute[:]
        node.attribute.add(name="value", type=AttributeProto.TENSOR, t=header)
        return weight

    def _put(self, weight: Weight) -> None:
        """Keep the weight, and let what the graph says of its shape follow."""
        before = self._weights[weight.name].shape
        self._weights[weight.name] = weight
        if weight.shape == before:
            return
        header = self._header(weight.name)
        if header is not None:
            header.dims[:] = weight.shape
        for info in (*self.graph.input, *self.graph.output, *self.graph.value_info):
            if info.name == weight.name and info.type.tensor_type.HasField("shape"):
                _declare(info.type.tensor_type.shape, weight.shape)

    def _add(self, weight: Weight) -> None:
        header = TensorProto(name=weight.name, data_type=weight.data_type, dims=weight.shape)
        if weight.external:
            header.data_location = TensorProto.EXTERNAL
            for key in ("location", "offset", "length"):  # filled in when it is written
                header.external_data.add(key=key, value="")
        else:
            leave_out(header, "raw_data")
        self.graph.initializer.append(header)
        self._weights[weight.name] = weight
        if self.model.ir_version < _INPUTS_UNTIL_IR:
            info = self.graph.input.add(name=weight.name)
            info.type.tensor_type.elem_type = weight.data_type
            _declare(info.type.tensor_type.shape, weight.shape)

    def _outcome(self, metadata: Mapping[str, str]) -> Outcome:
        """The model as it is to be written, in a copy, and the contents of its tensors."""
        model = ModelProto()
        model.CopyFrom(self.model)
        contents = {
            name: self._weights[name].content()
            for name, tensor in weight_tensors(model.graph).items()
            if name in self._weights and tensor.data_location == TensorProto.EXTERNAL
        }
        for node in model.graph.node:
            weight = self._weights.get(node.output[0]) if len(node.output) == 1 else None
            if weight is not None and isinstance(weight.base, AttributeProto) and weight.changed:
                _set_numbers(node, weight.values())
        if metadata and self.changed:
            _add_metadata(model, metadata)
        place = self.checkpoint.place
        return Outcome(model, contents, lambda where: range_piece(place, where))


def _position(graph: GraphProto, node: NodeProto) -> int:
    return next(index for index, other in enumerate(graph.node) if other is node)


def _read_by(node: NodeProto) -> set[str]:
    """Names of the graph around that the node reads, itself or in its subgraphs."""
    read = {name for name in node.input if name}
    for graph in subgraphs(node):
        read |= _outside(graph)
    return read


def _outside(graph: GraphProto) -> set[str]:
    """Names that a subgraph reads and does not define."""
    read = {info.name for info in graph.output}.union(*(_read_by(node) for node in graph.node))
    own = {tensor.name for tensor in graph.initializer} | {info.name for info in graph.input}
    own |= {tensor.values.name for tensor in graph.sparse_initializer}
    return read - own - {name for node in graph.node for name in node.output}


def _all_names(proto: ModelProto) -> set[str]:
    """Every name that a tensor or node bears anywhere in the model."""
    names: set[str] = set()
    for graph in graphs(proto):
        names.update(tensor.name for tensor in graph.initializer)
        names.update(tensor.values.name for tensor in graph.sparse_initializer)
        names.update(info.name for info in (*graph.input, *graph.output, *graph.value_info))
    for node in nodes(proto):
        names.update((node.name, *node.input, *node.output))
    return names


def _unread(graph: GraphProto) -> set[str]:
    """Weights and outputs of nodes that nothing reads, of a node only where no output of it is read."""
    read = {info.name for info in graph.output}.union(*(_read_by(node) for node in graph.node))
    for annotation in graph.quantization_annotation:
        read.update(entry.value for entry in annotation.quant_parameter_tensor_names)
    found = {tensor.name for tensor in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    for node in graph.node:
        if not read.intersection(node.output):
            found.update(name for name in node.output if name)
    return found - read


def _remove(graph: GraphProto, names: set[str]) -> None:
    """Take out what bears these names: nodes, initializers, and declarations of them."""
    made = [[name for name in node.output if name] for node in graph.node]
    _delete(graph.node, [bool(outputs) and names.issuperset(outputs) for outputs in made])
    _delete(graph.sparse_initializer, [t.values.name in names for t in graph.sparse_initializer])
    for field in (graph.initializer, graph.input, graph.value_info):
        _delete(field, [item.name in names for item in field])


def _delete(field: MutableSequence[Any], gone: Sequence[bool]) -> None:
    for index in reversed(range(len(gone))):
        if gone[index]:
            del field[index]


def _declare(declared: TensorShapeProto, shape: tuple[int, ...]) -> None:
    """Let a declared shape say what the shape is."""
    del declared.dim[:]
    for size in shape:
        declared.dim.add(dim_value=size)


def _set_numbers(node: NodeProto, array: Array) -> None:
    """Put the array into a Constant node that says it in plain numbers; a matrix makes it a tensor."""
    floating = array.dtype.kind == "f"
    del node.attribute[:]
    if array.ndim > 1:
        tensor = TensorProto(data_type=onnx_type(array.dtype), dims=array.shape, raw_data=array.tobytes())
        node.attribute.add(name="value", type=AttributeProto.TENSOR, t=tensor)
    elif array.ndim == 1 and floating:
        node.attribute.add(name="value_floats", type=AttributeProto.FLOATS, floats=array.tolist())
    elif array.ndim == 1:
        node.attribute.add(name="value_ints", type=AttributeProto.INTS, ints=array.tolist())
    elif floating:
        node.attribute.add(name="value_float", type=AttributeProto.FLOAT, f=float(array))
    else:
        node.attribute.add(name="value_int", type=AttributeProto.INT, i=int(array))


def _add_metadata(model: ModelProto, metadata: Mapping[str, str]) -> None:
    for key in sorted(metadata):
        entries = [entry for entry in model.metadata_props if entry.key == key]
        (entries[0] if entries else model.metadata_props.add(key=key)).value = metadata[key]


def _parameters(data_type: int, shape: tuple[int, ...]) -> int:
    """Elements that count as parameters: as `nla.graph.loading.count_parameters` counts them."""
    elements, name = prod(shape), type_name(data_type)
    if name.startswith(("float", "double", "bfloat")):
        return elements
    small = name in ("int8", "uint8", "int4", "uint4", "int2", "uint2")
    return elements if small and elements > 1 else 0
