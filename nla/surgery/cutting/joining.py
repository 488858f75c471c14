"""Concat: channels side by side leave one by one; the same channels at more positions leave from every part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.steps.rules import negative
from nla.surgery.cutting.elementwise import operands
from nla.surgery.cutting.work import Content, Rule, Unfit, Work, named


def _axis(work: Work, node: ir.Node) -> int:
    rank = next((r for value in query.operands(node) if (r := work.flow.rank(value)) is not None), None)
    counted = negative([query.integer(node, "axis")], rank)
    if counted is None:
        raise Unfit(f"{named(node)} joins along an axis that cannot be told")
    return counted[0]


def _concat(work: Work, node: ir.Node) -> None:
    gone, axis = work.gone(node.outputs[0]), _axis(work, node)
    if gone is None:
        raise Unfit(f"{named(node)} ends the channels")
    if axis not in gone.axes:
        operands(work, node, range(len(node.inputs)))
        return
    at, start = gone.axes.index(axis), 0
    for value in query.operands(node):
        length = work.flow.length(value, axis)
        part = work.gone(value)
        if length is None:
            raise Unfit(f"{named(node)} joins parts of unknown size")
        whole = gone.flags.take(range(start, start + length), at)
        flags = np.zeros(whole.shape, np.bool_) if part is None else part.flags
        alike = part is None or part.axes == gone.axes
        if not alike or flags.shape != whole.shape or not np.array_equal(whole, flags):
            raise Unfit(f"{named(node)} joins them with channels that stay")
        start += length


def _carried(work: Work, node: ir.Node) -> Sequence[Content | None]:
    made = work.flow.channels(node.outputs[0])
    if made is None:
        return ()
    axis = _axis(work, node)
    if axis not in made.axes:
        return [_in_common([work.content(value) for value in query.operands(node)], made.index.shape)]
    parts = []
    for value in query.operands(node):
        length = work.flow.length(value, axis)
        if length is None:
            return ()
        shape = [length if a == axis else made.length(a) or 1 for a in made.axes]
        known = work.flow.channels(value) is not None
        parts.append(work.content(value).reshape(shape) if known else np.full(shape, np.nan))
    return [np.concatenate(parts, made.axes.index(axis))]


def _in_common(parts: Sequence[Content], shape: tuple[int, ...]) -> Content | None:
    if any(part.shape != shape for part in parts):
        return None
    same = np.logical_and.reduce([part == parts[0] for part in parts])
    return np.where(same, parts[0], np.nan)


RULES: dict[str, Rule] = {"Concat": Rule(_concat, _carried)}
