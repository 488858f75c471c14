"""ResNet in NumPy, float64, as transformers computes it: activations by the names of modules. Knows nothing of nla."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stored_networks import convolved, normed, pooled

Array = NDArray[Any]
Tensors = Mapping[str, Array]

ACTS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda z: np.maximum(z, 0),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "tanh": np.tanh,
}


class Reference:
    """One forward pass; `seen` holds the activations and the outputs."""

    def __init__(self, tensors: Tensors, config: Mapping[str, Any], pixels: Array) -> None:
        self.tensors, self.config, self.seen = tensors, config, dict[str, Array]()
        self.prefix = "" if "embedder.embedder.convolution.weight" in tensors else "resnet."
        act = config["hidden_act"]
        x = self.unit(pixels, f"{self.prefix}embedder.embedder", 2, act)
        x = pooled(x, 3, 2, 1)
        for stage, depth in enumerate(config["depths"]):
            for layer in range(depth):
                first = layer == 0 and (stage > 0 or config["downsample_in_first_stage"])
                x = self.layer(
                    x, f"{self.prefix}encoder.stages.{stage}.layers.{layer}", 2 if first else 1, act
                )
        self.seen["last_hidden_state"] = x
        self.seen["pooler_output"] = x.mean((2, 3), keepdims=True)
        if "classifier.1.weight" in tensors:
            flat = self.seen["pooler_output"][:, :, 0, 0]
            self.seen["logits"] = flat @ tensors["classifier.1.weight"].T + tensors["classifier.1.bias"]

    def layer(self, x: Array, name: str, stride: int, act: str) -> Array:
        basic = self.config["layer_type"] == "basic"
        strided = 0 if basic or self.config["downsample_in_bottleneck"] else 1
        y, last = x, 1 if basic else 2
        for at in range(last + 1):
            y = self.unit(
                y, f"{name}.layer.{at}", stride if at == strided else 1, None if at == last else "relu"
            )
        if f"{name}.shortcut.convolution.weight" in self.tensors:
            x = self.unit(x, f"{name}.shortcut", stride, None)
        return self.keep(f"{name}.activation", ACTS[act](x + y))

    def unit(self, x: Array, name: str, stride: int, act: str | None) -> Array:
        weight = self.tensors[f"{name}.convolution.weight"]
        y = convolved(x, weight, 0.0, stride, weight.shape[-1] // 2)
        leaves = ("running_mean", "running_var", "weight", "bias")
        y = normed(y, *(self.tensors[f"{name}.normalization.{leaf}"] for leaf in leaves))
        return y if act is None else self.keep(f"{name}.activation", ACTS[act](y))

    def keep(self, name: str, value: Array) -> Array:
        self.seen[name] = value
        return value


def make(config: Mapping[str, Any], seed: int, labels: int = 0, prefix: str = "") -> dict[str, Array]:
    """Random tensors of a ResNet, norms and variances included."""
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}

    def unit(name: str, inputs: int, outputs: int, kernel: int) -> None:
        weight = rng.normal(size=(outputs, inputs, kernel, kernel)) * 1.4 / np.sqrt(inputs * kernel * kernel)
        made[f"{name}.convolution.weight"] = weight.astype(np.float32)
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            value = rng.normal(size=outputs) * 0.3 + (leaf in ("weight", "running_var"))
            made[f"{name}.normalization.{leaf}"] = (
                np.abs(value).astype(np.float32) if "var" in leaf else value.astype(np.float32)
            )
        made[f"{name}.normalization.num_batches_tracked"] = np.array(3)

    width = config["embedding_size"]
    unit(f"{prefix}embedder.embedder", config["num_channels"], width, 7)
    for stage, (size, depth) in enumerate(zip(config["hidden_sizes"], config["depths"], strict=True)):
        for at in range(depth):
            name = f"{prefix}encoder.stages.{stage}.layers.{at}"
            halves = at == 0 and (stage > 0 or config["downsample_in_first_stage"])
            if width != size or halves:
                unit(f"{name}.shortcut", width, size, 1)
            basic, inner = config["layer_type"] == "basic", size // 4
            kernels = (
                [(width, size, 3), (size, size, 3)]
                if basic
                else [(width, inner, 1), (inner, inner, 3), (inner, size, 1)]
            )
            for k, sizes in enumerate(kernels):
                unit(f"{name}.layer.{k}", *sizes)
            width = size
    if labels:
        made["classifier.1.weight"] = rng.normal(size=(labels, width)).astype(np.float32)
        made["classifier.1.bias"] = rng.normal(size=labels).astype(np.float32)
    return made
