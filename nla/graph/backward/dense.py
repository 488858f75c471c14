"""Gradients of matrix products."""

from __future__ import annotations

import onnx_ir as ir

from nla.graph import query
from nla.graph.backward.tape import Gradients, Rule, Tape, refusal
from nla.graph.einsum import Terms, terms
from nla.graph.shapes import Dim


def _gemm(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """Y = α·A′B′ + β·C, where ′ may be a transpose."""
    a, b = query.operands(node)[:2]
    c = query.operand(node, 2)
    turned_a, turned_b = (int(bool(query.integer(node, key))) for key in ("transA", "transB"))
    alpha, beta = query.real(node, "alpha", 1.0), query.real(node, "beta", 1.0)
    of_a = of_b = of_c = None
    if tape.needs(a) and turned_a:
        of_a = tape.product(b, gradient, a, transA=turned_b, transB=1, alpha=alpha)
    elif tape.needs(a):
        of_a = tape.product(gradient, b, a, transB=1 - turned_b, alpha=alpha)
    if tape.needs(b) and turned_b:
        of_b = tape.product(gradient, a, b, transA=1, transB=turned_a, alpha=alpha)
    elif tape.needs(b):
        of_b = tape.product(a, gradient, b, transA=1 - turned_a, alpha=alpha)
    if c is not None and tape.needs(c):
        of_c = tape.folded(tape.scaled(gradient, beta, c), node, c)
    return of_a, of_b, of_c


def _matmul(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """Y = AB, over leading axes that are spread."""
    a, b = query.operands(node)[:2]
    ranks = len(tape.dims(node, a)), len(tape.dims(node, b))
    if min(ranks) < 2:
        raise refusal(node, "it multiplies a vector, which is not followed")
    of_a = of_b = None
    if tape.needs(a):
        of_a = _folded(tape, tape.put("MatMul", gradient, _turned(tape, b, ranks[1])), node, a, max(ranks))
    if tape.needs(b):
        of_b = _folded(tape, tape.put("MatMul", _turned(tape, a, ranks[0]), gradient), node, b, max(ranks))
    return of_a, of_b


def _turned(tape: Tape, value: ir.Value, rank: int) -> ir.Value:
    return tape.put("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])


def _folded(tape: Tape, made: ir.Value, node: ir.Node, operand: ir.Value, rank: int) -> ir.Value:
    """The sum over the leading axes along which the operand was spread."""
    inner, outer = tape.dims(node, operand), tape.dims(node, node.outputs[0])
    more = rank - len(inner)
    spread = [more + at for at in range(len(inner) - 2) if inner[at] == 1 and outer[more + at] != 1]
    unknown = any(
        not isinstance(inner[at], int) and inner[at] != outer[more + at] for at in range(len(inner) - 2)
    )
    if more or spread:
        made = tape.summed(made, [*range(more), *spread])
    return tape.shaped_as(made, operand) if more or spread or unknown else made


def _einsum(tape: Tape, node: ir.Node, gradient: ir.Value) -> Gradients:
    """Of two operands: another Einsum, of the gradient and the other operand."""
    found = terms(node)
    if found is None or "..." in query.text(node, "equation"):
        raise refusal(node, "its equation has an ellipsis or repeated letters, or not two operands")
    a, b = query.operands(node)
    of_a = _einsum_part(tape, node, gradient, found, a, b) if tape.needs(a) else None
    of_b = _einsum_part(tape, node, gradient, found.swapped(), b, a) if tape.needs(b) else None
    return of_a, of_b


def _einsum_part(
    tape: Tape, node: ir.Node, gradient: ir.Value, found: Terms, own: ir.Value, other: ir.Value
) -> ir.Value:
    """The gradient at the left operand. Raises ModelError: a letter is in it alone, or is spread."""
    if not set(found.left) <= {*found.out, *found.right}:
        raise refusal(node, "it sums an operand along an axis that nothing else has")
    known: dict[str, Dim] = dict(zip(found.left, tape.dims(node, own), strict=True))
    pairs = zip(
        found.right + found.out, (*tape.dims(node, other), *tape.dims(node, node.outputs[0])), strict=True
    )
    if any(known.get(letter, size) == 1 != size for letter, size in pairs):
        raise refusal(node, "it spreads an axis of one")
    return tape.put("Einsum", gradient, other, equation=f"{found.out},{found.right}->{found.left}")


RULES: dict[str, Rule] = {"Gemm": _gemm, "MatMul": _matmul, "Einsum": _einsum}
