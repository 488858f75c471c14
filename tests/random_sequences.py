"""Random networks over sequences and volumes: attention, norms, gates, recurrence, interpolation, windows in 3 axes.

A few units are dead by their bias, whatever is read. Knows nothing of nla.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
BLOCKS = ("attention", "mixing", "einsum", "hidden", "moments", "gate", "recurrent", "stretched", "folded")
TOKENS, WIDTH, HIDDEN = 4, 6, 5
FAR = np.float32(-1e4)


class Sequences:
    """[1, tokens, width] and random blocks; each of them ends in a ReLU layer whose first unit is dead."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}
        self.relus: list[str] = []
        self.blocks: list[str] = []
        y = "x"
        for _ in range(int(self.rng.integers(1, 4))):
            self.blocks.append(str(self.rng.choice(BLOCKS)))
            y = self._layer(getattr(self, f"_{self.blocks[-1]}")(y))
        self.model = self._finish(y)

    def _finish(self, y: str) -> onnx.ModelProto:
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "sequences",
            [value("x", TensorProto.FLOAT, [1, TOKENS, WIDTH])],
            [value(y, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(made, strict_mode=True)
        made.graph.output[0].CopyFrom(inferred.graph.output[0])
        return made

    def op(self, kind: str, *inputs: str, count: int = 1, **attributes: Any) -> str:
        outputs = [f"{kind.lower()}_{len(self.nodes)}_{k}" for k in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, outputs[0], **attributes))
        return outputs[-1]

    def weight(self, array: Any, kind: type = np.float32) -> str:
        name = f"w_{len(self.weights)}"
        self.weights[name] = np.asarray(array, kind)
        return name

    def normal(self, *shape: int) -> str:
        return self.weight(self.rng.normal(size=shape) / np.sqrt(shape[-2] if len(shape) > 1 else 1))

    def shaped(self, y: str, *shape: int) -> str:
        return self.op("Reshape", y, self.weight(shape, np.int64))

    def turned(self, y: str, *order: int) -> str:
        return self.op("Transpose", y, perm=list(order))

    def _layer(self, y: str) -> str:
        """A ReLU layer over the last axis, and back to the width."""
        bias = 0.3 * self.rng.normal(size=HIDDEN)
        bias[0] = FAR
        z = self.op("Add", self.op("MatMul", y, self.normal(WIDTH, HIDDEN)), self.weight(bias))
        a = self.op("Relu", z)
        self.relus.append(a)
        made = self.op("MatMul", a, self.normal(HIDDEN, WIDTH))
        return self.op("Add", made, y) if self.rng.random() < 0.5 else made

    def _attention(self, y: str) -> str:
        heads = int(self.rng.choice([1, 2, 3]))
        each = WIDTH // heads
        q, k, v = (
            self.turned(
                self.shaped(self.op("MatMul", y, self.normal(WIDTH, WIDTH)), 1, TOKENS, heads, each), *order
            )
            for order in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3))
        )
        scores = self.op("Mul", self.op("MatMul", q, k), self.weight(1 / np.sqrt(each)))
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), v)
        return self.op("Add", y, self.shaped(self.turned(mixed, 0, 2, 1, 3), 1, TOKENS, WIDTH))

    def _mixing(self, y: str) -> str:
        """Einsum of both, without a softmax, and with one along the other axis."""
        scores = self.op("Einsum", y, y, equation="bnd,bmd->bnm")
        shares = self.op("Softmax", scores, axis=int(self.rng.choice([1, 2])))
        return self.op("Einsum", shares, y, equation=str(self.rng.choice(["bnm,bmd->bnd", "bmn,bmd->bnd"])))

    def _einsum(self, y: str) -> str:
        made = self.op("Einsum", y, self.normal(2, WIDTH, 3), equation="bnd,hde->bnhe")
        return self.shaped(made, 1, TOKENS, WIDTH)

    def _hidden(self, y: str) -> str:
        """LayerNormalization."""
        scale, shift = self.weight(self.rng.uniform(0.5, 1.5, WIDTH)), self.normal(WIDTH)
        return self.op("LayerNormalization", y, scale, shift, axis=-1)

    def _moments(self, y: str) -> str:
        """LayerNorm with the variance as a difference."""
        mean = self.op("ReduceMean", y, axes=[-1])
        second = self.op("ReduceMean", self.op("Mul", y, y), axes=[-1])
        variance = self.op("Sub", second, self.op("Mul", mean, mean))
        clamped = self.op("Max", variance, self.weight(0))
        root = self.op("Sqrt", self.op("Add", clamped, self.weight(1e-6)))
        return self.op("Div", self.op("Sub", y, mean), root)

    def _gate(self, y: str) -> str:
        gate = self.op("Sigmoid", self.op("MatMul", y, self.normal(WIDTH, WIDTH)))
        return self.op("Mul", gate, self.op("MatMul", y, self.normal(WIDTH, WIDTH)))

    def _recurrent(self, y: str) -> str:
        kind, gates = [("LSTM", 4), ("GRU", 3), ("RNN", 1)][int(self.rng.integers(3))]
        read, again = self.normal(1, gates * WIDTH, WIDTH), self.normal(1, gates * WIDTH, WIDTH)
        steps = self.turned(y, 1, 0, 2)
        self.op(kind, steps, read, again, count=2, hidden_size=WIDTH)
        return self.turned(self.op("Squeeze", self.nodes[-1].output[0], self.weight([1], np.int64)), 1, 0, 2)

    def _stretched(self, y: str) -> str:
        """Twice as many tokens, and half of them again."""
        turned = self.turned(y, 0, 2, 1)
        for factor in (2, 0.5):
            scales = self.weight([1, 1, factor])
            turned = self.op("Resize", turned, "", scales, mode="linear")
        return self.turned(turned, 0, 2, 1)

    def _folded(self, y: str) -> str:
        """A convolution and a pooling in three axes."""
        volume = self.shaped(y, 1, 2, 2, 2, 3)
        made = self.op(
            "Conv", volume, self.normal(2, 2, 2, 2, 3), pads=[0, 1, 1, 1, 0, 1], kernel_shape=[2, 2, 3]
        )
        pooled = self.op(
            str(self.rng.choice(["MaxPool", "AveragePool"])),
            made,
            kernel_shape=[2, 1, 1],
            pads=[1, 0, 0, 0, 0, 0],
        )
        return self.shaped(pooled, 1, TOKENS, WIDTH)
