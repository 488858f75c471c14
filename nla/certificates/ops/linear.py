"""Linear operators: what a weight does to one sample, with the rounding of its sums.

Each kind says how its matrix W acts forward and transposed, for W itself, |W|, W⁺ and W⁻; bounds follow for all alike.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nla.certificates.ops.base import Back, Context, rounding_cost
from nla.certificates.rounding import Floats, own, slack, smallest
from nla.certificates.sets import Box

_MOST_WEIGHTS = 1 << 22
"""Of which a part is held at once."""


def signed(weight: Floats, part: str) -> Floats:
    """The weight, its absolute value, or its positive or negative part."""
    if part == "abs":
        return np.abs(weight)
    if part == "pos":
        return np.maximum(weight, 0)
    return np.minimum(weight, 0) if part == "neg" else weight


@dataclass(frozen=True)
class Linear:
    """y = W x + b for one sample; `inputs` is one name."""

    inputs: tuple[str, ...]
    output: str

    @property
    @abstractmethod
    def terms(self) -> int:
        """Products that are summed into one element of the output, at most."""

    @property
    def offset(self) -> Floats:
        """b, broadcast to the output's shape by numpy's rules."""
        return np.zeros(())

    @property
    def offset_size(self) -> Floats:
        """|b|, or what b is the difference of where it was computed by the model: its rounding is relative to that."""
        return np.abs(self.offset)

    @property
    def exact(self) -> bool:
        """Whether the operator only moves values, so that nothing is rounded."""
        return False

    @property
    def merges(self) -> bool:
        """Whether one element of the input is read by several of the output, so that Wᵀ A is a sum."""
        return True

    @abstractmethod
    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the output for one sample."""

    @abstractmethod
    def apply(self, x: Floats, part: str = "all") -> Floats:
        """W x for x [rows, *shape], W's part of that name."""

    @abstractmethod
    def transposed(self, A: Floats, shape: tuple[int, ...]) -> Floats:
        """Wᵀ A: [rows, *input shape] from A [rows, *output shape]."""

    def forward(self, *values: Floats) -> Floats:
        """W x + b."""
        return np.asarray(self.apply(values[0]) + self.offset)

    def interval(self, *boxes: Box, unit: float) -> tuple[Box, Floats | None]:
        """W⁺·hi + W⁻·lo + b, and rounding.

        A rounded sum, in whatever fixed order, never falls when one of its terms grows. So it is largest where the
        exact sum is, at W⁺·hi + W⁻·lo, and its rounding is relative to the terms there: where no term is above zero
        nothing can round to a positive number, however wide the box.
        """
        (x,) = boxes
        b, size = self.offset, self.offset_size
        if self.exact:
            return Box(self.apply(x.lo[None])[0] + b, self.apply(x.hi[None])[0] + b), None
        masked = np.isneginf(b)
        b = np.where(masked, 0.0, b)
        pos, neg = self._at_ends(x, "pos"), self._at_ends(x, "neg")
        high, above = pos[0] - neg[2] + b, pos[1] - neg[3] + size  # above, below: Σ |terms| at that corner
        low, below = pos[2] - neg[0] - b, pos[3] - neg[1] + size
        whole = pos[4] - neg[4] + size
        spread = int(np.prod(self.shape(x.shape), dtype=np.int64))
        relative, tiny = slack(self.terms, unit, spread), self.terms * smallest(unit)
        error = relative * whole + np.where(whole > 0, tiny, 0.0)
        box = Box(-outward(low, below, relative, tiny), outward(high, above, relative, tiny))
        if masked.any():  # also of what has no bound: every value is finite
            box = Box(*(np.where(masked, -np.inf, end) for end in (box.lo, box.hi)))
        return box, np.broadcast_to(error, box.shape)

    def _at_ends(self, x: Box, part: str) -> tuple[Floats, ...]:
        """W's part, 'pos' or 'neg', times hi, |hi|, -lo, |lo| and the largest |x|."""
        if (x.lo < 0).any():
            return tuple(self._unless(np.stack([x.hi, np.abs(x.hi), -x.lo, np.abs(x.lo), x.largest]), part))
        high, low = self._unless(np.stack([x.hi, x.lo]), part)  # behind a ReLU: the same sums again and again
        return high, high, -low, low, high

    def _unless(self, x: Floats, part: str) -> Floats:
        """W's part, 'pos' or 'neg', times x [rows, *shape] < ∞ or = ∞; ∞ read by a weight of zero counts as nothing."""
        infinite = np.isposinf(x)
        if not infinite.any():
            return self.apply(x, part)
        value = self.apply(np.where(infinite, 0.0, x), part)
        read = self.apply(infinite.astype(np.float64), part)
        return np.asarray(np.where(read != 0, np.copysign(np.inf, read), value))

    def back(self, A: Floats, context: Context) -> Back | None:
        """Wᵀ A, and A·b; what rounding in the model and in this product may add."""
        (x,) = context.inputs
        part = self.transposed(A, x.shape)
        b = np.broadcast_to(self.offset, A.shape[1:])
        flat = A.reshape(len(A), -1)
        constant = flat @ b.ravel() + own(flat.shape[1]) * (np.abs(flat) @ np.abs(b.ravel()))
        error = own(flat.shape[1]) * context.output.largest if self.exact and self.merges else context.error
        return Back((part,), constant + rounding_cost(A, error))


