"""Pooling and reductions: channels pass where only positions are pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from nla.graph import query
from nla.graph.channels import Channels, Fact, Lost, removed
from nla.graph.flow import Flow
from nla.graph.shape_sizes import axes_of
from nla.graph.steps.rules import Rule, channel_front, first, lost, negative


def _pool(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact = first(flow, node)
    if not isinstance(fact, Channels):
        return [fact]
    if query.integer(node, "channels_last"):
        return lost(flow, node, "which pools in a layout that is not followed")
    kernel = query.integers(node, "kernel_shape")
    if kernel is not None:
        return [fact] if fact.axes[-1] < -len(kernel) else lost(flow, node, "which pools over its channels")
    front = channel_front(flow, fact, query.operand(node, 0))
    return [fact] if front in (0, 1) else lost(flow, node, "which pools over its channels")


def _reduce(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    fact, value = first(flow, node), query.operand(node, 0)
    if not isinstance(fact, Channels):
        return [fact] if isinstance(fact, Lost) else lost(flow, node)
    axes = _reduced(flow, node, fact)
    counted = None if axes is None else negative(axes, flow.rank(value))
    if counted is None:
        return lost(flow, node, "over axes that cannot be told")
    if any(axis in fact.axes for axis in counted):
        return [replace(flow.lose(node, "a statistic taken over the channels", fact), mixes=True)]
    without = fact if query.integer(node, "keepdims", 1) or not counted else removed(fact, counted)
    return lost(flow, node) if without is None else [without]


def _reduced(flow: Flow, node: ir.Node, fact: Channels) -> Sequence[int] | None:
    """The axes that go; None where they are not constant."""
    if node.op_type in ("ArgMax", "ArgMin"):
        return [query.integer(node, "axis")]
    axes = axes_of(flow.shapes, node)
    if axes is None and query.operand(node, 1) is None:
        # none given: all axes go, those of the channels among them, unless the node says that none does
        return () if query.integer(node, "noop_with_empty_axes") else fact.axes
    return axes


_POOLS = (
    *("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
    *("com.microsoft.QLinearAveragePool", "com.microsoft.QLinearGlobalAveragePool"),
)

_REDUCTIONS = tuple(
    f"Reduce{what}"
    for what in ("Mean", "Max", "Min", "Sum", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(_POOLS, _pool),
    **dict.fromkeys((*_REDUCTIONS, "ArgMax", "ArgMin"), _reduce),
}
