"""Normalisations that treat every channel by itself: their parameters leave with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.surgery.cutting.elementwise import kept_value
from nla.surgery.cutting.evaluation import evaluated
from nla.surgery.cutting.work import Content, Rule, Unfit, Work, named, nothing


def _per_channel(*places: int) -> Rule:
    """Parameters of one axis at these operands, for channels on axis 1."""

    def cut(work: Work, node: ir.Node) -> None:
        nothing(work, node)
        gone, rank = work.gone(node.outputs[0]), work.flow.rank(node.outputs[0])
        if gone is None or rank is None or gone.axes != (1 - rank,):
            raise Unfit(f"{named(node)} has its channels on another axis")
        for at in places:
            if query.operand(node, at) is None:
                continue
            if query.operand(node, at) not in work.constants:
                raise Unfit(f"{named(node)} has parameters that are computed")
            work.take(node, at, [(0, gone.kept(1 - rank))])

    return Rule(cut, _instance if places == (1, 2) else evaluated)


def _instance(work: Work, node: ir.Node) -> Sequence[Content | None]:
    """What is one value in a sample is its own mean: the bias is left."""
    content, bias = work.content(query.operand(node, 0)), work.array(query.operand(node, 2))
    if bias is None or bias.shape != content.shape:
        return ()
    return [np.where(np.isnan(content), np.nan, bias.astype(np.float64))]


def _mean_variance(work: Work, node: ir.Node) -> Sequence[Content | None]:
    return [
        np.where(np.isnan(content), np.nan, 0.0) for content in kept_value(work, node) if content is not None
    ]


RULES: dict[str, Rule] = {
    "BatchNormalization": _per_channel(1, 2, 3, 4),
    "InstanceNormalization": _per_channel(1, 2),
    "MeanVarianceNormalization": Rule(nothing, _mean_variance),
}
