"""Channels that cannot leave a graph, and what keeps them.

A channel may leave where every node that touches it is one whose weights or attributes can be cut with it. It
stays where it reaches an output, where channels are weighed against one another, where nobody follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import onnx_ir as ir

from nla.graph import query
from nla.graph.channels import Channels, Fact
from nla.graph.query import SIZES
from nla.graph.recurrent import Recurrent, zeros
from nla.graph.steps.elementwise import TOGETHER
from nla.graph.steps.normalising import SKIPS
from nla.graph.walk import Walk
from nla.graph.weighted import Weighted

Kept = tuple[Channels, str]
"""Channels that stay, and what keeps them: a noun phrase that goes on from 'kept by'."""

Along = Callable[[Channels], tuple[int, ...]]
"""The axes of a tensor's channels along which some can leave and others stay."""

_STATED = {"Reshape": (1,), "Expand": (1,), "Resize": (2, 3)}
"""Operands that state sizes, those of the channels' axes among them: they are edited when channels leave."""

_SIZE_STEPS = 64


def depthwise(layer: Weighted) -> bool:
    """True where every output channel is made of one input channel of its own."""
    return layer.groups == layer.inputs > 1


class Keeping:
    """What keeps channels in the graph of a finished walk."""

    def __init__(self, walk: Walk, attention: Mapping[ir.Node, str], along: Along) -> None:
        """`attention` says of nodes of attention why their heads stay, "" where they can leave."""
        self._walk = walk
        self._flow = walk.flow
        self._attention = attention
        self._along = along

    def all(self) -> Iterator[Kept]:
        """All channels that stay and why, in graph order."""
        for node in self._walk.nodes:
            if any(value not in self._flow.constants for value in node.outputs if value.name):
                yield from self._at(node)
        yield from self._each(
            self._walk.graph.outputs, lambda value: f"the graph output '{query.name(value)}'"
        )

    def _at(self, node: ir.Node) -> Iterator[Kept]:
        why, walk = self._attention.get(node), self._walk
        if query.is_control_flow(node):
            yield from self._each(query.captured(node), f"{_named(node)}, whose bodies are left alone")
        elif why is not None:
            both = (*query.operands(node), *node.outputs)
            yield from self._each(both, f"{_named(node)}, attention {why}") if why else ()
        elif node in walk.layers:
            yield from self._at_layer(walk.layers[node])
        elif node in walk.cells:
            yield from self._at_cell(walk.cells[node])
        elif query.kind(node) not in SIZES:
            yield from self._at_step(node)

    def _each(self, values: Sequence[ir.Value], why: str | Callable[[ir.Value], str]) -> Iterator[Kept]:
        for value in values:
            fact = self._flow.channels(value)
            if fact is not None:
                yield fact, why if isinstance(why, str) else why(value)

    # --- weighted nodes

    def _at_layer(self, layer: Weighted) -> Iterator[Kept]:
        node = layer.node
        beside = [v for v in query.operands(node) if v is not layer.data and v is not layer.added]
        yield from self._each(beside, f"{_named(node)}, which computes with it")
        yield from self._read(layer)
        made = self._flow.channels(node.outputs[0])
        if made is None:
            return
        if layer.spread is not None:
            yield made, f"{_named(node)}, whose channels lie on several axes"
        if depthwise(layer) and self._flow.channels(layer.data) is None:
            yield made, f"{_named(node)}, one channel of which reads one that is no neuron's"
        if layer.added is not None:
            yield from self._beside(node, made, [layer.added])

    def _read(self, layer: Weighted) -> Iterator[Kept]:
        """What the node reads, where its weights cannot lose the columns that read it."""
        data, where = self._flow.channels(layer.data), _named(layer.node)
        if data is None:
            return
        if data.axes != layer.in_axes or data.index.shape != layer.in_shape:
            yield data, f"{where}, which reads along another axis than the channels'"
        elif layer.spread is not None:
            yield data, f"{where}, whose channels lie on several axes"
        elif query.kind(layer.node) == "com.microsoft.MatMulNBits":
            yield data, f"{where}, whose weights are packed in blocks of input channels"

    def _at_cell(self, cell: Recurrent) -> Iterator[Kept]:
        node = cell.node
        where = f"the states of {_named(node)}"
        yield from self._each(query.operands(node)[1:], where)
        yield from self._read(cell.weighted)
        states = [value for at in (5, 6) if (value := query.operand(node, at)) is not None]
        if not all(state in self._flow.constants or zeros(state, self._flow.constants) for state in states):
            yield from self._each(node.outputs, f"{where}, which are given from outside")
        last = query.output(node, 2)  # the cell state, which is followed nowhere
        if last is not None and (last.is_graph_output() or query.readers(last, 1)):
            yield from self._each(node.outputs, f"{where}, which are read")

    # --- steps between them

    def _at_step(self, node: ir.Node) -> Iterator[Kept]:
        made = [fact for value in node.outputs if (fact := self._flow.channels(value)) is not None]
        through = self._through(node, made[0]) if made else ()
        ended = [value for value in query.operands(node) if not any(value is one for one in through)]
        yield from self._each(ended, _ending(node, self._flow.fact(query.output(node))))
        for fact in made:
            if fact.mixed:
                yield fact, f"{_named(node)}, a normalisation over channels"
        if not made:
            return
        yield from self._beside(node, made[0], self._partners(node, made[0], through))
        for at in _STATED.get(query.kind(node), ()):
            sizes = query.operand(node, at)
            if sizes is not None and not self._is_editable(sizes):
                yield from self._each(node.outputs, f"{_named(node)}, whose sizes the data decides")

    def _through(self, node: ir.Node, made: Channels) -> tuple[ir.Value, ...]:
        """The operands whose channels the node hands on."""
        kind, operands = query.kind(node), query.operands(node)
        if kind in TOGETHER or kind == "Concat":
            return operands
        if kind in ("com.microsoft.QLinearAdd", "com.microsoft.QLinearMul"):
            return _present([query.operand(node, at) for at in (0, 3)])
        if kind == "com.microsoft.QLinearConcat":
            return operands[2::3]
        if kind in SKIPS:
            return _present([query.operand(node, at) for at in (0, 1, 3 if "Simplified" in kind else 4)])
        if kind == "MatMul":  # positions are mixed: the factor with the channels of the product goes through
            sides = zip(operands, (-2, -1), strict=False)
            facts = [(value, axis, self._flow.channels(value)) for value, axis in sides]
            return tuple(v for v, axis, f in facts if f is not None and f.axes == made.axes == (axis,))
        return operands[:1]

    def _partners(self, node: ir.Node, made: Channels, through: Sequence[ir.Value]) -> Sequence[ir.Value]:
        """The operands that are combined with the channels element by element, or hold something of each."""
        kind = query.kind(node)
        if kind in ("Concat", "com.microsoft.QLinearConcat"):
            rank = made.rank if made.rank is not None else self._flow.rank(node.outputs[0])
            axis = query.integer(node, "axis")
            own = axis if axis < 0 else None if rank is None else axis - rank
            return () if own in made.axes else through
        if kind == "InstanceNormalization":
            return query.operands(node)[1:]
        together = kind in TOGETHER or kind in SKIPS or kind.startswith("com.microsoft.QLinear")
        return through if together else ()

    def _beside(self, node: ir.Node, made: Channels, values: Sequence[ir.Value]) -> Iterator[Kept]:
        """What is combined with channels must shrink with them, as a constant can, or be one for all."""
        for value in values:
            fact = self._flow.channels(value)
            if fact is not None and fact.size < made.size:
                yield fact, f"{_named(node)}, which spreads it over other channels"
            elif fact is None and value not in self._flow.constants and not self._is_one_for_all(made, value):
                yield made, f"{_named(node)}, where they meet '{query.name(value)}', which has no neurons"

    def _is_one_for_all(self, made: Channels, value: ir.Value) -> bool:
        """True where the value is known to be spread over the axes along which channels can leave."""
        dims = self._flow.shapes.dims(value)
        return dims is not None and all(len(dims) < -axis or dims[axis] == 1 for axis in self._along(made))

    def _is_editable(self, sizes: ir.Value) -> bool:
        """True where constants and the sizes of tensors alone decide what it holds."""
        pending, seen = [sizes], {sizes}
        while pending:
            value = pending.pop()
            node = value.producer()
            if value in self._flow.constants or (node is not None and query.kind(node) in SIZES):
                continue
            if node is None or query.is_control_flow(node) or len(seen) > _SIZE_STEPS:
                return False
            new = [operand for operand in query.operands(node) if operand not in seen]
            seen.update(new)
            pending.extend(new)
        return True


def _named(node: ir.Node) -> str:
    return f"{query.kind(node)} '{query.node_name(node)}'"


def _ending(node: ir.Node, lost: Fact) -> str:
    """Why channels end at the node: what the walk said, where it said so of this node."""
    if lost is None or isinstance(lost, Channels) or not lost.reason.startswith(_named(node)):
        return f"{_named(node)}, after which they are not followed"
    return lost.reason


def _present(values: Sequence[ir.Value | None]) -> tuple[ir.Value, ...]:
    return tuple(value for value in values if value is not None)
