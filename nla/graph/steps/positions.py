"""MatMul of two computed tensors where one of them only mixes positions: a graph's adjacency, a pooling matrix."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from nla.graph import query
from nla.graph.channels import Channels, Fact, combined
from nla.graph.flow import Flow


def mixed_positions(flow: Flow, node: ir.Node) -> Fact:
    """The channels that go through, each by itself: a channel that is zero everywhere stays so. None otherwise."""
    if query.kind(node) != "MatMul":
        return None
    facts = [flow.fact(query.operand(node, at)) for at in (0, 1)]
    through = [
        fact
        for fact, axis in zip(facts, (-2, -1), strict=True)
        if isinstance(fact, Channels) and fact.axes == (axis,)
    ]
    if len(through) != 1:
        return None
    other = facts[1] if through[0] is facts[0] else facts[0]
    where = f"MatMul '{query.node_name(node)}', which weighs other channels' positions with it"
    flow.sources.leak(other, where)
    return replace(combined(through[0], [other]), others=True, rank=flow.shapes.rank(query.output(node)))
