"""Attention: which values are softmaxed scores, what they weigh, and where one head ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.activations.pattern import KEEPING
from nla.graph.channels import Channels, Fact, fresh, mapped
from nla.graph.einsum import terms
from nla.graph.flow import Flow
from nla.graph.producers import read
from nla.graph.sources import AttentionSource, WeightedSource
from nla.graph.weighted import Weighted, read_width

_PASSING = (
    *KEEPING,
    *("Where", "Mul", "Div", "Reshape", "Squeeze", "Unsqueeze", "Expand", "Slice", "Split"),
    *("QuantizeLinear", "DequantizeLinear"),
)
"""Steps after which scores are still what values are weighed with: masks, dropout, layout."""


def track(flow: Flow, node: ir.Node) -> None:
    """Mark the node's outputs if they are softmaxed scores."""
    kind = query.kind(node)
    made = kind == "Softmax" or (kind == "Div" and _is_softmax(node))
    passed = kind in _PASSING and any(value in flow.probabilities for value in query.operands(node))
    if made or passed:
        flow.probabilities.update(value for value in node.outputs if value.name)


def _is_softmax(node: ir.Node) -> bool:
    """exp(s) / sum of exp(s)."""
    top, below = query.operand(node, 0), query.operand(node, 1)
    maker = None if top is None else top.producer()
    if top is None or below is None or maker is None or query.kind(maker) != "Exp":
        return False
    for _ in range(4):
        node_below = below.producer()
        if node_below is None or not query.operands(node_below):
            return False
        below = query.operands(node_below)[0]
        if query.kind(node_below) == "ReduceSum":
            return below is top
        if query.kind(node_below) not in (*_PASSING, "Clip", "Max"):
            return False
    return False


def weighed(flow: Flow, node: ir.Node) -> Fact:
    """The fact of values weighed with softmaxed scores, by MatMul or Einsum; None where the node is not that."""
    output = query.output(node)
    parts = scores_and_values(flow, node)
    if parts is None or output is None:
        return None
    scores, values, axes = parts
    where = f"{query.kind(node)} '{query.node_name(node)}', attention"
    for value in (scores, values):
        flow.sources.leak(flow.fact(value), where)
    size = flow.length(values, axes.value_channels) or flow.length(output, axes.channels)
    ranks = [rank for rank in map(flow.rank, (scores, values, output)) if rank is not None]
    if size is None or not ranks:
        return flow.lose(node, "attention whose heads have no known size", flow.fact(values))
    if axes.heads is None or (axes.heads == STACKED and max(ranks) < 4):
        # one head, or heads beside the batch
        return _source(flow, output, {axes.channels: size}, None, values)
    places = ((output, axes.heads), (scores, axes.score_heads), (values, axes.value_heads))
    known = [count for count in (flow.length(value, axis) for value, axis in places) if count is not None]
    if not known:
        return flow.lose(node, "attention whose heads cannot be counted", flow.fact(values))
    return _source(flow, output, {axes.heads: max(known), axes.channels: size}, axes.heads, values)


STACKED = -3
"""Axis of heads in a stack of matrices [batch, heads, tokens, channels]."""


@dataclass(frozen=True)
class Axes:
    """Where heads and their channels lie; None where the operator shows no heads."""

    channels: int
    heads: int | None = STACKED
    value_channels: int = -1
    value_heads: int = STACKED
    score_heads: int = STACKED


def scores_and_values(flow: Flow, node: ir.Node) -> tuple[ir.Value, ir.Value, Axes] | None:
    """What a MatMul or Einsum weighs values with, the values, and where heads lie; None where it does not."""
    return _by_einsum(flow, node) or _by_matmul(flow, node)


def _by_matmul(flow: Flow, node: ir.Node) -> tuple[ir.Value, ir.Value, Axes] | None:
    """(scores, values, axes) where the node weighs values with scores."""
    left, right = query.operand(node, 0), query.operand(node, 1)
    if query.kind(node) not in ("MatMul", "com.microsoft.FusedMatMul") or left is None or right is None:
        return None
    if left in flow.constants or right in flow.constants:
        return None
    if left in flow.probabilities:
        return left, right, Axes(-1, value_channels=-1)
    return (right, left, Axes(-2, value_channels=-2)) if right in flow.probabilities else None


