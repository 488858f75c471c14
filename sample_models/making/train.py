"""Plain NumPy training: a multilayer perceptron by Adam, and a read-out by ridge regression."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from making.reference import ACTIVATIONS

Floats = NDArray[np.float64]
Layers = list[tuple[Floats, Floats]]
"""Weight [out, in] and bias [out] of each layer, the first layer first."""


@dataclass
class Adam:
    """Kingma and Ba (2015), with the usual constants."""

    learning_rate: float
    step: int = 0
    moments: dict[int, tuple[Floats, Floats]] = field(default_factory=dict)

    def update(self, parameters: list[Floats], gradients: list[Floats]) -> None:
        """Moves every parameter in place."""
        self.step += 1
        rate = self.learning_rate * np.sqrt(1 - 0.999**self.step) / (1 - 0.9**self.step)
        for k, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
            m, v = self.moments.get(k, (np.zeros_like(p), np.zeros_like(p)))
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            self.moments[k] = m, v
            np.subtract(p, rate * m / (np.sqrt(v) + 1e-8), out=p)


def initialise(widths: list[int], rng: np.random.Generator) -> Layers:
    """Glorot-uniform weights and biases of 0.3 for consecutive `widths`."""
    pairs = list(pairwise(widths))
    return [(rng.uniform(-1, 1, (o, i)) * np.sqrt(6 / (i + o)), np.full(o, 0.3)) for i, o in pairs]


def softmax(z: Floats) -> Floats:
    """Softmax over the last axis."""
    e = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def gradients(layers: Layers, activation: str, x: Floats, y: NDArray[np.int64]) -> list[Floats]:
    """Gradient of the mean cross-entropy with respect to every weight and bias, in the order of `layers`."""
    phi, slope = ACTIVATIONS[activation]
    inputs, pre = [x], []
    for w, b in layers:
        pre.append(inputs[-1] @ w.T + b)
        inputs.append(phi(pre[-1]))
    delta = softmax(pre[-1])
    delta[np.arange(len(y)), y] -= 1
    delta /= len(y)
    back: list[Floats] = []
    for k in range(len(layers) - 1, -1, -1):
        back[:0] = [delta.T @ inputs[k], delta.sum(0)]
        if k:
            delta = (delta @ layers[k][0]) * slope(pre[k - 1])
    return back


def train_mlp(
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    hidden: list[int],
    activation: str,
    *,
    learning_rate: float,
    epochs: int = 30,
    seed: int = 0,
) -> Layers:
    """An MLP with ten outputs after so many `epochs`; float32 values held as float64."""
    *_, last = training(x, y, hidden, activation, learning_rate=learning_rate, epochs=epochs, seed=seed)
    return last


def training(
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    hidden: list[int],
    activation: str,
    *,
    learning_rate: float,
    epochs: int,
    seed: int,
) -> Iterator[Layers]:
    """An MLP with ten outputs as initialised, then after each epoch of Adam on batches of 32.

    float32 values held as float64; training itself goes on in float64.
    """
    rng = np.random.default_rng(seed)
    layers = initialise([x.shape[1], *hidden, 10], rng)
    adam, wide = Adam(learning_rate), x.astype(np.float64)
    parameters = [p for layer in layers for p in layer]
    yield [(float32(w), float32(b)) for w, b in layers]
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for begin in range(0, len(x) - 31, 32):
            rows = order[begin : begin + 32]
            adam.update(parameters, gradients(layers, activation, wide[rows], y[rows]))
        yield [(float32(w), float32(b)) for w, b in layers]


def read_out(features: Floats, y: NDArray[np.int64], strength: float = 1e-3) -> tuple[Floats, Floats]:
    """Weight [classes, features] and bias of the ridge regression onto the labels' indicators."""
    mean = features.mean(0)
    centred = features - mean
    target = np.eye(int(y.max()) + 1)[y]
    gram = centred.T @ centred + strength * len(y) * np.eye(features.shape[1])
    w = np.linalg.solve(gram, centred.T @ (target - target.mean(0))).T
    return float32(w), float32(target.mean(0) - w @ mean)


def float32(values: Floats) -> Floats:
    """The values that float32 can hold, as float64: what the checkpoint will say."""
    return np.asarray(values, np.float32).astype(np.float64)
