"""One stage of a graph as a protobuf that knows no names and holds no weights, so that equal stages are equal bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from nla.errors import ModelError, printable
from nla.graph.loading import ExternalWeight
from nla.graph.rewrite import frame, output, read_by, top_level, written

_INLINE_BYTES = 4096
"""Constants of the graph below this size stay in it: shapes depend on them."""


@dataclass(frozen=True)
class Weight:
    """A weight that is fed: its tensor, and whether it goes in as float32 although it is stored otherwise."""

    tensor: ir.TensorProtocol
    cast: bool

    @property
    def bytes_held(self) -> int:
        """Memory that feeding it takes: none where the file is mapped."""
        return 4 * self.tensor.size if self.cast else 0


@dataclass(frozen=True)
class StageGraph:
    """A stage, written down."""

    content: bytes
    """The serialised model; equal for stages of equal structure."""
    names: Mapping[str, str]
    """By tensor name, what inputs and outputs are called in `content`."""
    weights: Mapping[str, Weight]
    """By tensor name, the inputs that are weights."""
    inputs: tuple[str, ...]
    """The other inputs: the graph's own, and the cut before."""


def stage_graph(model: ir.Model, taps: Sequence[str], before: str | None) -> StageGraph:
    """What computes `taps` from the graph's inputs and the tensor `before`.

    Weights of the checkpoint are inputs. So is what a Cast makes of one, in the weight's place, if that is float32:
    the caller casts it, once for all batches, and the graph need not. `model` is not changed.
    Raises ModelError: no such tensor.
    """
    values = {str(value.name): value for value in top_level(model.graph)}
    missing = [name for name in (*taps, *((before,) if before else ())) if name not in values]
    if missing:
        raise ModelError(
            f"tensor '{printable(missing[0])}' is not in the graph (it may be inside a subgraph)"
        )
    given = set(model.graph.inputs) | ({values[before]} if before else set())
    nodes, ends = _walk([values[name] for name in taps], given, set(values.values()))
    proto = frame(model)
    proto.graph.name = "stage"
    proto.graph.node.extend(written(node) for node in nodes)
    weights, inputs = {}, []
    for value in ends:
        weight = None if value in given else _fed(value)
        if weight is not None:
            weights[str(value.name)] = weight
        elif value in given:
            inputs.append(str(value.name))
        if weight is not None or value in given:
            proto.graph.input.append(_declared(value, weight))
        else:
            assert value.const_value is not None
            added = ir.serde.serialize_tensor(value.const_value)
            added.name = str(value.name)
            proto.graph.initializer.append(added)
    for name in taps:
        proto.graph.output.append(output(values[name]))
    names = _rename(proto)
    return StageGraph(proto.SerializeToString(deterministic=True), names, weights, tuple(inputs))


def _walk(
    taps: Iterable[ir.Value], given: set[ir.Value], outside: set[ir.Value]
) -> tuple[list[ir.Node], list[ir.Value]]:
    """The nodes on the way to the taps and what they begin with, both in the order of the operands.

    That order depends on the structure alone, whatever the order in which the graph lists its nodes. `outside` are
    the tensors that are not inside the body of a node.
    """
    nodes: list[ir.Node] = []
    ends: list[ir.Value] = []
    done: set[object] = set()
    waiting: list[tuple[ir.Value, bool]] = [(value, False) for value in reversed(list(taps))]
    while waiting:
        value, entered = waiting.pop()
        node = value.producer()
        if value not in outside or value in done:
            continue
        if value in given or node is None or _cast_of_weight(value) is not None:
            done.add(value)
            ends.append(value)
        elif entered:
            if node not in done:
                done.add(node)
                nodes.append(node)
        elif node not in done:
            waiting.append((value, True))
            waiting.extend((operand, False) for operand in reversed(list(read_by(node))))
    return nodes, ends


def _cast_of_weight(value: ir.Value) -> ir.TensorProtocol | None:
    """The weight of the checkpoint that a Cast makes this float32 of; None where it is nothing of the kind."""
    node = value.producer()
    if node is None or node.op_type != "Cast" or node.domain not in ("", "ai.onnx"):
        return None
    source, to = node.inputs[0], node.attributes.get("to")
    tensor = None if source is None or not source.is_initializer() else source.const_value
    if tensor is None or to is None or to.value != ir.DataType.FLOAT or not tensor.dtype.is_floating_point():
        return None
    return tensor if isinstance(tensor, ExternalWeight) or tensor.nbytes >= _INLINE_BYTES else None


def _fed(value: ir.Value) -> Weight | None:
    """The weight to feed for a value; None where the graph keeps it.

    Small weights of the checkpoint are fed too: stages of equal structure differ in them.
    """
    cast = _cast_of_weight(value)
    if cast is not None:
        return Weight(cast, True)
    tensor = value.const_value
    if tensor is None or tensor.dtype.bitwidth < 8 or tensor.dtype == ir.DataType.STRING:
        return None
    floats = isinstance(tensor, ExternalWeight) and tensor.dtype.is_floating_point()
    return Weight(tensor, False) if floats or tensor.nbytes >= _INLINE_BYTES else None


def _declared(value: ir.Value, weight: Weight | None) -> onnx.ValueInfoProto:
    """An input with its type, and its shape as far as it is known."""
    if weight is None:
        known = value.type or ir.TensorType(ir.DataType.FLOAT)
        return ir.serde.serialize_value(ir.Value(name=value.name, shape=value.shape, type=known))
    kind = ir.DataType.FLOAT if weight.cast else weight.tensor.dtype
    shape = ir.Shape(weight.tensor.shape.numpy())
    return ir.serde.serialize_value(ir.Value(name=value.name, shape=shape, type=ir.TensorType(kind)))


def _bodies(attribute: onnx.AttributeProto) -> Iterable[onnx.GraphProto]:
    return (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs)


def _rename(proto: onnx.ModelProto) -> dict[str, str]:
    """Number the tensors in the order in which nodes name them; what each is called now."""
    names: dict[str, str] = {"": ""}

    def number(name: str) -> str:
        return names.setdefault(name, f"t{len(names)}")

    def visit(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            node.name = ""
            node.input[:] = [number(name) for name in node.input]
            for attribute in node.attribute:
                for body in _bodies(attribute):
                    visit(body)
            node.output[:] = [number(name) for name in node.output]
        for listed in (graph.input, graph.output, graph.initializer, graph.value_info):
            for each in listed:
                each.name = number(each.name)

    visit(proto.graph)
    _name_sizes(proto.graph.input)
    for listed in (proto.graph.input, proto.graph.initializer):
        ordered = sorted(listed, key=lambda each: int(each.name[1:]))
        del listed[:]
        listed.extend(ordered)
    return names


def _name_sizes(inputs: Iterable[onnx.ValueInfoProto]) -> None:
    """Number the free sizes too: inference names them as it goes."""
    sizes: dict[str, str] = {}
    for each in sorted(inputs, key=lambda info: int(info.name[1:])):
        for size in each.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = sizes.setdefault(size.dim_param, f"n{len(sizes)}")
