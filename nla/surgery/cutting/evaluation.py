"""One node on channels of known value: each channel is one element, and ONNX's reference says what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.channels import Channels
from nla.surgery.constants import evaluate
from nla.surgery.cutting.requests import Array
from nla.surgery.cutting.work import Content, Work

_LARGEST = 1 << 22
"""Elements of the largest operand that is computed with."""


def evaluated(work: Work, node: ir.Node) -> Sequence[Content | None]:
    """The content of the node's first output, for a node that treats every element, or channel, by itself."""
    made = work.flow.channels(node.outputs[0])
    gone = work.gone(node.outputs[0])
    if made is None or gone is None or node.domain not in query.STANDARD:
        return ()
    feeds: dict[str, Array] = {}
    for value in query.operands(node):
        operand = _operand(work, value)
        if operand is None or operand.size > _LARGEST:
            return ()
        feeds[query.name(value)] = operand
    result = evaluate(work.proto(node), work.flow.opset, feeds, query.name(node.outputs[0]))
    unknown = [feeds[query.name(value)] for value in query.operands(node) if value not in work.constants]
    content = None if result is None else by_channel(_only_known(result, unknown), made)
    return () if content is None else [np.where(gone.flags, content, np.nan)]


def answer(work: Work, node: ir.Node, number: float) -> Content | None:
    """What the node makes of channels that are all this number; None where it has more than one such operand."""
    made = work.flow.channels(node.outputs[0])
    followed = [value for value in query.operands(node) if value not in work.constants]
    rank = work.flow.rank(followed[0]) if len(followed) == 1 else None
    fact = work.flow.channels(followed[0]) if followed else None
    if made is None or fact is None or rank is None or node.domain not in query.STANDARD:
        return None
    dtype = np.float32 if followed[0].dtype is None else followed[0].dtype.numpy()
    feeds: dict[str, Array] = {query.name(followed[0]): np.full(_spread_shape(fact, rank), number, dtype)}
    for value in query.operands(node):
        if value in work.constants:
            array = work.array(value)
            if array is None or array.size > _LARGEST:
                return None
            feeds[query.name(value)] = array
    result = evaluate(work.proto(node), work.flow.opset, feeds, query.name(node.outputs[0]))
    return None if result is None else by_channel(result, made)


def _only_known(result: Array, operands: Sequence[Array]) -> Array:
    """The result, NaN where an operand is: roundings and comparisons make numbers of what is not known."""
    unknown = np.zeros(result.shape, np.bool_)
    for operand in operands:
        if operand.dtype.kind not in "biu":
            unknown |= np.isnan(operand.astype(np.float64))
    return np.where(unknown, np.nan, result.astype(np.float64))


def _operand(work: Work, value: ir.Value) -> Array | None:
    """The operand as an array with one element for each channel and all else of length one."""
    if value in work.constants:
        return work.array(value)
    fact, rank = work.flow.channels(value), work.flow.rank(value)
    dtype = np.float32 if value.dtype is None else value.dtype.numpy()
    if fact is None:
        return None if rank is None or np.dtype(dtype).kind in "biu" else np.full([1] * rank, np.nan, dtype)
    if rank is None:
        return None
    content = work.content(value)
    if np.dtype(dtype).kind in "biu":
        if work.gone(value) is None or np.isnan(content[_flags(work, value)]).any():
            return None
        content = np.nan_to_num(content)
    return content.astype(dtype).reshape(_spread_shape(fact, rank))


def _flags(work: Work, value: ir.Value) -> Array:
    gone = work.gone(value)
    assert gone is not None
    return gone.flags


def _spread_shape(fact: Channels, rank: int) -> list[int]:
    """The shape of a tensor that has only its channels."""
    return [fact.length(axis - rank) or 1 for axis in range(rank)]


def by_channel(result: Array, made: Channels) -> Content | None:
    """What every channel is in a computed tensor; NaN where it is not the same at all positions."""
    rank = result.ndim
    if -made.axes[0] > rank or any(result.shape[axis] not in (1, made.length(axis)) for axis in made.axes):
        return None
    places = [axis + rank for axis in made.axes]
    moved = np.moveaxis(result, places, range(len(places))).astype(np.float64)
    flat = moved.reshape(*moved.shape[: len(places)], -1)
    same = (flat == flat[..., :1]).all(-1)
    content: Content = np.broadcast_to(np.where(same, flat[..., 0], np.nan), made.index.shape)
    return content
