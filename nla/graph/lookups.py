"""Embeddings: rows of a constant table, taken by the whole numbers that an input gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.graph import query

_SAME_PLACES = frozenset(("Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"))


@dataclass(frozen=True)
class Lookup:
    """Rows of a constant table, taken by the whole numbers of an input, in their order."""

    input: str
    rows: str
    """The tensor of the rows that were taken."""
    table: NDArray[Any]
    """[tokens, width]"""


def lookups(graph: ir.Graph) -> tuple[Lookup, ...]:
    """The embeddings of a graph's inputs."""
    found = []
    for node in graph:
        if query.kind(node) != "Gather" or query.integer(node, "axis"):
            continue
        table, places = query.operand(node, 0), query.operand(node, 1)
        while (
            places is not None
            and (made := places.producer()) is not None
            and query.kind(made) in _SAME_PLACES
        ):
            places = query.operand(made, 0)
        if table is None or table.const_value is None or places is None or not places.is_graph_input():
            continue
        rows = np.asarray(table.const_value.numpy())
        if rows.ndim == 2:
            found.append(Lookup(query.name(places), query.name(node.outputs[0]), rows))
    return tuple(found)
