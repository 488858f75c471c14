"""An activation between two lines: for each element, lines that lie above and below φ on all of [lo, hi].

Any slope gives a sound line, because its offset is then computed as the extremum of φ(z) - slope·z over the interval:
at the ends, at the breaks of φ, and on a grid between them, to whose values the most is added that a function of
bounded second derivative can rise between two points, K·h²/8. So a poor choice of slope costs tightness, never
soundness, and one routine serves every activation, monotone or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nla.activations import Activation
from nla.certificates.rounding import Floats
from nla.certificates.sets import Box

_GRID = 65
_TAIL = 40.0
"""Beyond ±40 a smooth φ is mostly a straight line to within 1e-15 of its value; `Curve.tail` where it is elsewhere."""


@dataclass(frozen=True)
class Curve:
    """What is known of φ between its breaks."""

    breaks: Callable[[dict[str, float]], tuple[float, ...]]
    """Points where φ′ or φ jumps; of a jump of φ, both sides."""
    curvature: Callable[[dict[str, float]], float]
    """A bound of |φ″| between the breaks."""
    rounding: bool = True
    """Whether evaluating φ rounds: False for ReLU and Clip, which choose among values."""
    tail: Callable[[dict[str, float]], float] = lambda parameters: _TAIL
    """|z| beyond which φ is a straight line to within 1e-15 of its value; infinite where it never is."""


def _at(*points: float) -> Callable[[dict[str, float]], tuple[float, ...]]:
    return lambda parameters: points


def _flat(value: float) -> Callable[[dict[str, float]], float]:
    return lambda parameters: value


def _clip(parameters: dict[str, float]) -> tuple[float, ...]:
    return tuple(end for end in (parameters["min"], parameters["max"]) if np.isfinite(end))


def _hard_sigmoid(parameters: dict[str, float]) -> tuple[float, ...]:
    alpha, beta = parameters["alpha"], parameters["beta"]
    return (-beta / alpha, (1 - beta) / alpha) if alpha else ()


def _jump(parameters: dict[str, float]) -> tuple[float, ...]:
    return parameters["alpha"], float(np.nextafter(parameters["alpha"], np.inf))


def _swish_tail(parameters: dict[str, float]) -> float:
    return _TAIL / abs(parameters["alpha"]) if parameters["alpha"] else _TAIL


def _celu_tail(parameters: dict[str, float]) -> float:
    return _TAIL * abs(parameters["alpha"])


CURVES: dict[str, Curve] = {
    "Relu": Curve(_at(0.0), _flat(0.0), rounding=False),
    "Identity": Curve(_at(), _flat(0.0), rounding=False),
    "Clip": Curve(_clip, _flat(0.0), rounding=False),
    "LeakyRelu": Curve(_at(0.0), _flat(0.0)),
    "PRelu": Curve(_at(0.0), _flat(0.0)),
    "ThresholdedRelu": Curve(_jump, _flat(0.0), rounding=False),
    "HardSigmoid": Curve(_hard_sigmoid, _flat(0.0)),
    "HardSwish": Curve(_at(-3.0, 3.0), _flat(1 / 3)),
    "Sigmoid": Curve(_at(), _flat(0.0963)),  # 1 / (6√3)
    "Tanh": Curve(_at(), _flat(0.77)),  # 4 / (3√3)
    "Softplus": Curve(_at(), _flat(0.25)),
    "Gelu": Curve(_at(), _flat(0.82)),  # 2·pdf(0) = 0.798, by erf and by tanh
    "Swish": Curve(_at(), lambda parameters: 0.51 * abs(parameters["alpha"]), tail=_swish_tail),  # α / 2 at 0
    "Mish": Curve(_at(), _flat(0.8)),
    "Softsign": Curve(_at(0.0), _flat(2.0), tail=_flat(np.inf)),
    "Elu": Curve(_at(0.0), lambda parameters: abs(parameters["alpha"])),
    "Selu": Curve(_at(0.0), lambda parameters: abs(parameters["alpha"] * parameters["gamma"])),
    "Celu": Curve(_at(0.0), lambda parameters: 1 / abs(parameters["alpha"]), tail=_celu_tail),
}
"""The tests hold each K against finite differences of φ′."""

CLOSE = 4e-3
"""How far, relatively, a constant may be from that of φ where the graph writes φ out, and still be taken for it."""
STRAYS = 16
"""How far implementations of activations stray from φ, in units of roundoff, of |φ| and of one (onnxruntime: below 4,
held by the tests)."""


def known(activation: Activation) -> bool:
    """Whether φ has an envelope here: elementwise, in the table, and one function for all channels."""
    if activation.name not in CURVES or not activation.elementwise:
        return False
    if activation.name == "Celu" and dict(activation.parameters)["alpha"] <= 0:
        return False  # its second derivative has no bound
    return bool(np.isfinite(activation.value(np.array([-1.0, 0.5, 1.0]))).all())


@dataclass(frozen=True)
class Lines:
    """upper_slope·z + upper_offset ≥ φ(z) ≥ lower_slope·z + lower_offset on [lo, hi], each [*shape]."""

    upper_slope: Floats
    upper_offset: Floats
    lower_slope: Floats
    lower_offset: Floats


def error(activation: Activation, a: Box, unit: float, written_out: Box | None = None) -> Floats | None:
    """How far an evaluation of φ in arithmetic of roundoff `unit` strays from φ where a lies in that box; None where it
    cannot.

    `written_out` is the range of z where the graph writes φ out, with constants that may be off by CLOSE.
    """
    made = None
    if CURVES[activation.name].rounding:
        # the parts that φ is made of are as large as its parameters: α(eᶻ - 1) cancels near zero
        scale = max([1.0, *(abs(value) for _, value in activation.parameters if np.isfinite(value))])
        made = STRAYS * unit * (a.largest + scale**2)
    if written_out is not None:
        far = 2 * CLOSE * written_out.largest
        made = far if made is None else made + far
    return None if made is None else np.asarray(made)


def span(activation: Activation, box: Box) -> Box:
    """The range of φ over the box, without rounding."""
    grid = _Grid(activation, box)
    low, high = grid.extremes(np.zeros(box.shape))
    return Box(low, high)


def lines(
    activation: Activation, box: Box, lower: Floats | None = None, upper: Floats | None = None
) -> Lines:
    """The lines of given slopes [*shape], or, where a slope is not given, those that are tightest at the middle.

    Where an end of the interval is infinite, lines of slope zero at the range of φ.
    """
    grid = _Grid(activation, box)
    finite = np.isfinite(box.lo) & np.isfinite(box.hi)
    low, high = (np.where(finite, end, 0.0) for end in (box.lo, box.hi))
    middle = (low + high) / 2
    candidates = [np.where(finite, slope, 0.0) for slope in _slopes(activation, low, high)]
    lower, upper = (None if slope is None else np.where(finite, slope, 0.0) for slope in (lower, upper))
    return Lines(
        *_best(grid, middle, candidates, upper, top=True), *_best(grid, middle, candidates, lower, top=False)
    )


def touching(activation: Activation, box: Box, slope: Floats) -> Floats:
    """Where the lines of these slopes [rows, *shape] touch φ from below on the box; a point of a grid."""
    return _Grid(activation, box).touching(slope)


def curved(activation: Activation, box: Box) -> np.ndarray:
    """[*shape] where φ is not one straight line over the interval."""
    curve, parameters = CURVES[activation.name], dict(activation.parameters)
    if curve.curvature(parameters):
        return np.asarray(box.lo < box.hi)
    inside = [(box.lo < point) & (point < box.hi) for point in curve.breaks(parameters)]
    return np.asarray(np.any(inside, axis=0)) if inside else np.zeros(box.shape, bool)


def bent(activation: Activation) -> bool:
    """Whether φ is straight between its breaks, so that its lines cost little to draw anew."""
    curve = CURVES[activation.name]
    return curve.curvature(dict(activation.parameters)) == 0


def _slopes(activation: Activation, low: Floats, high: Floats) -> list[Floats]:
    """Slopes worth trying: the chord's, the tangents' at ends and middle, zero."""
    width = high - low
    with np.errstate(invalid="ignore", divide="ignore"):
        chord = (activation.value(high) - activation.value(low)) / width
    chord = np.where(width > 1e-12, chord, activation.derivative((low + high) / 2))
    tangents = [activation.derivative(point) for point in (low, (low + high) / 2, high)]
    return [np.where(np.isfinite(slope), slope, 0.0) for slope in (chord, *tangents, np.zeros_like(low))]


def _best(
    grid: _Grid, middle: Floats, candidates: list[Floats], given: Floats | None, *, top: bool
) -> tuple[Floats, Floats]:
    """The slope and offset of the line that is lowest (`top`) or highest at the middle; of the given slope, if any."""
    tried = candidates if given is None else [given]
    slope, offset, best = None, None, None
    for each in tried:
        end = grid.extremes(each)[1 if top else 0]
        there = each * middle + end
        if best is None or slope is None or offset is None:
            slope, offset, best = each, end, there
            continue
        better = there < best if top else there > best
        slope, offset, best = (
            np.where(better, a, b) for a, b in ((each, slope), (end, offset), (there, best))
        )
    assert slope is not None
    assert offset is not None
    return slope, offset


class _Grid:
    """Points of each interval at which φ is evaluated once, for lines of every slope."""

    def __init__(self, activation: Activation, box: Box) -> None:
        curve, parameters = CURVES[activation.name], dict(activation.parameters)
        self._curvature = curve.curvature(parameters)
        self._infinite = ~(np.isfinite(box.lo) & np.isfinite(box.hi))
        tail = curve.tail(parameters)
        reach = tail if np.isfinite(tail) else _TAIL
        low = np.where(np.isfinite(box.lo), box.lo, np.minimum(-reach, box.hi - 1.0))
        high = np.where(np.isfinite(box.hi), box.hi, np.maximum(reach, low + 1.0))
        points = [low, high, *(np.clip(point, low, high) for point in curve.breaks(parameters))]
        if self._curvature:
            inner_low, inner_high = np.clip(-tail, low, high), np.clip(tail, low, high)
            points += [inner_low + (inner_high - inner_low) * share for share in np.linspace(0, 1, _GRID)]
            self._step = (inner_high - inner_low) / (_GRID - 1)
        else:
            self._step = np.zeros_like(low)
        self._z = np.stack(points)
        self._value = activation.value(self._z)
        self._limits = _limits(activation, box)

    def extremes(self, slope: Floats) -> tuple[Floats, Floats]:
        """min and max of φ(z) - slope·z over each interval, outward by what lies between the points and by rounding.

        Slopes [*shape], or [rows, *shape]. For infinite intervals the slope must be zero: the limits of φ at infinity
        are among the values.
        """
        z, value = self._points(slope)
        g = value - slope * z
        rise = self._curvature * self._step**2 / 8
        size = np.abs(value).max(axis=0) + np.abs(slope * z).max(axis=0)
        room = rise + 2.0**-48 * size + np.where(self._curvature > 0, 1e-14, 0.0)
        low, high = g.min(axis=0) - room, g.max(axis=0) + room
        if self._infinite.any():
            low = np.where(self._infinite, np.minimum(low, self._limits.lo), low)
            high = np.where(self._infinite, np.maximum(high, self._limits.hi), high)
        exact = size == 0  # a ReLU that is off: nothing is rounded
        return np.where(exact, g.min(axis=0), low), np.where(exact, g.max(axis=0), high)

    def touching(self, slope: Floats) -> Floats:
        """Where the line of this slope from below touches φ: the point of the grid at which φ(z) - slope·z is least."""
        z, value = self._points(slope)
        at = np.argmin(value - slope * z, axis=0)
        return np.asarray(np.take_along_axis(np.broadcast_to(z, (len(z), *slope.shape)), at[None], axis=0)[0])

    def _points(self, slope: Floats) -> tuple[Floats, Floats]:
        if slope.ndim < self._z.ndim:
            return self._z, self._value
        return self._z[:, None], self._value[:, None]


def _limits(activation: Activation, box: Box) -> Box:
    """The values of φ towards the infinite ends of each interval; nothing (crossed ends) where both are finite."""
    with np.errstate(all="ignore"):
        left, right = (float(activation.value(np.array([end]))[0]) for end in (-1e30, 1e30))
    left, right = (value if abs(value) < 1e20 else np.sign(value) * np.inf for value in (left, right))
    at_left, at_right = np.isneginf(box.lo), np.isposinf(box.hi)
    lo = np.minimum(np.where(at_left, left, np.inf), np.where(at_right, right, np.inf))
    hi = np.maximum(np.where(at_left, left, -np.inf), np.where(at_right, right, -np.inf))
    return Box(np.asarray(lo), np.asarray(hi))
