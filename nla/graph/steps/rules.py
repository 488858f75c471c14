"""What a rule is, and what several families of steps need."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from nla.graph import query
from nla.graph.channels import Channels, Fact
from nla.graph.flow import Flow

Rule = Callable[[Flow, ir.Node], Sequence[Fact]]
"""Facts of the node's outputs, the first ones where it has more: the rest are lost."""


def first(flow: Flow, node: ir.Node) -> Fact:
    """The fact of the node's first operand."""
    return flow.fact(query.operand(node, 0))


def negative(axes: Sequence[int], rank: int | None) -> list[int] | None:
    """The axes counted from the end; None where the rank is needed and unknown, or an axis out of range."""
    counted = []
    for axis in axes:
        if axis >= 0 and rank is None:
            return None
        at = axis - (rank or 0) if axis >= 0 else axis
        if at >= 0 or (rank is not None and at < -rank):
            return None
        counted.append(at)
    return counted


def keep(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    """The first operand's channels, where they are."""
    return [first(flow, node)]


def lost(flow: Flow, node: ir.Node, why: str = "after which channels cannot be told") -> list[Fact]:
    """All outputs lost."""
    return [flow.lose(node, why, *(flow.fact(value) for value in query.operands(node)))]


def channel_front(flow: Flow, fact: Channels, value: ir.Value | None) -> int | None:
    """The front axis of channels that lie on one axis; None where they do not, or the rank is unknown."""
    rank = fact.rank if fact.rank is not None else flow.rank(value)
    return None if rank is None or len(fact.axes) != 1 else fact.axes[0] + rank
