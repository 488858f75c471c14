"""The state of one walk over a graph: a fact for every value, and the sources behind the facts."""

from __future__ import annotations

import onnx_ir as ir

from nla.graph import query
from nla.graph.channels import Channels, Fact, Lost
from nla.graph.constants import Constants
from nla.graph.shapes import Shapes
from nla.graph.sources import Sources


class Flow:
    """What is known so far. Nodes are visited in graph order; rules make facts of outputs from inputs'."""

    def __init__(self, graph: ir.Graph, nodes: list[ir.Node]) -> None:
        self.opset = graph.opset_imports.get("", 1)
        self.constants = Constants(graph, nodes)
        self.shapes = Shapes(self.constants, graph.inputs)
        self.sources = Sources()
        self.probabilities: set[ir.Value] = set()
        """Values that are a softmax, masked or not: what attention weighs values with."""
        self._facts: dict[ir.Value, Fact] = {}

    def fact(self, value: ir.Value | None) -> Fact:
        """What is known of the value; None for a constant (or an operand left out)."""
        if value is None or value in self.constants:
            return None
        if value in self._facts:
            return self._facts[value]
        if value.is_graph_input():
            return Lost(f"the graph input '{query.name(value)}', with no weighted layer between")
        return Lost(f"'{query.name(value)}', which no node of the graph makes")

    def set(self, value: ir.Value | None, fact: Fact) -> None:
        """Record what is known of a value."""
        if value is not None and value not in self.constants:
            self._facts[value] = fact

    def channels(self, value: ir.Value | None) -> Channels | None:
        """The fact where channels are followed, else None."""
        found = self.fact(value)
        return found if isinstance(found, Channels) else None

    def rank(self, value: ir.Value | None) -> int | None:
        """The value's rank, from shapes or from what made its channels; None where neither tells."""
        known = self.shapes.rank(value)
        found = self.channels(value)
        return known if known is not None or found is None else found.rank

    def length(self, value: ir.Value | None, axis: int) -> int | None:
        """The value's size along a negative axis; None where it is unknown."""
        found = self.channels(value)
        if found is not None and axis in found.axes:
            return found.length(axis)
        dims = self.shapes.dims(value)
        if dims is None or len(dims) < -axis:
            return None
        size = dims[axis]
        return size if isinstance(size, int) else None

    def lose(self, node: ir.Node, why: str, *facts: Fact) -> Lost:
        """The fact of an output in which channels end: their sources are read by something not followed.

        A reason that already stands goes on; `why` names the node's part where the channels end here.
        """
        reason = f"{query.kind(node)} '{query.node_name(node)}', {why}"
        for fact in facts:
            self.sources.leak(fact, reason)
        noisy = any(isinstance(f, Channels | Lost) and f.noisy for f in facts)
        channels = any(isinstance(fact, Channels) for fact in facts)
        first = next((fact for fact in facts if isinstance(fact, Lost)), None)
        if first is not None and not channels:
            return first if first.noisy == noisy else Lost(first.reason, first.mixes, noisy)
        return Lost(reason, noisy=noisy)
