"""Heads of attention that is written out: what must leave a graph with each of them.

A head is a slice of queries, keys and values, a slice of the scores, and a slice of what the output projection
reads. Scores carry no channels, so they are followed here: back from what weighs the values, through softmax
and masks, to the products of queries and keys.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from nla.graph import query
from nla.graph.attention import STACKED, scores_and_values
from nla.graph.channels import Channels, transposed
from nla.graph.einsum import terms
from nla.graph.flow import Flow
from nla.graph.query import SIZES
from nla.graph.steps.elementwise import TOGETHER

_STEPS = 64
"""Nodes between queries and the weighing of values: masks, softcaps and a softmax written out are a dozen."""

_ALONE = ("Identity", "Cast", "Dropout", "Neg", "Exp", "Tanh", "Clip", "IsNaN", "IsInf", "Not", "Softmax")
_ALONG = ("ReduceMax", "ReduceSum")
"""Parts of a softmax that is written out."""

_SCALED = ("QuantizeLinear", "DequantizeLinear")

_PRODUCTS = ("MatMul", "com.microsoft.FusedMatMul", "Einsum")


@dataclass(frozen=True, eq=False)
class Heads:
    """One attention whose heads can leave one by one."""

    count: int
    members: tuple[tuple[Channels, int], ...]
    """Queries, keys, values and what the attention makes, with the axis of the heads in each."""
    scores: dict[ir.Value, int]
    """Scores, masked, softmaxed or not, with the axis of the heads in each."""
    nodes: frozenset[ir.Node]
    """The products of queries and keys, of scores and values: they compute with channels on both sides. Besides,
    steps between them that follow the heads by themselves."""
    views: dict[ir.Value, Channels]
    """Keys that were transposed as a stack of matrices: where their channels lie."""


def told_apart(flow: Flow, node: ir.Node) -> Heads | str:
    """The heads of the attention that the node ends; why they cannot leave, what goes on from 'attention'."""
    parts = scores_and_values(flow, node)
    made = flow.channels(query.output(node))
    if parts is None:
        return "in one operator, whose heads are not cut"
    scores, values, axes = parts
    if made is None or axes.heads is None or axes.heads not in made.axes:
        return "whose heads have no axis of their own"
    count = made.length(axes.heads) or 0
    weighed = flow.channels(values)
    if weighed is None or weighed.length(axes.value_heads) != count:
        return "whose values are not those of as many heads"
    found = _Scores(flow, count)
    why = found.follow(scores, axes.score_heads) or found.escape(node)
    if why:
        return why
    members = ((made, axes.heads), (weighed, axes.value_heads), *found.factors)
    return Heads(count, members, found.values, frozenset((node, *found.products)), found.views)


class _Scores:
    """The scores behind one attention, followed back to queries and keys."""

    def __init__(self, flow: Flow, count: int) -> None:
        self._flow = flow
        self._count = count
        self.values: dict[ir.Value, int] = {}
        self.factors: list[tuple[Channels, int]] = []
        self.products: list[ir.Node] = []
        self.views: dict[ir.Value, Channels] = {}
        self._nodes: set[ir.Node] = set()

    def follow(self, scores: ir.Value, axis: int) -> str:
        """Learn where the scores come from; why that cannot be told, "" where it can."""
        pending = [(scores, axis)]
        while pending:
            value, axis = pending.pop()
            if value in self.values:
                if self.values[value] != axis:
                    return "whose scores change their axes"
                continue
            node = value.producer()
            if node is None or value is not query.output(node) or len(self._nodes) >= _STEPS:
                return "whose scores come from elsewhere"
            self.values[value] = axis
            self._nodes.add(node)
            before = self._product(node, axis) if query.kind(node) in _PRODUCTS else self._step(node, axis)
            if before is None:
                return f"whose scores come from {query.kind(node)} '{query.node_name(node)}'"
            pending.extend((operand, axis) for operand in before)
        return ""

    def escape(self, attention: ir.Node) -> str:
        """Why the scores are needed elsewhere; "" where they are not."""
        for value in self.values:
            if value.is_graph_output():
                return f"whose scores are the graph output '{query.name(value)}'"
            for use in value.uses():
                reader = use.node
                inside = reader in self._nodes or reader is attention or query.kind(reader) in SIZES
                if not inside:
                    return f"whose scores {query.kind(reader)} '{query.node_name(reader)}' reads too"
        return ""

    def _product(self, node: ir.Node, axis: int) -> list[ir.Value] | None:
        """Queries times keys: both have the heads."""
        places = _places(node, axis)
        left, right = query.operand(node, 0), query.operand(node, 1)
        if places is None or left is None or right is None:
            return None
        for value, place in zip((left, right), places, strict=True):
            fact = self._flow.channels(value) or self._transposed(value, node)
            if fact is None or fact.length(place) != self._count:
                return None
            self.factors.append((fact, place))
        self.products.append(node)
        return []

    def _transposed(self, value: ir.Value, product: ir.Node) -> Channels | None:
        """Where channels lie after batch and heads became one axis, matrices were transposed, and the axes came back.

        So PyTorch exports the transpose of keys; with a batch of any size the axis between is not followed. The
        newer exporter scales keys behind it.
        """
        scaled, steps = [value], [product]
        while (scaling := scaled[-1].producer()) is not None and self._is_scaling(scaling):
            scaled.append(query.operands(scaling)[0])
            steps = [scaling]
        current = scaled[-1]
        for kind in ("Reshape", "Transpose", "Reshape"):
            node = current.producer()
            if node is None or query.kind(node) != kind or not _reads_alone(steps[-1], current):
                return None
            steps.append(node)
            current = query.operands(node)[0]
        fact = self._flow.channels(current)
        if fact is None or query.integers(steps[2], "perm") != (0, 2, 1):
            return None
        view = transposed(replace(fact, rank=4), (0, 1, 3, 2))
        if view is None or not self._comes_back(current, steps[3], scaled[-1]):
            return None
        self.views.update(dict.fromkeys(scaled, view))
        self.products.extend(steps[1:])
        return view

    def _is_scaling(self, node: ir.Node) -> bool:
        """True for a product with one number, or a quotient."""
        operands = query.operands(node)
        factor = self._flow.constants.scalar(operands[1]) if len(operands) == 2 else None
        alone = len(node.outputs) == 1 and len(node.outputs[0].uses()) == 1
        return query.kind(node) in ("Mul", "Div") and factor is not None and alone

    def _comes_back(self, start: ir.Value, merge: ir.Node, end: ir.Value) -> bool:
        """True where [batch, heads, n, m] became [any, n, m], and is [batch, heads, m, n] at the end."""
        dims = [self._flow.shapes.dims(value) for value in (start, merge.outputs[0], end)]
        before, between, after = ([None] if each is None else list(each) for each in dims)
        target = self._flow.shapes.elements(query.operand(merge, 1))
        if len(before) != 4 or None in before[1:] or target is None or target[0] != -1:
            return False
        return between[1:] == before[2:] and after[1:] == [before[1], before[3], before[2]]

    def _step(self, node: ir.Node, axis: int) -> list[ir.Value] | None:
        """The operands that are scores too; None where heads do not stay apart."""
        kind, operands = query.kind(node), query.operands(node)
        if kind in TOGETHER:
            return [value for value in operands if self._has_heads(value, axis)]
        if kind in _ALONG:
            axes = query.integers(node, "axes") or self._flow.constants.integers(query.operand(node, 1))
            last = axes is not None and len(axes) == 1 and self._is_last(axes[0], operands[0])
            return [operands[0]] if last and query.integer(node, "keepdims", 1) and axis != -1 else None
        if kind == "Softmax":
            old = self._flow.opset < 13  # the softmax runs over all axes from `axis` on
            along = query.integer(node, "axis", 1 if old else -1)
            return [operands[0]] if axis != -1 and self._is_last(along, operands[0]) else None
        if kind in _SCALED:
            one = all(self._flow.constants.shape(operand) in ((), (1,)) for operand in operands[1:])
            return [operands[0]] if one else None
        return [operands[0]] if kind in _ALONE else None

    def _is_last(self, axis: int, value: ir.Value) -> bool:
        rank = self._flow.rank(value)
        return axis == -1 or (rank is not None and axis == rank - 1)

    def _has_heads(self, value: ir.Value, axis: int) -> bool:
        """False for a mask that all heads share, and for a constant, which surgery can slice."""
        if value in self._flow.constants:
            return False
        dims = self._flow.shapes.dims(value)
        return dims is None or (len(dims) >= -axis and dims[axis] != 1)


def _reads_alone(reader: ir.Node, value: ir.Value) -> bool:
    """True where nothing but the reader needs what the value holds."""
    others = (use.node for use in value.uses() if use.node is not reader)
    return not value.is_graph_output() and all(query.kind(node) in SIZES for node in others)


def _places(node: ir.Node, axis: int) -> tuple[int, int] | None:
    """The axis of the heads in both factors, where they lie on `axis` of the product."""
    if query.kind(node) != "Einsum":
        batched = any(query.integer(node, key) for key in ("transBatchA", "transBatchB"))
        return (STACKED, STACKED) if axis == STACKED and not batched else None
    letters = terms(node)
    if letters is None or len(letters.out) < -axis:
        return None
    head = letters.out[axis]
    if head not in letters.left or head not in letters.right:
        return None
    return letters.left.index(head) - len(letters.left), letters.right.index(head) - len(letters.right)
