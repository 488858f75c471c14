"""A prepared graph of fixed sizes made plain: what its sizes decide becomes constants, until no more does."""

from __future__ import annotations

import onnx_ir as ir

from nla.graph.evaluate import known_values
from nla.graph.inference import infer_shapes
from nla.graph.loading import replace_by_constant

_ROUNDS = 16


def settle(model: ir.Model) -> None:
    """Turn every small tensor that sizes and constants decide into a constant, and infer shapes anew, in place.

    A graph whose free sizes were given computes shapes for its Reshapes from other shapes; inference stops there.
    """
    for _ in range(_ROUNDS):
        known = known_values(model.graph)
        decided = [
            (node, found.data)
            for node in model.graph
            if len(node.outputs) == 1
            and node.op_type != "Constant"
            and (found := known.get(node.outputs[0])) is not None
            and found.complete
            and not node.outputs[0].is_graph_output()
        ]
        for node, data in decided:
            replace_by_constant(model.graph, node, ir.tensor(data, name=node.outputs[0].name))
        if not decided:
            return
        infer_shapes(model)
