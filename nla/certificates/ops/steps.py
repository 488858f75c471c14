"""Operators without a slope: steps, comparisons, and the choice between two tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nla.certificates.ops.base import Back, Context, lifted, rounding_cost
from nla.certificates.ops.linear import summed
from nla.certificates.rounding import Floats, own, summed_product
from nla.certificates.sets import Box

STEPS: dict[str, Callable[[Floats], Floats]] = {
    "Sign": np.sign,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Round": np.rint,
    "Not": lambda x: 1.0 - x,
    "Trunc": np.trunc,
    "Truth": lambda x: np.asarray(x != 0, np.float64),
}
"""Trunc and Truth are Cast to whole numbers and to bool. All but Truth are monotone."""
_WHOLE = 2.0**31
"""Numbers beyond which a cast to an integer may wrap."""


@dataclass(frozen=True)
class Step:
    """y = f(x), of STEPS: exact, and flat between its jumps."""

    inputs: tuple[str, ...]
    output: str
    kind: str

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        return inputs[0]

    def forward(self, *values: Floats) -> Floats:
        return np.asarray(STEPS[self.kind](values[0]))

    def interval(self, *boxes: Box, unit: float) -> tuple[Box, Floats | None]:
        (x,) = boxes
        if self.kind == "Truth":
            never, always = (x.lo == 0) & (x.hi == 0), (x.lo > 0) | (x.hi < 0)
            return Box(always.astype(np.float64), 1.0 - never), None
        ends = STEPS[self.kind](x.lo), STEPS[self.kind](x.hi)
        lo, hi = np.minimum(*ends), np.maximum(*ends)
        if self.kind == "Trunc":
            wraps = ~(x.largest < _WHOLE)
            lo, hi = np.where(wraps, -np.inf, lo), np.where(wraps, np.inf, hi)
        return Box(lo, hi), None

    def back(self, A: Floats, context: Context) -> Back | None:
        return None


def _greater(x: Box, y: Box) -> tuple[np.ndarray, np.ndarray]:
    return x.lo > y.hi, x.hi > y.lo


def _at_least(x: Box, y: Box) -> tuple[np.ndarray, np.ndarray]:
    return x.lo >= y.hi, x.hi >= y.lo


def _equal(x: Box, y: Box) -> tuple[np.ndarray, np.ndarray]:
    return (x.lo == y.hi) & (x.hi == y.lo), (x.lo <= y.hi) & (y.lo <= x.hi)


def _xor(x: Box, y: Box) -> tuple[np.ndarray, np.ndarray]:
    same, other = _equal(x, y)
    return ~other, ~same


_Both = Callable[[Floats, Floats], Floats]
JUDGEMENTS: dict[str, tuple[_Both, Callable[[Box, Box], tuple[np.ndarray, np.ndarray]]]] = {
    "Greater": (np.greater, _greater),
    "GreaterOrEqual": (np.greater_equal, _at_least),
    "Less": (np.less, lambda x, y: _greater(y, x)),
    "LessOrEqual": (np.less_equal, lambda x, y: _at_least(y, x)),
    "Equal": (np.equal, _equal),
    "And": (np.minimum, lambda x, y: ((x.lo > 0) & (y.lo > 0), (x.hi > 0) & (y.hi > 0))),
    "Or": (np.maximum, lambda x, y: ((x.lo > 0) | (y.lo > 0), (x.hi > 0) | (y.hi > 0))),
    "Xor": (np.not_equal, _xor),
}
"""By kind, the operator on values, and (whether it holds for certain, whether it can hold) on ranges."""


@dataclass(frozen=True)
class Judgement:
    """1 where x and y are related as JUDGEMENTS says, else 0; shapes broadcast."""

    inputs: tuple[str, ...]
    output: str
    kind: str

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        return np.broadcast_shapes(*inputs)

    def forward(self, *values: Floats) -> Floats:
        return np.asarray(JUDGEMENTS[self.kind][0](*lifted(values)), np.float64)

    def interval(self, *boxes: Box, unit: float) -> tuple[Box, Floats | None]:
        surely, maybe = JUDGEMENTS[self.kind][1](*boxes)
        shape = self.shape(*(box.shape for box in boxes))
        ends = (np.array(np.broadcast_to(end, shape), np.float64) for end in (surely, maybe))
        return Box(*ends), None

    def back(self, A: Floats, context: Context) -> Back | None:
        return None


@dataclass(frozen=True)
class Choice:
    """x where the condition holds, else y: Where. Its inputs are (condition, x, y); shapes broadcast."""

    inputs: tuple[str, ...]
    output: str

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        return np.broadcast_shapes(*inputs)

    def forward(self, *values: Floats) -> Floats:
        chosen, x, y = lifted(values)
        return np.where(chosen > 0, x, y)

    def interval(self, *boxes: Box, unit: float) -> tuple[Box, Floats | None]:
        chosen, x, y = boxes
        always, never = chosen.lo > 0, chosen.hi <= 0
        lo = np.where(always, x.lo, np.where(never, y.lo, np.minimum(x.lo, y.lo)))
        hi = np.where(always, x.hi, np.where(never, y.hi, np.maximum(x.hi, y.hi)))
        return Box(lo, hi), None

    def gradient(self, A: Floats, *values: Floats) -> tuple[Floats, ...]:
        """What A reads of the condition (nothing), of x and of y."""
        chosen, x, y = lifted(values)
        parts = np.where(chosen > 0, A, 0.0), np.where(chosen > 0, 0.0, A)
        made = (summed(part, value.shape[1:]) for part, value in zip(parts, (x, y), strict=True))
        return (
            np.zeros_like(values[0]),
            *(part.reshape(value.shape) for part, value in zip(made, values[1:], strict=True)),
        )

    def back(self, A: Floats, context: Context) -> Back | None:
        """Passed on where the condition is decided; elsewhere the range of what comes out."""
        chosen, x, y = context.inputs
        always, never = chosen.lo > 0, chosen.hi <= 0
        open_ = np.where(always | never, 0.0, A)
        above, below = np.maximum(open_, 0), np.minimum(open_, 0)
        out = context.output
        constant = summed_product(above, out.hi) + summed_product(below, out.lo)
        constant = constant + own(out.lo.size) * summed_product(above - below, out.largest)
        if x.shape != out.shape or y.shape != out.shape:  # what is read several times is a sum
            constant = constant + rounding_cost(A - open_, own(out.lo.size) * out.largest)
        parts = (
            np.zeros((len(A), *chosen.shape)),
            summed(np.where(always, A, 0.0), x.shape),
            summed(np.where(never, A, 0.0), y.shape),
        )
        return Back(parts, constant)
