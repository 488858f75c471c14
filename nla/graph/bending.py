"""Nonlinear steps between layers that are no activation known here: they are listed, never passed over.

A step bends a tensor when it is neither affine nor a product with something that has no neurons. Parts of forms that
were understood (the Erf of a GELU) bend too, but the form's site begins anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from nla.graph import query
from nla.graph.activations.pattern import KEEPING, Pattern
from nla.graph.channels import Channels, Fact, same
from nla.graph.flow import Flow
from nla.graph.sources import SiteSource

_ALWAYS = frozenset(
    (
        *(
            "Abs",
            "Sqrt",
            "Exp",
            "Log",
            "Reciprocal",
            "Sign",
            "Floor",
            "Ceil",
            "Round",
            "Erf",
            "Shrink",
            "Mod",
        ),
        *("Sin", "Cos", "Tan", "Sinh", "Cosh", "Asin", "Acos", "Atan", "Asinh", "Acosh", "Atanh"),
        *("Max", "Min", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
    )
)
_PRODUCTS = ("Mul", "Div")
_SUMS = ("Add", "Sub")
_STEPS = 6


def marked(flow: Flow, node: ir.Node, made: Sequence[Fact]) -> Sequence[Fact]:
    """The facts of the node's outputs, with the node noted in those that it bends first."""
    if not any(isinstance(fact, Channels) and fact.bent is None for fact in made) or not _bends(flow, node):
        return made
    return [replace(f, bent=node) if isinstance(f, Channels) and f.bent is None else f for f in made]


def _bends(flow: Flow, node: ir.Node) -> bool:
    kind = query.kind(node)
    facts = [fact for value in query.operands(node) if (fact := flow.channels(value)) is not None]
    if all(_of_sites(flow, fact) for fact in facts):  # the neurons were seen before: a squared Relu
        return False
    if kind in _ALWAYS:
        return True
    if kind == "Pow":
        return flow.constants.scalar(query.operand(node, 1)) != 1.0
    if kind == "Where":  # a mask bends nothing, a condition on the values does
        return flow.channels(query.operand(node, 0)) is not None
    return (  # layers' outputs multiplied with no activation among them
        kind in _PRODUCTS
        and len(facts) == len(query.operands(node)) == 2
        and all(fact.size > 1 and not _of_sites(flow, fact) for fact in facts)
    )


def composed(flow: Flow, pattern: Pattern, fact: Channels) -> str:
    """Why the activation is a part of something larger that is not understood, one sentence; "" where it is none.

    `fact` is that of its input. What cuts off at zero and is then multiplied or bent stays zero there: a squared
    Relu is a Relu's site.
    """
    found = _joined(flow, pattern.output)
    if found is None or pattern.activation is None:
        return ""
    value, node = found
    cuts = pattern.activation.reaches_zero
    made = f"{query.kind(node)} '{query.node_name(node)}'"
    if query.kind(node) in _ALWAYS and len(query.operands(node)) == 1:
        return (
            ""
            if cuts
            else f"{made} follows it directly, and the two together are no activation that nla knows."
        )
    if query.kind(node) not in (*_SUMS, *_PRODUCTS) or (cuts and query.kind(node) in _PRODUCTS):
        return ""
    other = flow.channels(query.other(node, value))
    if other is None or not same(other, fact) or query.other(node, value) is value or _of_sites(flow, fact):
        return ""
    return f"{made} joins it with its own input, and the two together are no activation that nla knows."


def _joined(flow: Flow, value: ir.Value) -> tuple[ir.Value, ir.Node] | None:
    """(value, node) where the value is read by one node only, which is not affine with constants."""
    for _ in range(_STEPS):
        node = query.sole_reader(value)
        made = None if node is None else query.output(node)
        if node is None or made is None:
            return None
        other = query.other(node, value)
        affine = query.kind(node) in (*_SUMS, *_PRODUCTS) and flow.constants.scalar(other) is not None
        if not affine and query.kind(node) not in (*KEEPING, "QuantizeLinear", "DequantizeLinear"):
            return value, node
        value = made
    return None


def _of_sites(flow: Flow, fact: Channels) -> bool:
    return any(isinstance(flow.sources.entries[source], SiteSource) for source in fact.sources())
