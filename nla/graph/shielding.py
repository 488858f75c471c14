"""Sites of which nothing is read where another site is silent: the other stands behind them, or multiplies them.

Depthwise convolutions and gates tie a lively channel to one that may be silent: what goes into a silent channel,
and what is multiplied by it, is needed by nobody.
"""

from __future__ import annotations

from collections import deque

import onnx_ir as ir

from nla.graph import query
from nla.graph.drafts import Draft
from nla.graph.keeping import depthwise
from nla.graph.query import SIZES
from nla.graph.walk import Walk


def shielded(walk: Walk, draft: Draft, other: Draft) -> bool:
    """True where a channel of the draft is not needed if the channel of `other` that it is tied to is zero."""
    pending, seen = deque([draft.value]), {draft.value}
    while (
        pending
    ):  # what is near first: it mostly decides, and a residual stream leads through the whole model
        value = pending.popleft()
        if value.is_graph_output():
            return False
        for use in value.uses():
            if query.kind(use.node) in SIZES or _multiplied(use.node, other.value):
                continue
            made = _on(walk, use.node, value)
            if made is None:
                return False
            new = [output for output in made if output is not other.value and output not in seen]
            seen.update(new)
            pending.extend(new)
    return True


def _multiplied(node: ir.Node, factor: ir.Value) -> bool:
    return query.kind(node) == "Mul" and any(operand is factor for operand in query.operands(node))


def _on(walk: Walk, node: ir.Node, value: ir.Value) -> list[ir.Value] | None:
    """The tensors of the same channels that a reader makes; None where it reads them for anything else."""
    layer = walk.layers.get(node)
    read = not depthwise(layer) or layer.data is not value if layer is not None else node in walk.cells
    made = [output for output in node.outputs if output.name]
    followed = all(walk.flow.channels(output) is not None for output in made)
    return made if followed and not read and node not in walk.attention else None
