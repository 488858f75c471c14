"""Operators that give zero or one, or one of two constants, whatever they read."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nla.certificates.sets import Box
from nla.graph import query
from nla.lowering.rules.base import Lowered, Shape, Unsound, sample


def _decided(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    _between(node, lowered, full, np.zeros(()), np.ones(()))


def _one_hot(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    values = lowered.constant(query.operand(node, 2))
    if values is None or values.size != 2:
        raise Unsound("of values that vary")
    _between(node, lowered, full, values.min(), values.max())


def _where(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    left, right = (lowered.constant(query.operand(node, k)) for k in (1, 2))
    if left is None or right is None:
        raise Unsound("between tensors that vary")
    _between(node, lowered, full, np.minimum(left, right), np.maximum(left, right))


def _between(node: ir.Node, lowered: Lowered, full: Shape, low: np.ndarray, high: np.ndarray) -> None:
    name = query.name(node.outputs[0])
    ends = (np.array(np.broadcast_to(end, full)).reshape(sample(full)) for end in (low, high))
    lowered.given[name] = Box(*ends)
    lowered.full[name] = full


_DECIDING = (
    *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"),
    *("And", "Or", "Xor", "Not", "IsNaN", "IsInf"),
)
RULES = {**dict.fromkeys(_DECIDING, _decided), "OneHot": _one_hot, "Where": _where}
