"""Mean of each input of a site's producer, for stripping weights by their mean contribution w·E[x].

Synaptic Stripping (Whitaker and Whitley, 2023, arXiv:2302.05818) takes the most negative weights of a unit away, which
raises z where inputs are not negative. Behind a LayerNorm, or on raw data, it is the sign of w·E[x] that tells.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.statistics.base import Additive, Field, add
from nla.statistics.summary import Observation


class InputMean(Additive[Observation]):
    """Count and sum of the finite values of each input channel, both [channels].

    An observation is of the tensor that the producer reads; positions that a mask calls padding are not in it. For a
    convolution a channel's mean is over the positions of its map, padding of the convolution left out: each tap of the
    kernel sees a little less of the border than that.
    """

    name = "inputs"
    count: NDArray[np.int64]
    total: NDArray[np.float64]

    def __init__(self, channels: int) -> None:
        super().__init__(channels=channels)

    @classmethod
    def layout(cls, channels: int) -> dict[str, Field]:
        return {"count": Field("int64", (channels,)), "total": Field("float64", (channels,))}

    def update(self, seen: Observation) -> None:
        summary = seen.summary
        count: Any = np.add.reduce(summary.each_counted, axis=0)  # [1] where all channels have the same
        add(self.count, count)
        add(self.total, np.add.reduce(summary.total, axis=0) + count * summary.shift)

    def take(self, count: NDArray[np.int64], mean: NDArray[np.float64]) -> None:
        """Adds `count` values of that mean, [channels] each: the inputs are neurons whose mean is known."""
        add(self.count, count)
        add(self.total, count * mean)

    @property
    def mean(self) -> NDArray[np.float64]:
        """float64 [channels]; NaN where nothing finite was counted."""
        return np.where(self.count > 0, self.total / np.maximum(self.count, 1), np.nan)
