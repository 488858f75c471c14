"""Networks of the size of real ones, with random weights from a seed: nothing is downloaded.

    python benchmarks/models.py resnet50 gpt-relu gpt-gelu mlp --folder /tmp/models

Weights are He-initialised, then every pre-activation is normalised to the data once, as training with
BatchNorm would have done: random weights alone kill many channels, and what a dead channel costs nla is
another question than what observing costs (`replay.py --dead` asks it).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]

OPSET = 20
TOKENS = 128
VOCABULARY = 1000


class Graph:
    """A graph under construction: nodes are named by their output, weights drawn from one seed.

    `moments` gives mean and variance by the name of a BatchNorm; without them the graph is one that measures
    them.
    """

    def __init__(self, name: str, seed: int, moments: dict[str, Array] | None = None) -> None:
        self._name = name
        self._rng = np.random.default_rng(seed)
        self._moments = moments
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._measured: list[str] = []

    def weight(self, name: str, *shape: int, scale: float = 1.0, mean: float = 0.0) -> str:
        """A float32 initializer, normal."""
        value = self._rng.standard_normal(shape, np.float32) * np.float32(scale) + np.float32(mean)
        return self.constant(name, value)

    def constant(self, name: str, value: object, dtype: type = np.float32) -> str:
        """An initializer of a given value."""
        self._weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: object) -> str:
        """A node with one output, whose name it returns."""
        self._nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def batch_norm(self, name: str, x: str, channels: int, gain: float) -> str:
        """BatchNormalization with the moments of the data, or nodes that measure them."""
        scale = self.constant(f"{name}.scale", np.full(channels, gain))
        bias = self.weight(f"{name}.bias", channels, scale=0.1)
        if self._moments is not None:
            mean = self.constant(f"{name}.mean", self._moments[f"{name}.mean"])
            variance = self._moments[f"{name}.square"] - self._moments[f"{name}.mean"] ** 2
            var = self.constant(f"{name}.var", np.maximum(variance, 1e-3))
            return self.node("BatchNormalization", [x, scale, bias, mean, var], name)
        axes = self.constant(f"{name}.axes", [0, 2, 3], np.int64)
        self._measured.append(self.node("ReduceMean", [x, axes], f"{name}.mean", keepdims=0))
        square = self.node("Mul", [x, x], f"{name}.squared")
        self._measured.append(self.node("ReduceMean", [square, axes], f"{name}.square", keepdims=0))
        normal = self.node("MeanVarianceNormalization", [x], f"{name}.normal", axes=[0, 2, 3])
        shape = self.constant(f"{name}.shape", [-1, 1, 1], np.int64)
        scaled = self.node(
            "Mul", [normal, self.node("Reshape", [scale, shape], f"{name}.s")], f"{name}.scaled"
        )
        return self.node("Add", [scaled, self.node("Reshape", [bias, shape], f"{name}.b")], name)

    def model(self, given: onnx.ValueInfoProto, output: str, shape: list[int | str]) -> onnx.ModelProto:
        """The whole model; of a measuring one, the outputs are the moments."""
        made = [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)]
        if self._measured:
            made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in self._measured]
        graph = helper.make_graph(self._nodes, self._name, [given], made, self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        onnx.checker.check_model(model)
        return model


def mlp(seed: int = 0, width: int = 1024, layers: int = 4) -> onnx.ModelProto:
    """784 -> 4 x 1024 ReLU -> 10."""
    g = Graph("mlp", seed)
    rng = np.random.default_rng(seed)
    x, values = "x", data("mlp", 1024)
    for k in range(layers):
        weights = rng.standard_normal((values.shape[1], width), np.float32)
        z = values @ weights
        weights /= z.std(axis=0)
        bias = rng.normal(0, 0.1, width) - z.mean(axis=0) / z.std(axis=0)
        values = np.maximum(values @ weights + bias, 0).astype(np.float32)
        inputs = [x, g.constant(f"fc{k}.weight", weights), g.constant(f"fc{k}.bias", bias)]
        x = g.node("Relu", [g.node("Gemm", inputs, f"fc{k}")], f"relu{k}")
    weight = g.weight("out.weight", width, 10, scale=width**-0.5)
    logits = g.node("Gemm", [x, weight, g.weight("out.bias", 10)], "logits")
    return g.model(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 784]), logits, ["n", 10])


def resnet50(seed: int = 0) -> onnx.ModelProto:
    """ResNet-50 (He et al. 2016) for 224 x 224 images: 53 convolutions with BatchNorm, 49 ReLUs."""
    import onnxruntime

    measuring = _resnet50(seed, None).SerializeToString()
    session = onnxruntime.InferenceSession(measuring, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    moments = session.run(names, {"x": data("resnet50", 2)})
    return _resnet50(seed, dict(zip(names, moments, strict=True)))


def resnet50_dead(seed: int = 0) -> onnx.ModelProto:
    """The same with moments of 0 and 1, not the data's: at most sites a part of the channels is dead."""
    channels = {
        w.name: w.dims[0] for w in _resnet50(seed, None).graph.initializer if w.name.endswith(".bn.bias")
    }
    moments = {}
    for name, count in channels.items():
        stem = name.removesuffix(".bias")
        moments |= {f"{stem}.mean": np.zeros(count, np.float32), f"{stem}.square": np.ones(count, np.float32)}
    return _resnet50(seed, moments)


