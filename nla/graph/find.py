"""Find the sites of a graph: one walk that follows channels from weighted nodes to activations."""

from __future__ import annotations

import onnx_ir as ir

from nla.graph.assemble import assemble
from nla.graph.walk import Walk
from nla.site import NotUnderstood, Site


def find_sites(
    model: ir.Model, include: frozenset[str] = frozenset()
) -> tuple[tuple[Site, ...], tuple[NotUnderstood, ...]]:
    """The sites of a model in graph order, and the places that look like sites and were left alone.

    `include` adds sites without an activation: `linear` (weighted outputs that no activation follows) and
    `mlp_pre` (pre-activations of MLP sites). The model is not changed. Weights are read for `out_norm`
    only, in blocks.
    """
    walk = walked(model)
    return assemble(walk, include), tuple(walk.not_understood)


def walked(model: ir.Model) -> Walk:
    """The finished walk over a model, for who needs more of it than its sites."""
    walk = Walk(model.graph)
    for node in walk.nodes:
        walk.visit(node)
    walk.finish()
    return walk
