"""Where a graph can be cut: which stage computes a tensor, and which of the given cuts separate the graph at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from nla.errors import ModelError, printable
from nla.graph.query import in_order
from nla.graph.rewrite import read_by


@dataclass(frozen=True)
class Cutting:
    """The cuts that are used, in order, and the stage of every tensor: stage k computes cut k from cut k-1."""

    cuts: tuple[str, ...]
    levels: Mapping[str, int]
    """By tensor name, the number of cuts that it depends on. What needs none is computed again where it is read."""

    @property
    def stages(self) -> int:
        """How many there are: one more than cuts."""
        return len(self.cuts) + 1

    def stage_of(self, name: str) -> int:
        """The stage that computes a tensor. Raises ModelError: no such tensor."""
        if name not in self.levels:
            raise ModelError(f"tensor '{printable(name)}' is not in the graph (it may be inside a subgraph)")
        return self.levels[name]

    def before(self, stage: int) -> str | None:
        """The cut that a stage reads; None for the first."""
        return self.cuts[stage - 1] if stage else None

    def after(self, stage: int) -> str | None:
        """The cut that a stage computes; None for the last."""
        return self.cuts[stage] if stage < len(self.cuts) else None


def cutting(graph: ir.Graph, cuts: Sequence[str]) -> Cutting:
    """The cuts that separate what comes before from what comes after, and the stage of every tensor.

    They are in the order of the graph. A cut that it does not have, or past which something is read (a skip
    connection), is no cut: the stages on both sides are one.
    """
    given = set(cuts)
    wanted = [str(value.name) for node in in_order(graph) for value in node.outputs if value.name in given]
    while True:
        levels, passed = _levels(graph, wanted)
        if not passed:
            return Cutting(tuple(wanted), levels)
        wanted = [name for k, name in enumerate(wanted) if k not in passed]


def _levels(graph: ir.Graph, cuts: Sequence[str]) -> tuple[dict[str, int], set[int]]:
    """The number of cuts that each tensor depends on, and the cuts that some node reads past."""
    place = {name: k for k, name in enumerate(cuts)}
    levels: dict[ir.Value, int] = {}
    passed: set[int] = set()

    def seen(value: ir.Value) -> int:
        """The level of a tensor as its readers see it: what reads cut k is in stage k + 1."""
        cut = place.get(str(value.name))
        return levels.get(value, 0) if cut is None or value.producer() is None else cut + 1

    for node in in_order(graph):
        read = {seen(value) for value in read_by(node)}
        level = max(read, default=0)
        for value in node.outputs:
            levels[value] = level
            cut = place.get(str(value.name))
            if cut is not None and cut != level:  # two cuts in one stage, or in another order than told
                passed.add(cut)
        for other in read - {0, level}:
            passed.update(range(other, level))
    named = {str(value.name): level for value, level in levels.items()}
    first = [*graph.inputs, *graph.initializers.values()]
    return {**{str(value.name): 0 for value in first}, **named}, passed
