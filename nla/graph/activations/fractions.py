"""Decomposed forms with a fraction or a logarithm: Softsign, Sigmoid by Exp, SiLU by Exp, Softplus by Log."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from nla.activations import Activation
from nla.graph import query
from nla.graph.activations.pattern import Pattern, Scalars, plain
from nla.graph.constants import Constants


def recognise(node: ir.Node, constants: Constants) -> Iterator[Pattern]:
    """The activation that ends at the node."""
    output, kind = query.output(node), query.kind(node)
    if output is None:
        return
    if kind == "Log":
        found = softplus(output, constants)
        if found is not None:
            yield Pattern(Activation.named("Softplus"), found[0], output, frozenset(found[1]))
    elif kind in ("Div", "Reciprocal"):
        yield from _fraction(node, output, constants)


def _fraction(node: ir.Node, output: ir.Value, constants: Constants) -> Iterator[Pattern]:
    inputs = query.operands(node)
    below = _one_more(inputs[-1], constants) if inputs else None
    inner = None if below is None else plain(below[0]).producer()
    if below is None or inner is None or not query.operands(inner):
        return
    top, nodes = (inputs[0] if query.kind(node) == "Div" else None), (node, below[1], inner)
    argument = query.operands(inner)[0]
    if query.kind(inner) == "Abs" and top is not None and plain(top) is plain(argument):
        yield Pattern(Activation.named("Softsign"), top, output, frozenset(nodes))
    elif query.kind(inner) == "Exp":
        for value, factor, between in Scalars(constants).chain(argument):
            alpha, whole = -factor, frozenset((*nodes, *between))
            if (top is None or constants.scalar(top) == 1.0) and alpha == 1.0:
                yield Pattern(Activation.named("Sigmoid"), value, output, whole)
                return
            if top is not None and plain(top) is plain(value) and alpha > 0:
                yield Pattern(Activation.named("Swish", alpha=alpha), top, output, whole)
                return


def softplus(value: ir.Value, constants: Constants) -> tuple[ir.Value, tuple[ir.Node, ...]] | None:
    """(z, nodes) where the value is log(1 + exp z), by one operator or three; else None."""
    node = value.producer()
    if node is None or not query.operands(node):
        return None
    argument = query.operands(node)[0]
    if query.kind(node) == "Softplus":
        return argument, (node,)
    if query.kind(node) != "Log":
        return None
    below = _one_more(argument, constants)
    inner = None if below is None else below[0].producer()
    if below is None or inner is None or query.kind(inner) != "Exp":
        return None
    return query.operands(inner)[0], (node, below[1], inner)


def _one_more(value: ir.Value, constants: Constants) -> tuple[ir.Value, ir.Node] | None:
    """(v, node) where the value is 1 + v."""
    node = plain(value).producer()
    if node is None or query.kind(node) != "Add" or len(query.operands(node)) != 2:
        return None
    left, right = query.operands(node)
    if constants.scalar(left) == 1.0:
        return right, node
    return (left, node) if constants.scalar(right) == 1.0 else None
