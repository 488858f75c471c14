"""The data that the samples are trained and replayed on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

TRAINED_ON = 1397
"""The first so many rows of `digits()` are trained on; the other 400 are never seen."""


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """scikit-learn's 1,797 images of digits in one fixed shuffled order.

    Returns:
        x: float32 [1797, 64] in [0, 1], exact multiples of 1/16.
        y: int64 [1797], the digit.
    """
    raw = load_digits()
    order = np.random.default_rng(0).permutation(len(raw.data))
    return (raw.data[order] / 16).astype(np.float32), raw.target[order].astype(np.int64)


PAD, VOCABULARY, LONGEST = 0, 16, 12


def counting_sequences(samples: int, seed: int) -> dict[str, NDArray[np.int64]]:
    """Sequences that count upwards modulo 15 by a step of 1, 2 or 4, right-padded with 0.

    Returns:
        input_ids: int64 [samples, 12], tokens 1..15, 0 where padded.
        attention_mask: int64 [samples, 12], 1 on tokens; every sequence has 4 to 12 of them.
        y: int64 [samples], which of the three steps.
    """
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, samples)
    start, length = rng.integers(0, 15, samples), rng.integers(4, LONGEST + 1, samples)
    at = np.arange(LONGEST)
    mask = (at < length[:, None]).astype(np.int64)
    ids = (start[:, None] + np.array([1, 2, 4])[y][:, None] * at) % 15 + 1
    return {"input_ids": (ids * mask).astype(np.int64), "attention_mask": mask, "y": y}
