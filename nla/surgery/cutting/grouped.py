"""Grouped convolutions: what leaves them is a whole group, or as much of every group as of the others."""

from __future__ import annotations

import numpy as np

from nla.graph.weighted import Weighted
from nla.surgery.cutting.masks import Flags
from nla.surgery.cutting.requests import Array, Change
from nla.surgery.cutting.work import Unfit, Work, named


def regrouped(work: Work, layer: Weighted, at: int, rows: Flags, columns: Flags) -> None:
    """Cut the weight, operand `at`, and write the number of groups that stay.

    `rows` [outputs] and `columns` [inputs] leave. Raises Unfit where the groups would not be alike.
    """
    made, read = rows.reshape(layer.groups, -1), columns.reshape(layer.groups, -1)
    stay = np.asarray(~(made.all(1) & read.all(1)))
    for flags in (made, read):
        counts = (~flags[stay]).sum(1)
        if len(counts) == 0 or counts.min() != counts.max() or counts.min() == 0:
            raise Unfit(
                f"{named(layer.node)} has {layer.groups} groups, of which each must keep as many channels"
            )
    across = (made, read) if layer.weight_out_axis == 0 else (read, made)
    shape = work.constants.shape(layer.weight)
    assert shape is not None
    work.change(layer.node, at, _change(shape, across, stay))
    if not stay.all():
        work.requests.attributes[layer.node, "group"] = int(stay.sum())


def _change(shape: tuple[int, ...], across: tuple[Flags, Flags], stay: Flags) -> Change:
    """Of a weight whose first axis holds the groups one after another, and whose second is that of each group."""
    first, second = across

    def cut(array: Array) -> Array:
        blocks = array.reshape(len(stay), -1, *array.shape[1:])
        kept = [blocks[group][np.ix_(~first[group], ~second[group])] for group in np.flatnonzero(stay)]
        return np.concatenate(kept)

    after = (int((~first[stay]).sum()), int((~second[stay][0]).sum()), *shape[2:])
    lines = ((0, np.flatnonzero(~first.reshape(-1))),)
    return Change(cut, after, ("groups", first.tobytes(), second.tobytes()), lines)
