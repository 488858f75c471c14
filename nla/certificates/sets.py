"""Where the values of a tensor may lie: a set with a closed-form supremum of every linear function over it.

Values have the shape of one sample, without a batch axis. `sup(A)` takes coefficients [rows, *shape] and gives
[rows] upper bounds of Σ A·x over the set, never below the true supremum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nla.certificates.rounding import Floats, gamma, own, times

MEAN_TO_SPREAD = 64.0
"""|mean| / standard deviation of what a LayerNorm reads, up to which its float32 evaluation stays in `Normalised`."""


class Domain(Protocol):
    """A set of values of one tensor."""

    @property
    def box(self) -> Box:
        """The smallest box around the set, or one that holds it."""
        ...

    def sup(self, A: Floats) -> Floats:
        """[rows] upper bounds of Σ A·x over the set; A [rows, *shape]."""
        ...


@dataclass(frozen=True)
class Box:
    """lo ≤ x ≤ hi, element by element; ends may be infinite, and are never NaN."""

    lo: Floats
    hi: Floats

    @property
    def box(self) -> Box:
        """Itself."""
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return self.lo.shape

    @property
    def largest(self) -> Floats:
        """max |x|, element by element."""
        return np.maximum(np.abs(self.lo), np.abs(self.hi))

    def sup(self, A: Floats) -> Floats:
        """A⁺·hi + A⁻·lo, and the rounding of this sum."""
        rows = A.reshape(len(A), -1)
        lo, hi = self.lo.ravel(), self.hi.ravel()
        if np.isfinite(lo).all() and np.isfinite(hi).all():
            best = np.maximum(rows, 0) @ hi + np.minimum(rows, 0) @ lo
        else:
            best = (times(np.maximum(rows, 0), hi) + times(np.minimum(rows, 0), lo)).sum(1)
        # an infinite end that is read makes the sum infinite already; the other end may be large all the same
        reach = [np.where(np.isfinite(end), np.abs(end), 0.0) for end in (hi, lo)]
        size = np.maximum(rows, 0) @ reach[0] - np.minimum(rows, 0) @ reach[1]
        return np.asarray(best + own(rows.shape[1]) * size)

    def meet(self, other: Box) -> Box:
        """What lies in both: each is sound, so both are. Where rounding lets them miss each other, this box; where the
        other has no number (0·∞), likewise."""
        lo, hi = np.fmax(self.lo, other.lo), np.fmin(self.hi, other.hi)
        crossed = lo > hi
        return Box(np.where(crossed, self.lo, lo), np.where(crossed, self.hi, hi))

    def reshape(self, shape: tuple[int, ...]) -> Box:
        """The same values in another shape."""
        return Box(self.lo.reshape(shape), self.hi.reshape(shape))


def anywhere(shape: tuple[int, ...]) -> Box:
    """Nothing is known."""
    return Box(np.full(shape, -np.inf), np.full(shape, np.inf))


@dataclass(frozen=True)
class Normalised:
    """What a LayerNorm or RMSNorm gives, whatever it reads: y = g·u + β along the last axes.

    LayerNorm: {u} = {Σu = 0, ‖u‖ < √n} for ε > 0, so that sup A·y = √n·‖P(A·g)‖ + A·β with P v = v - mean(v). RMSNorm:
    ‖u‖ < √n, without P. Both are attained in the limit only.

    In floating point neither holds exactly. Room is left for any deviation δ of u with ‖δ‖ ≤ overshoot·√n. Measured
    with onnxruntime 1.31 in float32, n from 2 to 4,096, for |mean| ≤ 64 standard deviations: ‖u‖ exceeds √n by 5e-6 of
    it at most (by 3e-7 where n ≥ 8, however large the mean, for the deviations are squared after the mean was
    subtracted), and Σu/n, for the mean is rounded, strays from zero by 1.3e-5, growing with |mean| / sd. So the set of
    LayerNorm holds for inputs whose mean is at most `MEAN_TO_SPREAD` times their standard deviation; one whose mean
    swamps its spread may leave it, and what is proved from the set is not proved for that input (`assumptions` says
    so). RMSNorm has no such limit. Where the graph itself computes var as E[x²] - mean², `moments_overshoot` is the
    room that the same inputs need; a runtime whose LayerNorm does so leaves the set earlier than the measured one.
    """

    shape: tuple[int, ...]
    axes: int
    """How many of the last axes are normalised together."""
    scale: Floats
    """g, broadcast over the normalised axes."""
    shift: Floats
    """β, likewise."""
    centred: bool
    """True for LayerNorm, False for RMSNorm."""
    overshoot: float = 2.0**-15

    @property
    def size(self) -> int:
        """n: the elements that are normalised together."""
        return int(np.prod(self.shape[len(self.shape) - self.axes :], dtype=np.int64))

    def _flat(self) -> tuple[Floats, Floats]:
        inner = self.shape[len(self.shape) - self.axes :]
        g, b = (
            np.broadcast_to(value, inner).reshape(-1).astype(np.float64) for value in (self.scale, self.shift)
        )
        return g, b

    @property
    def box(self) -> Box:
        """|u_i| ≤ √(n - 1) for LayerNorm (all others equal), √n for RMSNorm."""
        g, b = self._flat()
        n = self.size
        reach = np.sqrt(max(n - 1, 0) if self.centred else n) * np.abs(g)
        room = self.overshoot * (np.sqrt(n) * np.abs(g) + np.abs(b))
        inner = self.shape[len(self.shape) - self.axes :]
        lo, hi = (b - reach - room).reshape(inner), (b + reach + room).reshape(inner)
        return Box(*(np.broadcast_to(end, self.shape).astype(np.float64) for end in (lo, hi)))

    def sup(self, A: Floats) -> Floats:
        """√n·‖P(A·g)‖ + A·β, summed over the positions that are normalised apart."""
        g, b = self._flat()
        n = self.size
        rows = A.reshape(len(A), -1, n)
        v = rows * g
        if self.centred:
            v = v - v.mean(axis=2, keepdims=True)
        norms = np.sqrt(n) * np.sqrt((v * v).sum(axis=2))
        offset = rows @ b
        # a deviation of u need not sum to zero, so that it meets A·g itself and not only P(A·g)
        whole = np.sqrt(n) * np.sqrt(((rows * g) ** 2).sum(axis=2)) + np.abs(rows) @ np.abs(b)
        room = (self.overshoot + own(n + rows.shape[1])) * whole
        return np.asarray((norms + offset + room).sum(axis=1))

    def attained(self, A: Floats) -> Floats:
        """[rows, *shape] the limit point of the set at which Σ A·y is largest."""
        g, b = self._flat()
        v = A.reshape(len(A), -1, self.size) * g
        v = v - v.mean(axis=2, keepdims=True) if self.centred else v
        norm = np.sqrt((v * v).sum(axis=2, keepdims=True))
        u = np.sqrt(self.size) * v / np.where(norm > 0, norm, 1.0)
        return np.asarray((u * g + b).reshape(A.shape))


def moments_overshoot(size: int, unit: float) -> float:
    """How far, relative to √n, u may lie from the set of LayerNorm where its variance is E[x²] - mean²; or infinity.

    For |mean| ≤ M·sd, M = `MEAN_TO_SPREAD`, with γ of a sum of n terms: E[x²] is off by γ·(1 + M²)·var and the mean by
    e = γ·√(1 + M²)·sd, so that its square is off by (2γ + γ²)·(1 + M²)·var at most, and the difference by κ·var with
    κ = (1 + M²)·(3γ + γ² + 2u). Then 1 / sd is too large by a factor of 1 / √(1 - κ) at most, and each x - mean is off
    by e. Sums in any order: in fact runtimes round far less.
    """
    g, spread = gamma(size, unit), 1 + MEAN_TO_SPREAD**2
    lost = spread * (3 * g + g * g + 2 * unit)
    if not lost < 1:
        return float("inf")
    stretched = 1 / np.sqrt(1 - lost)
    return float((stretched - 1 + stretched * g * np.sqrt(spread)) * (1 + 16 * unit) + 16 * unit)


@dataclass(frozen=True)
class Hull:
    """The convex hull of given points, widened by a radius in every coordinate (L∞)."""

    points: Floats
    """[points, *shape]"""
    radius: float = 0.0

    @property
    def box(self) -> Box:
        """Range of each coordinate."""
        low, high = self.points.min(axis=0) - self.radius, self.points.max(axis=0) + self.radius
        return Box(np.nextafter(low, -np.inf), np.nextafter(high, np.inf)) if self.radius else Box(low, high)

    def sup(self, A: Floats) -> Floats:
        """A linear function is largest at a corner of a hull: max over the points, plus radius·‖A‖₁."""
        rows, points = A.reshape(len(A), -1), self.points.reshape(len(self.points), -1)
        most = np.max(np.abs(points), axis=0) + self.radius
        best = np.full(len(rows), -np.inf)
        for start in range(0, len(points), 4096):  # bounds memory: rows x 4096
            best = np.maximum(best, (rows @ points[start : start + 4096].T).max(axis=1))
        return np.asarray(
            best + self.radius * np.abs(rows).sum(axis=1) + own(rows.shape[1]) * (np.abs(rows) @ most)
        )
