"""Products of two matrices that both vary: attention's scores, and what it mixes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from nla.certificates.ops.base import Back, Bent, Context, rounding_cost
from nla.certificates.ops.linear import outward
from nla.certificates.ops.softmax import fullest
from nla.certificates.rounding import Floats, own, slack, smallest, summed_product, times
from nla.certificates.sets import Box

_FEW = 1 << 21
"""Products of which each gets its own range."""
_AT_ONCE = 1 << 20
"""Of these, held at once."""


@dataclass(frozen=True)
class InnerProducts(Bent):
    """Σ_k x[b, i, k]·y[b, k, j]: [batch, n, inner] by [batch, inner, m]."""

    inputs: tuple[str, ...]
    output: str
    mixing: float | None = None
    """Where the rows of x mix those of y, as a softmax gives them, none below zero and their sum one: how far that sum
    may be from one; else None."""

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        (batch, n, inner), (other, again, m) = inputs
        if (batch, inner) != (other, again):
            raise ValueError(f"a product of {inputs[0]} by {inputs[1]}")
        return batch, n, m

    def forward(self, *values: Floats) -> Floats:
        return np.asarray(np.matmul(*values))

    def gradient(self, A: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """What A [rows, *shape] reads of either input, at x and y [rows, *shape]."""
        return np.matmul(A, np.swapaxes(y, -1, -2)), np.matmul(np.swapaxes(x, -1, -2), A)

    def interval(self, *boxes: Box, unit: float) -> tuple[Box, Floats | None]:
        """The terms at their corners; as of `Linear`, rounding is relative to the terms there."""
        x, y = boxes
        shape = self.shape(x.shape, y.shape)
        low, below, high, above = (
            self._by_corners(x, y) if shape[-1] * x.lo.size <= _FEW else self._by_middles(x, y)
        )
        inner = x.shape[-1]
        relative, tiny = slack(inner, unit, int(np.prod(shape))), inner * smallest(unit)
        size = _sizes(x.largest, y.largest)
        error = relative * size + np.where(size > 0, tiny, 0.0)
        return Box(-outward(-low, below, relative, tiny), outward(high, above, relative, tiny)), error

    def _by_corners(self, x: Box, y: Box) -> list[Floats]:
        """Lower ends, Σ |terms| there, upper ends, Σ |terms| there: each term at the best of its four corners."""
        ends = [np.empty(self.shape(x.shape, y.shape)) for _ in range(4)]
        step = max(1, _AT_ONCE // (x.shape[2] * y.shape[2]))
        for b, i in itertools.product(range(x.shape[0]), range(0, x.shape[1], step)):
            rows = slice(i, i + step)
            piece = Box(x.lo[b, rows], x.hi[b, rows]), Box(y.lo[b], y.hi[b])
            for end, made in zip(ends, self._ends(*piece), strict=True):
                end[b, rows] = made
        return ends

    def _by_middles(self, x: Box, y: Box) -> list[Floats]:
        """The same, wider and quicker: products of middles, and what half-widths may add to them.

        Where an end is infinite nothing is known but of what mixes: it lies among what it mixes.
        """
        size = _sizes(x.largest, y.largest)
        if np.isfinite(size).all():
            p, q = (x.lo + x.hi) / 2, (y.lo + y.hi) / 2
            wide, tall = (x.hi - x.lo) / 2, (y.hi - y.lo) / 2
            made, reach = np.matmul(p, q), np.matmul(np.abs(p), tall) + np.matmul(wide, np.abs(q) + tall)
            low, high = made - reach, made + reach
        else:
            low, high = np.full(size.shape, -np.inf), np.full(size.shape, np.inf)
        if self.mixing is not None:
            most = y.largest.max(axis=1, keepdims=True)
            low = np.maximum(low, y.lo.min(axis=1, keepdims=True) - self.mixing * most)
            high = np.minimum(high, y.hi.max(axis=1, keepdims=True) + self.mixing * most)
            size = np.minimum(size, (1 + self.mixing) * most)
        return [low, size, high, size]

    def _ends(self, x: Box, y: Box) -> tuple[Floats, Floats, Floats, Floats]:
        """[n, m] lower end, Σ |terms| there, upper end, Σ |terms| there; x [n, inner], y [inner, m]."""
        corners = [times(a[:, :, None], b[None]) for a in (x.lo, x.hi) for b in (y.lo, y.hi)]
        low, high = np.minimum.reduce(corners), np.maximum.reduce(corners)
        ends = low.sum(1), np.abs(low).sum(1), high.sum(1), np.abs(high).sum(1)
        if self.mixing is None:
            return ends
        top, bottom = _mixed(x, y.hi, self.mixing), -_mixed(x, -y.lo, self.mixing)
        most = (1 + self.mixing) * y.largest.max(axis=0)  # Σ |terms|, wherever
        low, below, high, above = ends
        return (
            np.maximum(low, bottom),
            np.where(bottom > low, most, np.minimum(below, most)),
            np.minimum(high, top),
            np.where(top < high, most, np.minimum(above, most)),
        )

    def back(self, A: Floats, context: Context) -> Back | None:
        """x·y = p·y + q·x - p·q + (x - p)(y - q) for fixed p and q, the last term at its largest.

        At the middles of both boxes that is the mean of two of McCormick's planes. An element whose own range is
        narrower than what the last term leaves open stays at that range.
        """
        x, y = context.inputs
        if not all(np.isfinite(end).all() for box in (x, y) for end in (box.lo, box.hi)):
            return None
        p, q = self._middle(x), (y.lo + y.hi) / 2
        wide, tall = np.maximum(x.hi - p, p - x.lo), np.maximum(y.hi - q, q - y.lo)
        open_ = np.matmul(wide, tall)
        if self.mixing is not None:  # Σ |x - p| ≤ Σ x + Σ p
            open_ = np.minimum(open_, (2.01 + 2 * self.mixing) * tall.max(axis=1, keepdims=True))
        out = context.output
        planar = open_ < (out.hi - out.lo) / 2
        held = np.where(planar, A, 0.0)
        kept = np.where(planar, 0.0, A)
        by_x, by_y = self.gradient(held, p[None], q[None])
        size = _sizes(x.largest, y.largest)
        constant = summed_product(np.abs(held), open_) - summed_product(held, np.matmul(p, q))
        terms = own(sum(A.shape[1:]) + x.shape[-1] + out.lo.size) * 8 * summed_product(np.abs(held), size)
        constant = constant + terms + rounding_cost(held, context.error)
        return Back((by_x, by_y), constant + out.sup(kept))

    def _middle(self, x: Box) -> Floats:
        """The middle of x; of rows that mix, one whose sum is one: lo + t·(hi - lo)."""
        if self.mixing is None:
            return np.asarray((x.lo + x.hi) / 2)
        lo, width = np.maximum(x.lo, 0), np.maximum(x.hi, 0) - np.maximum(x.lo, 0)
        left, all_ = 1 - lo.sum(axis=-1, keepdims=True), width.sum(axis=-1, keepdims=True)
        return np.asarray(lo + np.clip(left / np.where(all_ > 0, all_, 1.0), 0, 1) * width)


def _sizes(x: Floats, y: Floats) -> Floats:
    """Σ_k |x|·|y|, infinite where a term is."""
    if np.isfinite(x).all() and np.isfinite(y).all():
        return np.asarray(np.matmul(x, y))
    plain = [np.where(np.isfinite(each), each, 0.0) for each in (x, y)]
    read = np.matmul(np.isinf(x), y > 0) | np.matmul(x > 0, np.isinf(y))
    return np.where(read, np.inf, np.matmul(*plain))


def _mixed(x: Box, y: Floats, room: float) -> Floats:
    """[n, m] the largest Σ_k x·y for rows x [n, inner] in their box whose sum is one to within `room`."""
    open_ = np.isinf(y).any(axis=0)
    values = np.where(np.isfinite(y), y, 0.0).T  # [m, inner]
    most = np.abs(values).max(axis=1)
    found = fullest(values[None], x.lo[:, None], x.hi[:, None])
    return np.where(open_, np.inf, found + (room + own(2 * y.shape[0] + 8)) * most)
