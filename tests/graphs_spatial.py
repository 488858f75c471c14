"""Built graphs of convolutions: 1-3 D, grouped, depthwise, transposed, BatchNorm, NHWC, residual."""

from __future__ import annotations

import numpy as np
from builders import Array, Built, Expected, classes, clusters, model, normal, plant, settled

SAMPLES = 24


def conv(kind: str, seed: int = 10) -> Built:
    """Two convolutions with ReLU; `kind` says what the second is: conv1d, conv2d, conv3d, grouped, depthwise,
    transposed, relu6 (a Clip after it) or batch_norm (between it and the activation)."""
    rng = np.random.default_rng(seed)
    labels, rank = classes(rng, SAMPLES), {"conv1d": 1, "conv3d": 3}.get(kind, 2)
    side = {1: (12,), 2: (7, 6), 3: (4, 5, 3)}[rank]
    kernel = (3,) * rank
    groups = {"grouped": 2, "depthwise": 8}.get(kind, 1)
    w1, b1 = normal(rng, 8, 3, *kernel), normal(rng, 8, scale=0.3)
    planted = plant(w1, b1, rng)
    transposed = kind == "transposed"
    out = 8 if kind == "depthwise" else 6
    w2 = normal(rng, 8, out, *kernel, scale=0.12) if transposed else normal(rng, out, 8 // groups, *kernel)
    b2 = normal(rng, out, scale=0.3)
    b2[3] = -50.0
    weights = {"w1": w1, "b1": b1, "w2": w2, "b2": b2}
    attributes = f"kernel_shape = {list(kernel)}, pads = {[1] * (2 * rank)}"
    second = "ConvTranspose" if transposed else "Conv"
    between, middle = after_conv(kind, rng, out, weights)
    graph = f"""conv (float[n, 3, {", ".join(map(str, side))}] x) => (float[n, {out}, d] y) {{
      z1 = Conv <{attributes}> (x, w1, b1)
      a1 = Relu (z1)
      c2 = {second} <{attributes}, group = {groups}> (a1, w2, b2)
      {between}
      a2 = {middle}
      y = Reshape (a2, rows)
    }}"""
    weights["rows"] = np.array([0, 0, -1])
    phi = "Clip" if kind == "relu6" else "Relu"
    sites = (
        Expected("a1", "conv", "Relu", 8, 1, pre="z1", planted=planted),
        Expected("a2", "conv", phi, out, 1, pre="z2", planted={"dead": (3,)}),
    )
    return settled(Built(kind, model(graph, weights), {"x": clusters(rng, labels, 3, *side)}, sites, labels))


def after_conv(kind: str, rng: np.random.Generator, out: int, weights: dict[str, Array]) -> tuple[str, str]:
    """The line that makes z2 of c2, and the right-hand side of a2."""
    if kind == "batch_norm":
        parts = {"g": rng.uniform(0.5, 1.5, out), "s": rng.normal(0, 0.2, out)}
        parts |= {"m": rng.normal(0, 0.1, out), "v": rng.uniform(0.5, 2, out)}
        weights |= {k: v.astype(np.float32) for k, v in parts.items()}
        return "z2 = BatchNormalization (c2, g, s, m, v)", "Relu (z2)"
    if kind == "relu6":
        weights |= {"low": np.float32(0) * np.ones((), np.float32), "high": np.full((), 6, np.float32)}
        return "z2 = Identity (c2)", "Clip (z2, low, high)"
    return "z2 = Identity (c2)", "Relu (z2)"


def residual(seed: int = 11) -> Built:
    """A residual block: the second site is the activation after the sum; three are coupled by it."""
    rng = np.random.default_rng(seed)
    labels = classes(rng, SAMPLES)
    w = [normal(rng, 6, into, 3, 3) for into in (2, 6, 6)]
    b = [normal(rng, 6, scale=0.3) for _ in range(3)]
    b[0][1] = b[2][1] = b[1][4] = -50.0
    graph = """res (float[n, 2, 6, 6] x) => (float[n, 6] y) {
      z1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
      a1 = Relu (z1)
      z2 = Conv <pads = [1, 1, 1, 1]> (a1, w2, b2)
      a2 = Relu (z2)
      branch = Conv <pads = [1, 1, 1, 1]> (a2, w3, b3)
      z3 = Add (a1, branch)
      a3 = Relu (z3)
      g = GlobalAveragePool (a3)
      y = Flatten (g)
    }"""
    weights = {f"w{k}": v for k, v in enumerate(w, 1)} | {f"b{k}": v for k, v in enumerate(b, 1)}
    dead = ((1,), (4,), (1,))
    sites = tuple(
        Expected(f"a{k}", "conv", "Relu", 6, 1, pre=f"z{k}", planted={"dead": units})
        for k, units in enumerate(dead, 1)
    )
    return settled(
        Built("residual", model(graph, weights), {"x": clusters(rng, labels, 2, 6, 6)}, sites, labels)
    )


def nhwc(seed: int = 12) -> Built:
    """What tf2onnx leaves: NHWC input, transposes around the convolution, the activation on NHWC."""
    rng = np.random.default_rng(seed)
    labels = classes(rng, SAMPLES)
    w, b = normal(rng, 5, 3, 3, 3), normal(rng, 5, scale=0.3)
    planted = plant(w, b, rng)
    graph = """tf (float[n, 6, 6, 3] x) => (float[n, 6, 6, 4] y) {
      t = Transpose <perm = [0, 3, 1, 2]> (x)
      c = Conv <pads = [1, 1, 1, 1]> (t, w, b)
      z = Transpose <perm = [0, 2, 3, 1]> (c)
      a = Relu (z)
      y = MatMul (a, out)
    }"""
    site = Expected("a", "conv", "Relu", 5, 3, pre="z", planted=planted)
    weights = {"w": w, "b": b, "out": normal(rng, 5, 4)}
    return settled(
        Built("nhwc", model(graph, weights), {"x": clusters(rng, labels, 6, 6, 3)}, (site,), labels)
    )


def fixed_batch(seed: int = 13) -> Built:
    """Batch 1 in the input and in a Reshape between the convolution and the dense layer."""
    rng = np.random.default_rng(seed)
    labels = classes(rng, SAMPLES)
    w1, b1, w2 = normal(rng, 4, 1, 3, 3), normal(rng, 4, scale=0.3), normal(rng, 6, 100)
    planted = plant(w1, b1, rng)
    graph = """fixed (float[1, 1, 5, 5] x) => (float[1, 6] a2) {
      z1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
      a1 = Relu (z1)
      f = Reshape (a1, shape)
      z2 = Gemm <transB = 1> (f, w2)
      a2 = Relu (z2)
    }"""
    sites = (
        Expected("a1", "conv", "Relu", 4, 1, pre="z1", planted=planted),
        Expected("a2", "dense", "Relu", 6, 1, pre="z2"),
    )
    weights = {"w1": w1, "b1": b1, "w2": w2, "shape": np.array([1, 100])}
    feeds = {"x": clusters(rng, labels, 1, 5, 5)}
    return settled(Built("fixed_batch", model(graph, weights), feeds, sites, labels, batched=False))
