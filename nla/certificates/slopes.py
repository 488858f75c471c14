"""Backward bounds with slopes found by descent: each row chooses its own lines below ReLU and its kin.

Every slope is sound, so the search may stop anywhere. The derivative of a row's bound by the slope s of an element with
coefficient A < 0 is A·(z* - t): z* is what the chosen lines make of the input at which the bound is attained, t where
the line touches φ (the envelope theorem). α-CROWN (Xu et al. 2021), without automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from nla.certificates import backward, envelopes
from nla.certificates.interval import Ranges
from nla.certificates.network import Network
from nla.certificates.ops.elementwise import Activate
from nla.certificates.ops.joining import Concat, Sum
from nla.certificates.ops.linear import Linear
from nla.certificates.rounding import Floats
from nla.certificates.sets import Box, Hull, Normalised

ROUNDS = 30
_STEP, _DECAY = 0.3, 0.93
_ROWS = 64
_LAST, _TIMES = 6, 10.0


def upper(
    network: Network,
    known: Ranges,
    tensor: str,
    A: Floats,
    rounds: int = ROUNDS,
    enough: float = 0.0,
    stop: Callable[[], bool] = lambda: False,
) -> Floats:
    """[rows] upper bounds of Σ A·tensor, as `backward.upper`, by the best slopes that descent finds.

    Rows at or below `enough` are left at that, and rows that can no longer come near it where they are. Where an
    operator other than sums, linear ones and activations lies before the tensor, or no activation whose lines can be
    chosen, it is `backward.upper`.
    """
    best = backward.upper(network, known, tensor, A)
    chosen = _chosen(network, known, tensor)
    if not chosen:
        return best
    open_rows = np.flatnonzero(best > enough)
    step = min(_ROWS, backward.at_once(network, tensor))
    for start in range(0, len(open_rows), step):
        if stop():
            break
        rows = open_rows[start : start + step]
        best[rows] = _descend(network, known, tensor, A[rows], best[rows], chosen, rounds, enough, stop)
    return best


def applies(network: Network, known: Ranges, tensor: str) -> bool:
    """Whether there are slopes to choose before the tensor."""
    return bool(_chosen(network, known, tensor))


def _chosen(network: Network, known: Ranges, tensor: str) -> list[Activate]:
    """The activations before the tensor whose lines below can be chosen; none where descent does not apply."""
    ops = [op for op in network.before([tensor]) if op.output not in known.domains]
    if not all(isinstance(op, Activate | Linear | Sum | Concat) for op in ops):
        return []
    return [
        op
        for op in ops
        if isinstance(op, Activate) and envelopes.bent(op.activation) and _open(known, op).any()
    ]


def _open(known: Ranges, op: Activate) -> Floats:
    """Where the line below can be chosen at all: a break of φ lies within the interval."""
    z = known.boxes[op.inputs[0]]
    low, high = op.activation.derivative(z.lo), op.activation.derivative(z.hi)
    return np.asarray(np.isfinite(z.lo) & np.isfinite(z.hi) & (low != high))


def _descend(
    network: Network,
    known: Ranges,
    tensor: str,
    A: Floats,
    best: Floats,
    chosen: list[Activate],
    rounds: int,
    enough: float,
    stop: Callable[[], bool],
) -> Floats:
    slopes: dict[str, Floats] = {}
    ends: dict[str, tuple[Floats, Floats]] = {}
    for op in chosen:
        box = known.boxes[op.inputs[0]]
        start = envelopes.lines(op.activation, box).lower_slope
        tangents = op.activation.derivative(box.lo), op.activation.derivative(box.hi)
        ends[op.output] = np.minimum(*tangents), np.maximum(*tangents)
        slopes[op.output] = np.broadcast_to(start, (len(A), *box.shape)).copy()
    step = _STEP
    earlier: list[Floats] = []
    for _ in range(rounds):
        walked = _Walk(network, known, tensor, A, slopes)
        best = np.fmin(best, walked.bound)
        earlier.append(best)
        if stop() or ((best <= enough) | _hopeless(earlier, enough)).all():
            break
        point = walked.attained()
        for op in chosen:
            held, z = walked.coefficients[op.output], point[op.inputs[0]]
            slope = slopes[op.output]
            touch = envelopes.touching(op.activation, known.boxes[op.inputs[0]], slope)
            gradient = np.minimum(held, 0) * (z - touch)
            size = np.abs(gradient).reshape(len(A), -1).max(axis=1).reshape(-1, *(1,) * (slope.ndim - 1))
            low, high = ends[op.output]
            moved = slope - step * (high - low) * gradient / np.where(size > 0, size, 1.0)
            slopes[op.output] = np.clip(moved, low, high)
        step *= _DECAY
    return best


def _hopeless(earlier: list[Floats], enough: float) -> np.ndarray:
    """[rows] where what the last rounds gained, many times over, would not be enough.

    Steps shrink by _DECAY a round, so that all rounds to come gain some four times what the last four did.
    """
    if len(earlier) <= _LAST:
        return np.zeros(len(earlier[-1]), bool)
    now = earlier[-1]
    with np.errstate(invalid="ignore"):  # rows without a bound
        return np.asarray(now - enough > _TIMES * (earlier[-1 - _LAST] - now))


@dataclass
class _Walk:
    """One walk back with given slopes, and what it takes to go forward again along the same lines."""

    network: Network
    known: Ranges
    tensor: str
    A: Floats
    slopes: dict[str, Floats]
    bound: Floats = field(init=False)
    coefficients: dict[str, Floats] = field(default_factory=dict)
    """By tensor, [rows, *shape], as they stood when its operator was replaced."""

    def __post_init__(self) -> None:
        self.bound = backward.walk(
            self.network, self.known, self.tensor, self.A, self.slopes, self.coefficients
        )

    def attained(self) -> dict[str, Floats]:
        """The value of every tensor, along the lines, at the input where the bound is attained."""
        values: dict[str, Floats] = {}
        for name, held in self.coefficients.items():
            if name in self.known.domains:
                values[name] = _argmax(self.known, name, held)
        for op in self.network.before([self.tensor]):
            if op.output in values or not all(name in values for name in op.inputs):
                continue
            if isinstance(op, Activate):
                z = values[op.inputs[0]]
                found = envelopes.lines(
                    op.activation, self.known.boxes[op.inputs[0]], lower=self.slopes.get(op.output)
                )
                above = self.coefficients[op.output] > 0 if op.output in self.coefficients else np.False_
                line_above = found.upper_slope * z + found.upper_offset
                values[op.output] = np.where(above, line_above, found.lower_slope * z + found.lower_offset)
            else:
                values[op.output] = op.forward(*(values[name] for name in op.inputs))
        return values


def _argmax(known: Ranges, name: str, A: Floats) -> Floats:
    """A point of the set at which Σ A·x is as large as can be, [rows, *shape]; an infinite end counts as zero."""
    domain = known.domains[name]
    if isinstance(domain, Hull):
        flat = A.reshape(len(A), -1) @ domain.points.reshape(len(domain.points), -1).T
        return np.asarray(domain.points[flat.argmax(axis=1)] + domain.radius * np.sign(A))
    if isinstance(domain, Normalised):
        return domain.attained(A)
    box: Box = domain.box
    low, high = (np.where(np.isfinite(end), end, 0.0) for end in (box.lo, box.hi))
    return np.where(A > 0, high, low)
