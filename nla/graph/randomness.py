"""What a graph draws at random: tensors that differ from run to run, whatever was edited."""

from __future__ import annotations

import onnx_ir as ir

from nla.graph import query


def drawn_outputs(graph: ir.Graph) -> tuple[str, ...]:
    """Names of the outputs in which an operator that draws numbers has a part, one within a body included."""
    drawn: set[ir.Value] = set()
    for node in query.in_order(graph):
        read = query.captured(node) if query.is_control_flow(node) else query.operands(node)
        inherits = query.kind(node) not in query.UNREAD and any(value in drawn for value in read)
        if inherits or any(map(_draws, (node, *query.inner_nodes(node)))):
            drawn.update(node.outputs)
    return tuple(query.name(value) for value in graph.outputs if value in drawn)


def _draws(node: ir.Node) -> bool:
    """A random operator, or dropout that was left in training mode."""
    if query.kind(node) != "Dropout":
        return query.kind(node) in query.RANDOM
    training = query.operand(node, 2)
    constant = None if training is None else ir.convenience.get_const_tensor(training)
    return constant is not None and bool(constant.numpy().any())
