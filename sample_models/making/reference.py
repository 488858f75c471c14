"""What a network does, in float64 NumPy: activations, convolutions, norms. Knows nothing of nla or ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_erf = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(z: Floats) -> Floats:
    """1 / (1 + exp(-z)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(z / 2)))


def silu(z: Floats) -> Floats:
    """z · sigmoid(z)."""
    return z * sigmoid(z)


def gelu(z: Floats) -> Floats:
    """z · Φ(z), with the error function."""
    return np.asarray(0.5 * z * (1 + _erf(z / math.sqrt(2))))


def gelu_slope(z: Floats) -> Floats:
    """Φ(z) + z · φ(z)."""
    return np.asarray(0.5 * (1 + _erf(z / math.sqrt(2))) + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi))


ACTIVATIONS: dict[str, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]] = {
    "Relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(np.float64)),
    "LeakyRelu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1, 0.01)),
    "Elu": (lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))), lambda z: np.exp(np.minimum(z, 0))),
    "Tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "Gelu": (gelu, gelu_slope),
    "Identity": (lambda z: z, np.ones_like),
}
"""φ and φ′ by ONNX operator name."""


def dense(layers: list[tuple[Floats, Floats]], activation: str, x: Floats) -> list[tuple[Floats, Floats]]:
    """(z, a) of each hidden layer, then (logits, logits); each [n, units]."""
    phi, seen, h = ACTIVATIONS[activation][0], [], x
    for w, b in layers[:-1]:
        z = h @ w.T + b
        h = phi(z)
        seen.append((z, h))
    logits = h @ layers[-1][0].T + layers[-1][1]
    return [*seen, (logits, logits)]


def conv3x3(x: Floats, w: Floats) -> Floats:
    """A 3×3 convolution with padding 1: x [n, in, h, w], w [out, in, 3, 3] -> [n, out, h, w]."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.asarray(np.einsum("nihwkl,oikl->nohw", windows, w, optimize=True))


def max_pool2(x: Floats) -> Floats:
    """2×2 maximum with stride 2 over [n, c, h, w], h and w even."""
    n, c, h, w = x.shape
    return np.asarray(x.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5)))


def layer_norm(x: Floats, gain: Floats, shift: Floats, epsilon: float) -> Floats:
    """ONNX LayerNormalization over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * gain + shift)


def rms_norm(x: Floats, gain: Floats, epsilon: float) -> Floats:
    """x / rms(x) · gain over the last axis."""
    return np.asarray(x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * gain)


def lstm(x: Floats, w: Floats, r: Floats, b: Floats) -> Floats:
    """Hidden states [n, steps, hidden] of an ONNX LSTM: gate order i, o, f, c; zero initial state.

    x [n, steps, in], w [4·hidden, in], r [4·hidden, hidden], b [8·hidden].
    """
    hidden = r.shape[1]
    h = c = np.zeros((len(x), hidden))
    bias, out = b[: 4 * hidden] + b[4 * hidden :], []
    for t in range(x.shape[1]):
        i, o, f, g = np.split(x[:, t] @ w.T + h @ r.T + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.stack(out, 1)
