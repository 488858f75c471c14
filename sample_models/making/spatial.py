"""Stories of convolutions over the digits as 8×8 images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from making.data import TRAINED_ON, digits
from making.graphs import layer_weights, model
from making.reference import conv3x3, dense, max_pool2
from making.story import Site, Story
from making.train import float32, read_out, train_mlp

Floats = NDArray[np.float64]
KEPT = slice(TRAINED_ON - 400, TRAINED_ON + 200)
"""The samples that are shipped: 400 that were trained on and 200 that were not."""


def images() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """float32 [1797, 1, 8, 8] and the digits."""
    x, y = digits()
    return x.reshape(-1, 1, 8, 8), y


def he_filters(rng: np.random.Generator, out: int, into: int) -> Floats:
    """float32 values [out, into, 3, 3] of the variance 2 / fan-in."""
    return float32(rng.standard_normal((out, into, 3, 3)) * np.sqrt(2 / (9 * into)))


def conv_site(name: str, z: Floats, dead: Sequence[int]) -> Site:
    """A ReLU site of NCHW maps z [n, c, h, w]: every pixel is a position."""
    rows = np.moveaxis(z, 1, -1).reshape(len(z), -1, z.shape[1])
    return Site(name, "conv", "Relu", 1, rows, np.maximum(rows, 0), planted={"dead": list(dead)})


BatchNorm = dict[str, Floats]


def batch_norm(z: Floats, rng: np.random.Generator, silenced: Sequence[int]) -> tuple[BatchNorm, Floats]:
    """Statistics of z [n, c, h, w], random gain and shift, far below zero for `silenced`; and the result."""
    channels = z.shape[1]
    gain, shift = rng.uniform(0.8, 1.2, (channels,)), rng.normal(0.1, 0.2, (channels,))
    gain[list(silenced)], shift[list(silenced)] = 0.05, -4.0
    named = {"gain": gain, "shift": shift, "mean": z.mean((0, 2, 3)), "var": z.var((0, 2, 3))}
    named = {k: float32(v) for k, v in named.items()}
    c = {k: v[:, None, None] for k, v in named.items()}
    return named, c["gain"] * (z - c["mean"]) / np.sqrt(c["var"] + 1e-5) + c["shift"]


RESIDUAL = """cnn_residual (float[n, 1, 8, 8] x) => (float[n, 10] logits) {
  stem = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, "stem.weight")
  stem_bn = BatchNormalization <epsilon = 1e-5> (stem, "bn0.gain", "bn0.shift", "bn0.mean", "bn0.var")
  "/stem/Relu" = Relu (stem_bn)
  conv1 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> ("/stem/Relu", "conv1.weight")
  conv1_bn = BatchNormalization <epsilon = 1e-5> (conv1, "bn1.gain", "bn1.shift", "bn1.mean", "bn1.var")
  "/block/relu1/Relu" = Relu (conv1_bn)
  conv2 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> ("/block/relu1/Relu", "conv2.weight")
  conv2_bn = BatchNormalization <epsilon = 1e-5> (conv2, "bn2.gain", "bn2.shift", "bn2.mean", "bn2.var")
  "/block/Add" = Add (conv2_bn, "/stem/Relu")
  "/block/relu2/Relu" = Relu ("/block/Add")
  pooled = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> ("/block/relu2/Relu")
  flat = Flatten <axis = 1> (pooled)
  logits = Gemm <transB = 1> (flat, "fc1.weight", "fc1.bias")
}"""


def cnn_residual() -> Story:
    """Random filters, BatchNorm, a residual block and a trained read-out.

    Stem channels 2, 4 and 9 are silenced; after the sum 2 and 9 stay dead, and 4 is woken by the branch.
    """
    rng, (x, y), width = np.random.default_rng(5), images(), 12
    filters = [he_filters(rng, width, into) for into in (1, width, width)]
    silenced = [[2, 4, 9], [0, 5, 7], [2, 9]]
    norms: list[BatchNorm] = []
    pre: list[Floats] = []
    h = x.astype(np.float64)
    for w, dead in zip(filters, silenced, strict=True):
        norm, z = batch_norm(conv3x3(h, w), rng, dead)
        norms.append(norm)
        pre.append(z)
        h = np.maximum(z, 0)
    pre[2] = pre[2] + np.maximum(pre[0], 0)
    features = max_pool2(np.maximum(pre[2], 0)).reshape(len(x), -1)
    head = read_out(features[:TRAINED_ON], y[:TRAINED_ON])
    weights = {f"{name}.weight": w for name, w in zip(("stem", "conv1", "conv2"), filters, strict=True)}
    weights |= {f"bn{k}.{part}": values for k, norm in enumerate(norms) for part, values in norm.items()}
    proto = model(RESIDUAL, weights | layer_weights([head]))
    names = ("/stem/Relu", "/block/relu1/Relu", "/block/relu2/Relu")
    sites = [conv_site(name, z[KEPT], dead) for name, z, dead in zip(names, pre, silenced, strict=True)]
    logits = features[KEPT] @ head[0].T + head[1]
    tells = "convolutions, BatchNorm and a residual sum; dead channels, one of which the sum wakes"
    return Story("cnn_residual", tells, proto, {"x": x[KEPT], "y": y[KEPT]}, sites, logits, trained_on=400)


FIXED = """fixed_batch (float[1, 1, 8, 8] x) => (float[1, 10] logits) <int64[2] shape = {1, 512}> {
  "/conv/Conv" = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, "conv.weight", "conv.bias")
  "/conv/Relu" = Relu ("/conv/Conv")
  flat = Reshape ("/conv/Relu", shape)
  "/fc1/Gemm" = Gemm <transB = 1> (flat, "fc1.weight", "fc1.bias")
  "/fc1/Relu" = Relu ("/fc1/Gemm")
  logits = Gemm <transB = 1> ("/fc1/Relu", "fc2.weight", "fc2.bias")
}"""


def fixed_batch() -> Story:
    """A graph exported for one image: batch 1 in the input, in the output and in a Reshape."""
    rng, (x, y) = np.random.default_rng(6), images()
    w, b = he_filters(rng, 8, 1), float32(rng.normal(0, 0.1, 8))
    b[3] = -10.0
    z = conv3x3(x.astype(np.float64), w) + b[:, None, None]
    flat = np.maximum(z, 0).reshape(len(x), -1)
    seen_flat = flat[:TRAINED_ON].astype(np.float32)
    layers = train_mlp(seen_flat, y[:TRAINED_ON], [24], "Relu", learning_rate=0.002, epochs=10)
    layers[0][1][[0, 10]] = -500.0
    (z1, a1), _ = dense(layers, "Relu", flat)
    head = read_out(a1[:TRAINED_ON], y[:TRAINED_ON])
    weights = {"conv.weight": w, "conv.bias": b} | layer_weights([layers[0], head])
    dense_site = Site(
        "/fc1/Relu", "dense", "Relu", 1, z1[KEPT, None], a1[KEPT, None], planted={"dead": [0, 10]}
    )
    sites = [conv_site("/conv/Relu", z[KEPT], [3]), dense_site]
    logits = a1[KEPT] @ head[0].T + head[1]
    tells = "batch 1 written into the input and into a Reshape; 3 dead"
    return Story(
        "fixed_batch", tells, model(FIXED, weights), {"x": x[KEPT], "y": y[KEPT]}, sites, logits, 400
    )


STORIES: tuple[Callable[[], Story], ...] = (cnn_residual, fixed_batch)
