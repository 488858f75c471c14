"""A network as linear rows over a box: every input, pre-activation and activation a variable.

lo ≤ G v ≤ hi holds for every v that the network can reach, rounding of the model included: rows of linear operators
are as wide as their rounding, and every activation lies between lines that `envelopes` proves. Over a range cut in two
the lines are drawn anew, and closer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nla.certificates import envelopes
from nla.certificates.interval import Ranges
from nla.certificates.network import Network
from nla.certificates.ops.base import Context, Op
from nla.certificates.ops.elementwise import Activate
from nla.certificates.ops.joining import Concat, Product, Sum
from nla.certificates.ops.linear import Linear
from nla.certificates.ops.pooling import MaxPool
from nla.certificates.rounding import Floats
from nla.certificates.sets import Box

MOST_VARIABLES = 20_000
"""Larger networks are not written out."""
_CHUNK = 512
_STEEPEST = 1e6
"""Steeper lines (across a jump of φ) make a program ill-conditioned, and say nothing that others do not."""


@dataclass(frozen=True)
class Rows:
    """lo ≤ G v ≤ hi, G in coordinates: entry k is `value[k]` at (row[k], column[k])."""

    row: np.ndarray
    column: np.ndarray
    value: Floats
    lo: Floats
    hi: Floats

    @property
    def count(self) -> int:
        """Rows of G."""
        return len(self.lo)


@dataclass(frozen=True)
class Cuts:
    """What a branch adds: narrower ranges of pre-activations, and which place wins a window."""

    ranges: Mapping[str, Mapping[int, tuple[float, float]]] = field(default_factory=dict)
    """By tensor and flat place."""
    winners: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """By output of a MaxPool and flat window, the flat position in its input that is the largest."""


@dataclass(frozen=True)
class Program:
    """Rows over a box, with what is maximised: Σ c·v + constant."""

    rows: Rows
    lo: Floats
    hi: Floats


class Encoding:
    """The part of a network before one tensor, as variables and rows."""

    def __init__(self, network: Network, known: Ranges, tensor: str) -> None:
        """Lay out the variables and the rows that no cut changes.

        Args:
            network: lowered.
            known: boxes of every tensor, the tighter the better.
            tensor: whose elements are to be bounded.
        """
        self.network, self.known, self.tensor = network, known, tensor
        self.objective = self._before(tensor)
        self.ops = [op for op in network.before([self.objective]) if op.output not in known.domains]
        names: dict[str, None] = {self.objective: None}
        for op in self.ops:
            names.update(dict.fromkeys((*op.inputs, op.output)))
        self.start: dict[str, int] = {}
        self.size = 0
        for name in names:
            self.start[name] = self.size
            self.size += int(np.prod(network.shapes[name], dtype=np.int64))
        self._fixed: list[Rows] = []
        self._drawn: dict[str, Rows] = {}

    def _before(self, tensor: str) -> str:
        """The tensor that is read by the linear operator behind which `tensor` lies, if any: it needs no variables."""
        place = self.network.place.get(tensor)
        if place is None or tensor in self.known.domains:
            return tensor
        op = self.network.ops[place]
        return op.inputs[0] if isinstance(op, Linear) else tensor

    def aim(self, A: Floats) -> tuple[Floats, float]:
        """c [variables] and a constant, Σ A·tensor ≤ Σ c·v + constant; A [1, *shape]."""
        constant = 0.0
        if self.objective != self.tensor:
            op = self.network.ops[self.network.place[self.tensor]]
            back = op.back(A, self._context(op))
            assert back is not None
            A, constant = back.parts[0], float(back.constant[0])
        c = np.zeros(self.size)
        c[self.variables(self.objective)] = A[0].ravel()
        return c, constant

    def variables(self, name: str) -> slice:
        """Where a tensor's elements lie in v."""
        first = self.start[name]
        return slice(first, first + int(np.prod(self.network.shapes[name], dtype=np.int64)))

    def program(self, cuts: Cuts) -> Program:
        """The rows and the box under these cuts."""
        if not self._fixed:
            self._fixed = [self._rows(op) for op in self.ops if not isinstance(op, Activate)] or [
                _rows([], 0)
            ]
            boxes = self.known.boxes
            self._drawn = {
                op.output: self._between_lines(op, boxes[op.inputs[0]])
                for op in self.ops
                if isinstance(op, Activate)
            }
        lo, hi = np.empty(self.size), np.empty(self.size)
        for name in self.start:
            box = self.known.boxes[name]
            lo[self.variables(name)], hi[self.variables(name)] = box.lo.ravel(), box.hi.ravel()
        drawn = dict(self._drawn)
        for op in self.ops:
            if isinstance(op, Activate) and op.inputs[0] in cuts.ranges:
                z = self.cut(op.inputs[0], cuts)
                a = self.known.boxes[op.output].meet(op.interval(z, unit=self.network.unit)[0])
                drawn[op.output] = self._between_lines(op, z)
                for name, box in ((op.inputs[0], z), (op.output, a)):
                    lo[self.variables(name)], hi[self.variables(name)] = box.lo.ravel(), box.hi.ravel()
        won = [
            self._won(op, cuts) for op in self.ops if isinstance(op, MaxPool) and op.output in cuts.winners
        ]
        return Program(_stacked([*self._fixed, *drawn.values(), *won]), lo, hi)

    def cut(self, name: str, cuts: Cuts) -> Box:
        """The range of a tensor under these cuts."""
        if name not in cuts.ranges:
            return self.known.boxes[name]
        box = self.known.boxes[name]
        lo, hi = box.lo.copy(), box.hi.copy()
        for place, (low, high) in cuts.ranges[name].items():
            lo.ravel()[place], hi.ravel()[place] = low, high
        return Box(lo, hi)

    def _context(self, op: Op) -> Context:
        boxes = self.known.boxes
        return Context(tuple(boxes[n] for n in op.inputs), boxes[op.output], self.known.errors[op.output])

    def _columns(self, name: str) -> np.ndarray:
        """int64 [*shape]: the variables of a tensor."""
        shape = self.network.shapes[name]
        return self.start[name] + np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)

    def _rows(self, op: Op) -> Rows:
        """What an operator other than an activation says of its output; nothing beside its box for one unknown."""
        y = self._columns(op.output).ravel()
        error = self.known.errors[op.output]
        room = (
            np.zeros(len(y))
            if error is None
            else np.broadcast_to(error, self.network.shapes[op.output]).ravel()
        )
        if isinstance(op, Linear):
            return self._weighted(op, y, room)
        if isinstance(op, Sum):
            shape = self.network.shapes[op.output]
            read = [np.broadcast_to(self._columns(name), shape).ravel() for name in op.inputs]
            terms = [(y, 1.0), (read[0], -1.0), (read[1], -float(op.sign))]
            return _rows(terms, len(y), -room, room)
        if isinstance(op, Concat):
            read_all = np.concatenate([self._columns(name) for name in op.inputs], axis=op.axis).ravel()
            return _rows([(y, 1.0), (read_all, -1.0)], len(y), np.zeros(len(y)), np.zeros(len(y)))
        if isinstance(op, Product):
            return self._gated(op, y, room)
        return self._largest(op, y) if isinstance(op, MaxPool) else _rows([], 0)

    def _weighted(self, op: Linear, y: np.ndarray, room: Floats) -> Rows:
        shape = self.network.shapes[op.output]
        x = self.network.shapes[op.inputs[0]]
        found = []
        for first in range(0, len(y), _CHUNK):
            unit = np.zeros((min(_CHUNK, len(y) - first), len(y)))
            unit[np.arange(len(unit)), first + np.arange(len(unit))] = 1.0
            W = op.transposed(unit.reshape(len(unit), *shape), x).reshape(len(unit), -1)
            row, column = np.nonzero(W)
            found.append((row + first, column, W[row, column]))
        row, column, value = (np.concatenate(part) for part in zip(*found, strict=True))
        b = np.broadcast_to(op.offset, shape).ravel()
        return Rows(
            np.concatenate([np.arange(len(y)), row]),
            np.concatenate([y, self.start[op.inputs[0]] + column]),
            np.concatenate([np.ones(len(y)), -value]),
            b - room,
            b + room,
        )

    def _gated(self, op: Product, y: np.ndarray, room: Floats) -> Rows:
        """McCormick's four planes: (x - x₀)(y - y₀) has a known sign at each corner of the box."""
        shape = self.network.shapes[op.output]
        boxes = [self.known.boxes[name] for name in op.inputs]
        u, v = (np.broadcast_to(self._columns(name), shape).ravel() for name in op.inputs)
        ends = [np.broadcast_to(end, shape).ravel() for box in boxes for end in (box.lo, box.hi)]
        if not all(np.isfinite(end).all() for end in ends):
            return _rows([], 0)
        ul, uh, vl, vh = ends
        found, none = [], np.full(len(y), np.inf)
        for u0, v0, above in ((ul, vl, False), (uh, vh, False), (uh, vl, True), (ul, vh, True)):
            corner = -u0 * v0  # y - v₀·u - u₀·v is above this, or below it
            edge = room + 2.0**-50 * np.abs(corner)
            low, high = (-none, corner + edge) if above else (corner - edge, none)
            found.append(_rows([(y, 1.0), (u, -v0), (v, -u0)], len(y), low, high))
        return _stacked(found)

    def _windows(self, op: MaxPool) -> tuple[np.ndarray, np.ndarray]:
        """int64 [outputs, places] flat positions in the input, -1 for padding; and bool, where one is."""
        channels, height, width = self.network.shapes[op.inputs[0]]
        index = op.window.index(height, width)
        index = index.reshape(index.shape[0] * index.shape[1], -1)
        apart = np.arange(channels)[:, None, None] * height * width
        places = np.where(index[None] >= 0, index[None] + apart, -1)
        return places.reshape(-1, index.shape[1]), (places >= 0).reshape(-1, index.shape[1])

    def _largest(self, op: MaxPool, y: np.ndarray) -> Rows:
        """y ≥ every place; y ≤ max lo + Σ (x - lo) over those that can win: the winner rose from at most max lo."""
        places, inside = self._windows(op)
        first, x = self.start[op.inputs[0]], self.known.boxes[op.inputs[0]]
        lo, hi = (np.where(inside, end.ravel()[np.maximum(places, 0)], -np.inf) for end in (x.lo, x.hi))
        row, k = np.nonzero(inside)
        read = first + places[row, k]
        above = _rows([(y[row], 1.0), (read, -1.0)], len(row), np.zeros(len(row)), np.full(len(row), np.inf))
        highest = lo.max(axis=1)
        able = inside & (hi > highest[:, None])
        able[np.arange(len(y)), lo.argmax(axis=1)] = True  # which no other exceeds where none is able
        least = np.where(able, lo, 0.0)
        finite = np.isfinite(least).all(axis=1)
        total, size = least.sum(axis=1), np.abs(least).sum(axis=1)
        with np.errstate(invalid="ignore"):
            top = np.where(finite, highest - total + 2.0**-44 * size, np.inf)
        row, k = np.nonzero(able)
        below = Rows(
            np.concatenate([np.arange(len(y)), row]),
            np.concatenate([y, first + np.maximum(places[row, k], 0)]),
            np.concatenate([np.ones(len(y)), -np.ones(len(row))]),
            np.full(len(y), -np.inf),
            top,
        )
        return _stacked([above, below])

    def _won(self, op: MaxPool, cuts: Cuts) -> Rows:
        """y ≤ the place that a cut says is the largest."""
        windows = cuts.winners[op.output]
        y = self.start[op.output] + np.fromiter(windows.keys(), np.int64)
        x = self.start[op.inputs[0]] + np.fromiter(windows.values(), np.int64)
        return _rows([(y, 1.0), (x, -1.0)], len(y), np.full(len(y), -np.inf), np.zeros(len(y)))

    def windows(self, op: MaxPool, window: int) -> np.ndarray:
        """The flat positions in the input that one window reads."""
        places, inside = self._windows(op)
        return np.asarray(places[window][inside[window]])

    def _between_lines(self, op: Activate, z: Box) -> Rows:
        """a - s·z between the ends that `envelopes` finds, for slopes s that make up the hull or come near it."""
        activation = op.activation
        error = self.known.errors[op.output]
        room = np.zeros(z.shape) if error is None else error
        finite = np.isfinite(z.lo) & np.isfinite(z.hi) & np.isfinite(room)
        a, x = self._columns(op.output), self._columns(op.inputs[0])
        found: list[Rows] = []
        earlier: list[Floats] = []
        for slope in _slopes(op, z, finite):
            used = finite & np.isfinite(slope) & (np.abs(slope) < _STEEPEST)
            for other in earlier:
                used &= ~(np.abs(slope - other) <= 1e-9 * (1 + np.abs(slope)))
            earlier.append(np.where(used, slope, np.nan))
            if not used.any():
                continue
            s, some = slope[used], Box(z.lo[used], z.hi[used])
            lines = envelopes.lines(activation, some, lower=s, upper=s)
            low, high = lines.lower_offset - room[used], lines.upper_offset + room[used]
            found.append(_rows([(a[used], 1.0), (x[used], -s)], len(s), low, high))
        return _stacked(found or [_rows([], 0)])


