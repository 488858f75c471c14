"""Normalisations: per channel (BatchNormalization), or among channels (LayerNormalization)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from nla.graph import query
from nla.graph.channels import Channels, Fact
from nla.graph.flow import Flow
from nla.graph.steps.elementwise import merge
from nla.graph.steps.rules import Rule, channel_front, first


def _batch(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact = first(flow, node)
    if not isinstance(fact, Channels):
        return [fact]
    parameters = [query.operand(node, at) for at in range(1, 5)]
    constant = all(value is None or value in flow.constants for value in parameters)
    on_axis = channel_front(flow, fact, query.operand(node, 0)) == 1
    return [
        replace(fact, mixed=fact.mixed or not constant, extra=fact.extra + (4 if on_axis and constant else 0))
    ]


def _instance(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact = first(flow, node)
    if not isinstance(fact, Channels):
        return [fact]
    on_axis = channel_front(flow, fact, query.operand(node, 0)) == 1
    return [replace(fact, mixed=fact.mixed or not on_axis, extra=fact.extra + (2 if on_axis else 0))]


def _mean_variance(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact = first(flow, node)
    if not isinstance(fact, Channels):
        return [fact]
    axes, front = query.integers(node, "axes") or (0, 2, 3), channel_front(flow, fact, query.operand(node, 0))
    return [replace(fact, mixed=fact.mixed or front is None or front in axes)]


def _across(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    """Channels stay where they are, and each now depends on the others."""
    fact = first(flow, node)
    if not isinstance(fact, Channels):
        return [fact]
    shapes = [flow.constants.shape(value) for value in query.operands(node)[1:]]
    return [replace(fact, mixed=True, extra=fact.extra + sum(shape == (fact.size,) for shape in shapes))]


def _skip(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    """com.microsoft.SkipLayerNormalization: adds its first two operands, and a bias, then normalises."""
    simplified = "Simplified" in node.op_type
    bias = query.operand(node, 3 if simplified else 4)
    added = [query.operand(node, 0), query.operand(node, 1), bias]
    whole = merge(flow, node, [value for value in added if value is not None])
    for value in added[:2]:
        fact = flow.fact(value)
        if isinstance(fact, Channels):
            flow.sources.residual.update(fact.sources())
    mixed = replace(whole, mixed=True) if isinstance(whole, Channels) else whole
    return [mixed, None, None, whole]


_ACROSS = (
    *("LayerNormalization", "GroupNormalization", "RMSNormalization", "LRN", "LpNormalization"),
    *(
        "SimplifiedLayerNormalization",
        "com.microsoft.SimplifiedLayerNormalization",
        "com.microsoft.GroupNorm",
    ),
)

SKIPS = ("com.microsoft.SkipLayerNormalization", "com.microsoft.SkipSimplifiedLayerNormalization")
"""Normalisations that add first."""

RULES: dict[str, Rule] = {
    "BatchNormalization": _batch,
    "InstanceNormalization": _instance,
    "MeanVarianceNormalization": _mean_variance,
    **dict.fromkeys(_ACROSS, _across),
    **dict.fromkeys(SKIPS, _skip),
}
