"""The activations of a graph as it writes them, found once for each walk."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import onnx_ir as ir

from nla.graph.activations import Pattern, recognise
from nla.graph.drafts import Draft
from nla.graph.walk import Walk
from nla.surgery.structure import Structure

_FOUND: WeakKeyDictionary[Walk, dict[ir.Value, Pattern]] = WeakKeyDictionary()


def patterns_of(structure: Structure) -> dict[ir.Value, Pattern]:
    """The activations of the graph by their output; those of gates, which the walk puts aside, among them."""
    walk = structure.walk
    if walk not in _FOUND:
        _FOUND[walk] = recognise(walk.nodes, walk.flow.constants)
    return _FOUND[walk]


def pattern_of(patterns: dict[ir.Value, Pattern], draft: Draft) -> Pattern | None:
    """The activation that ends at the site."""
    found = patterns.get(draft.value)
    return found or next((p for p in patterns.values() if p.tensor is draft.value), None)