def _slopes(op: Activate, z: Box, finite: np.ndarray) -> list[Floats]:
    """Slopes [*shape] of lines worth drawing; NaN where there is none."""
    activation = op.activation
    low, high = (np.where(finite, end, 0.0) for end in (z.lo, z.hi))
    curve = envelopes.CURVES[activation.name]
    if envelopes.bent(activation):
        breaks = curve.breaks(dict(activation.parameters))
        points = [low, *(np.clip(point, low, high) for point in sorted(breaks)), high]
    else:
        points = [low, high]
    values = [activation.value(point) for point in points]
    found = []
    with np.errstate(all="ignore"):
        for j in range(len(points)):
            for k in range(j):
                wide = points[j] > points[k]
                found.append(np.where(wide, (values[j] - values[k]) / (points[j] - points[k]), np.nan))
    if not envelopes.bent(activation):
        shares = (0.0, 0.25, 0.5, 0.75, 1.0)
        found += [activation.derivative(low + (high - low) * share) for share in shares]
    found.append(np.where(low == high, activation.derivative(low), np.nan))
    return found


def _rows(
    terms: Sequence[tuple[np.ndarray, Any]], count: int, lo: Floats | None = None, hi: Floats | None = None
) -> Rows:
    """`count` rows, each the sum of one entry of every term (columns [count], values [count] or one)."""
    ends = [np.zeros(count) if end is None else np.asarray(end, np.float64) for end in (lo, hi)]
    if not terms:
        return Rows(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), *ends)
    row = np.tile(np.arange(count), len(terms))
    column = np.concatenate([np.asarray(columns) for columns, _ in terms])
    value = np.concatenate([np.broadcast_to(np.asarray(v, np.float64), (count,)) for _, v in terms])
    return Rows(row, column, value, *ends)


def _stacked(parts: Sequence[Rows]) -> Rows:
    """One below the other."""
    first = np.cumsum([0, *(part.count for part in parts)])
    return Rows(
        np.concatenate([part.row + k for part, k in zip(parts, first, strict=False)]),
        np.concatenate([part.column for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.lo for part in parts]),
        np.concatenate([part.hi for part in parts]),
    )
