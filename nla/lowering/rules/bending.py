"""Operators that are sums of activations: a slope for each channel below zero, the absolute value."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nla.activations import Activation
from nla.certificates.ops.elementwise import Activate
from nla.certificates.ops.joining import Sum
from nla.certificates.ops.linear import Scale
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


RULES = {"PRelu": _prelu, "Abs": _absolute}
