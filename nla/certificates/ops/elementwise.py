"""An activation, element by element, by its linear envelope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nla.activations import Activation
from nla.certificates import envelopes
from nla.certificates.ops.base import Back, Bent, Context, between_lines
from nla.certificates.rounding import Floats
from nla.certificates.sets import Box


@dataclass(frozen=True)
class Activate(Bent):
    """a = φ(z)."""

    inputs: tuple[str, ...]
    output: str
    activation: Activation
    loose: bool = False
    """True where the graph writes φ out with constants that were taken for φ's own: they may be off a little."""

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        return inputs[0]

    def forward(self, *values: Floats) -> Floats:
        return self.activation.value(values[0])

    def interval(self, *boxes: Box, unit: float) -> tuple[Box, Floats | None]:
        exact = envelopes.span(self.activation, boxes[0])
        if self.activation.nonnegative:
            exact = Box(np.maximum(exact.lo, 0.0), np.maximum(exact.hi, 0.0))
        error = envelopes.error(self.activation, exact, unit, boxes[0] if self.loose else None)
        if error is None:
            return exact, None
        lo, hi = exact.lo - error, exact.hi + error
        return Box(np.maximum(lo, 0.0) if self.activation.nonnegative else lo, hi), error

    def back(self, A: Floats, context: Context) -> Back | None:
        found = envelopes.lines(self.activation, context.inputs[0], lower=context.slopes)
        return between_lines(A, found, context)
