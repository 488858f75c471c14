"""The way into a site: from its pre-activation z back to the layers that make it, channel by channel.

A walk's facts say which neuron every channel of a tensor is. Going back from z, they tell for each tensor which
channel becomes which unit, how much z changes when the channel does (`slope`), and whether the unit alone is made
of it (`own`): what else reads the channel would change with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.graph import query
from nla.graph.channels import Channels
from nla.graph.weighted import Weighted

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LINEAR = frozenset(
    (
        *("Identity", "Dropout", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear"),
        *("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile", "Split", "Slice"),
        *("Gather", "Concat", "Resize", "Upsample", "GlobalAveragePool", "ReduceMean"),
    )
)
"""Operators that hand a channel's values on: a constant comes out as it went in, a change of sign too."""
SHIFTING = frozenset(("MaxPool", "GlobalMaxPool", "AveragePool", "ReduceMax", "ReduceMin"))
"""Operators that hand on a constant, but not a change of sign (MaxPool)."""
ZERO_KEEPING = frozenset(
    ("Pad", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "LpPool", "GlobalLpPool")
)
"""Operators of which only a zero is known to come out as it went in."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A tensor on the way into a site; an entry of each array is one of its channels, in row-major order."""

    value: ir.Value
    fact: Channels
    unit: Integers
    """The unit that the channel becomes, NOBODY where it becomes none."""
    slope: Floats
    """What is added to z where 1 is added to the channel; NaN where that is not known."""
    own: Bools
    """True where nothing but this unit is made of the channel."""
    covered: Bools
    """True where a per-channel scale of the unit's own lies behind: with it zero, nothing of the channel arrives."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A weighted node whose output is `seen`."""

    seen: Seen
    weighted: Weighted


@dataclass(frozen=True, eq=False)
class Offset:
    """A constant that is added on the way; `seen` is the sum."""

    seen: Seen
    node: ir.Node
    operand: int
    sign: float = 1.0


@dataclass(frozen=True, eq=False)
class Factor:
    """A constant per channel that multiplies (or divides) on the way; `seen` is the product."""

    seen: Seen
    node: ir.Node
    operand: int
    divides: bool = False


@dataclass(frozen=True, eq=False)
class Norm:
    """A normalisation with a scale (operand 1) and a bias (operand 2) per channel; `seen` is its output."""

    seen: Seen
    node: ir.Node

    @property
    def moments(self) -> bool:
        """True where it normalises by stored moments (operands 3 and 4)."""
        return query.kind(self.node) == "BatchNormalization"


@dataclass(frozen=True, eq=False)
class Dark:
    """A tensor on the way that is made of something else than weights of the unit, and what that is."""

    seen: Seen
    reason: str


Step = Layer | Offset | Factor | Norm | Dark


@dataclass(frozen=True, eq=False)
class Way:
    """Every step between a pre-activation and what makes it, z first."""

    z: ir.Value
    fact: Channels
    """Of z: channel k is unit k."""
    steps: tuple[Step, ...]
    crossed: frozenset[str]
    """Kinds of the operators between, steps left out."""
    readers: frozenset[ir.Node] | None
    """The nodes of the activation, which read z; None where the layer applies it itself, or there is none."""


@dataclass(frozen=True, eq=False)
class Inward:
    """The ways into a site: of z; of a gated product its gate's z, and what it is multiplied with."""

    z: Way
    up: Way | None = None

    @property
    def ways(self) -> tuple[Way, ...]:
        """All of them."""
        return (self.z,) if self.up is None else (self.z, self.up)


def layers(way: Way) -> Iterator[Layer]:
    """The weighted nodes on the way."""
    return (step for step in way.steps if isinstance(step, Layer))
