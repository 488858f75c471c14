"""Activations made of bounds: Clip by attributes or operands, Min and Max, LeakyRelu as a Max."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from nla.activations import Activation
from nla.graph import query
from nla.graph.activations.pattern import Pattern, Scalars
from nla.graph.activations.single import is_real
from nla.graph.constants import Constants

_WIDEST = 3.0e38
"""Bounds beyond are float32's own limits, which exporters write for 'no bound'."""

Bounds = tuple[float, float]


def recognise(node: ir.Node, constants: Constants) -> Iterator[Pattern]:
    """The activation that ends at the node, if it bounds its input by constants."""
    output = query.output(node)
    if output is None or query.kind(node) not in ("Clip", "Min", "Max", "Relu"):
        return
    yield from _leaky(node, output, constants)
    found = bounds(node, constants)
    if found is None:
        yield from _unbounded(node, output)
        return
    z, (low, high), nodes = found[0], found[1], [node]
    for _ in range(2):  # Min over Max over Relu and the like: several bounds are one Clip
        inner = z.producer()
        below = None if inner is None else bounds(inner, constants)
        if inner is None or below is None or query.sole_reader(z) is not nodes[-1]:
            break
        z, (least, most) = below[0], below[1]
        low, high = max(min(least, high), low), min(max(most, low), high)
        nodes.append(inner)
    if is_real(z) and low < high and (math.isfinite(low) or math.isfinite(high)):
        yield Pattern(_named(low, high, nodes), z, output, frozenset(nodes))


def _named(low: float, high: float, nodes: list[ir.Node]) -> Activation:
    if low == 0 and math.isinf(high) and not (len(nodes) == 1 and query.kind(nodes[0]) == "Clip"):
        return Activation.named("Relu")
    given = {"min": low, "max": high}
    return Activation.named("Clip", **{key: bound for key, bound in given.items() if math.isfinite(bound)})


def bounds(node: ir.Node, constants: Constants) -> tuple[ir.Value, Bounds] | None:
    """(z, (low, high)) where the node's output is z kept between two constants, either of them infinite."""
    kind = query.kind(node)
    if kind == "Relu" and query.operand(node, 0) is not None:
        return query.operands(node)[0], (0.0, math.inf)
    if kind == "Clip" and query.operand(node, 0) is not None:
        low = _bound(node, 1, "min", -math.inf, constants)
        high = _bound(node, 2, "max", math.inf, constants)
        return None if low is None or high is None else (query.operands(node)[0], (low, high))
    if kind not in ("Min", "Max") or len(query.operands(node)) != 2:
        return None
    for z, limit in (query.operands(node), query.operands(node)[::-1]):
        found = _uniform(limit, constants)
        if found is not None and z not in constants:
            return z, ((found, math.inf) if kind == "Max" else (-math.inf, found))
    return None


def _bound(node: ir.Node, at: int, key: str, default: float, constants: Constants) -> float | None:
    value = query.operand(node, at)
    found = query.real(node, key, default) if value is None else constants.scalar(value)
    if found is None or math.isnan(found):
        return None
    return default if abs(found) > _WIDEST and (found > 0) == (default > 0) else found


def _uniform(value: ir.Value, constants: Constants) -> float | None:
    """The number that every element of a constant is, or of a tensor that is filled with one."""
    node = value.producer()
    if node is not None and query.kind(node) == "Expand" and value not in constants:
        return constants.scalar(query.operand(node, 0))
    if node is not None and query.kind(node) == "ConstantOfShape":
        filling = query.tensor_attribute(node, "value")
        if filling is None:
            return 0.0
        return (
            float(filling.numpy().reshape(-1)[0])
            if filling.size == 1 and filling.dtype.is_floating_point()
            else None
        )
    array = constants.array(value)
    if array is None or not array.size or array.dtype.kind in "OSU":
        return None
    numbers = np.asarray(array, np.float64).reshape(-1)
    return float(numbers[0]) if bool((numbers == numbers[0]).all()) else None


def _unbounded(node: ir.Node, output: ir.Value) -> Iterator[Pattern]:
    z = query.operand(node, 0)
    if query.kind(node) == "Clip" and z is not None and is_real(z) and z.dtype is not None:
        yield Pattern(None, z, output, frozenset((node,)), trouble="its bounds are not constant")


def _leaky(node: ir.Node, output: ir.Value, constants: Constants) -> Iterator[Pattern]:
    """Max(z, k·z) with 0 < k < 1."""
    if query.kind(node) != "Max" or len(query.operands(node)) != 2:
        return
    scalars = Scalars(constants)
    for z, scaled in (query.operands(node), query.operands(node)[::-1]):
        for value, factor, nodes in scalars.chain(scaled):
            if value is z and 0 < factor < 1:
                yield Pattern(
                    Activation.named("LeakyRelu", alpha=factor), z, output, frozenset((node, *nodes))
                )
                return
