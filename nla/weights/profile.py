"""One pass over the weights of a layer: counts, norms of rows and columns, a sample, and what tells rows apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nla.weights.matrix import Block, Matrix

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SAMPLE = 1 << 17
"""Weights that are compared with a distribution at most."""
PROJECTIONS = 4
_TINY = {"float64": 2.2250738585072014e-308, "float16": 6.103515625e-05}
_TINY_OF_OTHERS = 1.1754943508222875e-38
"""Smallest normal number of float32, and of bfloat16."""


@dataclass(frozen=True, eq=False)
class Profile:
    """What one pass over a layer's weights leaves. NaN and infinities count as zero in sums and norms."""

    elements: int
    zeros: int
    denormals: int
    nans: int
    infinities: int
    total: float
    squares: float
    largest: float
    out_squares: Floats
    """[outputs] sum of squares of the weights that make the channel."""
    out_any: Bools
    """[outputs] True where one of them is not zero."""
    out_bad: Bools
    """[outputs] True where one of them is NaN or infinite."""
    in_squares: Floats
    """[inputs] likewise of the weights that read the channel."""
    in_any: Bools
    projections: Floats
    """[outputs, PROJECTIONS]: the weights of a channel, times fixed random numbers: alike where these are alike."""
    sample: Floats
    """Finite weights, drawn evenly from all of them; all of them where they are few."""


def profile(matrix: Matrix) -> Profile:
    """Read the weights of a layer once."""
    gathered = _Gathered(matrix)
    with np.errstate(all="ignore"):
        for block in matrix.blocks():
            gathered.add(block)
    return gathered.profile()


class _Gathered:
    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix
        first, second, kernel = matrix.sizes
        self._random = np.random.default_rng(0)
        # of a grouped layer, inputs of different groups share numbers: rows of one group only are compared
        inputs = second if matrix.outputs_first else first
        self._factors = self._random.standard_normal((inputs, kernel, PROJECTIONS))
        groups, self._second = matrix.groups, second
        self._first_squares, self._second_squares = np.zeros(first), np.zeros((groups, second))
        self._first_any, self._second_any = np.zeros(first, bool), np.zeros((groups, second), bool)
        self._out_bad = np.zeros(matrix.lies.outputs, bool)
        self._projections = np.zeros((matrix.lies.outputs, PROJECTIONS))
        self._counts = dict.fromkeys(("elements", "zeros", "denormals", "nans", "infinities"), 0)
        self._total = self._squares = self._largest = 0.0
        self._tiny = _TINY.get(str(matrix.array.dtype), _TINY_OF_OTHERS)
        self._samples: list[Floats] = []

    def add(self, block: Block) -> None:
        """Count one block."""
        values = self._finite(block)
        size = np.abs(values)
        self._counts["elements"] += values.size
        self._counts["denormals"] += int(np.count_nonzero((size < self._tiny) & (size > 0)))
        self._total += float(values.sum())
        self._largest = max(self._largest, float(size.max(initial=0.0)))
        squares: Floats = np.square(values)
        there: Bools = np.asarray(size > 0)
        self._squares += float(squares.sum())
        self._first_squares[block.first] += squares.sum((1, 2))
        self._first_any[block.first] |= there.any((1, 2))
        group = np.arange(block.first.start, block.first.stop) // (
            len(self._first_squares) // self._matrix.groups
        )
        each: Floats = squares.sum(2)
        any_each: Bools = np.asarray(there.any(2))
        if self._matrix.groups == 1:
            self._second_squares[0, block.second] += each.sum(0)
            self._second_any[0, block.second] |= any_each.any(0)
        else:
            np.add.at(self._second_squares[:, block.second], group, each)
            np.logical_or.at(self._second_any[:, block.second], group, any_each)
        self._project(block, values)

    def _finite(self, block: Block) -> Floats:
        values = block.values
        self._counts["zeros"] += int(np.count_nonzero(values == 0))
        if np.isfinite(values.sum()):  # an infinity or NaN would be in the sum
            self._draw(values.reshape(-1))
            return values
        bad = ~np.isfinite(values)
        self._draw(values[~bad])
        self._counts["nans"] += int(np.isnan(values).sum())
        self._counts["infinities"] += int(np.isinf(values).sum())
        if self._matrix.outputs_first:
            self._out_bad[block.first] |= bad.any((1, 2))
        else:
            self._out_bad[self._outputs(block)] |= bad.any((0, 2))
        return np.where(bad, 0.0, values)

    def _outputs(self, block: Block) -> slice:
        """The output channels of a block whose first axis is that of inputs."""
        group = block.first.start // (len(self._first_squares) // self._matrix.groups)
        return slice(group * self._second + block.second.start, group * self._second + block.second.stop)

    def _draw(self, values: Floats) -> None:
        share = SAMPLE / max(1, self._matrix.array.size)
        if share >= 1:
            self._samples.append(values.copy())
        elif values.size:
            wanted = self._random.binomial(values.size, share)
            self._samples.append(values[self._random.integers(0, values.size, wanted)])

    def _project(self, block: Block, values: Floats) -> None:
        if self._matrix.outputs_first:
            factors = self._factors[block.second].reshape(-1, PROJECTIONS)
            self._projections[block.first] += values.reshape(len(values), -1) @ factors
        else:
            made = np.einsum("abk,akp->bp", values, self._factors[block.first], optimize=True)
            self._projections[self._outputs(block)] += made

    def profile(self) -> Profile:
        """What was gathered."""
        first = self._first_squares, self._first_any
        second = self._second_squares.reshape(-1), self._second_any.reshape(-1)
        out, into = (first, second) if self._matrix.outputs_first else (second, first)
        sample = np.concatenate(self._samples) if self._samples else np.zeros(0)
        return Profile(
            **self._counts,
            total=self._total,
            squares=self._squares,
            largest=self._largest,
            out_squares=out[0],
            out_any=out[1],
            out_bad=self._out_bad,
            in_squares=into[0],
            in_any=into[1],
            projections=self._projections,
            sample=sample,
        )
