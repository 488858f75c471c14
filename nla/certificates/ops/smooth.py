"""Smooth functions of one number between two lines: Exp, Log, Sqrt, Reciprocal, Pow, Sin, Cos, Atan.

A line of any slope is moved to the extremes of f(x) - slope·x over the interval: at points of a grid, to whose values
K·h²/8 is added, with K a bound of |f″| on that very interval. Where f has no such bound there (a root at zero, an
infinite end) the range of f takes the place of the lines; where f is not defined on all of it nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nla.certificates.envelopes import STRAYS, Lines
from nla.certificates.ops.base import Back, Bent, Context, between_lines
from nla.certificates.rounding import Floats, smallest
from nla.certificates.sets import Box

_GRID = 33
_FAR = 1e6
"""Arguments beyond which a sine may be anything that a sine can be."""


@dataclass(frozen=True)
class _Function:
    """f, and what is known of it on an interval where it is defined."""

    value: Callable[[Floats, float], Floats]
    slope: Callable[[Floats, float], Floats]
    range: Callable[[Floats, Floats, float], tuple[Floats, Floats]]
    """(lo, hi, p) -> the ends of f over [lo, hi]."""
    curvature: Callable[[Floats, Floats, float], Floats]
    """(lo, hi, p) -> a bound of |f″| on [lo, hi]; infinite where there is none."""
    defined: Callable[[Floats, Floats, float], np.ndarray]
    size: Callable[[Floats, Floats, float], Floats]
    """(max |x|, max |f|, p) -> what the rounding of an evaluation is relative to."""


def _everywhere(lo: Floats, hi: Floats, p: float) -> np.ndarray:
    return np.ones(lo.shape, bool)


def _away_from_zero(lo: Floats, hi: Floats, p: float) -> np.ndarray:
    return np.asarray((lo > 0) | (hi < 0))


def _ends(f: Callable[[Floats, float], Floats]) -> Callable[[Floats, Floats, float], tuple[Floats, Floats]]:
    """The range of a function that is monotone on the interval."""

    def found(lo: Floats, hi: Floats, p: float) -> tuple[Floats, Floats]:
        a, b = f(lo, p), f(hi, p)
        return np.minimum(a, b), np.maximum(a, b)

    return found


def _power(x: Floats, p: float) -> Floats:
    return np.asarray(np.power(x, int(p) if p == int(p) and p > 0 else p))


def _power_range(lo: Floats, hi: Floats, p: float) -> tuple[Floats, Floats]:
    low, high = _ends(_power)(lo, hi, p)
    return (np.where((lo < 0) & (hi > 0), 0.0, low) if p > 0 and p % 2 == 0 else low), high


def _power_curvature(lo: Floats, hi: Floats, p: float) -> Floats:
    ends = np.abs(lo), np.abs(hi)
    near = np.where((lo < 0) & (hi > 0), 0.0, np.minimum(*ends))
    at = np.maximum(np.power(near, p - 2), np.power(np.maximum(*ends), p - 2))
    return np.asarray(abs(p * (p - 1)) * at)


def _power_defined(lo: Floats, hi: Floats, p: float) -> np.ndarray:
    if p == int(p):
        return _everywhere(lo, hi, p) if p > 0 else _away_from_zero(lo, hi, p)
    return np.asarray(lo >= 0 if p > 0 else lo > 0)


def _wave_range(
    top: float, wave: Callable[[Floats], Floats]
) -> Callable[[Floats, Floats, float], tuple[Floats, Floats]]:
    """The range of a sine or cosine whose tops lie at `top` + 2πk, its bottoms half way between."""

    def holds(lo: Floats, hi: Floats, at: float) -> np.ndarray:
        room = 1e-9 * (1 + np.abs(lo))
        nearest = at + 2 * np.pi * np.ceil((lo - room - at) / (2 * np.pi))
        return np.asarray(nearest <= hi + room)

    def found(lo: Floats, hi: Floats, p: float) -> tuple[Floats, Floats]:
        near = (np.abs(lo) < _FAR) & (np.abs(hi) < _FAR)
        left, right = np.where(near, lo, 0.0), np.where(near, hi, 0.0)
        low, high = _ends(_of_one(wave))(left, right, p)
        low = np.where(near & ~holds(left, right, top + np.pi), low, -1.0)
        return low, np.where(near & ~holds(left, right, top), high, 1.0)

    return found


def _of_one(f: Callable[[Floats], Floats]) -> Callable[[Floats, float], Floats]:
    return lambda x, p: f(x)


_WAVE = {
    "curvature": lambda lo, hi, p: np.ones(lo.shape),
    "defined": _everywhere,
    "size": lambda x, f, p: 1 + np.minimum(x, _FAR),
}
_POWER = _Function(
    _power,
    lambda x, p: np.asarray(p * np.power(x, p - 1)),
    _power_range,
    _power_curvature,
    _power_defined,
    lambda x, f, p: f * (1 + abs(p)),
)
FUNCTIONS: dict[str, _Function] = {
    "Exp": _Function(
        _of_one(np.exp),
        _of_one(np.exp),
        _ends(_of_one(np.exp)),
        lambda lo, hi, p: np.exp(hi),
        _everywhere,
        lambda x, f, p: f,
    ),
    "Log": _Function(
        _of_one(np.log),
        _of_one(np.reciprocal),
        _ends(_of_one(np.log)),
        lambda lo, hi, p: 1 / lo**2,
        lambda lo, hi, p: lo > 0,
        lambda x, f, p: 1 + f,
    ),
    "Pow": _POWER,
    "Sin": _Function(_of_one(np.sin), _of_one(np.cos), _wave_range(np.pi / 2, np.sin), **_WAVE),
    "Cos": _Function(_of_one(np.cos), lambda x, p: -np.sin(x), _wave_range(0.0, np.cos), **_WAVE),
    "Atan": _Function(
        _of_one(np.arctan),
        lambda x, p: 1 / (1 + x**2),
        _ends(_of_one(np.arctan)),
        lambda lo, hi, p: np.full(lo.shape, 0.65),  # 3√3/8
        _everywhere,
        lambda x, f, p: 1 + f,
    ),
}
"""Sqrt is Pow by 0.5, Reciprocal Pow by -1."""


@dataclass(frozen=True)
class Smooth(Bent):
    """y = f(x), of FUNCTIONS; `power` is read by Pow alone."""

    inputs: tuple[str, ...]
    output: str
    function: str
    power: float = 1.0

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        return inputs[0]

    def forward(self, *values: Floats) -> Floats:
        with np.errstate(all="ignore"):
            return FUNCTIONS[self.function].value(values[0], self.power)

    def gradient(self, A: Floats, x: Floats) -> Floats:
        """A·f′(x); nothing where there is no slope."""
        with np.errstate(all="ignore"):
            slope = FUNCTIONS[self.function].slope(x, self.power)
        return np.asarray(A * np.where(np.isfinite(slope), slope, 0.0))

    def defined(self, x: Box) -> bool:
        """Whether f is defined on all of the box: elsewhere a model makes NaN, and of 1 / 0 and what follows too."""
        with np.errstate(all="ignore"):
            return bool(FUNCTIONS[self.function].defined(x.lo, x.hi, self.power).all())

    def interval(self, *boxes: Box, unit: float) -> tuple[Box, Floats | None]:
        (x,) = boxes
        f = FUNCTIONS[self.function]
        with np.errstate(all="ignore"):
            lo, hi = f.range(x.lo, x.hi, self.power)
            known = f.defined(x.lo, x.hi, self.power) & ~np.isnan(lo) & ~np.isnan(hi)
            lo, hi = np.where(known, lo, -np.inf), np.where(known, hi, np.inf)
            size = f.size(x.largest, np.maximum(np.abs(lo), np.abs(hi)), self.power)
            error = STRAYS * unit * np.where(np.isnan(size), np.inf, size) + smallest(unit)
            low, high = (
                np.where(np.isfinite(end), end + way * error, end) for end, way in ((lo, -1), (hi, 1))
            )
        if self.function in ("Sin", "Cos"):
            most = 1 + 2 * STRAYS * unit
            return Box(np.maximum(low, -most), np.minimum(high, most)), error
        # a rounded result keeps the sign of the exact one
        return Box(
            np.where(lo >= 0, np.maximum(low, 0.0), low), np.where(hi <= 0, np.minimum(high, 0.0), high)
        ), error

    def back(self, A: Floats, context: Context) -> Back | None:
        return between_lines(A, self._lines(context.inputs[0]), context)

    def _lines(self, x: Box) -> Lines:
        """Of the slopes tried (the chord's, tangents', zero) those whose lines are tightest at the middle."""
        f, p = FUNCTIONS[self.function], self.power
        with np.errstate(all="ignore"):
            low, high = f.range(x.lo, x.hi, p)
            known = f.defined(x.lo, x.hi, p) & ~np.isnan(low) & ~np.isnan(high)
            curvature = f.curvature(x.lo, x.hi, p) * (1 + 1e-9)
            straight = known & np.isfinite(curvature) & np.isfinite(x.lo) & np.isfinite(x.hi)
        low, high = np.where(known, low, -np.inf), np.where(known, high, np.inf)
        room = 2.0**-46 * np.where(
            np.isfinite(low) & np.isfinite(high), np.maximum(np.abs(low), np.abs(high)), 0.0
        )
        flat = np.zeros(x.shape)
        best = [flat, high + room, flat, low - room]
        lo, hi = np.where(straight, x.lo, 1.0), np.where(straight, x.hi, 1.0)
        rise = np.where(straight, curvature, 0.0) * ((hi - lo) / (_GRID - 1)) ** 2 / 8
        points = np.stack([lo + (hi - lo) * share for share in np.linspace(0, 1, _GRID)])
        middle = (lo + hi) / 2
        with np.errstate(all="ignore"):
            values = f.value(points, p)
            chord = np.where(hi > lo, (values[-1] - values[0]) / (hi - lo), 0.0)
            tried = [chord, *(f.slope(at, p) for at in (lo, middle, hi))]
        for each in tried:
            held = straight & np.isfinite(each)
            slope = np.where(held, each, 0.0)
            rest = values - slope * points
            off = rise + 2.0**-46 * (np.abs(values).max(axis=0) + np.abs(slope * points).max(axis=0))
            top, bottom = rest.max(axis=0) + off, rest.min(axis=0) - off
            lower_is = held & (slope * middle + top < best[0] * middle + best[1])
            higher_is = held & (slope * middle + bottom > best[2] * middle + best[3])
            best = [
                np.where(lower_is, slope, best[0]),
                np.where(lower_is, top, best[1]),
                np.where(higher_is, slope, best[2]),
                np.where(higher_is, bottom, best[3]),
            ]
        return Lines(*best)
