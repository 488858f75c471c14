"""Recurrent operators: a hidden state is a gate times a bounded activation, or a mean of such, whatever is read."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nla.certificates.sets import Box, anywhere
from nla.graph import query
from nla.lowering.rules.base import Lowered, Shape, Unsound, sample

_SHARES = ("sigmoid", "hardsigmoid")
"""Gates: between zero and one."""
_BOUNDED = (*_SHARES, "tanh", "softsign")
"""Between minus one and one."""
_USUAL = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
_ROOM = 2.0**-10
"""How far runtimes' sigmoid and tanh may exceed one."""


def _recurrent(node: ir.Node, lowered: Lowered, full: Shape) -> None:
    """|h| ≤ 1: of an LSTM o·tanh(c), of a GRU (1 - z)·n + z·h from a first state that is no larger, of an RNN tanh.

    The cell of an LSTM grows by i·g, at most one, a step.
    """
    each = len(_USUAL[node.op_type])
    given = node.attributes.get("activations")
    names = [name.lower() for name in given.as_strings()] if given is not None else list(_USUAL[node.op_type])
    if any(name not in _BOUNDED for name in names) or any(
        name not in _SHARES for name in _gates(names, each)
    ):
        raise Unsound("with activations that have no bound here")
    shape = lowered.full[lowered.known(query.operand(node, 0))]
    late = query.integer(node, "layout")
    steps, batch = (shape[1], shape[0]) if late else (shape[0], shape[1])
    sides = 2 if query.text(node, "direction") == "bidirectional" else 1
    width = query.integer(node, "hidden_size")
    room = _ROOM + 8 * (steps + 2) * lowered.unit  # each step rounds what it hands on
    first = 0.0
    if (
        node.op_type == "GRU" or query.operand(node, 4) is not None
    ):  # the first state is mixed in, or handed on
        first = _largest(node, lowered, 5)
    if not np.isfinite(first):
        raise Unsound("whose first state varies")
    state = (batch, sides, width) if late else (sides, batch, width)
    grown = _largest(node, lowered, 6) + steps
    if steps == 1 and not late and not lowered.alone:
        grown = float("inf")  # the axis of the steps may be that of the samples
    ends = [max(1.0, first), max(1.0, first), grown]
    sizes = [(batch, steps, sides, width) if late else (steps, sides, batch, width), state, state]
    for value, size, end in zip(node.outputs, sizes, ends, strict=False):
        if value.name:
            _given(lowered, query.name(value), size, end * (1 + room))


def _gates(names: list[str], each: int) -> list[str]:
    """The activations of gates: of an RNN there are none."""
    return [] if each == 1 else names[::each]


def _largest(node: ir.Node, lowered: Lowered, place: int) -> float:
    """max |first state|, zero where none is given; infinite where it varies."""
    value = query.operand(node, place)
    if value is None:
        return 0.0
    array = lowered.constant(value)
    return float("inf") if array is None else float(np.abs(array).max(initial=0))


def _given(lowered: Lowered, name: str, full: Shape, end: float) -> None:
    shape = sample(full)
    known = np.isfinite(end)
    lowered.given[name] = Box(np.full(shape, -end), np.full(shape, end)) if known else anywhere(shape)
    lowered.full[name] = full


RULES = dict.fromkeys(_USUAL, _recurrent)
