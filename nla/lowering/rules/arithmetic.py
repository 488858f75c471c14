"""Sums, products, BatchNormalization, Concat, casts."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nla.certificates.ops.joining import Product, Quotient, Sum
from nla.certificates.ops.linear import Gathering, Linear, Scale
from nla.certificates.ops.smooth import Smooth
from nla.certificates.ops.steps import Step
from nla.certificates.rounding import BRAIN, HALF
from nla.graph import query
from nla.graph.activations.single import is_real
from nla.lowering.rules.base import Lowered, Shape, Unsound, sample

_WIDER = (
    None,
    ir.DataType.DOUBLE,
    ir.DataType.INT32,
    ir.DataType.INT64,
    ir.DataType.UINT32,
    ir.DataType.UINT64,
)
"""Types of which a cast to float32 rounds, or may."""
_WHOLE = (ir.DataType.BOOL, ir.DataType.INT32, ir.DataType.INT64)
_EXACT = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
_ROUNDS = {ir.DataType.FLOAT16: HALF, ir.DataType.BFLOAT16: BRAIN}
"""Roundoff of narrower types: covered where the whole network is taken to be computed in one that is as coarse."""


def _summed(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    sign = -1 if node.op_type == "Sub" else 1
    left, right = query.operand(node, 0), query.operand(node, 1)
    added, first = lowered.constant(right), lowered.constant(left)
    output = query.name(node.outputs[0])
    if added is not None:
        offset = sign * lowered.along(added, left)
        lowered.add(Scale((lowered.known(left),), output, np.ones(()), offset), full)
    elif first is not None:
        scale = np.asarray(float(sign))
        lowered.add(Scale((lowered.known(right),), output, scale, lowered.along(first, right)), full)
    else:
        names = lowered.known(left), lowered.known(right)
        lowered.add(Sum(names, output, sign, _additions(lowered, names)), full)


def _additions(lowered: Lowered, names: tuple[str, ...]) -> int:
    """How many additions a sum may become where a runtime fuses it into the operator before it."""
    return max((op.terms for op in lowered.ops if op.output in names and isinstance(op, Linear)), default=1)


def _multiplied(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    left, right = query.operand(node, 0), query.operand(node, 1)
    output = query.name(node.outputs[0])
    for value, other in ((left, right), (right, left)):
        factor = lowered.constant(other)
        if factor is not None:
            scale = lowered.along(factor, value)
            lowered.add(Scale((lowered.known(value),), output, scale, np.zeros(())), full)
            return
    if left is right:
        lowered.add(Smooth((lowered.known(left),), output, "Pow", 2.0), full)
    else:
        lowered.add(Product((lowered.known(left), lowered.known(right)), output), full)


def _divided(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    value, output = query.operand(node, 0), query.name(node.outputs[0])
    if not is_real(node.outputs[0]):
        raise Unsound("of whole numbers, which rounds")
    by = lowered.constant(query.operand(node, 1))
    if by is None:
        divisor, inverse = lowered.known(query.operand(node, 1)), f"{output}\0inverse"
        lowered.add(Smooth((divisor,), inverse, "Pow", -1.0), lowered.full[divisor])
        lowered.add(Quotient((lowered.known(value), inverse), output), full)
        return
    if not np.all(np.abs(by) > 0):
        raise Unsound("by zero")
    scale = 1 / lowered.along(by, value)
    lowered.add(Scale((lowered.known(value),), output, scale, np.zeros(())), full)


def _negated(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    source = lowered.known(query.operand(node, 0))
    lowered.add(Scale((source,), query.name(node.outputs[0]), -np.ones(()), np.zeros(())), full)


def _many(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    """Sum of any number of tensors."""
    values, output = query.operands(node), query.name(node.outputs[0])
    like = next((lowered.known(value) for value in values if lowered.constant(value) is None), "")
    before = lowered.tensor(values[0], f"{output}\0first", like)
    if len(values) == 1:
        lowered.gather(before, output, lowered.places(before))
    for k, value in enumerate(values[1:], 1):
        name = output if k == len(values) - 1 else f"{output}\0{k}"
        shape = np.broadcast_shapes(lowered.full[before], lowered.full[lowered.known(value)])
        names = before, lowered.known(value)
        lowered.add(Sum(names, name, 1, _additions(lowered, names)), shape)
        before = name


def _batch_norm(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    data = query.operand(node, 0)
    found = [lowered.constant(query.operand(node, k)) for k in range(1, 5)]
    if any(value is None for value in found) or query.integer(node, "training_mode"):
        raise Unsound("with statistics that vary")
    scale, bias, mean, variance = (np.asarray(value) for value in found)
    factor = scale / np.sqrt(variance + query.real(node, "epsilon", 1e-5))
    along = (-1, *(1,) * (len(lowered.shape(data)) - 1))
    offset = bias - mean * factor
    cancelled = np.abs(bias) + np.abs(mean * factor)  # what the rounding of the offset is relative to
    output = query.name(node.outputs[0])
    parts = (value.reshape(along) for value in (factor, offset, cancelled))
    lowered.add(Scale((lowered.known(data),), output, *parts), full)


def _concat(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    values, output = query.operands(node), query.name(node.outputs[0])
    like = next(lowered.known(value) for value in values if lowered.constant(value) is None)
    axis = query.integer(node, "axis") % len(full)
    if axis == 0 and len(full) > 1 and full[0] != lowered.full[like][0]:
        raise Unsound("along the axis of the samples")
    parts = tuple(lowered.tensor(value, f"{output}\0{k}", like) for k, value in enumerate(values))
    lowered.join(parts, output, axis, full)


def _kind(node: ir.Node) -> ir.DataType | None:
    value = query.operand(node, 0)
    return None if value is None else value.dtype


def _cast(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    to = ir.DataType(query.integer(node, "to", 1))
    source = lowered.known(query.operand(node, 0))
    if node.op_type == "Cast" and to in _WHOLE:
        kind = "Truth" if to == ir.DataType.BOOL else "Trunc"
        lowered.add(Step((source,), query.name(node.outputs[0]), kind), full)
        return
    if node.op_type == "Cast" and to not in _EXACT:
        if _ROUNDS.get(to, 1.0) > lowered.unit:
            raise Unsound(f"to {to.name.lower()}, which rounds")
        lowered.add(Scale((source,), query.name(node.outputs[0]), np.ones(()), np.zeros(())), full)
        return
    if node.op_type == "Cast" and to == ir.DataType.FLOAT and _kind(node) in _WIDER:
        lowered.add(Scale((source,), query.name(node.outputs[0]), np.ones(()), np.zeros(())), full)
        return
    index = np.arange(int(np.prod(sample(full), dtype=np.int64))).reshape(sample(full))
    lowered.add(Gathering((source,), query.name(node.outputs[0]), index), full)


def _dropped(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    training = query.operand(node, 2)
    if training is not None and (lowered.constant(training) is None or np.any(lowered.constant(training))):
        raise Unsound("that drops at random")
    _cast(node, lowered, full)


RULES = {
    "Add": _summed,
    "Sub": _summed,
    "Mul": _multiplied,
    "Div": _divided,
    "Neg": _negated,
    "Sum": _many,
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "Cast": _cast,
    "Dropout": _dropped,
}
