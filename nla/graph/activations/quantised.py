"""Activations of quantised graphs: rectifiers folded into quantisations, and com.microsoft's operators.

Quantising with the zero point at the bottom of the type's range cuts off everything below zero: exporters
of int8 models drop the Relu before it, for it is this cut. The tensor to observe is the dequantised one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from nla.activations import Activation
from nla.graph import query
from nla.graph.activations.pattern import CLOSE, Pattern
from nla.graph.constants import Constants
from nla.graph.weighted import Weighted, weighted

_ZERO_POINT = {
    "QuantizeLinear": 2,
    "com.microsoft.QuantizeLinear": 2,
    "QLinearConv": 7,
    "QLinearMatMul": 7,
    "com.microsoft.QGemm": 8,
    "com.microsoft.QLinearAdd": 7,
}
"""Operand that is the zero point of the output."""

_PARTS = {"QuantizeLinear": (0,), "com.microsoft.QuantizeLinear": (0,), "com.microsoft.QLinearAdd": (0, 3)}
"""Operands of which one must come from a layer; the others are layers themselves."""

_AFFINE = (
    *("Add", "Sum", "Reshape", "Transpose", "Identity", "Cast", "Concat", "Split"),
    *("AveragePool", "GlobalAveragePool", "MaxPool"),
    *("QuantizeLinear", "DequantizeLinear", "com.microsoft.QLinearAdd"),
)

_GATES = {"Sigmoid": "Swish", "com.microsoft.QLinearSigmoid": "Swish", "HardSigmoid": "HardSwish"}
"""What z times this function of z is."""

_STEPS = 12

_NO_TENSOR = "its output stays quantised: the graph holds no DequantizeLinear of it to observe"


def recognise(node: ir.Node, constants: Constants) -> Iterator[Pattern]:
    """The activation that the node's quantisation, or the quantised operator, is."""
    kind, output = query.kind(node), query.output(node)
    data = query.operand(node, 0)
    if output is None or data is None:
        return
    gated = _gated_by_itself(node)
    if gated is not None:
        tensor = _dequantised(output)
        trouble = "" if tensor is not None else _NO_TENSOR
        yield Pattern(
            gated[0], data, output, frozenset((node, *gated[1])), hidden=True, tensor=tensor, trouble=trouble
        )
        return
    activation = _operator(node)
    folded = activation is None
    own = kind.endswith("QuantizeLinear") or not folded
    if folded and (kind not in _ZERO_POINT or not _at_bottom(node, constants)):
        return
    parts = [query.operand(node, at) for at in _PARTS.get(kind, ())]
    if folded and parts and not any(part is not None and _from_layer(part, constants) for part in parts):
        return
    tensor = _dequantised(output)
    if folded and tensor is not None and _is_biased(tensor, constants):
        return
    yield Pattern(
        Activation.named("Relu") if activation is None else activation,
        data if own else output,
        output,
        frozenset((node,)),
        hidden=not kind.endswith("QuantizeLinear"),
        tentative=folded and not _is_normalised(data),
        tensor=tensor,
        trouble="" if tensor is not None else _NO_TENSOR,
    )


def _dequantised(value: ir.Value) -> ir.Value | None:
    """The float tensor that is made of a quantised one, where the graph holds it."""
    return next((query.output(r) for r in query.readers(value, 4) if "DequantizeLinear" in r.op_type), None)


def _gated_by_itself(node: ir.Node) -> tuple[Activation, tuple[ir.Node, ...]] | None:
    """z times the sigmoid of z (SiLU), or the hard one (HardSwish), and the nodes of that, by QLinearMul."""
    pair = [query.operand(node, at) for at in (0, 3)]
    if query.kind(node) != "com.microsoft.QLinearMul" or pair[0] is None or pair[1] is None:
        return None
    for z, gate in ((pair[0], pair[1]), (pair[1], pair[0])):
        value, between = _plain(gate)
        maker = value.producer()
        found = None if maker is None else _GATES.get(query.kind(maker))
        if maker is None or found is None or not query.operands(maker):
            continue
        steep = query.real(maker, "alpha", 0.2), query.real(maker, "beta", 0.5)
        if found == "HardSwish" and not (abs(steep[0] - 1 / 6) < CLOSE and abs(steep[1] - 0.5) < CLOSE):
            continue
        argument, before = _plain(query.operands(maker)[0])
        if argument is _plain(z)[0]:
            return Activation.named(found), (maker, *between, *before)
    return None


def _plain(value: ir.Value) -> tuple[ir.Value, tuple[ir.Node, ...]]:
    """The value before it was quantised and dequantised, and the nodes that did."""
    nodes: list[ir.Node] = []
    while len(nodes) < _STEPS:
        node = value.producer()
        if node is None or node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            break
        nodes.append(node)
        value = query.operands(node)[0]
    return value, tuple(nodes)


def _is_biased(tensor: ir.Value, constants: Constants) -> bool:
    """True where a constant is still to be added: what was cut is a part of the pre-activation."""
    reader = query.sole_reader(tensor)
    return reader is not None and query.kind(reader) == "Add" and query.other(reader, tensor) in constants


def _is_normalised(value: ir.Value) -> bool:
    """True for what a BatchNormalization makes, of an activation too: it can be negative."""
    node = value.producer()
    return node is not None and query.kind(node) == "BatchNormalization"


def _from_layer(value: ir.Value, constants: Constants) -> bool:
    """True where a weighted node makes the value, or a BatchNormalization, but for biases, sums and layout.

    Values that cannot be negative (an exponential, a softmax) are quantised with the same zero point.
    """
    pending, steps = [value], 0
    while pending and steps < _STEPS:
        steps += 1
        node = pending.pop().producer()
        if node is None:
            continue
        if isinstance(weighted(node, constants), Weighted) or query.kind(node) == "BatchNormalization":
            return True
        if query.kind(node) in _AFFINE:
            pending.extend(operand for operand in query.operands(node) if operand not in constants)
    return False


def _operator(node: ir.Node) -> Activation | None:
    if query.kind(node) == "com.microsoft.QLinearSigmoid":
        return Activation.named("Sigmoid")
    if query.kind(node) == "com.microsoft.QLinearLeakyRelu":
        return Activation.named("LeakyRelu", alpha=query.real(node, "alpha", 0.01))
    return None


def _at_bottom(node: ir.Node, constants: Constants) -> bool:
    at = _ZERO_POINT[query.kind(node)]
    value = query.operand(node, at)
    if value is None:  # the default: uint8 with zero point 0
        return query.kind(node) == "QuantizeLinear" and not query.integer(node, "output_dtype")
    zero = constants.array(value)
    if zero is None or not zero.size or zero.dtype.kind not in "iu":
        return False
    return bool((zero == np.iinfo(zero.dtype).min).all())
