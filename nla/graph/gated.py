"""Gated products: φ(gate)·up, where both come of the same input, on its way into a down projection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from nla.activations import GATED, Activation
from nla.graph import query
from nla.graph.activations import Pattern
from nla.graph.constants import Constants
from nla.graph.weighted import Weighted, weighted

_STEPS = 16
"""Nodes on one path: a quantised graph has three for each that a float graph has."""

_BACK = (
    *("Identity", "Cast", "Dropout", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "Slice"),
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "BatchNormalization"),
)
_SCALED = ("Add", "Sub", "Mul", "Div")
_FORWARD = (
    *_BACK,
    *("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"),
    "com.microsoft.SimplifiedLayerNormalization",
)


@dataclass(frozen=True, eq=False)
class GatedProduct:
    """A gated product as the graph writes it."""

    activation: Activation
    output: ir.Value
    gate: ir.Value
    """Output of the gate's activation."""
    up: ir.Value
    pre: ir.Value
    """Input of the gate's activation."""


def gated_products(
    nodes: Sequence[ir.Node], patterns: dict[ir.Value, Pattern], constants: Constants
) -> dict[ir.Value, GatedProduct]:
    """The gated products of a graph by their output value."""
    found: dict[ir.Value, GatedProduct] = {}
    for node in nodes:
        output = query.output(node)
        if (
            query.kind(node) != "Mul"
            or output is None
            or len(query.operands(node)) != 2
            or output in patterns
        ):
            continue
        for gate, up in (query.operands(node), query.operands(node)[::-1]):
            product = _product(node, gate, up, patterns, constants)
            if product is not None:
                found[output] = product
                break
    return found


def _product(
    node: ir.Node, gate: ir.Value, up: ir.Value, patterns: dict[ir.Value, Pattern], constants: Constants
) -> GatedProduct | None:
    activated = _plain(gate)
    pattern = patterns.get(activated)
    output = query.output(node)
    if pattern is None or pattern.activation is None or pattern.tentative or output is None:
        return None
    if _plain(up) in patterns or query.sole_reader(gate) is not node:
        return None
    left, right = _maker(pattern.z, constants), _maker(up, constants)
    if left is None or right is None or not _same_input(left, right) or not _goes_down(output, constants):
        return None
    name = GATED.get(pattern.activation.name, "Gated")
    return GatedProduct(Activation.named(name), output, activated, up, pattern.z)


def _plain(value: ir.Value) -> ir.Value:
    """The value before casts and copies."""
    for _ in range(_STEPS):
        node = value.producer()
        if node is None or query.kind(node) not in ("Identity", "Cast", "QuantizeLinear", "DequantizeLinear"):
            break
        value = query.operands(node)[0] if query.operands(node) else value
    return value


def _maker(value: ir.Value, constants: Constants) -> tuple[Weighted, bool] | None:
    """The weighted node behind a value, and whether only a part of its output comes that way."""
    part = False
    for _ in range(_STEPS):
        node = value.producer()
        if node is None:
            return None
        found = weighted(node, constants)
        if isinstance(found, Weighted):
            return found, part
        part = part or query.kind(node) in ("Split", "Slice")
        dynamic = [operand for operand in query.operands(node) if operand not in constants]
        if not dynamic or query.kind(node) not in (*_BACK, *_SCALED):
            return None
        if len(dynamic) > 1 and query.kind(node) in _SCALED:
            dynamic = [operand for operand in dynamic if _is_integer_layer(operand, constants)]
            if len(dynamic) != 1:
                return None
        value = dynamic[0]  # of a layout step: what it moves, whether its bounds are constant or not
    return None


def _is_integer_layer(value: ir.Value, constants: Constants) -> bool:
    """True for an integer product as float, still to be multiplied by the scale of its input."""
    node = value.producer()
    if node is None or query.kind(node) != "Cast" or not query.operands(node):
        return False
    layer = query.operands(node)[0].producer()
    return layer is not None and isinstance(weighted(layer, constants), Weighted)


def _same_input(left: tuple[Weighted, bool], right: tuple[Weighted, bool]) -> bool:
    if left[0].node is right[0].node:
        return left[1] and right[1]  # two parts of one projection, not one part with itself
    return _plain(left[0].data) is _plain(right[0].data)


def _goes_down(value: ir.Value, constants: Constants) -> bool:
    """True where the value enters a weighted node, through steps that keep its channels apart."""
    pending, seen = [value], 0
    while pending and seen < 2 * _STEPS:
        current = pending.pop()
        for node in query.readers(current, _STEPS):
            seen += 1
            found = weighted(node, constants)
            if isinstance(found, Weighted) and found.data is current:
                return True
            made = query.output(node)
            dynamic = sum(operand not in constants for operand in query.operands(node))
            scaled = query.kind(node) in _SCALED and dynamic == 1
            if made is not None and (scaled or query.kind(node) in _FORWARD):
                pending.append(made)
    return False
