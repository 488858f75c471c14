"""Gradients of reductions along axes."""

from __future__ import annotations

import onnx_ir as ir

from nla.graph import query
from nla.graph.backward.pooling import each_is_of
from nla.graph.backward.tape import Gradients, Rule, Tape, refusal


def _reduce(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """ReduceSum and ReduceMean: the same for every value that was summed."""
    x = node.inputs[0]
    assert x is not None
    if _keeps_all(tape, node, x):
        return (gradient,)
    if query.kind(node) == "ReduceMean":
        gradient = tape.put("Div", gradient, each_is_of(tape, node, x))
    if not query.integer(node, "keepdims", 1):
        gradient = _with_ones(tape, node, gradient, x)
    return (tape.spread_to(gradient, x),)


def _extreme(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """ReduceMax and ReduceMin: to the value that was taken, in equal parts where several are as large."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    if _keeps_all(tape, node, x):
        return (gradient,)
    if not query.integer(node, "keepdims", 1):
        gradient, y = (_with_ones(tape, node, value, x) for value in (gradient, y))
    over = ("Less", x, y) if query.kind(node) == "ReduceMax" else ("Greater", x, y)
    taken = tape.flag(tape.put("Not", tape.put(*over)), x)
    shares = tape.put("Div", taken, tape.summed(taken, _axes(tape, node, x)))
    return (tape.times(shares, gradient),)


def _norm(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """ReduceL2: x/y; nothing where all are zero."""
    x = node.inputs[0]
    assert x is not None
    gradient, y = _kept(tape, node, gradient, x)
    nothing = tape.put("Equal", y, tape.number(0, x))
    return (tape.times(x, tape.where(nothing, tape.number(0, x), tape.put("Div", gradient, y), x)),)


def _sizes(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """ReduceL1: the sign."""
    x = node.inputs[0]
    assert x is not None
    return (tape.times(tape.put("Sign", x), _kept(tape, node, gradient, x)[0]),)


def _squares(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """ReduceSumSquare: 2x."""
    x = node.inputs[0]
    assert x is not None
    return (tape.times(tape.scaled(x, 2, x), _kept(tape, node, gradient, x)[0]),)


def _log_of_exponentials(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """ReduceLogSumExp: e^(x - y)."""
    x = node.inputs[0]
    assert x is not None
    gradient, y = _kept(tape, node, gradient, x)
    return (tape.times(tape.put("Exp", tape.put("Sub", x, y)), gradient),)


def _kept(tape: Tape, node: ir.Node, gradient: ir.Value, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The gradient and y, with the axes that were reduced."""
    if _keeps_all(tape, node, x):
        raise refusal(
            node, "it reduces no axis (noop_with_empty_axes), which runtimes understand differently"
        )
    if query.integer(node, "keepdims", 1):
        return gradient, node.outputs[0]
    return _with_ones(tape, node, gradient, x), _with_ones(tape, node, node.outputs[0], x)


def _with_ones(tape: Tape, node: ir.Node, gradient: ir.Value, x: ir.Value) -> ir.Value:
    """The gradient with the axes that were summed over, of size 1."""
    axes = _axes(tape, node, x)
    if tape.opset >= 13:
        return tape.put("Unsqueeze", gradient, tape.integers(*axes))
    return tape.put("Unsqueeze", gradient, axes=axes)


def _keeps_all(tape: Tape, node: ir.Node, x: ir.Value) -> bool:
    """Whether it reduces nothing: it is given no axes, and told that this means none."""
    return bool(query.integer(node, "noop_with_empty_axes")) and not _axes(tape, node, x)


def _axes(tape: Tape, node: ir.Node, x: ir.Value) -> list[int]:
    """The axes that a reduction goes over, ascending; none where it leaves all as it is."""
    rank = len(tape.dims(node, x))
    given = query.integers(node, "axes") or tape.constants.integers(query.operand(node, 1))
    if given is None and query.operand(node, 1) is not None:
        raise refusal(node, "its axes are computed")
    if given:
        return sorted(axis % rank for axis in given)
    return [] if query.integer(node, "noop_with_empty_axes") else list(range(rank))


RULES: dict[str, Rule] = {
    **dict.fromkeys(("ReduceMean", "ReduceSum"), _reduce),
    **dict.fromkeys(("ReduceMax", "ReduceMin"), _extreme),
    "ReduceL2": _norm,
    "ReduceL1": _sizes,
    "ReduceSumSquare": _squares,
    "ReduceLogSumExp": _log_of_exponentials,
}