def _resnet50(seed: int, moments: dict[str, Array] | None) -> onnx.ModelProto:
    g = Graph("resnet50", seed, moments)
    x = _convolution(g, "stem", "x", (64, 3, 7, 7), stride=2)
    x = g.node("Relu", [x], "stem.relu")
    x = g.node("MaxPool", [x], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (blocks, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)]):
        for k in range(blocks):
            stride = 2 if stage > 0 and k == 0 else 1
            x = _bottleneck(g, f"stage{stage}.{k}", x, channels, width, stride=stride)
            channels = 4 * width
    x = g.node("Flatten", [g.node("GlobalAveragePool", [x], "gap")], "features")
    weight = g.weight("fc.weight", channels, 1000, scale=channels**-0.5)
    logits = g.node("Gemm", [x, weight, g.weight("fc.bias", 1000, scale=0.1)], "logits")
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 224, 224])
    return g.model(image, logits, ["n", 1000])


def _bottleneck(g: Graph, name: str, x: str, channels: int, width: int, *, stride: int) -> str:
    out = 4 * width
    y = _convolution(g, f"{name}.a", x, (width, channels, 1, 1))
    y = _convolution(
        g, f"{name}.b", g.node("Relu", [y], f"{name}.a.relu"), (width, width, 3, 3), stride=stride
    )
    y = g.node("Relu", [y], f"{name}.b.relu")
    y = _convolution(g, f"{name}.c", y, (out, width, 1, 1), gain=0.3)  # keeps sums over blocks from growing
    if channels != out:
        x = _convolution(g, f"{name}.skip", x, (out, channels, 1, 1), stride=stride)
    return g.node("Relu", [g.node("Add", [y, x], f"{name}.sum")], f"{name}.relu")


