"""Activations in a graph: single operators and the patterns that exporters decompose them into.

A recogniser looks at one node and says which activation ends or begins there, or nothing. The longest match
wins, and the inner nodes of a match (the Sigmoid of a SiLU) are no activations of their own. To add a form,
write its recogniser in a module of this package and enter it in `_RECOGNISERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import onnx_ir as ir

from nla.graph import query
from nla.graph.activations import clips, fractions, products, quantised, single, wheres
from nla.graph.activations.pattern import Pattern
from nla.graph.constants import Constants

__all__ = ["Pattern", "recognise"]

_RECOGNISERS: tuple[Callable[[ir.Node, Constants], Iterator[Pattern]], ...] = (
    single.recognise,
    clips.recognise,
    products.recognise,
    fractions.recognise,
    quantised.recognise,
    wheres.recognise,
)


def recognise(nodes: Iterable[ir.Node], constants: Constants) -> dict[ir.Value, Pattern]:
    """The activations of a graph by their output values, each node in at most one of them."""
    found = [
        pattern
        for node in nodes
        for recogniser in _RECOGNISERS
        for pattern in recogniser(node, constants)
        if pattern.z not in constants and pattern.output.name
    ]
    found.sort(key=lambda pattern: -len(pattern.nodes))  # stable: among equals, graph order
    taken: set[ir.Node] = set()
    chosen: dict[ir.Value, Pattern] = {}
    for pattern in found:
        last = pattern.output.producer()
        if last is None or last in taken:
            continue
        taken.update(pattern.nodes)
        chosen[pattern.output] = pattern
    return {output: pattern for output, pattern in chosen.items() if not _is_spoken_for(pattern, taken)}


def _is_spoken_for(pattern: Pattern, taken: set[ir.Node]) -> bool:
    """True for a quantisation whose result an activation reads: that one is the activation."""
    if not pattern.tentative or pattern.tensor is None:
        return False
    return any(reader in taken for reader in query.readers(pattern.tensor, 8))
