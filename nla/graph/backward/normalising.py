"""Gradients of normalisation, as it is computed at inference."""

from __future__ import annotations

import onnx_ir as ir

from nla.graph import query
from nla.graph.backward.pooling import each_is_of
from nla.graph.backward.tape import Gradients, Rule, Tape, refusal

_FLAT_SOFTMAX = 13
"""Before this opset a softmax is one over all axes from `axis` on."""


def _batch_norm(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """One factor a channel: γ/√(variance + ε)."""
    if query.integer(node, "training_mode") or not query.integer(node, "spatial", 1):
        raise refusal(node, "it is in training mode, or normalises each position apart")
    given = query.operands(node)
    if len(given) != 5 or any(map(tape.needs, given[1:])):
        raise refusal(node, "its statistics are computed by the network itself")
    x, scale, _, _, variance = given
    epsilon = tape.number(query.real(node, "epsilon", 1e-5), variance)
    factor = tape.put("Div", scale, tape.put("Sqrt", tape.put("Add", variance, epsilon)))
    rank = len(tape.dims(node, x))
    spread = tape.put("Reshape", factor, tape.integers(-1, *[1] * (rank - 2)))
    return (tape.put("Mul", gradient, spread),)


def _layer_norm(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """x̂ = (x - µ)·r: r·(δ - mean δ - x̂·mean(δ·x̂)), where δ is the gradient at x̂."""
    x, scale = query.operands(node)[:2]
    if any(map(tape.needs, query.operands(node)[1:])):
        raise refusal(node, "its scale or shift are computed by the network itself")
    rank = len(tape.dims(node, x))
    axes = list(range(query.integer(node, "axis", -1) % rank, rank))

    def mean(value: ir.Value) -> ir.Value:
        return _mean(tape, value, axes)

    centred = tape.put("Sub", x, mean(x))
    epsilon = tape.number(query.real(node, "epsilon", 1e-5), x)
    root = tape.put("Sqrt", tape.put("Add", mean(tape.times(centred, centred)), epsilon))
    normal = tape.put("Div", centred, root)
    delta = tape.times(gradient, scale)
    inner = tape.put("Sub", delta, mean(delta))
    inner = tape.put("Sub", inner, tape.times(normal, mean(tape.times(delta, normal))))
    return (tape.put("Div", inner, root),)


def _mean(tape: Tape, value: ir.Value, axes: list[int]) -> ir.Value:
    if tape.opset >= 18:
        return tape.put("ReduceMean", value, tape.integers(*axes), keepdims=1)
    return tape.put("ReduceMean", value, axes=axes, keepdims=1)


def _softmax(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """y·(δ - Σ δ·y)."""
    y, axis = node.outputs[0], _softmax_axis(tape, node)
    inner = tape.put("Sub", gradient, tape.summed(tape.times(gradient, y), [axis]))
    return (tape.times(inner, y),)


def _log_softmax(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """δ - softmax·Σ δ."""
    y, axis = node.outputs[0], _softmax_axis(tape, node)
    shares = tape.times(tape.put("Exp", y), tape.summed(gradient, [axis]))
    return (tape.put("Sub", gradient, shares),)


def _softmax_axis(tape: Tape, node: ir.Node) -> int:
    rank = len(tape.dims(node, node.outputs[0]))
    axis = query.integer(node, "axis", -1 if tape.opset >= _FLAT_SOFTMAX else 1) % max(rank, 1)
    if tape.opset < _FLAT_SOFTMAX and axis != rank - 1:
        raise refusal(node, "it is over several axes at once")
    return axis


def _reduce(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """ReduceSum and ReduceMean: the same for every value that was summed."""
    x = node.inputs[0]
    assert x is not None
    if query.kind(node) == "ReduceMean":
        gradient = tape.put("Div", gradient, each_is_of(tape, node, x))
    if not query.integer(node, "keepdims", 1):
        gradient = _with_ones(tape, node, gradient, x)
    return (tape.spread_to(gradient, x),)


def _extreme(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """ReduceMax and ReduceMin: to the value that was taken, in equal parts where several are as large."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    if not query.integer(node, "keepdims", 1):
        gradient, y = (_with_ones(tape, node, value, x) for value in (gradient, y))
    over = ("Less", x, y) if query.kind(node) == "ReduceMax" else ("Greater", x, y)
    taken = tape.flag(tape.put("Not", tape.put(*over)), x)
    shares = tape.put("Div", taken, tape.summed(taken, _axes(tape, node, x)))
    return (tape.times(shares, gradient),)


def _with_ones(tape: Tape, node: ir.Node, gradient: ir.Value, x: ir.Value) -> ir.Value:
    """The gradient with the axes that were summed over, of size 1."""
    axes = _axes(tape, node, x)
    if tape.opset >= 13:
        return tape.put("Unsqueeze", gradient, tape.integers(*axes))
    return tape.put("Unsqueeze", gradient, axes=axes)


def _axes(tape: Tape, node: ir.Node, x: ir.Value) -> list[int]:
    """The axes that a reduction goes over, ascending."""
    rank = len(tape.dims(node, x))
    given = query.integers(node, "axes") or tape.constants.integers(query.operand(node, 1))
    if given is None and query.operand(node, 1) is not None:
        raise refusal(node, "its axes are computed")
    return sorted(axis % rank for axis in given) if given else list(range(rank))


RULES: dict[str, Rule] = {
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "ReduceMean": _reduce,
    "ReduceSum": _reduce,
    **dict.fromkeys(("ReduceMax", "ReduceMin"), _extreme),
}