def _convolution(
    g: Graph, name: str, x: str, shape: tuple[int, int, int, int], *, stride: int = 1, gain: float = 1.0
) -> str:
    """A convolution with weights of `shape`, padded to keep the size, and its BatchNorm."""
    out, channels, size, _ = shape
    weight = g.weight(f"{name}.weight", *shape, scale=(2 / (channels * size * size)) ** 0.5)
    space = {"kernel_shape": [size] * 2, "strides": [stride] * 2, "pads": [size // 2] * 4}
    return g.batch_norm(f"{name}.bn", g.node("Conv", [x, weight], f"{name}.conv", **space), out, gain)


def gpt(
    activation: str, seed: int = 0, layers: int = 12, width: int = 768, heads: int = 12
) -> onnx.ModelProto:
    """A GPT of 12 blocks of width 768 over 128 tokens; `activation` is Relu or Gelu."""
    g = Graph(f"gpt-{activation.lower()}", seed)
    embedding = g.weight("embedding", VOCABULARY, width)
    x = g.node("Gather", [embedding, "tokens"], "embedded")
    mask = np.triu(np.full((TOKENS, TOKENS), -1e9, np.float32), 1)
    g.constant("causal", mask)
    g.constant("to_heads", [0, TOKENS, heads, width // heads], np.int64)
    g.constant("from_heads", [0, TOKENS, width], np.int64)
    g.constant("root", (width // heads) ** -0.5)
    for k in range(layers):
        x = _attention(g, f"h{k}.attn", x, width)
        y = _dense(g, f"h{k}.mlp.up", _norm(g, f"h{k}.ln2", x, width), width, 4 * width)
        y = g.node(activation, [y], f"h{k}.mlp.act")
        y = _dense(g, f"h{k}.mlp.down", y, 4 * width, width, gain=0.3)
        x = g.node("Add", [x, y], f"h{k}.out")
    logits = _dense(g, "head", _norm(g, "ln", x, width), width, VOCABULARY)
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["n", TOKENS])
    return g.model(tokens, logits, ["n", TOKENS, VOCABULARY])


def _norm(g: Graph, name: str, x: str, width: int) -> str:
    scale, bias = (
        g.weight(f"{name}.scale", width, scale=0.1, mean=1.0),
        g.weight(f"{name}.bias", width, scale=0.1),
    )
    return g.node("LayerNormalization", [x, scale, bias], name, axis=-1)


def _dense(g: Graph, name: str, x: str, size: int, out: int, *, gain: float = 1.0) -> str:
    weight = g.weight(f"{name}.weight", size, out, scale=gain * size**-0.5)
    return g.node(
        "Add",
        [g.node("MatMul", [x, weight], f"{name}.product"), g.weight(f"{name}.bias", out, scale=0.1)],
        name,
    )


def _attention(g: Graph, name: str, x: str, width: int) -> str:
    y = _norm(g, f"{name}.ln", x, width)
    parts = []
    for part, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        z = g.node(
            "Reshape", [_dense(g, f"{name}.{part}", y, width, width), "to_heads"], f"{name}.{part}.split"
        )
        parts.append(g.node("Transpose", [z], f"{name}.{part}.heads", perm=order))
    scores = g.node("Mul", [g.node("MatMul", parts[:2], f"{name}.qk"), "root"], f"{name}.scaled")
    share = g.node(
        "Softmax", [g.node("Add", [scores, "causal"], f"{name}.masked")], f"{name}.softmax", axis=-1
    )
    mixed = g.node(
        "Transpose", [g.node("MatMul", [share, parts[2]], f"{name}.mixed")], f"{name}.back", perm=[0, 2, 1, 3]
    )
    joined = g.node("Reshape", [mixed, "from_heads"], f"{name}.joined")
    return g.node("Add", [x, _dense(g, f"{name}.project", joined, width, width, gain=0.3)], f"{name}.out")


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "resnet50": resnet50,
    "resnet50-dead": resnet50_dead,
    "gpt-relu": lambda: gpt("Relu"),
    "gpt-gelu": lambda: gpt("Gelu"),
    "mlp": mlp,
}


def data(name: str, samples: int, seed: int = 1) -> Array:
    """[samples, …] random input of a model."""
    rng = np.random.default_rng(seed)
    if name.startswith("resnet50"):
        return rng.standard_normal((samples, 3, 224, 224), np.float32)
    if name == "mlp":
        return rng.standard_normal((samples, 784), np.float32)
    return rng.integers(0, VOCABULARY, (samples, TOKENS))  # type: ignore[return-value]


def build(name: str, folder: Path) -> Path:
    """The model's file in `folder`, written if it is not there."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save_model(MODELS[name](), path)
    return path


def main() -> None:
    """Build the models named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=sorted(MODELS))
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    for name in arguments.names:
        path = build(name, arguments.folder)
        print(f"{path}: {path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
