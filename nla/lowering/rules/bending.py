"""Functions of one number: those that are sums of activations, and smooth ones between two lines."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nla.activations import Activation
from nla.certificates.ops.elementwise import Activate
from nla.certificates.ops.joining import Sum
from nla.certificates.ops.linear import Scale
from nla.certificates.ops.smooth import Smooth
from nla.graph import query
from nla.lowering.rules.base import Lowered, Shape, Unsound


def _prelu(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    """s·z + (1 - s)·max(z, 0), which is z above zero and s·z below."""
    slope = lowered.constant(query.operand(node, 1))
    if slope is None:
        raise Unsound("with slopes that vary")
    _sum(node, lowered, full, lowered.along(slope, query.operand(node, 0)))


def _absolute(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    """-z + 2·max(z, 0)."""
    _sum(node, lowered, full, -np.ones(()))


def _sum(node: ir.Node, lowered: Lowered, full: Shape, slope: np.ndarray) -> None:
    z, output = lowered.known(query.operand(node, 0)), query.name(node.outputs[0])
    positive, above, below = (f"{output}\0{part}" for part in ("positive", "above", "below"))
    lowered.add(Activate((z,), positive, Activation.named("Relu")), full)
    lowered.add(Scale((positive,), above, 1 - slope, np.zeros(())), full)
    lowered.add(Scale((z,), below, slope, np.zeros(())), full)
    lowered.add(Sum((above, below), output), full)


def _smooth(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    name = query.name(node.outputs[0])
    function, power = {"Sqrt": ("Pow", 0.5), "Reciprocal": ("Pow", -1.0)}.get(
        node.op_type, (node.op_type, 1.0)
    )
    lowered.add(Smooth((lowered.known(query.operand(node, 0)),), name, function, power), full)
    if node.op_type in ("Sin", "Cos", "Atan"):
        lowered.anew.add(name)


def _powered(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    """By one exponent for all elements."""
    exponent = lowered.constant(query.operand(node, 1))
    if exponent is None or not exponent.size or not np.isfinite(exponent).all() or np.ptp(exponent):
        raise Unsound("by exponents that vary")
    source, name, power = lowered.known(query.operand(node, 0)), query.name(node.outputs[0]), exponent.flat[0]
    if lowered.full[source] != full:
        raise Unsound("by exponents that make several samples of one")
    if power in (0, 1):
        lowered.add(Scale((source,), name, np.asarray(power), np.asarray(1 - power)), full)
    else:
        lowered.add(Smooth((source,), name, "Pow", float(power)), full)


RULES = {
    "PRelu": _prelu,
    "Abs": _absolute,
    "Pow": _powered,
    **dict.fromkeys(("Exp", "Log", "Sqrt", "Reciprocal", "Sin", "Cos", "Atan"), _smooth),
}