def outward(end: Floats, size: Floats, relative: float, tiny: float) -> Floats:
    """An upper end with the rounding of terms of that size; an infinite end stays, and no term rounds to nothing."""
    with np.errstate(invalid="ignore"):
        moved = end + relative * size + np.where(size > 0, tiny, 0.0)
    return np.asarray(np.where(np.isfinite(end), moved, end) + 0.0)


@dataclass(frozen=True)
class Dense(Linear):
    """Along the last axis: Gemm, MatMul by a constant."""

    weight: Floats
    """[outputs, inputs]"""
    bias: Floats | None = None
    """[outputs]"""

    @property
    def terms(self) -> int:
        return int(self.weight.shape[1]) + 1

    @property
    def offset(self) -> Floats:
        return np.zeros(()) if self.bias is None else self.bias

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        return (*inputs[0][:-1], self.weight.shape[0])

    def apply(self, x: Floats, part: str = "all") -> Floats:
        if part == "all":
            return np.asarray(x @ self.weight.T)
        step = max(
            1, _MOST_WEIGHTS // max(1, self.weight.shape[1])
        )  # the parts of a large matrix would fill memory
        blocks = [self.weight[k : k + step] for k in range(0, len(self.weight), step)]
        return np.concatenate([x @ signed(block, part).T for block in blocks], axis=-1)

    def transposed(self, A: Floats, shape: tuple[int, ...]) -> Floats:
        return np.asarray(A @ self.weight)


@dataclass(frozen=True)
class Scale(Linear):
    """y = s·x + b, element by element: BatchNormalization at inference, Mul, Div, Add, Sub, Neg by constants."""

    scale: Floats
    """Broadcasts over the shape of one sample, by numpy's rules."""
    bias: Floats
    made_of: Floats | None = None
    """Where the model computes b as a difference (BatchNormalization: β - mean·s): the sum of what is subtracted, in
    absolute value."""

    @property
    def terms(self) -> int:
        return 2

    @property
    def offset(self) -> Floats:
        return self.bias

    @property
    def offset_size(self) -> Floats:
        return np.abs(self.bias) if self.made_of is None else self.made_of

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        return np.broadcast_shapes(inputs[0], self.scale.shape, self.bias.shape)

    def apply(self, x: Floats, part: str = "all") -> Floats:
        shape = self.shape(x.shape[1:])
        lifted = x.reshape(len(x), *(1,) * (len(shape) - x.ndim + 1), *x.shape[1:])
        return np.broadcast_to(lifted * signed(self.scale, part), (len(x), *shape))

    def transposed(self, A: Floats, shape: tuple[int, ...]) -> Floats:
        return summed(A * self.scale, shape)


def summed(A: Floats, shape: tuple[int, ...]) -> Floats:
    """A [rows, *broadcast shape], summed over the axes along which `shape` was stretched."""
    lead = A.ndim - 1 - len(shape)
    A = A.sum(axis=tuple(range(1, 1 + lead))) if lead else A
    stretched = tuple(k + 1 for k, size in enumerate(shape) if size == 1 and A.shape[k + 1] != 1)
    return A.sum(axis=stretched, keepdims=True) if stretched else A


@dataclass(frozen=True)
class Gathering(Linear):
    """Each element of the output is one of the input, or a constant: Reshape, Flatten, Transpose, Slice, Pad, Gather,
    Squeeze, Identity, Expand."""

    index: np.ndarray
    """int64 [*output shape], the flat position in the input; -1 for `fill`."""
    fill: float | Floats = 0.0
    """Broadcasts over the output's shape."""

    @property
    def terms(self) -> int:
        return 1

    @property
    def exact(self) -> bool:
        return True

    @cached_property
    def merges(self) -> bool:
        kept = self.index[self.index >= 0]
        return len(np.unique(kept)) < len(kept)

    @cached_property
    def _filled(self) -> Floats:
        return np.where(self.index < 0, self.fill, 0.0)

    @property
    def offset(self) -> Floats:
        return self._filled

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        return self.index.shape

    def apply(self, x: Floats, part: str = "all") -> Floats:
        flat = x.reshape(len(x), -1)
        taken = flat[:, np.maximum(self.index, 0).ravel()].reshape(len(x), *self.index.shape)
        if part == "neg":
            return np.zeros_like(taken)
        return np.where(self.index < 0, 0.0, taken)

    def transposed(self, A: Floats, shape: tuple[int, ...]) -> Floats:
        made = np.zeros((len(A), int(np.prod(shape, dtype=np.int64))))
        kept = self.index.ravel() >= 0
        values = A.reshape(len(A), -1)[:, kept]
        target = self.index.ravel()[kept]
        if not self.merges:
            made[:, target] = values
        else:
            np.add.at(made.T, target, values.T)
        return made.reshape(len(A), *shape)
