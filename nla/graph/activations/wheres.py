"""Activations written piece by piece: Where on the sign of z, and PReLU as a sum of two rectifiers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from nla.activations import Activation
from nla.graph import query
from nla.graph.activations.fractions import softplus
from nla.graph.activations.pattern import Pattern, Scalars
from nla.graph.constants import Constants


def recognise(node: ir.Node, constants: Constants) -> Iterator[Pattern]:
    """The activation that ends at the node."""
    output = query.output(node)
    if output is None:
        return
    if query.kind(node) == "Where":
        yield from _where(node, output, constants)
    elif query.kind(node) in ("Add", "Sub"):
        yield from _two_rectifiers(node, output, constants)


def _where(node: ir.Node, output: ir.Value, constants: Constants) -> Iterator[Pattern]:
    """Where(z > t, z, below)."""
    condition, above, below = (query.operand(node, at) for at in range(3))
    test = None if condition is None else condition.producer()
    if test is None or above is None or below is None:
        return
    threshold = _greater(test, above, constants)
    if threshold is None:
        threshold, above, below = _greater(test, below, constants, swapped=True), below, above
    if threshold is None:
        return
    found = _piece(above, below, threshold, constants)
    if found is not None:
        yield Pattern(found[0], above, output, frozenset((node, test, *found[1])))


def _greater(test: ir.Node, z: ir.Value, constants: Constants, swapped: bool = False) -> float | None:
    """t where the node tests z > t (or z >= t); of z <= t where `swapped`."""
    kinds = ("Greater", "GreaterOrEqual") if not swapped else ("Less", "LessOrEqual")
    against = ("Less", "LessOrEqual") if not swapped else ("Greater", "GreaterOrEqual")
    left, right = query.operand(test, 0), query.operand(test, 1)
    if left is z and query.kind(test) in kinds:
        return constants.scalar(right)
    return constants.scalar(left) if right is z and query.kind(test) in against else None


def _piece(
    z: ir.Value, below: ir.Value, threshold: float, constants: Constants
) -> tuple[Activation, tuple[ir.Node, ...]] | None:
    number = constants.scalar(below)
    if number == 0.0:
        relu = threshold == 0
        return (
            Activation.named("Relu") if relu else Activation.named("ThresholdedRelu", alpha=threshold)
        ), ()
    smooth = softplus(below, constants)
    if smooth is not None and smooth[0] is z and threshold >= 10:  # beyond, softplus z is z to rounding
        return Activation.named("Softplus"), smooth[1]
    if threshold != 0:
        return None
    for value, factor, nodes in Scalars(constants).chain(below):
        if value is z and factor > 0:
            return Activation.named("LeakyRelu", alpha=factor), nodes
        inner = _exponential_less_one(value, z, constants)
        if inner is not None and factor > 0:
            return Activation.named("Elu", alpha=factor), (*nodes, *inner)
    return None


def _exponential_less_one(value: ir.Value, z: ir.Value, constants: Constants) -> tuple[ir.Node, ...] | None:
    node = value.producer()
    if node is None or query.kind(node) not in ("Sub", "Add") or len(query.operands(node)) != 2:
        return None
    left, right = query.operands(node)
    maker = left.producer()
    if constants.scalar(right) != (1.0 if query.kind(node) == "Sub" else -1.0) or maker is None:
        return None
    return (node, maker) if query.kind(maker) == "Exp" and query.operand(maker, 0) is z else None


def _two_rectifiers(node: ir.Node, output: ir.Value, constants: Constants) -> Iterator[Pattern]:
    """relu(z) + c·relu(-z), as Keras writes PReLU: the slope is -c."""
    if len(query.operands(node)) != 2:
        return
    for above, scaled in (query.operands(node), query.operands(node)[::-1]):
        sign = -1.0 if query.kind(node) == "Add" else 1.0
        if query.kind(node) == "Sub" and above is not query.operands(node)[0]:
            continue
        rectifier, product = above.producer(), scaled.producer()
        if (
            rectifier is None
            or product is None
            or query.kind(rectifier) != "Relu"
            or query.kind(product) != "Mul"
        ):
            continue
        z = query.operands(rectifier)[0]
        found = _negative_part(product, z, constants)
        slope = None if found is None else constants.array(found[0])
        if found is None or slope is None or not slope.size:
            continue
        slopes = sign * np.asarray(slope, np.float64)
        low, high = float(slopes.min()), float(slopes.max())
        if math.isfinite(low) and math.isfinite(high):
            activation = Activation.named("PRelu", slope_min=low, slope_max=high)
            yield Pattern(
                activation, z, output, frozenset((node, rectifier, product, *found[1])), slope=found[0]
            )
            return


def _negative_part(
    product: ir.Node, z: ir.Value, constants: Constants
) -> tuple[ir.Value, tuple[ir.Node, ...]] | None:
    """(c, nodes) where the node is c·relu(-z)."""
    for part, slope in (query.operands(product), query.operands(product)[::-1]):
        rectifier = part.producer()
        if slope not in constants or rectifier is None or query.kind(rectifier) != "Relu":
            continue
        negation = query.operands(rectifier)[0].producer()
        if negation is not None and Scalars(constants).scaled(negation) == (z, -1.0):
            return slope, (rectifier, negation)
    return None
