"""Spectral norms: the largest singular value of a matrix that is read in blocks, and what a convolution makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

EXACT, ESTIMATE, BOUND = "exact", "estimate", "bound"

_SMALL = 1024
"""The smaller side up to which the squares of all singular values are computed."""
_STEPS = 32
_TOLERANCE = 1e-7
_BLOCK = 1 << 22
"""Elements that are turned to floating point at a time."""


@dataclass(frozen=True)
class SpectralNorm:
    """A spectral norm, and what it is worth."""

    value: float
    kind: str
    """EXACT: the norm, to rounding. ESTIMATE: from below, by an iteration. BOUND: the norm is at most this."""

    def times(self, factor: float, *, exact: bool = True) -> SpectralNorm:
        """Of a product with a matrix of this norm: the norm itself where `exact`, else a bound of it."""
        kind = self.kind if exact or self.kind == ESTIMATE else BOUND
        return SpectralNorm(self.value * abs(factor), kind)


def spectral_norm(matrix: Array, on_step: Callable[[], None] = lambda: None) -> SpectralNorm:
    """The largest singular value of `matrix` [rows, columns], floating point and finite, read in blocks.

    Where the smaller side is at most 1,024 it comes from the eigenvalues of the smaller Gram matrix, in float64.
    Otherwise from Lanczos' iteration on AᵀA from a fixed start, which approaches from below: an estimate,
    usually right to three digits or more. `on_step` is called now and then.

    >>> spectral_norm(np.diag([3.0, -5.0]))
    SpectralNorm(value=5.0, kind='exact')
    """
    largest = max((_size(block) for block in _row_blocks(matrix)), default=0.0) if matrix.size else 0.0
    if largest == 0:
        return SpectralNorm(0.0, EXACT)
    rows, columns = matrix.shape
    if min(rows, columns) <= _SMALL:
        gram = _gram(matrix if columns <= rows else matrix.T, largest, on_step)
        return SpectralNorm(largest * math.sqrt(max(0.0, float(np.linalg.eigvalsh(gram)[-1]))), EXACT)
    return SpectralNorm(largest * _lanczos(matrix, largest, on_step), ESTIMATE)


def _size(block: Array) -> float:
    return max(float(block.max()), -float(block.min()))


def _gram(tall: Array, largest: float, on_step: Callable[[], None]) -> Floats:
    """AᵀA of a matrix with more rows than columns, over the square of its largest element: no overflow."""
    made = np.zeros((tall.shape[1], tall.shape[1]))
    for block in _row_blocks(tall):
        real = np.asarray(block, np.float64) / largest
        made += real.T @ real
        on_step()
    return made


def _row_blocks(matrix: Array) -> Iterator[Array]:
    each = max(1, _BLOCK // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), each):
        yield matrix[start : start + each]


def _lanczos(matrix: Array, largest: float, on_step: Callable[[], None]) -> float:
    """Root of the largest Ritz value of AᵀA over largest², after some steps with full reorthogonalisation."""
    matrix = matrix if abs(matrix.strides[0]) >= abs(matrix.strides[1]) else matrix.T  # blocks lie together
    start: Floats = np.asarray(np.random.default_rng(0).standard_normal(matrix.shape[1]))
    basis = [start / np.linalg.norm(start)]
    diagonal: list[float] = []
    beside: list[float] = []
    value = 0.0
    for _ in range(min(_STEPS, matrix.shape[1])):
        applied = _normal_product(matrix, basis[-1], largest)
        on_step()
        diagonal.append(float(basis[-1] @ applied))
        known = np.stack(basis)
        for _ in range(2):
            applied = applied - known.T @ (known @ applied)
        before, value = value, _top(diagonal, beside)
        rest = float(np.linalg.norm(applied))
        if rest <= _TOLERANCE * value or (value - before) <= _TOLERANCE * value:
            break
        beside.append(rest)
        basis.append(applied / rest)
    return math.sqrt(max(0.0, value))


def _normal_product(matrix: Array, vector: Floats, largest: float) -> Floats:
    """AᵀA v over largest², in the precision of the matrix, at least float32."""
    kind: Any = np.float64 if matrix.dtype == np.float64 else np.float32
    right: Array = (vector / largest).astype(kind)
    made = np.zeros(matrix.shape[1])
    for block in _row_blocks(matrix):
        real: Array = np.asarray(block, kind)
        made += real.T @ (real @ right)
    return made / largest


def _top(diagonal: Sequence[float], beside: Sequence[float]) -> float:
    """The largest eigenvalue of a symmetric tridiagonal matrix."""
    full = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    return float(np.linalg.eigvalsh(full)[-1])


def convolution_overlap(kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> int:
    """How many output positions read one input position at most.

    The square root of it times the norm of the kernel reshaped to [outputs, inputs·positions] bounds the norm of
    the convolution from above, whatever the size of the input and whether it is padded with zeros; the norm of
    the reshaped kernel alone does not.

    >>> convolution_overlap([3, 3], [1, 1], [1, 1]), convolution_overlap([3, 3], [2, 2], [1, 1])
    (9, 4)
    """
    count = 1
    for size, stride, dilation in zip(kernel, strides, dilations, strict=True):
        step = stride // math.gcd(stride, dilation)  # offsets that meet one position again
        count *= -(-size // step)
    return count