def _by_einsum(flow: Flow, node: ir.Node) -> tuple[ir.Value, ir.Value, Axes] | None:
    letters = terms(node)
    if letters is None:
        return None
    scores, values = query.operands(node)
    if scores not in flow.probabilities:
        scores, values, letters = values, scores, letters.swapped()
    if scores not in flow.probabilities or values in flow.constants:
        return None
    own = [c for c in letters.right if c in letters.out and c not in letters.left]
    shared = [c for c in letters.out[1:] if c in letters.left and c in letters.right]
    if len(own) != 1 or len(shared) > 1:
        return None
    channels, in_values = letters.out.index(own[0]) - len(letters.out), letters.right.index(own[0])
    if not shared:
        return scores, values, Axes(channels, None, in_values - len(letters.right))
    places = [term.index(shared[0]) - len(term) for term in (letters.out, letters.right, letters.left)]
    return scores, values, Axes(channels, places[0], in_values - len(letters.right), places[1], places[2])


def _source(
    flow: Flow, value: ir.Value, sizes: dict[int, int], heads: int | None, values: ir.Value | None
) -> Channels:
    """Heads and their channels as a source; `sizes` by axis, `heads` the axis of heads if they have one."""
    axes = sorted(sizes)
    size = next(length for axis, length in sizes.items() if axis != heads)
    count = None if heads is None else sizes[heads]
    source = flow.sources.add(AttentionSource(value, size, count, flow.fact(values)))
    numbered = fresh(source, [sizes[axis] for axis in axes], axes, flow.shapes.rank(value))
    if heads is None or heads == axes[0]:
        return numbered
    return mapped(numbered, axes, lambda number: number.reshape(sizes[heads], size).T)


def fused(flow: Flow, node: ir.Node) -> Fact:
    """The fact of a fused attention operator's output; None where the node is none."""
    heads_of = _HEADS.get(query.kind(node))
    output = query.output(node)
    if heads_of is None or output is None:
        return None
    rank = flow.rank(query.operand(node, 0))
    heads = heads_of(node)
    _read(flow, node)
    if query.kind(node) == "Attention" and rank == 4:
        heads, size = flow.length(query.operand(node, 0), -3) or 0, flow.length(query.operand(node, 2), -1)
        if heads and size:
            return _source(flow, output, {-3: heads, -1: size}, -3, query.operand(node, 2))
    width = _width(flow, node, output)
    if heads < 1 or width is None or width % heads:
        facts = [flow.fact(value) for value in query.operands(node)]
        return flow.lose(node, "attention whose heads cannot be told", *facts)
    values = flow.fact(query.operand(node, 2))
    source = flow.sources.add(AttentionSource(output, width // heads, heads, values))
    return fresh(source, (width,), (-1,), 3)


def _read(flow: Flow, node: ir.Node) -> None:
    """Register who reads the operator's inputs: the projection inside com.microsoft.Attention, else no layer."""
    inside = query.kind(node) == "com.microsoft.Attention"
    for at, value in enumerate(query.operands(node)):
        if not inside or at > 0:
            flow.sources.leak(flow.fact(value), f"{query.kind(node)} '{query.node_name(node)}'")
    data, weight = query.operand(node, 0), query.operand(node, 1)
    shape = flow.constants.shape(weight)
    if (
        inside
        and data is not None
        and weight is not None
        and shape is not None
        and len(shape) == 2
        and all(shape)
    ):
        layer = Weighted(node, data, weight, -1, shape[0], -1, shape[1], 0, 1, parameters=shape[0])
        read(flow, layer, flow.sources.add(WeightedSource(layer, flow.fact(data))))


def _width(flow: Flow, node: ir.Node, output: ir.Value) -> int | None:
    """Channels of a fused attention's output: by its shape, by its reader, or by its values' width."""
    known = flow.length(output, -1) or read_width(output, flow.constants)
    if known is not None:
        return known
    return (
        flow.length(query.operand(node, 2), -1) if query.kind(node).endswith("MultiHeadAttention") else None
    )


def _count(*keys: str) -> Callable[[ir.Node], int]:
    return lambda node: next((query.integer(node, key) for key in keys if query.integer(node, key)), 0)


_HEADS: dict[str, Callable[[ir.Node], int]] = {
    "Attention": _count("q_num_heads"),
    **{
        f"com.microsoft.{name}": _count("num_heads")
        for name in (
            *("Attention", "MultiHeadAttention", "GroupQueryAttention", "PackedAttention", "SparseAttention"),
            *("PackedMultiHeadAttention", "DecoderMaskedMultiHeadAttention", "DecoderMaskedSelfAttention"),
            *("QAttention", "PagedAttention"),
        )
    },
}


def heads(flow: Flow, fact: Channels) -> int | str | None:
    """How many heads lie side by side, in the order of the fact; why that cannot be told; None: not attention's."""
    entry = None if fact.single is None else flow.sources.entries[fact.single]
    if not isinstance(entry, AttentionSource):
        return None
    within = np.arange(fact.size) % entry.size
    if fact.size % entry.size or not bool((fact.index.reshape(-1) % entry.size == within).all()):
        return "the channels of a head do not lie side by side where the output projection reads them"
    return fact.size // entry.size
