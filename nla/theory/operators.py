"""The norm of a convolution as the linear map that it is on maps of one size, by Lanczos' iteration.

The largest singular value of the kernel reshaped to a matrix is not it: a 3 x 3 kernel of one channel has the norm of a
vector, and what it does to a large map is up to three times that.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nla.theory.spectral import ESTIMATE, EXACT, SpectralNorm

Floats = NDArray[np.float64]

_STEPS, _FEWEST_STEPS = 96, 8
_BASIS_BYTES = 1 << 28
"""What the vectors of the iteration may take; it begins anew from the best one where they would take more."""
_EACH = 4
_TOLERANCE = 1e-8
"""Of the square of the norm, between two looks at it, so many steps apart."""
MOST_WORK = 1 << 29
"""Multiplications of one application from which on the iteration takes more than a minute."""


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution on maps of one size; one entry a spatial axis."""

    weight: Floats
    """[outputs, inputs of a group, *kernel]"""
    sizes: tuple[int, ...]
    """Of the maps that it reads."""
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    groups: int = 1

    @property
    def inputs(self) -> int:
        """Channels that it reads."""
        return int(self.weight.shape[1]) * self.groups

    @property
    def made(self) -> tuple[int, ...]:
        """The sizes of the maps that it makes."""
        return tuple(
            (size + begin + end - (kernel - 1) * dilation - 1) // stride + 1
            for size, begin, end, kernel, dilation, stride in zip(
                self.sizes,
                self.begins,
                self.ends,
                self.weight.shape[2:],
                self.dilations,
                self.strides,
                strict=True,
            )
        )

    @property
    def work(self) -> int:
        """Multiplications of one application."""
        return int(self.weight.size) * math.prod(self.made)

    def apply(self, x: Floats) -> Floats:
        """[inputs, *sizes] to [outputs, *made]."""
        padded = np.pad(x, [(0, 0), *zip(self.begins, self.ends, strict=True)])
        total = np.zeros((self.groups, self.weight.shape[0] // self.groups, math.prod(self.made)))
        for offset, place in self._places():
            part = padded[(slice(None), *place)].reshape(self.groups, self.weight.shape[1], -1)
            total += self._at(offset) @ part
        return total.reshape(self.weight.shape[0], *self.made)

    def apply_back(self, y: Floats) -> Floats:
        """[outputs, *made] to [inputs, *sizes]: the transpose of `apply`."""
        whole = [s + b + e for s, b, e in zip(self.sizes, self.begins, self.ends, strict=True)]
        total = np.zeros((self.inputs, *whole))
        grouped = y.reshape(self.groups, -1, math.prod(self.made))
        for offset, place in self._places():
            part = self._at(offset).transpose(0, 2, 1) @ grouped
            total[(slice(None), *place)] += part.reshape(self.inputs, *self.made)
        inside = tuple(slice(b, b + s) for b, s in zip(self.begins, self.sizes, strict=True))
        return total[(slice(None), *inside)]

    def _places(self) -> list[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """For each offset in the kernel, the values of the padded maps that it multiplies."""
        offsets = itertools.product(*map(range, self.weight.shape[2:]))
        return [
            (offset, tuple(self._along(axis, at) for axis, at in enumerate(offset))) for offset in offsets
        ]

    def _along(self, axis: int, at: int) -> slice:
        first, step = at * self.dilations[axis], self.strides[axis]
        return slice(first, first + (self.made[axis] - 1) * step + 1, step)

    def _at(self, offset: Sequence[int]) -> Floats:
        """[groups, outputs of a group, inputs of a group]"""
        matrix = self.weight.transpose((*range(2, self.weight.ndim), 0, 1))[tuple(offset)]
        return np.asarray(matrix.reshape(self.groups, -1, self.weight.shape[1]))


def convolution_norm(map_: Convolution, on_step: Callable[[], None] = lambda: None) -> SpectralNorm:
    """The largest singular value of the map, zeros around it included; an estimate from below, to four digits or
    more: of large maps the largest singular values lie close together.

    >>> ones = Convolution(np.ones((1, 1, 3)), (5,), (1,), (1,), (1,), (1,))
    >>> round(convolution_norm(ones).value, 6), round(1 + 2 * math.cos(math.pi / 6), 6)
    (2.732051, 2.732051)
    """
    scale = float(np.max(np.abs(map_.weight), initial=0.0))
    if scale == 0 or min((*map_.made, *map_.sizes), default=1) < 1:
        return SpectralNorm(0.0, EXACT)
    shape = (map_.inputs, *map_.sizes)
    most = max(_FEWEST_STEPS, min(_STEPS, _BASIS_BYTES // (8 * math.prod(shape))))

    def squared(vector: Floats) -> Floats:
        on_step()
        return map_.apply_back(map_.apply(vector.reshape(shape)) / scale).reshape(-1) / scale

    vector, value = np.random.default_rng(0).standard_normal(math.prod(shape)), 0.0
    for _ in range(_STEPS // most):
        before = value
        vector, value, done = _lanczos(squared, vector, most)
        if done or value - before <= _TOLERANCE * value:
            break
    return SpectralNorm(scale * math.sqrt(max(0.0, value)), ESTIMATE)


def _lanczos(apply: Callable[[Floats], Floats], start: Floats, most: int) -> tuple[Floats, float, bool]:
    """(vector, value, whether that stopped changing) of the largest eigenvalue of a symmetric map."""
    most = min(most, start.size)
    basis: Floats = np.empty((most, start.size))
    basis[0] = start / np.linalg.norm(start)
    full: Floats = np.zeros((most, most))
    value, weights = 0.0, np.ones(1)
    for step in range(most):
        known = basis[: step + 1]
        applied = apply(basis[step])
        full[step, step] = basis[step] @ applied
        for _ in range(2):
            applied = applied - (known @ applied) @ known
        rest = float(np.linalg.norm(applied))
        last = step + 1 == most or rest <= _TOLERANCE * full[0, 0]
        if last or step % _EACH == _EACH - 1:
            before = value
            values, vectors = np.linalg.eigh(full[: step + 1, : step + 1])
            value, weights = float(values[-1]), vectors[:, -1]
            if rest <= _TOLERANCE * value or value - before <= _TOLERANCE * value:
                return np.asarray(weights @ known), value, True
        if step + 1 < most:
            full[step, step + 1] = full[step + 1, step] = rest
            basis[step + 1] = applied / rest
    return np.asarray(weights @ basis), value, most == start.size
