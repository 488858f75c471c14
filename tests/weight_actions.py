"""Small networks with units that are dead by construction, and actions carried out on them through real files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from site_graphs import feeds, model, run

from nla.checkpoint.editing import ModelEdit
from nla.checkpoint.onnx_file import open_onnx
from nla.manifest.document import Action
from nla.surgery.report import Refused
from nla.surgery.structure import Structure
from nla.surgery.weights import ACTIONS

Array = NDArray[Any]
FAR = -1e4


@dataclass(frozen=True)
class Net:
    """A network, a site of it, and units that are silent for every input."""

    proto: ModelProto
    site: str = "a"
    dead: tuple[int, ...] = (1, 3)
    axis: int = -1
    pre: str = "z"
    neurons: int = 4


def bias(*dead: int, size: int = 4) -> Array:
    """A bias that silences the units."""
    made = np.linspace(-0.2, 0.3, size).astype(np.float32)
    made[list(dead)] = FAR
    return made


ROWS = "float[N,5] x => float[P,Q] y"
IMAGE = "float[N,3,6,6] x => float[P,Q] y"
_HEAD = {"v": (4, 2), "c": (2,)}
_FLAT = {"v": (4 * 36, 2), "c": (2,)}
_B = {"b": bias(1, 3)}
_NORM = {
    "g": np.array([0.7, -0.5, 1.2, 0.4], np.float32),
    "h": bias(1, 3),
    "m": (4,),
    "s": np.full(4, 2, np.float32),
}

NETS: dict[str, Net] = {
    "Gemm": Net(
        model(ROWS, "z = Gemm(x, w, b)\na = Relu(z)\ny = Gemm(a, v, c)", {"w": (5, 4), **_B, **_HEAD})
    ),
    "Gemm transB, alpha and beta": Net(
        model(
            ROWS,
            "z = Gemm<transB=1, alpha=0.5, beta=2.0>(x, w, b)\na = Relu(z)\ny = Gemm<transB=1, alpha=3.0>(a, v)",
            {"w": (4, 5), **_B, "v": (2, 4)},
        )
    ),
    "Gemm, weight on the left": Net(
        model(
            "float[5,6] x => float[P,Q] y",
            "z = Gemm(w, x, b)\na = Relu(z)\ny = Gemm(v, a)",
            {"w": (4, 5), "b": bias(1, 3).reshape(4, 1), "v": (2, 4)},
        ),
        axis=0,
    ),
    "MatMul and Add": Net(
        model(
            "float[N,7,5] x => float[P,Q,R] y",
            "p = MatMul(x, w)\nz = Add(b, p)\na = Relu(z)\ny = MatMul(a, v)",
            {"w": (5, 4), **_B, "v": (4, 2)},
        )
    ),
    "MatMul, weight transposed and reshaped in the graph": Net(
        model(
            ROWS,
            "r = Reshape(w, size)\nt = Transpose(r)\np = MatMul(x, t)\nz = Add(p, b)\na = Relu(z)\n"
            "u = Reshape(v, flat)\ny = MatMul(a, u)",
            {"w": (2, 2, 5), "size": np.array([4, -1]), **_B, "v": (2, 2, 2), "flat": np.array([-1, 2])},
        )
    ),
    "Conv": Net(
        model(
            IMAGE,
            "z = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b)\na = Relu(z)\nf = Flatten(a)\ny = Gemm(f, v, c)",
            {"w": (4, 3, 3, 3), **_B, **_FLAT},
        ),
        axis=1,
    ),
    "Conv, BatchNormalization with negative gamma, max pooling": Net(
        model(
            IMAGE,
            "p = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w)\nz = BatchNormalization(p, g, h, m, s)\na = Relu(z)\n"
            "q = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)\nt = Transpose<perm=[0,2,3,1]>(q)\nf = Flatten(t)\n"
            "y = Gemm(f, v, c)",
            {"w": (4, 3, 3, 3), **_NORM, "v": (36, 2), "c": (2,)},
        ),
        axis=1,
    ),
    "Conv, BatchNormalization behind the activation": Net(
        model(
            IMAGE,
            "z = Conv<kernel_shape=[1,1]>(x, w, b)\na = Relu(z)\nn = BatchNormalization(a, g, k, m, s)\n"
            "o = Conv<kernel_shape=[3,3]>(n, u)\nf = Flatten(o)\ny = Gemm(f, v, c)",
            {"w": (4, 3, 1, 1), **_B, **_NORM, "k": (4,), "u": (2, 4, 3, 3), "v": (32, 2), "c": (2,)},
        ),
        axis=1,
    ),
    "grouped Conv, read by grouped and transposed ones": Net(
        model(
            "float[N,4,6,6] x => float[P,Q,R,S] y",
            "z = Conv<kernel_shape=[3,3], group=2>(x, w, b)\na = Relu(z)\no = Conv<kernel_shape=[3,3], group=2>(a, u)\n"
            "i = ConvTranspose<kernel_shape=[3,3]>(a, t)\nj = ReduceMean<keepdims=1>(i, ax)\ny = Add(o, j)",
            {"w": (4, 2, 3, 3), **_B, "u": (2, 2, 3, 3), "t": (4, 2, 3, 3), "ax": np.array([2, 3])},
        ),
        axis=1,
    ),
    "grouped ConvTranspose": Net(
        model(
            "float[N,4,6,6] x => float[P,Q,R,S] y",
            "z = ConvTranspose<kernel_shape=[3,3], group=2>(x, w, b)\na = Relu(z)\ny = Conv<kernel_shape=[1,1]>(a, u)",
            {"w": (4, 2, 3, 3), **_B, "u": (2, 4, 1, 1)},
        ),
        axis=1,
    ),
    "depthwise": Net(
        model(
            "float[N,4,6,6] x => float[P,Q,R,S] y",
            "z = Conv<kernel_shape=[3,3], group=4>(x, w, b)\na = Relu(z)\n"
            "d = Conv<kernel_shape=[3,3], group=4>(a, u, e)\ny = Sigmoid(d)",
            {"w": (4, 1, 3, 3), **_B, "u": (4, 1, 3, 3), "e": (4,)},
        ),
        axis=1,
    ),
    "Einsum": Net(
        model(
            "float[N,7,5] x => float[P,Q,R] y",
            'p = Einsum<equation="bti,io->bto">(x, w)\nz = Add(p, b)\na = Relu(z)\n'
            'y = Einsum<equation="bto,oj->btj">(a, v)',
            {"w": (5, 4), **_B, "v": (4, 2)},
        )
    ),
    "two halves of one layer": Net(
        model(
            ROWS,
            "p = Gemm(x, w, b)\nz, o = Split<axis=-1, num_outputs=2>(p)\na = Relu(z)\nk = Tanh(o)\n"
            "j = Concat<axis=-1>(a, k)\ny = Gemm(j, v, c)",
            {"w": (5, 8), "b": bias(1, 3, size=8), "v": (8, 2), "c": (2,)},
        )
    ),
    "one scale and one bias for all": Net(
        model(
            ROWS,
            "p = MatMul(x, w)\nq = Mul(p, half)\nr = Add(q, b)\nz = Add(r, one)\na = Relu(z)\ny = MatMul(a, v)",
            {"w": (5, 4), "half": np.float32(0.5), "one": np.float32(1), **_B, "v": (4, 2)},
        )
    ),
    "weights and bias that another layer reads": Net(
        model(
            "float[N,4] x => float[P,Q] y",
            "z = Gemm(x, w, b)\na = Relu(z)\nk = Gemm(a, w, b)\ny = Tanh(k)",
            {"w": (4, 4), **_B},
        )
    ),
    "float16": Net(
        model(
            "float16[N,5] x => float16[P,Q] y",
            "z = Gemm(x, w, b)\na = Relu(z)\ny = Gemm(a, v)",
            {
                "w": np.random.default_rng(3).normal(size=(5, 4)).astype(np.float16),
                "b": bias(1, 3).astype(np.float16),
                "v": np.random.default_rng(4).normal(size=(4, 2)).astype(np.float16),
            },
        )
    ),
}
"""Every unit of `dead` is silent; z has one channel for each unit of the site along `axis`."""


@dataclass(frozen=True)
class Done:
    """A network before and after an action."""

    net: Net
    before: ModelProto
    after: ModelProto
    refused: list[Refused]

    def values(self, *names: str) -> list[tuple[Array, Array]]:
        """(before, after) of the tensors on the same random input; channels of the site's axis first."""
        data = {
            name: value.astype(np.float16)
            if "float16" in str(self.before.graph.input[0].type) or _half(self.before)
            else value
            for name, value in feeds(self.before, 16).items()
        }
        pairs = zip(run(self.before, data, names), run(self.after, data, names), strict=True)
        return [(np.asarray(b, np.float64), np.asarray(a, np.float64)) for b, a in pairs]

    def units(self, name: str) -> tuple[Array, Array]:
        """(before, after) of a tensor in the layout of the site, [neurons, everything else]."""
        pair = self.values(name)[0]
        before, after = (np.moveaxis(v, self.net.axis, 0).reshape(self.net.neurons, -1) for v in pair)
        return before, after

    def weight(self, name: str) -> Array:
        """An initializer of the edited file."""
        return weight(self.after, name)


def _half(proto: ModelProto) -> bool:
    return bool(proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16)


def weight(proto: ModelProto, name: str) -> Array:
    """An initializer."""
    return numpy_helper.to_array(next(t for t in proto.graph.initializer if t.name == name))


def act(folder: Path, kind: str, net: Net, units: Sequence[int] | None = None, **parameters: Any) -> Done:
    """Carry an action out on a file of the network, and read the file that it leaves."""
    source, target = folder / "source.onnx", folder / "edited.onnx"
    onnx.save(net.proto, source)
    checkpoint = open_onnx(source)
    structure, edit = Structure.of(checkpoint), ModelEdit(checkpoint)
    chosen = tuple(net.dead if units is None else units)
    action = Action("a1", kind, net.site, chosen, parameters)
    refused = ACTIONS[kind](edit, structure, structure.site(net.site), action)
    edit.write(target)
    onnx.checker.check_model(str(target), full_check=True)
    return Done(net, net.proto, onnx.load(target), refused)
