"""MatMul of two computed tensors where one of them only mixes positions: channels pass, and zero stays zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.surgery.cutting.work import Content, Rule, Unfit, Work, named


def _cut(work: Work, node: ir.Node) -> None:
    gone = work.gone(node.outputs[0])
    through = [value for value in query.operands(node) if work.gone(value) is not None]
    if gone is None or len(through) != 1 or not gone.fits(work.gone(through[0])):
        raise Unfit(f"{named(node)} weighs them against one another")


def _carried(work: Work, node: ir.Node) -> Sequence[Content | None]:
    through = [value for value in query.operands(node) if work.gone(value) is not None]
    if len(through) != 1:
        return ()
    return [np.where(work.content(through[0]) == 0, 0.0, np.nan)]


RULES: dict[str, Rule] = {"MatMul": Rule(_cut, _carried)}
