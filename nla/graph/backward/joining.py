"""Gradients of what joins tensors: sums, products, choices, and parts side by side."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from nla.graph import query
from nla.graph.backward.tape import Gradients, Rule, Tape, refusal

_Part = Callable[[], ir.Value]


def _each(tape: Tape, node: ir.Node, *parts: _Part | None) -> Gradients:
    """What each operand gets, computed where it is needed, folded to the operand's shape."""
    found: list[ir.Value | None] = []
    for operand, part in zip(node.inputs, parts, strict=False):
        wanted = operand is not None and part is not None and tape.needs(operand)
        found.append(tape.folded(part(), node, operand) if wanted else None)  # type: ignore[misc,arg-type]
    return found


def _sum(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    return _each(tape, node, *[lambda: gradient] * len(node.inputs))


def _mean(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    share = tape.scaled(gradient, 1 / len(node.inputs), node.outputs[0])
    return _each(tape, node, *[lambda: share] * len(node.inputs))


def _difference(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    return _each(tape, node, lambda: gradient, lambda: tape.put("Neg", gradient))


def _product(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    a, b = query.operands(node)
    return _each(tape, node, lambda: tape.times(gradient, b), lambda: tape.times(gradient, a))


def _quotient(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    b, y = query.operands(node)[1], node.outputs[0]

    def below() -> ir.Value:
        return tape.put("Neg", tape.put("Div", tape.times(gradient, y), b))

    return _each(tape, node, lambda: tape.put("Div", gradient, b), below)


def _extreme(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """Max and Min: to the one that is chosen; a draw gives a half each, and nothing against a constant (as Relu)."""
    if len(query.operands(node)) == 1:
        return (gradient,)
    if len(query.operands(node)) != 2:
        raise refusal(node, "it chooses among more than two tensors")
    a, b = query.operands(node)
    over, under = ("Greater", "Less") if query.kind(node) == "Max" else ("Less", "Greater")
    halves = tape.needs(a) and tape.needs(b)

    def chosen(is_over: str, is_under: str) -> _Part:
        def part() -> ir.Value:
            flag = tape.flag(tape.put(is_over, a, b), a)
            if halves:
                lost = tape.flag(tape.put(is_under, a, b), a)
                flag = tape.scaled(tape.put("Sub", tape.put("Add", flag, tape.number(1, a)), lost), 0.5, a)
            return tape.times(gradient, flag)

        return part

    return _each(tape, node, chosen(over, under), chosen(under, over))


def _where(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    holds = node.inputs[0]
    assert holds is not None
    nothing = tape.number(0, node.outputs[0])
    return _each(
        tape,
        node,
        None,
        lambda: tape.put("Where", holds, gradient, nothing),
        lambda: tape.put("Where", holds, nothing, gradient),
    )


def _concat(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    rank = len(tape.dims(node, node.outputs[0]))
    axis = query.integer(node, "axis", 1) % max(rank, 1)
    found: list[ir.Value | None] = []
    begin = 0
    for operand in node.inputs:
        size = tape.dims(node, operand)[axis]
        if not isinstance(size, int):
            raise refusal(node, "the sizes of its parts are not known before a run")
        wanted = operand is not None and tape.needs(operand)
        found.append(tape.sliced(gradient, [axis], [begin], [begin + size]) if wanted else None)
        begin += size
    return found


def split(tape: Tape, node: ir.Node) -> Gradients:
    """Split: the gradients of the parts side by side, zeros where a part has none."""
    axis = query.integer(node, "axis", 0)
    parts = [
        tape.gradients[part] if part in tape.gradients else tape.spread_to(tape.number(0, part), part)
        for part in node.outputs
    ]
    return (tape.put("Concat", *parts, axis=axis),)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Add", "Sum"), _sum),
    "Mean": _mean,
    "Sub": _difference,
    "Mul": _product,
    "Div": _quotient,
    **dict.fromkeys(("Max", "Min"), _extreme),
    "Where": _where,
    "Concat": _concat,
}
