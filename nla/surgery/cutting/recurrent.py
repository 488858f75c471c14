"""LSTM, GRU and RNN: columns of what they read, and hidden units that are zero at every step."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.recurrent import Recurrent, zeros
from nla.surgery.cutting import unknown
from nla.surgery.cutting.masks import Flags, Gone, Places, known_flags
from nla.surgery.cutting.relating import offsets
from nla.surgery.cutting.requests import Array
from nla.surgery.cutting.weighted import read_flags, take_merged
from nla.surgery.cutting.work import Rule, Unfit, Work, named

_WEIGHT, _AGAIN, _BIAS, _PEEPHOLES = 1, 2, 3, 7
_STARTED = (5, 6)
"""Operands that are states before the first step."""


def _cut(work: Work, node: ir.Node) -> None:
    cell = work.walk.cells[node]
    layer = cell.weighted
    gates = layer.outputs // cell.directions // cell.hidden
    data, units = read_flags(work, layer), _units(work, cell)
    columns = known_flags(data, layer.inputs)
    kept = np.flatnonzero(~units)
    rows = _blocks(units, gates)
    take_merged(work, layer, _WEIGHT, [(1, rows), (2, np.flatnonzero(~columns) if columns.any() else None)])
    if units.any():
        _hidden(work, cell, gates, kept)
    if data is not None:
        left = _left_behind(work, cell, data)
        if left is not None:
            _to_bias(work, cell, left if rows is None else left[:, rows], gates * len(kept))


def _units(work: Work, cell: Recurrent) -> Flags:
    """[hidden] what leaves of every direction; Unfit where a unit that leaves may ever be other than zero."""
    found = np.zeros(cell.hidden, np.bool_)
    for at in (0, 1):
        value = query.output(cell.node, at)
        gone = work.gone(value)
        if gone is None:
            continue
        found = gone.line(-1)
        _check_zero(work, cell, gone, work.content(value))
    return found


def _check_zero(work: Work, cell: Recurrent, gone: Gone, content: Array) -> None:
    other = gone.flags & (content != 0)
    if other.any():
        raise Unfit(
            f"{named(cell.node)} reads them again, and they are not known to be zero", gone.groups[other]
        )
    for at in _STARTED:
        value = query.operand(cell.node, at)
        array = work.array(value)
        if value is None or zeros(value, work.constants):
            continue
        if array is None or array[..., gone.line(-1)].any():
            raise Unfit(f"{named(cell.node)} starts from states in which they are not zero")


def _blocks(units: Flags, count: int) -> Places | None:
    """Places that stay where the units stand `count` times one after another."""
    return np.flatnonzero(~np.tile(units, count)) if units.any() else None


def _hidden(work: Work, cell: Recurrent, gates: int, kept: Places) -> None:
    node, units = cell.node, np.ones(cell.hidden, np.bool_)
    units[kept] = False
    work.take(node, _AGAIN, [(1, _blocks(units, gates)), (2, kept)])
    if query.operand(node, _BIAS) is not None:
        work.take(node, _BIAS, [(1, _blocks(units, 2 * gates))])
    if query.operand(node, _PEEPHOLES) is not None:
        work.take(node, _PEEPHOLES, [(1, _blocks(units, 3))])
    for at in _STARTED:
        value = query.operand(node, at)
        if value in work.constants:
            rank = len(work.constants.shape(value) or (0,))
            work.take(node, at, [(rank - 1, kept)])
        elif value is not None:
            work.requests.left_out.add(
                (node, at)
            )  # zeros of any batch: what starts without a state starts so
    work.requests.attributes[node, "hidden_size"] = len(kept)


def _left_behind(work: Work, cell: Recurrent, data: Gone) -> Array | None:
    """[directions, gates·hidden] what the inputs that leave added to the gates; None where nothing."""
    content = offsets(work, cell.weighted.data, work.content(cell.weighted.data))
    content = np.where(data.flags.reshape(-1), content, 0.0)
    lost = np.isnan(content)
    if lost.any():
        raise unknown.unfit(work, cell.node, cell.weighted.data, data.groups.reshape(-1)[lost])
    weight = work.array(cell.weighted.weight)
    if not content.any():
        return None
    if weight is None:
        raise Unfit(f"the weights of {named(cell.node)} cannot be read")
    left: Array = weight.astype(np.float64) @ content
    return left


def _to_bias(work: Work, cell: Recurrent, left: Array, width: int) -> None:
    """Into the first half of the bias, that of the inputs."""
    whole = np.concatenate([left, np.zeros((cell.directions, width))], axis=1)
    if query.operand(cell.node, _BIAS) is not None:
        work.check_editable(cell.node, _BIAS)
        work.requests.add(cell.node, _BIAS, whole)
    else:
        kind = work.array(cell.weighted.weight)
        assert kind is not None
        work.requests.constants[cell.node, _BIAS] = whole.astype(kind.dtype)


RULE = Rule(_cut)
