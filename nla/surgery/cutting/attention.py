"""Attention that is written out: a head leaves queries, keys, values and scores, and the products follow."""

from __future__ import annotations

import onnx_ir as ir

from nla.graph import query
from nla.surgery.cutting.layout import RULES as LAYOUT
from nla.surgery.cutting.work import Rule, Work


def _cut(work: Work, node: ir.Node) -> None:
    """Products have nothing to cut; keys that are transposed as a stack of matrices have sizes."""
    if query.kind(node) == "Reshape":
        LAYOUT["Reshape"].cut(work, node)


RULE = Rule(_cut)
