"""Operators that give zero or one, whole numbers, or one of two tensors."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nla.certificates.ops.steps import Choice, Judgement, Step
from nla.certificates.sets import Box
from nla.graph import query
from nla.lowering.rules.base import Lowered, Shape, Unsound, sample


def _stepped(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    name = query.name(node.outputs[0])
    lowered.add(Step((lowered.known(query.operand(node, 0)),), name, node.op_type), full)
    if node.op_type in ("Sign", "Not"):
        lowered.anew.add(name)


def _judged(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    name = query.name(node.outputs[0])
    names = lowered.known(query.operand(node, 0)), lowered.known(query.operand(node, 1))
    lowered.anew.add(name)
    lowered.add(Judgement(names, name, node.op_type), full)


def _decided(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    _between(node, lowered, full, np.zeros(()), np.ones(()))


def _placed(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    """ArgMax, ArgMin: a place along the axis."""
    shape = lowered.full[lowered.known(query.operand(node, 0))]
    axis = query.integer(node, "axis") % len(shape)
    if axis == 0 and not lowered.alone:
        raise Unsound("along the axis of the samples")
    last = np.asarray(shape[axis] - 1.0)
    _between(node, lowered, full, np.zeros(()), last)


def _one_hot(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    values = lowered.constant(query.operand(node, 2))
    if values is None or values.size != 2:
        raise Unsound("of values that vary")
    _between(node, lowered, full, values.min(), values.max())


def _where(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    output, values = query.name(node.outputs[0]), [query.operand(node, k) for k in range(3)]
    if all(lowered.constant(value) is not None for value in values[1:]):
        lowered.anew.add(output)
    lowered.add(Choice(tuple(lowered.known(value) for value in values), output), full)


def _between(node: ir.Node, lowered: Lowered, full: Shape, low: np.ndarray, high: np.ndarray) -> None:
    name = query.name(node.outputs[0])
    ends = (np.array(np.broadcast_to(end, full)).reshape(sample(full)) for end in (low, high))
    lowered.given[name] = Box(*ends)
    lowered.full[name] = full


_JUDGED = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor")
RULES = {
    **dict.fromkeys(_JUDGED, _judged),
    **dict.fromkeys(("IsNaN", "IsInf"), _decided),
    **dict.fromkeys(("Sign", "Floor", "Ceil", "Round", "Not"), _stepped),
    **dict.fromkeys(("ArgMax", "ArgMin"), _placed),
    "OneHot": _one_hot,
    "Where": _where,
}
