"""The user's model with tensors of the checkpoint as its weights: external, under the checkpoint's names."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from nla.architectures.builder import FLOATING, external
from nla.architectures.grafting.hidden import own_graphs
from nla.checkpoint.external import Place
from nla.checkpoint.safetensors_file import Stored
from nla.checkpoint.tensors import type_name
from nla.checkpoint.values import to_bytes
from nla.checkpoint.weights import read_external
from nla.checkpoint.wire import without
from nla.errors import ModelError, printable

_IR_VERSION = 4
"""From here on an initializer need not be an input too."""
_BFLOAT16_OPSET = 13
_LARGEST_OWN = 64 << 20
"""Bytes of external data that a graph may keep: they come into the protobuf."""


class Rewriting:
    """One rewriting: `proto` is the new model, into which no weight of the old one was copied."""

    def __init__(self, old: ModelProto, place: Place) -> None:
        self._old = old
        self._place = place
        self.proto: ModelProto = without(old, "graph")
        self.proto.graph.CopyFrom(without(old.graph, "initializer", "input", "value_info"))
        self.proto.ir_version = max(old.ir_version, _IR_VERSION)
        self._taken = _names(old)
        self._added: dict[str, None] = {}
        self._own_bytes = 0

    def run(
        self, pairs: Mapping[str, str], turned: Collection[str], stored: Mapping[str, Stored]
    ) -> ModelProto:
        """The model with tensor `pairs[name]` for initializer `name`, cast and transposed where needed."""
        graph = self.proto.graph
        renamed: dict[str, str] = {}
        new: list[NodeProto] = []
        for tensor in self._old.graph.initializer:
            if tensor.name not in pairs:
                graph.initializer.append(self._own(tensor))
                continue
            name = pairs[tensor.name]
            if name in self._taken and pairs.get(name) != name:
                raise ModelError(
                    f"tensor '{printable(name)}' of the checkpoint bears the name of another value of the graph"
                )
            value, made = self._value(tensor, name, tensor.name in turned, stored)
            new += made
            renamed[tensor.name] = value
        self._put_in(new, {old: value for old, value in renamed.items() if old != value})
        graph.input.extend(info for info in self._old.graph.input if info.name not in pairs)
        graph.value_info.extend(info for info in self._old.graph.value_info if info.name not in pairs)
        return self.proto

    def _value(
        self, tensor: TensorProto, name: str, turn: bool, stored: Mapping[str, Stored]
    ) -> tuple[str, list[NodeProto]]:
        """The value that takes the initializer's place, and the nodes that make it."""
        if name not in self._added:
            self._added[name] = None
            self.proto.graph.initializer.append(external(name, stored[name]))
        value, made = name, []
        element = FLOATING[stored[name].dtype]
        if element != tensor.data_type:
            self._check_opset(tensor)
            value = self._fresh(f"{name}.{type_name(tensor.data_type)}")
            made.append(helper.make_node("Cast", [name], [value], name=f"{value}/Cast", to=tensor.data_type))
        if turn:
            before, value = value, self._fresh(f"{name}.transposed")
            made.append(
                helper.make_node("Transpose", [before], [value], name=f"{value}/Transpose", perm=[1, 0])
            )
        return value, made

    def _check_opset(self, tensor: TensorProto) -> None:
        opset = next((o.version for o in self._old.opset_import if o.domain in ("", "ai.onnx")), 0)
        if opset < _BFLOAT16_OPSET:
            raise ModelError(
                f"initializer '{printable(tensor.name)}' is {type_name(tensor.data_type)} in the graph and of another "
                f"type in the checkpoint, and opset {opset} casts not all of them: export the graph with opset "
                f"{_BFLOAT16_OPSET} or later"
            )

    def _put_in(self, new: list[NodeProto], renamed: Mapping[str, str]) -> None:
        """Put the new nodes first and make every reader read the new values."""
        graph = self.proto.graph
        for inner in own_graphs(graph):
            for node in inner.node:
                for at, name in enumerate(node.input):
                    node.input[at] = renamed.get(name, name)
            for info in inner.output:
                if inner is not graph:
                    info.name = renamed.get(info.name, info.name)
        kept = list(graph.node)
        ends = [info.name for info in graph.output if info.name in renamed]
        if any(name in self._added for name in ends):
            raise ModelError(f"output '{printable(ends[0])}' of the graph is a weight")
        copies = [
            helper.make_node("Identity", [renamed[name]], [name], name=f"{name}/Identity") for name in ends
        ]
        del graph.node[:]
        graph.node.extend([*new, *kept, *copies])

    def _own(self, tensor: TensorProto) -> TensorProto:
        """An initializer that stays the graph's; external data comes in, for its file is not the checkpoint's."""
        if tensor.data_location != TensorProto.EXTERNAL:
            return tensor
        array = read_external(self._place, tensor)
        self._own_bytes += array.nbytes
        if self._own_bytes > _LARGEST_OWN:
            raise ModelError(
                f"initializer '{printable(tensor.name)}': the graph keeps more than {_LARGEST_OWN:,} bytes of external "
                "data of its own"
            )
        copy: TensorProto = without(tensor, "external_data", "data_location")
        copy.raw_data = to_bytes(array, tensor.data_type).tobytes()
        return copy

    def _fresh(self, name: str) -> str:
        chosen, at = name, 1
        while chosen in self._taken or chosen in self._added:
            chosen, at = f"{name}_{at}", at + 1
        self._taken.add(chosen)
        return chosen


def _names(proto: ModelProto) -> set[str]:
    """Every name of a value, in the main graph and in subgraphs."""
    found: set[str] = set()
    for graph in own_graphs(proto.graph):
        infos: list[ValueInfoProto] = [*graph.input, *graph.output]
        found.update(info.name for info in infos)
        found.update(tensor.name for tensor in graph.initializer)
        found.update(name for node in graph.node for name in (*node.input, *node.output))
    return found
