"""Softmax: what it gives lies between zero and one, sums to one, and moves little where its input does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nla.certificates.envelopes import STRAYS
from nla.certificates.ops.base import Back, Bent, Context, rounding_cost
from nla.certificates.rounding import Floats, gamma, own, smallest
from nla.certificates.sets import Box

_REACH = 104.0
"""Further than this below the largest input, exp underflows in float32."""


def strays(count: int, unit: float) -> float:
    """How far the sum of a computed softmax over `count` elements may be from one."""
    return 2 * gamma(count, unit) + 2 * count * smallest(unit)


def fullest(A: Floats, lo: Floats, hi: Floats) -> Floats:
    """[...] the largest Σ A·p over lo ≤ p ≤ hi, Σ p = 1, along the last axis; without rounding.

    What is left of one when every p is at its lower end goes where A is largest, as far as each has room. Where the
    ends allow no sum of one, as near to it as they allow.
    """
    order = np.argsort(-A, axis=-1)
    best = np.take_along_axis(A, order, -1)
    shape = np.broadcast_shapes(A.shape, lo.shape)
    order = np.broadcast_to(order, shape)
    lo, hi = (np.take_along_axis(np.broadcast_to(end, shape), order, -1) for end in (lo, hi))
    width = hi - lo
    before = np.cumsum(width, axis=-1) - width
    given = np.clip(1 - lo.sum(axis=-1, keepdims=True) - before, 0, width)
    return np.asarray((best * (lo + given)).sum(axis=-1))


@dataclass(frozen=True)
class Softmax(Bent):
    """exp(z) / Σ exp(z) along one axis of the sample."""

    inputs: tuple[str, ...]
    output: str
    axis: int = -1

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        return inputs[0]

    def forward(self, *values: Floats) -> Floats:
        z = self._last(values[0])
        raised = np.exp(z - z.max(axis=-1, keepdims=True))
        return self._back(raised / raised.sum(axis=-1, keepdims=True))

    def gradient(self, A: Floats, z: Floats) -> Floats:
        """What A [rows, *shape] reads of the input, at z [rows, *shape]."""
        p, held = self._last(self.forward(z)), self._last(A)
        return self._back(p * (held - (held * p).sum(axis=-1, keepdims=True)))

    def _last(self, x: Floats) -> Floats:
        """[rows, ..., axis] of [rows, *shape]."""
        return np.moveaxis(x, self._counted(x), -1)

    def _back(self, x: Floats) -> Floats:
        return np.moveaxis(x, -1, self._counted(x))

    def _counted(self, x: Floats) -> int:
        return self.axis % (x.ndim - 1) + 1

    def defined(self, z: Box) -> bool:
        """Whether no group is masked as a whole, by -∞, which makes it NaN."""
        return not bool(np.isneginf(z.hi).all(axis=self.axis).any())

    def interval(self, *boxes: Box, unit: float) -> tuple[Box, Floats | None]:
        """Each at its largest where it is at its upper end and all others at their lower, and the other way round.

        The model subtracts the largest, which rounds by |difference|·u, raises, sums, and divides.
        """
        (z,) = boxes
        span = self._span(z)
        count = z.shape[self.axis]
        with np.errstate(invalid="ignore"):
            reach = np.minimum(self._spread(z), _REACH)
        relative = 2 * (gamma(count, unit) + (STRAYS + reach) * unit + count * smallest(unit))
        error = relative * span.hi + smallest(unit)
        lo = np.maximum(span.lo * (1 - relative) - smallest(unit), 0.0)
        return Box(lo, np.minimum(span.hi + error, 1 + 2.0**-10)), np.asarray(error)

    def _spread(self, z: Box) -> Floats:
        """How far the elements of a group may lie apart; infinite where nothing bounds it."""
        made = z.hi.max(axis=self.axis, keepdims=True) - z.lo.min(axis=self.axis, keepdims=True)
        return np.asarray(np.where(np.isnan(made), np.inf, made) + np.zeros(z.shape))

    def _span(self, z: Box) -> Box:
        """The range of the exact softmax over the box, outward by our own rounding."""
        low, high = (self._last(end[None]) for end in (z.lo, z.hi))
        known = (np.isfinite(low) & np.isfinite(high)).all(axis=-1, keepdims=True)
        low, high = np.where(known, low, 0.0), np.where(known, high, 0.0)
        room = own(low.shape[-1] + 1024)  # of differences of up to 745, and of the sums
        lo = np.where(known, _share(low, high) * (1 - room), 0.0)
        hi = np.where(known, np.minimum(_share(high, low) * (1 + room), 1.0), 1.0)
        return Box(self._back(lo)[0], self._back(hi)[0])

    def back(self, A: Floats, context: Context) -> Back | None:
        """Group by group the better, at the middle of the input's box, of two upper bounds of A·p(z).

        The constant: the best that shares which sum to one can reach. And the line through the middle c, by the mean
        value theorem: A·p(c) + g·(z - c) + Σ |g(ξ) - g|·r, with g_j = p_j·(A_j - A·p), whose range over the box follows
        from the ranges of p_j and of A·p there, and r half the width of the box.
        """
        (z,) = context.inputs
        span = self._span(z)  # of the whole box, for ξ may lie where no input leads
        lo, hi = (self._last(end[None]) for end in (span.lo, span.hi))
        held = self._last(A)
        most, least = fullest(held, lo, hi), -fullest(-held, lo, hi)
        room = own(4 * held.shape[-1] + 64)
        size = np.abs(held).max(axis=-1)
        most, least = most + room * size, least - room * size
        finite = np.asarray(np.isfinite(self._last(z.lo[None]) - self._last(z.hi[None])).all(axis=-1))
        ends = [np.where(finite[..., None], self._last(end[None]), 0.0) for end in (z.lo, z.hi)]
        middle, half = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
        raised = np.exp(middle - middle.max(axis=-1, keepdims=True))
        p = raised / raised.sum(axis=-1, keepdims=True)
        at = (held * p).sum(axis=-1)
        slope = p * (held - at[..., None])
        under, over = held - most[..., None], held - least[..., None]
        g_low, g_high = np.minimum(lo * under, hi * under), np.maximum(lo * over, hi * over)
        strayed = np.maximum(g_high - slope, slope - g_low)
        there = at + (strayed * half).sum(axis=-1)
        line = finite & (there < most)
        slope = np.where(line[..., None], slope, 0.0)
        # what rounding may do to slopes, offsets and ranges: all at most max |A| times the size of the input
        reach = size * (1 + (np.abs(middle) + half).sum(axis=-1)) + (strayed * half).sum(axis=-1)
        constant = np.where(line, there - (slope * middle).sum(axis=-1) + room * reach, most)
        total = constant.reshape(len(A), -1).sum(axis=1)
        terms = own(constant[0].size) * np.abs(constant).reshape(len(A), -1).sum(axis=1)
        return Back((self._back(slope),), total + terms + rounding_cost(A, context.error))


def _share(one: Floats, others: Floats) -> Floats:
    """[..., count] 1 / (1 + Σ_{j≠i} exp(others_j - one_i)): how small or large a share may be, where all are finite.

    Sums without i are those before it and after it, relative to the largest of them, so that nothing cancels and what
    underflows is nothing beside it.
    """
    if one.shape[-1] == 1:
        return np.ones_like(one)
    first = others.argmax(axis=-1)[..., None]
    most = np.take_along_axis(others, first, -1)
    raised = np.exp(others - most)
    rest = others.copy()
    np.put_along_axis(rest, first, -np.inf, -1)
    second = rest.max(axis=-1, keepdims=True)
    left = np.exp(rest - second).sum(axis=-1, keepdims=True)
    nothing = np.zeros_like(most)
    before = np.cumsum(np.concatenate([nothing, raised[..., :-1]], axis=-1), axis=-1)
    after = np.cumsum(np.concatenate([nothing, raised[..., :0:-1]], axis=-1), axis=-1)[..., ::-1]
    summed, relative = before + after, np.broadcast_to(most, one.shape).copy()
    np.put_along_axis(summed, first, left, -1)
    np.put_along_axis(relative, first, second, -1)
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(relative - one) * summed))
