"""Linear operators that slide a window: Conv of one or two dimensions, average pooling."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nla.certificates.ops.linear import Linear, signed
from nla.certificates.rounding import Floats

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """Where the windows lie over [height, width]: one dimension is a height of one."""

    kernel: Pair
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    """top, left, bottom, right"""

    def size(self, height: int, width: int) -> Pair:
        """Windows along both axes."""
        padded = height + self.pads[0] + self.pads[2], width + self.pads[1] + self.pads[3]
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        made = [(p - r) // s + 1 for p, r, s in zip(padded, reach, self.strides, strict=True)]
        return made[0], made[1]

    def index(self, height: int, width: int) -> np.ndarray:
        """int64 [windows high, windows wide, kernel high, kernel wide]: flat position; -1: padding."""
        high, wide = self.size(height, width)
        y = (
            np.arange(high)[:, None] * self.strides[0]
            + np.arange(self.kernel[0]) * self.dilations[0]
            - self.pads[0]
        )
        x = (
            np.arange(wide)[:, None] * self.strides[1]
            + np.arange(self.kernel[1]) * self.dilations[1]
            - self.pads[1]
        )
        rows, columns = y[:, None, :, None], x[None, :, None, :]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return np.where(inside, rows * width + columns, -1)


@dataclass(frozen=True)
class Conv(Linear):
    """Convolution of [channels, height, width]."""

    weight: Floats
    """[outputs, inputs / groups, kernel high, kernel wide]"""
    window: Window = field(default_factory=lambda: Window((1, 1)))
    groups: int = 1
    bias: Floats | None = None
    """[outputs]"""

    @property
    def terms(self) -> int:
        return int(np.prod(self.weight.shape[1:])) + 1

    @property
    def offset(self) -> Floats:
        return np.zeros(()) if self.bias is None else self.bias[:, None, None]

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        return (self.weight.shape[0], *self.window.size(*inputs[0][1:]))

    def apply(self, x: Floats, part: str = "all") -> Floats:
        rows, (channels, height, width) = len(x), x.shape[1:]
        top, left, bottom, right = self.window.pads
        padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        high, wide = self.window.size(height, width)
        weight = signed(self.weight, part).reshape(self.groups, -1, *self.weight.shape[1:])
        made = np.zeros((rows, self.groups, weight.shape[1], high * wide))
        for k, j in np.ndindex(*self.window.kernel):
            seen = padded[:, :, self._reads(0, k, slice(0, high)), self._reads(1, j, slice(0, wide))]
            grouped = seen.reshape(rows, self.groups, channels // self.groups, -1)
            made += np.matmul(weight[..., k, j], grouped)
        return made.reshape(rows, self.weight.shape[0], high, wide)

    def transposed(self, A: Floats, shape: tuple[int, ...]) -> Floats:
        rows, (channels, height, width) = len(A), shape
        top, left, bottom, right = self.window.pads
        made = np.zeros((rows, channels, height + top + bottom, width + left + right))
        high, wide = (_between(np.asarray(A.any(axis=axes))) for axes in ((0, 1, 3), (0, 1, 2)))
        held = A[:, :, high, wide]  # rows of one neighbourhood: nothing but zeros elsewhere
        grouped = held.reshape(rows, self.groups, self.weight.shape[0] // self.groups, -1)
        weight = self.weight.reshape(self.groups, -1, channels // self.groups, *self.window.kernel)
        for y, x in np.ndindex(*self.window.kernel):  # one place at a time: each pixel at most once
            part = np.matmul(weight[..., y, x].transpose(0, 2, 1), grouped)
            down = self._reads(0, y, high)
            across = self._reads(1, x, wide)
            made[:, :, down, across] += part.reshape(rows, channels, *held.shape[2:])
        return made[:, :, top : top + height, left : left + width]

    def _reads(self, axis: int, offset: int, windows: slice) -> slice:
        """What these windows read along an axis of the padded input, at one place of the kernel."""
        first = offset * self.window.dilations[axis] + windows.start * self.window.strides[axis]
        count = windows.stop - windows.start
        return slice(
            first,
            first + max(count - 1, 0) * self.window.strides[axis] + (count > 0),
            self.window.strides[axis],
        )


def _between(taken: np.ndarray) -> slice:
    """From the first to the last True."""
    found = np.flatnonzero(taken)
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)


def average(
    inputs: tuple[str, ...], output: str, channels: int, window: Window, shape: Pair, counted: bool
) -> Conv:
    """Average pooling as a convolution channel by channel; `counted`: padding counts as zeros.

    Raises:
        ValueError: padding is left out of the count and the windows hold different numbers of pixels.
    """
    size = int(np.prod(window.kernel))
    inside = (window.index(*shape) >= 0).sum(axis=(2, 3))
    if not counted and (inside != size).any():
        raise ValueError("average pooling that leaves out padding, with padding")
    weight = np.full((channels, 1, *window.kernel), 1.0 / size)
    return Conv(inputs, output, weight, window, channels)
