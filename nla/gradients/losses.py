"""The loss of each sample, from the output that its gradient begins at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.gradients.measuring import LossOf
from nla.graph.backward import losses

Array = NDArray[Any]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def loss_of(loss: str, classes: Indices | None) -> LossOf:
    """From [samples × positions, channels] and places of the samples to the loss of each."""

    def cross_entropy(output: Array, where: Indices) -> Floats:
        assert classes is not None
        logits = np.asarray(output, np.float64)
        largest = logits.max(axis=1)
        total = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
        return np.asarray(total - logits[np.arange(len(where)), classes[where]])

    def mean_square(output: Array, where: Indices) -> Floats:
        return np.asarray(np.square(np.asarray(output, np.float64)).reshape(len(where), -1).mean(axis=1))

    def total(output: Array, where: Indices) -> Floats:
        return np.asarray(np.asarray(output, np.float64).reshape(len(where), -1).sum(axis=1))

    return {losses.CROSS_ENTROPY: cross_entropy, losses.MEAN_SQUARE: mean_square, losses.SUM: total}[loss]
