"""What arrives at the readers of a site whose units are constant: their values, carried through the steps between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.graph import query
from nla.graph.channels import NOBODY, Channels
from nla.surgery.structure import Structure
from nla.surgery.weights.matching import matched, spread
from nla.surgery.weights.patterns import patterns_of
from nla.surgery.weights.way import LINEAR, SHIFTING

Floats = NDArray[np.float64]

_LONGEST = 64
_ZERO_KEEPING = frozenset(
    (
        *(
            "Abs",
            "Sqrt",
            "Sign",
            "Floor",
            "Ceil",
            "Round",
            "Relu",
            "LeakyRelu",
            "PRelu",
            "Elu",
            "Selu",
            "Celu",
        ),
        *(
            "Tanh",
            "Softsign",
            "Gelu",
            "HardSwish",
            "Mish",
            "Swish",
            "Erf",
            "Sin",
            "Atan",
            "DynamicQuantizeLinear",
        ),
        *("ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "LpPool", "GlobalLpPool"),
    )
)


class Unknown(Exception):  # noqa: N818 - no fault: what arrives is not known, and the units stay
    """What arrives at a reader cannot be told."""


class Carried:
    """The value of every channel of a tensor behind a site, where the site's units are constant."""

    def __init__(self, structure: Structure, name: str, values: Mapping[int, float], exact: bool) -> None:
        self._flow = structure.walk.flow
        draft = structure.drafts[name]
        self._source, self._exact = draft.source, exact
        self._values = np.full(draft.neurons, np.nan)
        for unit, value in values.items():
            self._values[unit] = value
        self._stops = {
            draft.value,
            *(p.output for p in patterns_of(structure).values() if p.tensor is draft.value),
        }

    def at(self, value: ir.Value, depth: int = 0) -> Floats:
        """float64 [channels], NaN for those of other units. Raises Unknown."""
        fact = self._flow.channels(value)
        node = value.producer()
        if fact is None or depth > _LONGEST:
            raise Unknown("Its value cannot be followed")
        if value in self._stops or node is None:
            source, index = fact.flat()
            mine = source == self._source
            return np.where(mine, self._values[np.where(mine, index, 0)], np.nan)
        kind = query.kind(node)
        if kind == "Concat":
            return self._concatenated(node, fact, depth)
        if kind in ("Add", "Sub", "Sum", "Mul", "Div"):
            return self._combined(node, fact, depth)
        before = self._moved(node.inputs[0], fact, depth)
        if kind == "BatchNormalization":
            return self._normed(node, before)
        if kind == "Neg":
            return -before
        self._check(node, kind, before)
        return before

    def _check(self, node: ir.Node, kind: str, before: Floats) -> None:
        """Raises Unknown where the node does not hand the values on as they are."""
        moving = bool(np.nan_to_num(before).any())
        handed = kind in LINEAR or kind in SHIFTING
        if kind in ("QuantizeLinear", "DequantizeLinear") or query.integer(node, "count_include_pad"):
            handed = not (moving and self._exact)
        if kind == "Pad":
            filled = (
                self._flow.constants.scalar(query.operand(node, 2))
                if query.operand(node, 2) is not None
                else query.real(node, "value", 0.0)
            )
            constant = query.text(node, "mode", "constant") == "constant"
            handed = not constant or (not moving and filled == 0.0) or not self._exact
        if not handed and (moving or kind not in _ZERO_KEEPING):
            raise Unknown(f"What {_named(node)} makes of it is not known")

    def _moved(self, operand: ir.Value | None, out: Channels, depth: int) -> Floats:
        """The operand's values at the places of the output's channels."""
        fact = self._flow.channels(operand)
        if operand is None or fact is None:
            return np.full(out.size, np.nan)
        before = self.at(operand, depth + 1)
        if fact.axes == out.axes and fact.index.shape == out.index.shape:
            return before
        places = matched(out, fact)
        if places is None:
            raise Unknown("Its value cannot be followed through a reshape")
        return np.where(places != NOBODY, before[np.maximum(places, 0)], np.nan)

    def _concatenated(self, node: ir.Node, out: Channels, depth: int) -> Floats:
        axis, rank = query.integer(node, "axis"), self._flow.rank(node.outputs[0])
        rank = out.rank if rank is None else rank
        axis = axis if axis < 0 or rank is None else axis - rank
        if axis not in out.axes:
            return self._along_positions(node, out, depth)
        made, start = np.full(out.size, np.nan), 0
        places = np.arange(out.size).reshape(out.index.shape)
        for operand in query.operands(node):
            fact, length = self._flow.channels(operand), self._flow.length(operand, axis) or 0
            where = places.take(range(start, start + length), out.axes.index(axis)).reshape(-1)
            start += length
            if fact is not None and fact.axes == out.axes and self._source in fact.sources():
                made[where] = self.at(operand, depth + 1)
        return made

    def _along_positions(self, node: ir.Node, out: Channels, depth: int) -> Floats:
        """The same channels at more positions: known where every part has the same value."""
        parts = [self._moved(operand, out, depth) for operand in query.operands(node)]
        return np.where(np.all([part == parts[0] for part in parts], axis=0), parts[0], np.nan)

    def _combined(self, node: ir.Node, out: Channels, depth: int) -> Floats:
        kind = query.kind(node)
        parts: list[Floats] = []
        unknown: list[int] = []
        for at, operand in enumerate(node.inputs):
            if operand is None or not operand.name:
                continue
            array = self._flow.constants.weight(operand)
            numbers = None if array is None else spread(np.asarray(array, np.float64), out)
            if self._flow.channels(operand) is not None:
                parts.append(self._moved(operand, out, depth))
            elif numbers is not None:
                parts.append(numbers)
            else:
                unknown.append(at)
        if unknown and parts and (kind == "Mul" or (kind == "Div" and unknown == [1])):
            return np.where(parts[0] == 0, 0.0, np.nan)  # whatever it is multiplied with
        if unknown:
            raise Unknown(f"What {_named(node)} adds to it is not known")
        with np.errstate(all="ignore"):
            return np.asarray(_ARITHMETIC[kind](parts), np.float64)

    def _normed(self, node: ir.Node, before: Floats) -> Floats:
        scale, bias, mean, variance = (self._flow.constants.weight(v) for v in query.operands(node)[1:5])
        if any(part is None or part.shape != before.shape for part in (scale, bias, mean, variance)):
            raise Unknown(f"What {_named(node)} makes of it is not known")
        scale, bias, mean, variance = (np.asarray(part, np.float64) for part in (scale, bias, mean, variance))
        epsilon = query.real(node, "epsilon", 1e-5)
        return (before - mean) / np.sqrt(variance + epsilon) * scale + bias


_ARITHMETIC: dict[str, Callable[[list[Floats]], Any]] = {
    "Add": sum,
    "Sum": sum,
    "Sub": lambda parts: parts[0] - parts[1],
    "Mul": lambda parts: parts[0] * parts[1],
    "Div": lambda parts: parts[0] / parts[1],
}


def _named(node: ir.Node) -> str:
    return f"{query.kind(node)} '{query.node_name(node)}'"
