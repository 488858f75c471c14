"""Random networks with units that are dead or constant by construction, whatever the input.

Every kind of block that surgery must follow: chains, residual streams, concatenated and split branches, depthwise,
grouped and transposed convolutions, pooling, flattening, gated products, shared weights. A unit is planted by its
parameters alone (a bias far below zero, a row of zeros), so that cutting it can be proved on any data. Knows nothing of
nla.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
FAR = np.float32(-1e4)
CONV_BLOCKS = ("chain", "residual", "concat", "depthwise", "grouped", "transposed", "split", "pool")
DENSE_BLOCKS = ("dense", "matmul", "left", "gated", "shared", "stream", "wide")


@dataclass
class Planted:
    """Units of one activation's output, by what they do."""

    dead: list[int] = field(default_factory=list)
    constant: list[int] = field(default_factory=list)


@dataclass
class Random:
    """A network, its input and what was planted in it, by the activation's tensor."""

    model: onnx.ModelProto
    x: Array
    planted: dict[str, Planted]
    blocks: tuple[str, ...]


def random_network(seed: int) -> Random:
    """A convolutional or a dense network of two to five random blocks and a random head."""
    rng = np.random.default_rng(seed)
    return _Spatial(rng).build() if rng.random() < 0.6 else _Dense(rng).build()


