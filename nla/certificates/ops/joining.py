"""Operators that join tensors: sums, concatenation, products, and softmax."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nla.certificates.ops.base import Back, Bent, Context, lifted, rounding_cost
from nla.certificates.ops.linear import summed
from nla.certificates.rounding import Floats, own, slack, smallest, times
from nla.certificates.sets import Box


@dataclass(frozen=True)
class Sum:
    """x + y, or x - y; shapes broadcast by numpy's rules."""

    inputs: tuple[str, ...]
    output: str
    sign: int = 1
    terms: int = 1
    """Additions that x and y take part in: more than one where a runtime may fuse the sum into the convolution or
    product before it, which then adds its terms to y one after another."""

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        return np.broadcast_shapes(*inputs)

    def forward(self, *values: Floats) -> Floats:
        x, y = lifted(values)
        return np.asarray(x + self.sign * y)

    def interval(self, *boxes: Box, unit: float) -> tuple[Box, Floats | None]:
        """As of `Linear`: the rounding is relative to the ends, and x ≤ 0 and y ≤ 0 give no positive number."""
        x, y = boxes
        low, high = (y.lo, y.hi) if self.sign > 0 else (-y.hi, -y.lo)
        relative = slack(self.terms, unit, x.lo.size + y.lo.size)
        lo, hi = x.lo + low, x.hi + high  # no end is infinite on the wrong side, so that nothing is NaN
        room_below, room_above = (relative * (np.abs(a) + np.abs(b)) for a, b in ((x.lo, low), (x.hi, high)))
        lo = np.where(np.isfinite(lo), lo - np.where(np.isfinite(lo), room_below, 0.0), lo)
        hi = np.where(np.isfinite(hi), hi + np.where(np.isfinite(hi), room_above, 0.0), hi)
        return Box(lo, hi), np.asarray(relative * (x.largest + y.largest))

    def back(self, A: Floats, context: Context) -> Back | None:
        x, y = context.inputs
        parts = summed(A, x.shape), self.sign * summed(A, y.shape)
        return Back(parts, rounding_cost(A, context.error))


@dataclass(frozen=True)
class Concat:
    """Along one axis of the sample."""

    inputs: tuple[str, ...]
    output: str
    axis: int = 0

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        made = list(inputs[0])
        made[self.axis] = sum(shape[self.axis] for shape in inputs)
        return tuple(made)

    def forward(self, *values: Floats) -> Floats:
        return np.concatenate(values, axis=self.axis + 1)

    def interval(self, *boxes: Box, unit: float) -> tuple[Box, Floats | None]:
        ends = [np.concatenate([getattr(box, end) for box in boxes], axis=self.axis) for end in ("lo", "hi")]
        return Box(ends[0], ends[1]), None

    def back(self, A: Floats, context: Context) -> Back | None:
        cuts = np.cumsum([box.shape[self.axis] for box in context.inputs])[:-1]
        return Back(tuple(np.split(A, cuts, axis=self.axis + 1)), np.zeros(len(A)))


@dataclass(frozen=True)
class Product(Bent):
    """x·y of two tensors that vary: gates. McCormick's envelope over the box of both."""

    inputs: tuple[str, ...]
    output: str

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        return np.broadcast_shapes(*inputs)

    def forward(self, *values: Floats) -> Floats:
        x, y = lifted(values)
        return np.asarray(x * y)

    def interval(self, *boxes: Box, unit: float) -> tuple[Box, Floats | None]:
        x, y = boxes
        corners = [times(a, b) for a in (x.lo, x.hi) for b in (y.lo, y.hi)]
        error = slack(1, unit, x.lo.size + y.lo.size) * times(x.largest, y.largest)
        error = error + np.where(error > 0, smallest(unit), 0.0)
        lo, hi = np.minimum.reduce(corners), np.maximum.reduce(corners)
        high = np.where(hi <= 0, np.minimum(hi + error, 0.0), hi + error)
        low = np.where(lo >= 0, np.maximum(lo - error, 0.0), lo - error)  # a rounded product keeps its sign
        return Box(low, high), error

    def back(self, A: Floats, context: Context) -> Back | None:
        shape = A.shape[1:]
        ends = [np.broadcast_to(end, shape) for box in context.inputs for end in (box.lo, box.hi)]
        if not all(np.isfinite(end).all() for end in ends):
            return None
        xl, xh, yl, yh = ends
        above, below = np.maximum(A, 0), np.minimum(A, 0)
        # xy ≤ xh·y + yl·x - xh·yl and xy ≥ xl·y + yl·x - xl·yl: two of McCormick's four planes
        by_x = above * yl + below * yl
        by_y = above * xh + below * xl
        flat = (above * -(xh * yl) + below * -(xl * yl)).reshape(len(A), -1)
        reach = (
            np.abs(A).reshape(len(A), -1)
            @ (4 * np.maximum(np.abs(xl), np.abs(xh)) * np.maximum(np.abs(yl), np.abs(yh))).ravel()
        )
        constant = flat.sum(1) + own(flat.shape[1] + 8) * reach + rounding_cost(A, context.error)
        x, y = context.inputs
        return Back((summed(by_x, x.shape), summed(by_y, y.shape)), constant)


@dataclass(frozen=True)
class Quotient(Product):
    """x / y, given x and 1 / y. Where 1 / y has no bound y may be zero, and 0 / 0 is not even small."""

    def interval(self, *boxes: Box, unit: float) -> tuple[Box, Floats | None]:
        made, error = super().interval(*boxes, unit=unit)
        lost = np.broadcast_to(~np.isfinite(boxes[1].largest), made.shape)
        return Box(np.where(lost, -np.inf, made.lo), np.where(lost, np.inf, made.hi)), error
