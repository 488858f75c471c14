"""Concat: channels side by side, or the same channels at more positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from nla.graph import query
from nla.graph.channels import Channels, Fact, Lost, combined, concatenated, fresh, same
from nla.graph.flow import Flow
from nla.graph.sources import Join
from nla.graph.steps.rules import Rule, lost, negative


def concat(flow: Flow, node: ir.Node, values: Sequence[ir.Value]) -> Fact:
    """The fact of a concatenation of `values` along the node's axis."""
    facts = [flow.fact(value) for value in values]
    channels = [fact for fact in facts if isinstance(fact, Channels)]
    if not channels:
        return lost(flow, node)[0]
    rank = next((flow.rank(value) for value in values if flow.rank(value) is not None), None)
    counted = negative([query.integer(node, "axis")], rank)
    if counted is None:
        return flow.lose(node, "along an axis that cannot be told", *channels)
    axis = counted[0]
    if any(axis in fact.axes for fact in channels):
        parts = [(fact, flow.length(value, axis)) for fact, value in zip(facts, values, strict=True)]
        fits = all(axis in fact.axes for fact in channels)
        joined = concatenated(parts, axis) if fits else None
        return joined or flow.lose(node, "whose parts have their channels on different axes", *channels)
    return _positions(flow, node, facts, channels)


def _positions(flow: Flow, node: ir.Node, facts: Sequence[Fact], channels: Sequence[Channels]) -> Fact:
    """The same channels at more positions: one channel of the whole is one channel of every part."""
    base = channels[0]
    if any(fact.axes != base.axes or fact.index.shape != base.index.shape for fact in channels):
        return flow.lose(node, "whose parts have their channels on different axes", *channels)
    if all(same(fact, base) for fact in channels):
        return combined(base, [fact for fact in facts if isinstance(fact, Channels | Lost)])
    source = flow.sources.add(Join(node, tuple(channels)))
    whole = fresh(source, base.index.shape, base.axes, base.rank)
    return replace(combined(whole, facts), extra=0)


def _concat(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    return [concat(flow, node, query.operands(node))]


def _quantised(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    """com.microsoft.QLinearConcat: scale and zero point of the whole, then part, scale, zero point, …"""
    return [concat(flow, node, query.operands(node)[2::3])]


RULES: dict[str, Rule] = {"Concat": _concat, "com.microsoft.QLinearConcat": _quantised}
