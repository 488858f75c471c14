"""Max pooling: the largest of a window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nla.certificates.ops.base import Back, Bent, Context, rounding_cost
from nla.certificates.ops.windows import Window
from nla.certificates.rounding import Floats, own, summed_product
from nla.certificates.sets import Box


@dataclass(frozen=True)
class MaxPool(Bent):
    """Over [channels, height, width]; padding counts as -∞."""

    inputs: tuple[str, ...]
    output: str
    window: Window

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        return (inputs[0][0], *self.window.size(*inputs[0][1:]))

    def _seen(self, x: Floats) -> tuple[Floats, np.ndarray]:
        """[rows, channels, windows, places] values, and the flat position of each place, -1 for padding."""
        rows, channels, height, width = x.shape
        index = self.window.index(height, width)
        index = index.reshape(index.shape[0] * index.shape[1], -1)
        planes = np.concatenate(
            [x.reshape(rows, channels, -1), np.full((rows, channels, 1), -np.inf)], axis=2
        )
        return np.asarray(planes[:, :, index]), index

    def forward(self, *values: Floats) -> Floats:
        seen, _ = self._seen(values[0])
        return np.asarray(seen.max(axis=3).reshape(len(values[0]), *self.shape(values[0].shape[1:])))

    def routed(self, A: Floats, x: Floats) -> Floats:
        """[rows, *input shape] A at the place of each window's largest value of x: the gradient."""
        seen, index = self._seen(x)
        best = index[np.arange(index.shape[0]), seen.argmax(axis=3)]  # [rows, channels, windows]
        rows, channels = x.shape[:2]
        made = np.zeros((rows, channels, x.shape[2] * x.shape[3] + 1))
        row, channel = np.arange(rows)[:, None, None], np.arange(channels)[None, :, None]
        np.add.at(made, (row, channel, best), A.reshape(rows, channels, -1))
        return made[:, :, :-1].reshape(x.shape)

    def interval(self, *boxes: Box, unit: float) -> tuple[Box, Floats | None]:
        return Box(self.forward(boxes[0].lo[None])[0], self.forward(boxes[0].hi[None])[0]), None

    def back(self, A: Floats, context: Context) -> Back | None:
        """Below: the place with the largest lower end. Above: the same place where no other can exceed it, else the
        largest upper end, a constant."""
        (x,) = context.inputs
        lows, index = self._seen(x.lo[None])
        highs, _ = self._seen(x.hi[None])
        best = lows[0].argmax(axis=2)  # [channels, windows]
        others = highs[0].copy()
        np.put_along_axis(others, best[..., None], -np.inf, axis=2)
        wins = np.take_along_axis(lows[0], best[..., None], axis=2)[..., 0] >= others.max(axis=2)
        rows, channels = len(A), x.shape[0]
        flat = A.reshape(rows, channels, -1)
        passed = np.minimum(flat, 0) + np.where(wins, np.maximum(flat, 0), 0.0)
        made = np.zeros((rows, channels, x.shape[1] * x.shape[2] + 1))
        position = index[np.arange(index.shape[0])[None], best]  # [channels, windows]
        for channel in range(channels):
            np.add.at(made[:, channel].T, position[channel], passed[:, channel].T)
        ceiling = np.where(wins, 0.0, highs[0].max(axis=2))
        above = np.where(wins, 0.0, np.maximum(flat, 0))
        size = summed_product(above, np.abs(ceiling))
        constant = summed_product(above, ceiling) + own(ceiling.size) * size
        # windows overlap: a coefficient is a sum of several
        constant = constant + rounding_cost(
            passed, own(int(np.prod(self.window.kernel))) * _largest(lows, highs, best)
        )
        return Back((made[:, :, :-1].reshape(rows, *x.shape),), constant)


def _largest(lows: Floats, highs: Floats, best: np.ndarray) -> Floats:
    """[channels, windows] max |x| at the place chosen in each window."""
    ends = (np.take_along_axis(end[0], best[..., None], axis=2)[..., 0] for end in (lows, highs))
    return np.asarray(np.maximum(*(np.abs(end) for end in ends)))
