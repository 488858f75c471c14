"""LSTM, GRU and RNN: hidden units are neurons, and where ONNX's layouts put them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from nla.activations import Activation
from nla.graph import query
from nla.graph.channels import Channels, fresh
from nla.graph.constants import Constants
from nla.graph.weighted import Weighted

_MOVED = ("Expand", "Slice", "Identity", "Reshape", "Transpose", "Unsqueeze", "Squeeze")
_MOVES = 8
"""Steps between zeros and a state that starts with them; exporters write one or two."""

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass(frozen=True, eq=False)
class Recurrent:
    """A recurrent node whose weights are constant."""

    node: ir.Node
    activation: Activation
    hidden: int
    directions: int
    weighted: Weighted
    """Its input weights as a weighted node, for what it reads; `parameters` are those of one hidden unit."""

    @property
    def neurons(self) -> int:
        """Hidden units of all directions."""
        return self.directions * self.hidden

    def states(self, source: int) -> list[tuple[ir.Value, Channels]]:
        """Every output that holds hidden units, and where they lie: Y first, then Y_h."""
        batch_first = query.integer(self.node, "layout") == 1
        placed = ((0, -2 if batch_first else -3, 4), (1, -2 if batch_first else -3, 3))
        found = []
        for at, axis, rank in placed:
            value = query.output(self.node, at)
            if value is None:
                continue
            two = self.directions > 1
            shape, axes = ((2, self.hidden), (axis, -1)) if two else ((self.hidden,), (-1,))
            found.append((value, fresh(source, shape, axes, rank)))
        return found


def zeros(value: ir.Value, constants: Constants) -> bool:
    """True for a tensor that is zero everywhere, whatever its sizes: so exporters start states for any batch."""
    for _ in range(_MOVES):
        array = constants.array(value) if value in constants else None
        if array is not None:
            return not array.any()
        node = value.producer()
        if node is None:
            return False
        if query.kind(node) == "ConstantOfShape":
            filling = query.tensor_attribute(node, "value")
            return filling is None or not filling.numpy().any()
        if query.kind(node) not in _MOVED:
            return False
        value = query.operands(node)[0]
    return False


def recurrent(node: ir.Node, constants: Constants) -> Recurrent | str | None:
    """The node as a recurrent one; why it is not understood; None for every other operator."""
    gates = _GATES.get(query.kind(node))
    if gates is None:
        return None
    data, weight, again, bias = (query.operand(node, at) for at in range(4))
    shape, square = constants.shape(weight), constants.shape(again)
    if data is None or weight is None or shape is None or square is None:
        return "its weights are not constants of known shape"
    hidden = square[-1] if len(shape) == len(square) == 3 else 0
    fits = hidden and shape[1] == square[1] == gates * hidden and shape[0] == square[0]
    if not fits or not shape[2] or shape[0] not in (1, 2):
        return "its weights do not have the shape of its operator"
    biased = 2 * gates if bias in constants else 0
    peepholes = 3 if query.operand(node, 7) is not None else 0
    read = Weighted(
        *(node, data, weight, -1, shape[2], -1, shape[0] * gates * hidden, 2, 1),
        parameters=gates * (shape[2] + hidden) + biased + peepholes,
        bias=bias if bias in constants else None,
        reads=shape[0] * gates * hidden,
    )
    return Recurrent(node, Activation.named(query.kind(node)), hidden, shape[0], read)
