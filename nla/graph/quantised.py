"""Quantised operators made observable: their outputs as floats beside the graph's own tensors."""

from __future__ import annotations

import onnx_ir as ir

from nla.graph import query

_OUTPUT_SCALE = {
    **dict.fromkeys(
        ("QLinearConv", "QLinearMatMul", "com.microsoft.QLinearAdd", "com.microsoft.QLinearMul"), 6
    ),
    "com.microsoft.QGemm": 7,
    **dict.fromkeys(("com.microsoft.QLinearSigmoid", "com.microsoft.QLinearLeakyRelu"), 3),
}
"""Operand that is the scale of the output; its zero point is the next."""


def add_dequantised(model: ir.Model) -> tuple[str, ...]:
    """Give every quantised operator's output a DequantizeLinear that nothing reads; the names made.

    In a graph of QOperators no tensor holds the activation itself. One that is not tapped costs nothing: it
    is left out when the graph is cut to its taps. Outputs that the graph dequantises anyway are left as
    they are.
    """
    graph, made = model.graph, []
    taken = {value.name for node in graph for value in node.outputs} | set(graph.initializers)
    for node in list(graph):
        at = _OUTPUT_SCALE.get(query.kind(node))
        value = query.output(node)
        scale, zero = (None, None) if at is None else (query.operand(node, at), query.operand(node, at + 1))
        if value is None or scale is None or zero is None or _is_dequantised(value):
            continue
        name = f"{value.name}_dequantized"
        if name in taken:
            continue
        result = ir.Value(name=name, shape=value.shape, type=ir.TensorType(scale.dtype or ir.DataType.FLOAT))
        graph.insert_after(
            node, ir.Node("", "DequantizeLinear", [value, scale, zero], outputs=[result], name=name)
        )
        taken.add(name)
        made.append(name)
    return tuple(made)


def _is_dequantised(value: ir.Value) -> bool:
    return any(query.kind(reader) == "DequantizeLinear" for reader in query.readers(value, 8))
