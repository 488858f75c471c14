"""A model without the values of its weights: small, so that it can be copied, changed and compared freely."""

from __future__ import annotations

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from nla.checkpoint.values import field_of
from nla.checkpoint.wire import unknown, without

LEFT_OUT = "nla.field"
"""Key of an `external_data` entry: the tensor's values were left out, and lay in the field that it names."""
_LOCATED = "nla.located"
"""Key of an entry: the tensor said expressly that its values are inline."""
_CONSTANT_DOMAINS = ("", "ai.onnx")


def skeleton(model: ModelProto) -> ModelProto:
    """A copy of the model in which weights of the main graph (`is_weight_tensor`) have no values."""
    copy: ModelProto = without(model, "graph")
    copy.graph.CopyFrom(without(model.graph, "node", "initializer"))
    for node in model.graph.node:
        copy.graph.node.append(_bare_node(node))
    copy.graph.initializer.extend(bare(tensor) for tensor in model.graph.initializer)
    return copy


def constant_tensor(node: NodeProto) -> TensorProto | None:
    """The tensor of a Constant node that holds one, and nothing else."""
    if node.op_type != "Constant" or node.domain not in _CONSTANT_DOMAINS or len(node.output) != 1:
        return None
    if len(node.attribute) != 1 or node.attribute[0].name != "value" or not node.attribute[0].HasField("t"):
        return None
    tensor: TensorProto = node.attribute[0].t
    return tensor


def _bare_node(node: NodeProto) -> NodeProto:
    if constant_tensor(node) is None:
        return node
    copy: NodeProto = without(node, "attribute")
    copy.attribute.append(without(node.attribute[0], "t"))
    copy.attribute[0].t.CopyFrom(bare(node.attribute[0].t))
    return copy


def is_weight_tensor(tensor: TensorProto) -> bool:
    """Whether the tensor holds numbers."""
    return bool(tensor.data_type != TensorProto.STRING)


def bare(tensor: TensorProto) -> TensorProto:
    """The tensor without its values; what lies in an external file, and text, is as it was."""
    copy = TensorProto()
    if not is_weight_tensor(tensor) or tensor.data_location == TensorProto.EXTERNAL:
        copy.CopyFrom(tensor)
        return copy
    for field in ("dims", "metadata_props"):
        getattr(copy, field).MergeFrom(getattr(tensor, field))
    for field in ("data_type", "name", "doc_string"):
        if tensor.HasField(field):
            setattr(copy, field, getattr(tensor, field))
    copy.MergeFromString(unknown(tensor))
    leave_out(copy, field_of(tensor), located=tensor.HasField("data_location"))
    return copy


def leave_out(tensor: TensorProto, field: str, *, located: bool = False) -> None:
    """Mark a tensor without values; to every check of nla it is one whose values lie elsewhere."""
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key=LEFT_OUT, value=field)
    if located:
        tensor.external_data.add(key=_LOCATED, value="")


def left_out(tensor: TensorProto) -> str | None:
    """The field that held the values which were left out of this tensor; None where they are there or external."""
    keys = {entry.key: entry.value for entry in tensor.external_data}
    return keys.get(LEFT_OUT) if "location" not in keys else None


def brought_in(tensor: TensorProto) -> None:
    """Make the tensor, still without values, one that is inline."""
    located = any(entry.key == _LOCATED for entry in tensor.external_data)
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    if located:
        tensor.data_location = TensorProto.DEFAULT


def weight_tensors(graph: GraphProto) -> dict[str, TensorProto]:
    """The dense tensors of a graph that hold weights, by name: initializers, and values of Constant nodes."""
    found = {tensor.name: tensor for tensor in graph.initializer if is_weight_tensor(tensor)}
    for node in graph.node:
        tensor = constant_tensor(node)
        if tensor is not None and is_weight_tensor(tensor):
            found[node.output[0]] = tensor
    return found