class _Net:
    """A graph that grows node by node."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}
        self.planted: dict[str, Planted] = {}
        self._count = 0

    def name(self, hint: str) -> str:
        self._count += 1
        return f"{hint}_{self._count}"

    def weight(self, hint: str, array: Array) -> str:
        name = self.name(hint)
        self.weights[name] = np.asarray(array, np.float32)
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = self.name(kind.lower())
        self.nodes.append(helper.make_node(kind, list(inputs), [output], output, **attributes))
        return output

    def normal(self, *shape: int, fan: int) -> Array:
        return (self.rng.normal(size=shape) * np.sqrt(2 / max(fan, 1))).astype(np.float32)

    def some(self, units: int) -> list[int]:
        """A few units, never all."""
        count = int(self.rng.integers(0, max(1, units // 3) + 1))
        return sorted(self.rng.choice(units, min(count, units - 1), replace=False).tolist())

    def plant(self, units: int) -> Planted:
        """Which units of a new activation are dead and which constant."""
        dead = self.some(units)
        rest = [u for u in range(units) if u not in dead]
        constant = sorted(
            self.rng.choice(rest, min(len(rest) - 1, int(self.rng.integers(0, 3))), False).tolist()
        )
        return Planted(dead, constant)

    def finish(self, y: str, x: Array, input_shape: list[Any], blocks: list[str]) -> Random:
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *input_shape])],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        opsets = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="random")
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        model.graph.output[0].CopyFrom(inferred.graph.output[0])
        return Random(model, x, self.planted, tuple(blocks))


class _Spatial(_Net):
    """[n, c, 8, 8] and blocks of convolutions."""

    def build(self) -> Random:
        channels = 4 * int(self.rng.integers(2, 5))
        y = self.layer("x", 3, channels)
        blocks = []
        for _ in range(int(self.rng.integers(1, 5))):
            block = str(self.rng.choice(CONV_BLOCKS))
            blocks.append(block)
            y, channels = getattr(self, f"_{block}")(y, channels)
        y = self._head(y, channels)
        x = self.rng.normal(size=(24, 3, 8, 8)).astype(np.float32)
        return self.finish(y, x, [3, 8, 8], blocks)

    def conv(
        self, y: str, inputs: int, outputs: int, planted: Planted, *, kernel: int = 3, groups: int = 1
    ) -> str:
        """A convolution that keeps the size, perhaps with a BatchNorm, and its planted units."""
        weight = self.normal(outputs, inputs // groups, kernel, kernel, fan=inputs // groups * kernel**2)
        weight[planted.constant] = 0
        bias = 0.1 * self.rng.normal(size=outputs).astype(np.float32)
        normed = self.rng.random() < 0.5
        if not normed:
            bias[planted.dead], bias[planted.constant] = FAR, 0.7
        operands = [y, self.weight("w", weight)]
        if not normed or self.rng.random() < 0.3:
            operands.append(self.weight("b", bias))
        z = self.op("Conv", *operands, kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4, group=groups)
        return self.norm(z, outputs, planted) if normed else z

    def norm(self, z: str, channels: int, planted: Planted) -> str:
        scale = self.rng.uniform(0.5, 1.5, channels).astype(np.float32)
        shift = 0.1 * self.rng.normal(size=channels).astype(np.float32)
        scale[planted.constant] = 0
        shift[planted.dead], shift[planted.constant] = FAR, 0.7
        mean = 0.1 * self.rng.normal(size=channels).astype(np.float32)
        variance = self.rng.uniform(0.5, 1.5, channels).astype(np.float32)
        names = [self.weight(h, a) for h, a in zip("gbmv", (scale, shift, mean, variance), strict=True)]
        return self.op("BatchNormalization", z, *names)

    def activate(self, z: str, planted: Planted) -> str:
        """An activation that is exactly zero for the dead."""
        if self.rng.random() < 0.75:
            a = self.op("Relu", z)
        else:
            low, high = self.weight("low", np.float32(0)), self.weight("high", np.float32(6))
            a = self.op("Clip", z, low, high)
        self.planted[a] = planted
        return a

    def layer(self, y: str, inputs: int, outputs: int, *, kernel: int = 3, groups: int = 1) -> str:
        planted = self.plant(outputs)
        return self.activate(self.conv(y, inputs, outputs, planted, kernel=kernel, groups=groups), planted)

    def _chain(self, y: str, channels: int) -> tuple[str, int]:
        outputs = 4 * int(self.rng.integers(2, 5))
        return self.layer(y, channels, outputs, kernel=int(self.rng.choice([1, 3]))), outputs

    def _residual(self, y: str, channels: int) -> tuple[str, int]:
        inner = self.layer(y, channels, 8)
        planted = Planted(self.some(channels), [])
        branch = self.conv(inner, 8, channels, planted)
        total = self.op("Add", branch, y) if self.rng.random() < 0.5 else self.op("Add", y, branch)
        a = self.op("Relu", total)
        self.planted[a] = planted
        return a, channels

    def _concat(self, y: str, channels: int) -> tuple[str, int]:
        widths = [4 * int(self.rng.integers(1, 4)) for _ in range(int(self.rng.integers(2, 4)))]
        branches = [self.layer(y, channels, width, kernel=int(self.rng.choice([1, 3]))) for width in widths]
        if self.rng.random() < 0.3:
            branches, widths = [*branches, y], [*widths, channels]
        return self.op("Concat", *branches, axis=1), sum(widths)

    def _depthwise(self, y: str, channels: int) -> tuple[str, int]:
        a = self.layer(y, channels, channels, groups=channels)
        return self._chain(a, channels)

    def _grouped(self, y: str, channels: int) -> tuple[str, int]:
        groups = int(self.rng.choice([2, 4]))
        return self.layer(y, channels, 4 * groups, groups=groups), 4 * groups

    def _transposed(self, y: str, channels: int) -> tuple[str, int]:
        outputs, planted = 8, self.plant(8)
        weight = self.normal(channels, outputs, 3, 3, fan=channels * 9)
        weight[:, planted.constant] = 0
        bias = 0.1 * self.rng.normal(size=outputs).astype(np.float32)
        bias[planted.dead], bias[planted.constant] = FAR, 0.7
        names = self.weight("w", weight), self.weight("b", bias)
        z = self.op("ConvTranspose", y, *names, kernel_shape=[3, 3], pads=[1] * 4)
        return self.activate(z, planted), outputs

    def _split(self, y: str, channels: int) -> tuple[str, int]:
        first, second = self.name("part"), self.name("part")
        sizes = self.name("sizes")
        cut = int(self.rng.integers(1, channels))
        self.weights[sizes] = np.array([cut, channels - cut], np.int64)
        self.nodes.append(helper.make_node("Split", [y, sizes], [first, second], first, axis=1))
        one, other = self.layer(first, cut, 8), self.layer(second, channels - cut, 4)
        return self.op("Concat", one, other, axis=1), 12

    def _pool(self, y: str, channels: int) -> tuple[str, int]:
        if self.rng.random() < 0.5:
            return self.op("MaxPool", y, kernel_shape=[3, 3], pads=[1] * 4), channels
        pooled = self.op("AveragePool", y, kernel_shape=[2, 2])
        return self.op("Identity", pooled), channels

    def _head(self, y: str, channels: int) -> str:
        if self.rng.random() < 0.5:
            flat = self.op("Flatten", self.op("GlobalAveragePool", y))
            width = channels
        else:
            flat = self.op("GlobalMaxPool", y)
            target = self.name("target")
            self.weights[target] = np.array([0, channels] if self.rng.random() < 0.5 else [0, -1], np.int64)
            flat, width = self.op("Reshape", flat, target), channels
        weight, bias = self.normal(5, width, fan=width), self.rng.normal(size=5).astype(np.float32)
        return self.op("Gemm", flat, self.weight("w", weight), self.weight("b", bias), transB=1)


class _Dense(_Net):
    """[n, 12] and blocks of dense layers."""

    def build(self) -> Random:
        y, width = self.linear("x", 12, 16)
        blocks = []
        for _ in range(int(self.rng.integers(1, 6))):
            block = str(self.rng.choice(DENSE_BLOCKS))
            blocks.append(block)
            y, width = getattr(self, f"_{block}")(y, width)
        weight, bias = self.normal(width, 5, fan=width), self.rng.normal(size=5).astype(np.float32)
        y = self.op("Add", self.op("MatMul", y, self.weight("w", weight)), self.weight("b", bias))
        return self.finish(y, self.rng.normal(size=(64, 12)).astype(np.float32), [12], blocks)

    def rows(self, inputs: int, outputs: int, planted: Planted) -> tuple[Array, Array]:
        """[outputs, inputs] and [outputs], with the planted units."""
        weight = self.normal(outputs, inputs, fan=inputs)
        bias = 0.1 * self.rng.normal(size=outputs).astype(np.float32)
        weight[planted.constant] = 0
        bias[planted.dead], bias[planted.constant] = FAR, 0.7
        return weight, bias

    def linear(self, y: str, inputs: int, outputs: int) -> tuple[str, int]:
        planted = self.plant(outputs)
        weight, bias = self.rows(inputs, outputs, planted)
        z = self.op("Gemm", y, self.weight("w", weight), self.weight("b", bias), transB=1)
        return self._relu(z, planted), outputs

    def _relu(self, z: str, planted: Planted) -> str:
        a = self.op("Relu", z)
        self.planted[a] = planted
        return a

    def _dense(self, y: str, width: int) -> tuple[str, int]:
        return self.linear(y, width, int(self.rng.integers(3, 20)))

    def _matmul(self, y: str, width: int) -> tuple[str, int]:
        outputs = int(self.rng.integers(3, 20))
        planted = self.plant(outputs)
        weight, bias = self.rows(width, outputs, planted)
        product = self.op("MatMul", y, self.weight("w", weight.T))
        operands = (product, self.weight("b", bias))
        return self._relu(self.op("Add", *operands[:: int(self.rng.choice([1, -1]))]), planted), outputs

    def _left(self, y: str, width: int) -> tuple[str, int]:
        """W @ x, the neurons on the first axis, and back."""
        outputs = int(self.rng.integers(3, 20))
        planted = self.plant(outputs)
        weight, bias = self.rows(width, outputs, planted)
        turned = self.op("Transpose", y, perm=[1, 0])
        product = self.op("MatMul", self.weight("w", weight), turned)
        a = self._relu(self.op("Add", product, self.weight("b", bias[:, None])), planted)
        return self.op("Transpose", a, perm=[1, 0]), outputs

    def _gated(self, y: str, width: int) -> tuple[str, int]:
        hidden = int(self.rng.integers(6, 16))
        dead = self.some(hidden)
        gate, up = (self.normal(hidden, width, fan=width) for _ in range(2))
        gate[dead] = 0
        g = self.op("MatMul", y, self.weight("w", gate.T))
        silu = self.op("Mul", g, self.op("Sigmoid", g))
        product = self.op("Mul", silu, self.op("MatMul", y, self.weight("w", up.T)))
        self.planted[product] = Planted(dead)
        down = self.op("MatMul", product, self.weight("w", self.normal(hidden, width, fan=hidden)))
        return self.op("Add", down, y), width

    def _shared(self, y: str, width: int) -> tuple[str, int]:
        """One layer applied twice, to the data and to their negation."""
        planted = self.plant(8)
        weight, bias = self.rows(width, 8, planted)
        names = self.weight("w", weight), self.weight("b", bias)
        sides = [self._relu(self.op("Gemm", v, *names, transB=1), planted) for v in (y, self.op("Neg", y))]
        return (
            (self.op("Concat", *sides, axis=1), 16)
            if self.rng.random() < 0.5
            else (self.op("Add", *sides), 8)
        )

    def _stream(self, y: str, width: int) -> tuple[str, int]:
        """A residual branch whose hidden layer is free."""
        hidden, inner = self.linear(y, width, int(self.rng.integers(4, 12)))
        weight = self.weight("w", self.normal(width, inner, fan=inner))
        return self.op("Add", y, self.op("Gemm", hidden, weight, transB=1)), width

    def _wide(self, y: str, width: int) -> tuple[str, int]:
        """Two layers beside each other, joined."""
        one, a = self.linear(y, width, int(self.rng.integers(3, 9)))
        other, b = self._matmul(y, width)
        return self.op("Concat", one, other, axis=-1), a + b
