"""What makes the neurons of a site, from its weights alone: which are decided by them, how large these are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.activations import Activation
from nla.graph import query
from nla.graph.channels import NOBODY
from nla.graph.constants import Constants
from nla.graph.weighted import Weighted
from nla.surgery.weights.matching import spread
from nla.surgery.weights.way import Dark, Layer, Norm, Offset, Seen, Way
from nla.weights.matrix import Matrix
from nla.weights.profile import PROJECTIONS, Profile

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Read = tuple[Matrix, Profile]
Reader = Callable[[Weighted], Read | str]

_ROUNDING = 1e-6
"""Share of the terms of a sum below which its sign is not believed: the model computes in float32."""
_MANY = 1 << 20
"""Groups and steps that are told apart."""


@dataclass(frozen=True, eq=False)
class Part:
    """A layer's channels that are a unit's, in the order of the units."""

    matrix: Matrix
    channel: NDArray[np.int64]
    unit: NDArray[np.int64]
    slope: Floats
    """What z grows by where the layer's product does."""


@dataclass(eq=False)
class Incoming:
    """z of every unit of a site as far as weights tell: a sum over layers, and a constant."""

    units: int
    constants: Constants
    read: Reader
    parts: list[Part] = field(default_factory=list)
    squares: Floats = field(init=False)
    any: Bools = field(init=False)
    """True where a weight that is not zero leads in."""
    stored: Bools = field(init=False)
    """True where one that is not zero is stored: a scale of zero may stand behind it."""
    constant: Floats = field(init=False)
    terms: Floats = field(init=False)
    """Sum of the sizes of what `constant` is a sum of."""
    several: NDArray[np.int64] = field(init=False)
    """How many numbers other than zero it is a sum of."""
    open: Bools = field(init=False)
    """True where something else has a part in z, or what leads in is not known."""
    bad: Bools = field(init=False)
    """True where NaN or infinities have a part in it."""
    projections: Floats = field(init=False)
    kin: NDArray[np.int64] = field(init=False)
    """A number for the layers, and their groups, that make a unit: others read other inputs."""
    reasons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = self.units
        self.squares, self.constant, self.terms = np.zeros(n), np.zeros(n), np.zeros(n)
        self.any, self.stored = np.zeros(n, bool), np.zeros(n, bool)
        self.open, self.bad = np.zeros(n, bool), np.zeros(n, bool)
        self.several, self.kin = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self.projections = np.zeros((n, PROJECTIONS))

    # --- gathering

    def follow(self, way: Way) -> None:
        """Gather all steps of a way into the site."""
        with np.errstate(all="ignore"):  # what is not finite keeps its units open
            for number, step in enumerate(way.steps):
                if isinstance(step, Layer):
                    self._layer(step, number)
                elif isinstance(step, Offset):
                    self._offset(step)
                elif isinstance(step, Norm):
                    self._norm(step)
                elif isinstance(step, Dark):
                    self._open(step.seen, step.reason)

    def _open(self, seen: Seen, reason: str) -> None:
        unit, _, slope = _mine(seen)
        counts = ~(slope == 0)  # one that is not known counts
        self.open[unit[counts]] = True
        if counts.any() and reason not in self.reasons:
            self.reasons.append(reason)

    def _layer(self, layer: Layer, number: int) -> None:
        found = self.read(layer.weighted)
        if isinstance(found, str):
            self._open(layer.seen, found)
            return
        matrix, seen = found
        unit, channel, slope = _mine(layer.seen)
        self.open[unit[~np.isfinite(slope)]] = True
        factor = np.where(np.isfinite(slope), slope, 0.0) * query.real(layer.weighted.node, "alpha", 1.0)
        np.add.at(self.squares, unit, factor**2 * seen.out_squares[channel])
        np.logical_or.at(self.any, unit, seen.out_any[channel] & (factor != 0))
        np.logical_or.at(self.stored, unit, seen.out_any[channel])
        np.logical_or.at(self.bad, unit, seen.out_bad[channel])
        np.add.at(self.projections, unit, factor[:, None] * seen.projections[channel])
        group = channel // (matrix.lies.outputs // matrix.groups)
        self.kin[unit] = self.kin[unit] * _MANY + number * matrix.groups + group + 1
        order = np.argsort(unit, kind="stable")
        self.parts.append(Part(matrix, channel[order], unit[order], factor[order]))
        self._bias(layer)

    def _bias(self, layer: Layer) -> None:
        weighted = layer.weighted
        if weighted.bias is None:
            return
        array = self._constant(weighted.bias)
        outputs = len(layer.seen.unit)
        if array is None or array.size not in (1, outputs):
            self._open(
                layer.seen, f"the bias of {_named(weighted.node)} is computed in a way that is not followed"
            )
            return
        beta = query.real(weighted.node, "beta", 1.0) if query.kind(weighted.node).endswith("Gemm") else 1.0
        self._add(layer.seen, beta * np.broadcast_to(array.reshape(-1), outputs))

    def _offset(self, step: Offset) -> None:
        value = query.operand(step.node, step.operand)
        array = None if value is None else self._constant(value)
        numbers = None if array is None else spread(array, step.seen.fact)
        if numbers is None:
            self._open(step.seen, f"{_named(step.node)} adds numbers to it that differ within a unit")
        else:
            self._add(step.seen, step.sign * numbers)

    def _norm(self, step: Norm) -> None:
        """What a BatchNormalization adds; where others are, nothing behind them is known."""
        if not step.moments:
            return
        size, parts = step.seen.fact.size, []
        for at in range(1, 5):
            value = query.operand(step.node, at)
            array = None if value is None else self._constant(value)
            if array is None or array.shape != (size,):
                self._open(step.seen, f"the numbers of {_named(step.node)} are not known")
                return
            parts.append(array)
        scale, bias, mean, variance = parts
        self._add(step.seen, bias)
        self._add(step.seen, -mean * scale / np.sqrt(variance + query.real(step.node, "epsilon", 1e-5)))

    def _add(self, seen: Seen, numbers: Floats) -> None:
        """Add a number to each of the channels."""
        unit, channel, slope = _mine(seen)
        self.open[unit[~np.isfinite(slope)]] = True
        amount = np.where(np.isfinite(slope), slope, 0.0) * numbers[channel]
        np.add.at(self.constant, unit, amount)
        np.add.at(self.terms, unit, np.abs(amount))
        np.add.at(self.several, unit, (amount != 0).astype(np.int64))

    def _constant(self, value: ir.Value) -> Floats | None:
        array = self.constants.weight(value)
        return None if array is None or array.dtype.kind in "OSU" else np.asarray(array, np.float64)

    # --- asking

    @property
    def decided(self) -> Bools:
        """True where z is the same number whatever the input."""
        return ~self.any & ~self.open & ~self.bad & np.isfinite(self.constant)

    @property
    def sure(self) -> Bools:
        """True where the sign of the constant is no matter of rounding."""
        return (self.several < 2) | (np.abs(self.constant) > _ROUNDING * self.terms)

    @property
    def norm(self) -> Floats:
        """[units] Euclidean norm of what leads in; NaN where it is not known."""
        return np.where(self.open & ~self.any | self.bad, np.nan, np.sqrt(self.squares))

    def row(self, unit: int) -> Floats:
        """float64, all that leads into a unit, and its constant last."""
        pieces = [
            part.slope[at] * part.matrix.row(int(part.channel[at]))
            for part in self.parts
            for at in range(*np.searchsorted(part.unit, [unit, unit + 1]))
        ]
        return np.concatenate([*pieces, self.constant[unit : unit + 1]])


def verdict(z: float, sure: bool, activation: Activation, tolerance: float) -> tuple[str, float]:
    """The state of a neuron whose z is constant, and its activation."""
    a = float(activation.value(z))
    if not sure:
        return "constant", a
    below = activation.zero_plateau_below
    flat = below is not None and z <= below and abs(a) <= tolerance
    return ("dead" if a == 0 or flat else "constant"), a


def _mine(seen: Seen) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """(unit, channel, slope) of the channels that become a unit."""
    channel = np.flatnonzero(seen.unit != NOBODY)
    return np.asarray(seen.unit[channel], np.int64), channel, np.asarray(seen.slope[channel], np.float64)


def _named(node: ir.Node) -> str:
    return f"{query.kind(node)} '{query.node_name(node)}'"
