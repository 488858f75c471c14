"""Pooling and reductions over positions: channels pass by themselves, one value stays that value or is scaled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.surgery.cutting.elementwise import kept_value
from nla.surgery.cutting.layout import moved
from nla.surgery.cutting.work import Content, Rule, Work, nothing


def padded(node: ir.Node) -> bool:
    """True where a convolution or pooling puts zeros around its input, or may."""
    if query.text(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return True
    return any(query.integers(node, "pads") or ())


def _averaged(work: Work, node: ir.Node) -> Sequence[Content | None]:
    """An average that counts zeros around the input is smaller at the border."""
    content = work.content(query.operand(node, 0))
    counts = query.integer(node, "count_include_pad") and (padded(node) or query.integer(node, "ceil_mode"))
    return [np.where(content == 0, 0.0, np.nan) if counts else content]


def _only_zero(work: Work, node: ir.Node) -> Sequence[Content | None]:
    """Sums and norms keep zero; other values depend on how many positions there are."""
    found = moved(work, node) if "Reduce" in node.op_type else kept_value(work, node)
    return [None if content is None else np.where(content == 0, 0.0, np.nan) for content in found]


_SAME = ("MaxPool", "GlobalAveragePool", "GlobalMaxPool")
_SAME_REDUCED = ("ReduceMean", "ReduceMax", "ReduceMin")
_SUMMED = ("LpPool", "GlobalLpPool", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare")

RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME, Rule(nothing, kept_value)),
    **dict.fromkeys(_SAME_REDUCED, Rule(nothing, moved)),
    **dict.fromkeys(_SUMMED, Rule(nothing, _only_zero)),
    **dict.fromkeys(("ReduceProd", "ReduceLogSum", "ReduceLogSumExp"), Rule(nothing)),
    "AveragePool": Rule(nothing, _averaged),
}
