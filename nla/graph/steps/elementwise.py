"""Steps that treat every element by itself, one operand or several, with broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from nla.graph import query
from nla.graph.channels import Channels, Fact, Lost, combined, fresh, same
from nla.graph.flow import Flow
from nla.graph.sources import Join
from nla.graph.steps.rules import Rule, keep


def combine(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    """Operands put together element by element: constants per channel, residual branches, gates, masks."""
    return [merge(flow, node, query.operands(node))]


def merge(flow: Flow, node: ir.Node, values: Sequence[ir.Value]) -> Fact:
    """The fact of `values` combined element by element; branches with channels of their own become a join."""
    facts = [flow.fact(value) for value in values]
    channels = [fact for fact in facts if isinstance(fact, Channels)]
    if not channels:
        return _lost(flow, node, facts)
    base = max(channels, key=lambda fact: fact.size)
    branches = [fact for fact in channels if fact.axes == base.axes and fact.index.shape == base.index.shape]
    narrow = [fact for fact in channels if fact.size == 1 and fact not in branches]
    if len(branches) + len(narrow) < len(channels):
        return flow.lose(node, "whose operands have their channels on different axes", *channels)
    if not all(_fits(flow, base, value) for value in values):
        return flow.lose(node, "which spreads its channels over a longer axis", *channels)
    for fact in narrow:
        flow.sources.leak(
            fact, f"{query.kind(node)} '{query.node_name(node)}', which spreads it over other channels"
        )
    whole = _joined(flow, node, branches)
    dynamic = [fact for fact in facts if fact is not None]
    if len(dynamic) > 1 and query.kind(node) in _SUMS:
        flow.sources.residual.update(source for fact in branches for source in fact.sources())
    ranks = [flow.rank(value) for value in values]
    rank = None if None in ranks else max(rank for rank in ranks if rank is not None)
    extra = whole.extra + sum(_per_channel(flow, base, value) for value in values)
    lost = [fact for fact in facts if isinstance(fact, Lost)]
    return replace(combined(whole, [*lost, *narrow]), extra=extra, rank=rank)


def _joined(flow: Flow, node: ir.Node, branches: Sequence[Channels]) -> Channels:
    different: list[Channels] = []
    for fact in branches:
        if not any(same(fact, known) for known in different):
            different.append(fact)
    if len(different) == 1:
        return combined(different[0], branches)
    source = flow.sources.add(Join(node, tuple(different)))
    base = different[0]
    whole = fresh(source, base.index.shape, base.axes, base.rank)
    return replace(combined(whole, branches), extra=0)


def _lost(flow: Flow, node: ir.Node, facts: Sequence[Fact]) -> Lost:
    lost = [fact for fact in facts if isinstance(fact, Lost)]
    if not lost:
        return flow.lose(node, "whose operands are constant")
    return replace(lost[0], mixes=any(f.mixes for f in lost), noisy=any(f.noisy for f in lost))


def _fits(flow: Flow, base: Channels, value: ir.Value) -> bool:
    """False where the operand could be longer than the channels are along one of their axes."""
    shape = flow.constants.shape(value) if value in flow.constants else flow.shapes.dims(value)
    for axis, length in zip(base.axes, base.index.shape, strict=True):
        if shape is None:
            if length == 1 and flow.channels(value) is None:
                return False
        elif len(shape) >= -axis:
            size = shape[axis]
            if isinstance(size, int) and size not in (1, length):
                return False
            if length == 1 and not isinstance(size, int) and flow.channels(value) is None:
                return False
    return True


def _per_channel(flow: Flow, base: Channels, value: ir.Value) -> int:
    """1 where the operand is a constant with an element for every channel."""
    shape = flow.constants.shape(value) if value in flow.constants else None
    if shape is None:
        return 0
    lengths = zip(base.axes, base.index.shape, strict=True)
    return int(base.size > 1 and all(len(shape) >= -axis and shape[axis] == size for axis, size in lengths))


def random(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    """Values that differ from run to run."""
    return [Lost(f"{query.kind(node)} '{query.node_name(node)}', which differs from run to run", noisy=True)]


def _shape(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    """A size does not depend on what the channels hold: nothing of theirs goes this way."""
    return [Lost(f"{query.kind(node)} '{query.node_name(node)}', which holds sizes")]


def _softmax(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    """A softmax over an axis without channels leaves them apart; over channels it ends them."""
    fact = flow.fact(query.operand(node, 0))
    if isinstance(fact, Channels):
        axis = query.integer(node, "axis", -1)
        rank = flow.rank(query.operand(node, 0))
        last = None if axis >= 0 and rank is None else axis - (rank or 0) if axis >= 0 else axis
        old = flow.opset < 13  # there the softmax runs over all axes from `axis` on
        if last is not None and last not in fact.axes and not (old and any(a > last for a in fact.axes)):
            return [fact]
    return [flow.lose(node, "which weighs its channels against one another", fact)]


def _quantised(flow: Flow, node: ir.Node) -> Sequence[Fact]:
    """Two quantised operands, each with its scale and zero point."""
    pair = [value for value in (query.operand(node, 0), query.operand(node, 3)) if value is not None]
    return [merge(flow, node, pair)]


_UNARY = (
    *(
        "Identity",
        "Dropout",
        "Cast",
        "CastLike",
        "BitCast",
        "Neg",
        "Abs",
        "Sqrt",
        "Exp",
        "Log",
        "Reciprocal",
        "Sign",
    ),
    *(
        "Floor",
        "Ceil",
        "Round",
        "Erf",
        "Sin",
        "Cos",
        "Tan",
        "Sinh",
        "Cosh",
        "Asin",
        "Acos",
        "Atan",
        "Asinh",
        "Acosh",
    ),
    *(
        "Atanh",
        "IsNaN",
        "IsInf",
        "Not",
        "Relu",
        "LeakyRelu",
        "Elu",
        "Selu",
        "Celu",
        "Clip",
        "ThresholdedRelu",
    ),
    *(
        "Sigmoid",
        "Tanh",
        "HardSigmoid",
        "HardSwish",
        "Softplus",
        "Softsign",
        "Mish",
        "Gelu",
        "Swish",
        "Shrink",
    ),
    *("com.microsoft.Gelu", "com.microsoft.QuickGelu", "com.microsoft.QLinearLeakyRelu"),
    *("com.microsoft.QLinearSigmoid", "com.microsoft.QuickGelu"),
)

TOGETHER = (
    *(
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Max",
        "Min",
        "Sum",
        "Mean",
        "Mod",
        "PRelu",
        "Where",
        "And",
        "Or",
        "Xor",
    ),
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
    *("com.microsoft.BiasGelu", "com.microsoft.FastGelu", "com.microsoft.BiasDropout"),
)
"""Operators that combine their operands element by element."""

_QUANTISED = (
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
    *("com.microsoft.QuantizeLinear", "com.microsoft.DequantizeLinear"),
)

_SUMS = ("Add", "Sum", "com.microsoft.QLinearAdd")

RULES: dict[str, Rule] = {
    **dict.fromkeys(_UNARY, keep),
    **dict.fromkeys(_QUANTISED, keep),  # a scale per channel is no parameter of the neuron
    **dict.fromkeys(TOGETHER, combine),
    **dict.fromkeys(query.RANDOM, random),
    "Shape": _shape,
    "Size": _shape,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "com.microsoft.QLinearAdd": _quantised,
    "com.microsoft.QLinearMul": _quantised,
}
