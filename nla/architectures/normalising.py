"""LayerNorm and RMSNorm over the last axis."""

from __future__ import annotations

import numpy as np

from nla.architectures.builder import Graph
from nla.architectures.spec import Norm

_OLD = {"weight": "gamma", "bias": "beta"}
"""What checkpoints that were converted from TensorFlow call them."""


def normalise(g: Graph, x: str, norm: Norm, prefix: str, name: str = "") -> str:
    """The norm of `x`, [..., size]; its weights lie at `prefix`."""
    module = prefix + norm.name
    weight = _weight(g, module, "weight", norm) if norm.affine else g.constant(np.ones(norm.size, np.float32))
    if not norm.rms:  # a LayerNormalization without a bias makes onnxruntime's optimiser crash
        bias = (
            _weight(g, module, "bias", norm) if norm.affine else g.constant(np.zeros(norm.size, np.float32))
        )
        name = name or f"{module}.out"
        return str(g.LayerNormalization(x, weight, bias, axis=-1, epsilon=norm.epsilon, name=name))
    mean = g.ReduceMean(g.Pow(x, 2.0), [-1], keepdims=1)
    scaled = g.Mul(x, g.Reciprocal(g.Sqrt(g.Add(mean, norm.epsilon))))
    if norm.shift:
        weight = str(g.Add(weight, norm.shift))
    return str(g.Mul(scaled, weight, name=name or f"{module}.out"))


def _weight(g: Graph, module: str, kind: str, norm: Norm) -> str:
    old = f"{module}.{_OLD[kind]}"
    return g.weight(old if g.has(old) else f"{module}.{kind}", norm.size)
