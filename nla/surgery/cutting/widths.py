"""Widths after a cut: no axis of length zero, groups of a convolution alike, multiples of a number where asked."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.graph import query
from nla.graph.coupling import Placed
from nla.graph.weighted import Weighted
from nla.surgery.cutting.masks import Flags
from nla.surgery.cutting.work import named
from nla.surgery.structure import Structure

Groups = NDArray[np.int64]


class Widths:
    """Decides which channel groups stay for the width's sake."""

    def __init__(self, structure: Structure, round_to: int = 1) -> None:
        self._structure = structure
        self._round_to = round_to
        self.reasons: dict[int, str] = {}
        """By group that the last `settled` kept, why."""
        self._tensors = list(_tensors(structure))
        self._grouped = list(_grouped(structure))
        self._sites = [
            structure.coupling.everyone(name)
            for name, draft in structure.drafts.items()
            if draft.unit_size == 1
        ]

    def settled(self, cut: Collection[int]) -> set[int]:
        """What of `cut` may leave. Units of the lowest indices stay; the result only ever shrinks."""
        left = set(cut)
        self.reasons = {}
        while True:
            stay = self._to_stay(np.fromiter(sorted(left), np.int64, len(left)))
            if not stay:
                return left
            self.reasons |= {group: why for group, why in stay.items() if group in left}
            left -= stay.keys()

    def _to_stay(self, cut: Groups) -> dict[int, str]:
        """Groups of which one rule or another says that they stay, and why; the first rule that says anything."""
        stay: dict[int, str] = {}
        for groups in self._tensors:
            flags = np.isin(groups, cut)
            if flags.any():
                stay |= dict.fromkeys(
                    _emptied(groups, flags), "kept for the width of its layer, which would have none"
                )
        for node, made, read in () if stay else self._grouped:
            why = f"kept for {named(node)}, each of whose {len(made)} groups must keep as many channels"
            stay |= dict.fromkeys(_unbalanced(made, read, cut), why)
        why = f"kept for the width of its layer, which is to be a multiple of {self._round_to}"
        for groups in () if stay or self._round_to == 1 else self._sites:
            stay |= dict.fromkeys(self._uneven(groups, np.isin(groups, cut)), why)
        return stay

    def _uneven(self, groups: Groups, flags: Flags) -> set[int]:
        kept = int((~flags).sum())
        if not flags.any():
            return set()
        target = min(-(-kept // self._round_to) * self._round_to, len(groups))
        return {int(group) for group in groups[flags][: target - kept]}


def _tensors(structure: Structure) -> Iterator[Groups]:
    """The groups of every tensor with channels, each once."""
    seen: set[Placed] = set()
    for node in structure.walk.nodes:
        for value in node.outputs:
            placed = structure.coupling.placed(value)
            if placed is not None and placed not in seen:
                seen.add(placed)
                yield placed.groups


def _grouped(structure: Structure) -> Iterator[tuple[ir.Node, Groups, Groups]]:
    """(node, [groups, outputs of each], [groups, inputs of each]) of grouped convolutions; -1: not followed."""
    for node, layer in structure.walk.layers.items():
        if layer.groups > 1:
            made = _flat(structure.coupling.placed(query.output(node) or layer.data), layer, layer.outputs)
            yield node, made, _flat(structure.coupling.placed(layer.data), layer, layer.inputs)


def _flat(placed: Placed | None, layer: Weighted, length: int) -> Groups:
    whole = np.full(length, -1) if placed is None or placed.groups.size != length else placed.groups
    return whole.reshape(layer.groups, -1)


def _emptied(groups: Groups, flags: Flags) -> set[int]:
    """The first group of a tensor of which nothing would be left."""
    return {int(groups.reshape(-1)[0])} if flags.all() else set()


def _unbalanced(made: Groups, read: Groups, cut: Groups) -> set[int]:
    """Groups of channels that leave some parts of a grouped convolution and have no counterpart in others."""
    flags = [np.isin(part, cut) for part in (made, read)]
    stay = ~(flags[0].all(1) & flags[1].all(1))
    found: set[int] = set()
    if not stay.any():
        return {int(made[0, 0])}
    for part, gone in zip((made, read), flags, strict=True):
        most = min(int(gone[stay].sum(1).min()), part.shape[1] - 1)
        for row, own in zip(part[stay], gone[stay], strict=True):
            found.update(int(group) for group in row[own][: int(own.sum()) - most])
    return found
