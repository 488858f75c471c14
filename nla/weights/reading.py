"""The layers of a graph, each read once however often it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from nla.graph import query
from nla.graph.constants import Constants
from nla.graph.weighted import Weighted
from nla.weights.layers import summed_up
from nla.weights.matrix import Matrix, matrix
from nla.weights.profile import Profile, profile
from nla.weights.results import LayerWeights

Read = tuple[Matrix, Profile]


class Layers:
    """Answers for the weighted nodes of one graph; what it keeps of each is small beside the weights."""

    def __init__(self, constants: Constants, on_step: Callable[[], None] = lambda: None) -> None:
        self.constants = constants
        self._on_step = on_step
        self._read: dict[Weighted, Read | str] = {}
        self._summed: dict[Weighted, LayerWeights] = {}

    def read(self, weighted: Weighted) -> Read | str:
        """The weights of a layer and what one pass over them left; or why they are not read, a sentence."""
        if weighted not in self._read:
            found = matrix(weighted, self.constants)
            self._read[weighted] = found if isinstance(found, str) else (found, profile(found))
            self._on_step()
        return self._read[weighted]

    def summed_up(self, weighted: Weighted) -> LayerWeights | str:
        """The layer as the result has it; or why not, a sentence."""
        found = self.read(weighted)
        if isinstance(found, str):
            return found
        if weighted not in self._summed:
            self._summed[weighted] = summed_up(*found, self.constants, self._on_step)
        return self._summed[weighted]

    def listed(self, place: Callable[[ir.Value], int]) -> tuple[LayerWeights, ...]:
        """All layers that were summed up, in the order of `place` of their outputs."""
        return tuple(self._summed[w] for w in sorted(self._summed, key=lambda w: place(w.node.outputs[0])))

    def unread(self) -> dict[str, str]:
        """By name, why a layer was not read."""
        return {
            query.node_name(weighted.node): found
            for weighted, found in self._read.items()
            if isinstance(found, str)
        }
