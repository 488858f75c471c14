"""Graphs of one or a few operators: a table of text, inputs, and what else a case needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lowering_graphs import weights


@dataclass(frozen=True)
class Graph:
    """One case; `y` is compared."""

    name: str
    body: str
    inputs: str = "float[1, 4] x"
    opset: int = 17
    low: float = -1.0
    high: float = 1.0
    close: float = 2e-5
    shapes: dict[str, list[int]] | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def case(name: str, body: str, inputs: str = "float[1, 4] x", opset: int = 17, **given: Any) -> Graph:
    """A case; arrays among `given` are initializers."""
    arrays = {key: value for key, value in given.items() if isinstance(value, np.ndarray)}
    rest = {key: value for key, value in given.items() if key not in arrays}
    return Graph(name, body, inputs, opset, arrays=arrays, **rest)


def f(*values: float) -> np.ndarray:
    """float32, a scalar where one number is given."""
    return np.array(values if len(values) > 1 else values[0], np.float32)


def i(*values: int) -> np.ndarray:
    """int64 [n]"""
    return np.array(values, np.int64)


W = weights
IMAGE = "float[1, 2, 7, 6] x"

WEIGHING = [
    case("gemm", "y = Gemm(x, w, b)", w=W(4, 3), b=W(3)),
    case("gemm-turned", "y = Gemm<transB=1, alpha=0.5, beta=2.0>(x, w, b)", w=W(3, 4), b=W(1, 3)),
    case("gemm-scalar", "y = Gemm(x, w, b)", w=W(4, 3), b=W()),
    case("gemm-one", "y = Gemm(x, w, b)", w=W(4, 3), b=W(1)),
    case("gemm-added", "c = MatMul(x, v)\n y = Gemm<beta=-0.5>(x, w, c)", w=W(4, 3), v=W(4, 3, seed=2)),
    case("gemm-added-one", "c = MatMul(x, v)\n y = Gemm<beta=-0.5>(x, w, c)", w=W(4, 3), v=W(4, 1, seed=2)),
    case("gemm-no-beta", "y = Gemm<beta=0.0>(x, w, b)", w=W(4, 3), b=W(3)),
    case("gemm-data-turned", "y = Gemm<transA=1>(x, w)", "float[4, 1] x", w=W(4, 3)),
    case("gemm-rows", "y = Gemm(x, w, b)", "float[5, 4] x", w=W(4, 3), b=W(5, 3)),
    case("matmul", "y = MatMul(x, w)", w=W(4, 3)),
    case("matmul-vector", "y = MatMul(x, w)", w=W(4)),
    case("matmul-left", "y = MatMul(w, x)", "float[1, 4, 5] x", w=W(3, 4)),
    case("matmul-left-column", "y = MatMul(w, x)", "float[4, 1] x", w=W(3, 4)),
    case("matmul-left-vector", "y = MatMul(w, x)", "float[1, 4, 5] x", w=W(4)),
    case("matmul-of-vector", "y = MatMul(x, w)", "float[4] x", w=W(4, 3)),
    case("matmul-heads", "y = MatMul(x, w)", "float[1, 2, 3, 4] x", w=W(2, 4, 5)),
    case("matmul-heads-one", "y = MatMul(x, w)", "float[1, 1, 3, 4] x", w=W(2, 4, 5)),
    case("matmul-lead", "y = MatMul(x, w)", "float[1, 3, 4] x", w=W(1, 4, 5)),
    case("sequence", "z = MatMul(x, w)\n a = Add(z, b)\n y = Relu(a)", "float[1, 5, 4] x", w=W(4, 3), b=W(3)),
    case("unbatched", "z = MatMul(w, x)\n a = Add(z, b)\n y = Relu(a)", "float[4] x", w=W(3, 4), b=W(3)),
    case("free-batch", "z = Gemm(x, w)\n y = Relu(z)", "float[N, 4] x", w=W(4, 3), shapes={"x": [1, 4]}),
]

_CONV = "y = Conv<{}>(x, w, b)"
CONVOLVING = [
    case("conv", _CONV.format("kernel_shape=[3,3]"), IMAGE, w=W(5, 2, 3, 3), b=W(5)),
    case("conv-strides", _CONV.format("strides=[2,1], pads=[1,0,2,1]"), IMAGE, w=W(5, 2, 3, 3), b=W(5)),
    case("conv-dilated", _CONV.format("dilations=[2,3]"), "float[1,2,9,8] x", w=W(5, 2, 3, 2), b=W(5)),
    case("conv-groups", _CONV.format("group=2, pads=[1,1,1,1]"), "float[1,4,5,5] x", w=W(6, 2, 3, 3), b=W(6)),
    case("conv-depthwise", _CONV.format("group=4"), "float[1,4,5,5] x", w=W(4, 1, 3, 3), b=W(4)),
    case(
        "conv-same",
        _CONV.format('auto_pad="SAME_UPPER", strides=[2,2]'),
        "float[1,2,8,6] x",
        w=W(5, 2, 3, 3),
        b=W(5),
    ),
    case(
        "conv-same-lower",
        _CONV.format('auto_pad="SAME_LOWER", strides=[2,2]'),
        IMAGE,
        w=W(5, 2, 2, 2),
        b=W(5),
    ),
    case(
        "conv-valid",
        _CONV.format('auto_pad="VALID", strides=[2,2]'),
        "float[1,2,8,6] x",
        w=W(5, 2, 3, 3),
        b=W(5),
    ),
    case("conv-1d", _CONV.format("pads=[1,2], strides=[2]"), "float[1, 2, 9] x", w=W(5, 2, 3), b=W(5)),
    case("conv-1d-groups", _CONV.format("group=2, dilations=[2]"), "float[1, 2, 9] x", w=W(4, 1, 3), b=W(4)),
    case(
        "conv-1d-same",
        _CONV.format('auto_pad="SAME_UPPER", strides=[3]'),
        "float[1,2,10] x",
        w=W(4, 2, 4),
        b=W(4),
    ),
    case("transposed", "y = ConvTranspose<strides=[2,2]>(x, w)", "float[1,2,4,4] x", w=W(2, 3, 2, 2)),
    case(
        "transposed-pads",
        "y = ConvTranspose<strides=[2,1], pads=[1,0,0,1], output_padding=[1,0]>(x, w, b)",
        "float[1,2,4,4] x",
        w=W(2, 3, 3, 3),
        b=W(3),
    ),
    case("transposed-groups", "y = ConvTranspose<group=2>(x, w)", "float[1,4,3,3] x", w=W(4, 3, 2, 2)),
    case("transposed-1d", "y = ConvTranspose<strides=[3]>(x, w)", "float[1,2,4] x", w=W(2, 3, 2)),
    case("max", "y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x)", IMAGE),
    case("max-ceil", "y = MaxPool<kernel_shape=[2,2], strides=[2,2], ceil_mode=1>(x)", IMAGE),
    case("max-ceil-3", "y = MaxPool<kernel_shape=[3,3], strides=[3,3], ceil_mode=1>(x)", IMAGE),
    case(
        "max-ceil-pads",
        "y = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1>(x)",
        IMAGE,
    ),
    case("max-pads", "y = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x)", IMAGE),
    case("max-dilated", "y = MaxPool<kernel_shape=[2,2], dilations=[2,2]>(x)", IMAGE),
    case("max-same", 'y = MaxPool<kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_UPPER">(x)', IMAGE),
    case("max-same-lower", 'y = MaxPool<kernel_shape=[2,2], strides=[2,2], auto_pad="SAME_LOWER">(x)', IMAGE),
    case("max-1d", "y = MaxPool<kernel_shape=[3], strides=[2], pads=[1,1]>(x)", "float[1, 2, 9] x"),
    case("average", "y = AveragePool<kernel_shape=[2,2], strides=[2,2]>(x)", IMAGE),
    case(
        "average-counted",
        "y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(x)",
        IMAGE,
    ),
    case("average-pads", "y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)", IMAGE),
    case("average-same", 'y = AveragePool<kernel_shape=[3,3], auto_pad="SAME_UPPER">(x)', IMAGE),
    case("average-1d", "y = AveragePool<kernel_shape=[3], strides=[2]>(x)", "float[1, 2, 9] x"),
    case("global-average", "y = GlobalAveragePool(x)", IMAGE),
    case("global-max", "y = GlobalMaxPool(x)", IMAGE),
    case("global-1d", "y = GlobalAveragePool(x)", "float[1, 2, 9] x"),
]

_STATISTICS = {"s": W(3), "b": W(3, seed=1), "m": W(3, seed=2), "v": np.abs(W(3, seed=3))}
ARITHMETIC = [
    case("norm", "y = BatchNormalization<epsilon=0.01>(x, s, b, m, v)", "float[1,3,4,4] x", **_STATISTICS),
    case("norm-flat", "y = BatchNormalization(x, s, b, m, v)", "float[1, 3] x", **_STATISTICS),
    case("concat", "a = MatMul(x, w)\n y = Concat<axis=1>(a, x)", w=W(4, 3)),
    case("concat-last", "a = MatMul(x, w)\n y = Concat<axis=-1>(a, x, a)", w=W(4, 3)),
    case("concat-constant", "y = Concat<axis=1>(c, x)", c=W(1, 2)),
    case("sum", "a = MatMul(x, w)\n y = Sum(a, x, a)", w=W(4, 4)),
    case("sum-constant", "y = Sum(c, x)", c=W(4)),
    case("sum-one", "y = Sum(x)"),
    case("add", "y = Add(x, c)", "float[1,3,4,4] x", c=W(3, 1, 1)),
    case("add-full", "y = Add(x, c)", "float[1,3,4,4] x", c=W(1, 3, 1, 1)),
    case("add-scalar", "y = Add(c, x)", c=W()),
    case("add-grows", "y = Add(x, c)", "float[1, 1, 4] x", c=W(3, 1)),
    case("sub", "y = Sub(x, c)", c=W(4)),
    case("sub-from", "y = Sub(c, x)", c=W(1, 4)),
    case("mul", "y = Mul(x, c)", c=W(4)),
    case("div", "y = Div(x, c)", c=f(1, 2, 3, -4)),
    case("neg", "y = Neg(x)"),
    case("product", "a = MatMul(x, w)\n y = Mul(x, a)", w=W(4, 4)),
    case("square", "y = Mul(x, x)"),
    case("gate", "a = GlobalAveragePool(x)\n s = Sigmoid(a)\n y = Mul(x, s)", IMAGE),
    case("add-stretched", "a = GlobalAveragePool(x)\n y = Add(x, a)", IMAGE),
    case("difference", "a = MatMul(x, w)\n y = Sub(x, a)", w=W(4, 4)),
    case("double", "h = Cast<to=11>(x)\n y = Cast<to=1>(h)"),
    case("dropout", "y = Dropout(x)"),
]

MOVING = [
    case("pad", "y = Pad(x, p)", IMAGE, p=i(0, 0, 1, 2, 0, 0, 0, 1)),
    case("pad-value", "y = Pad(x, p, v)", IMAGE, p=i(0, 0, 1, 2, 0, 0, 0, 1), v=f(2.5)),
    case("pad-edge", 'y = Pad<mode="edge">(x, p)', IMAGE, p=i(0, 0, 1, 2, 0, 0, 0, 1)),
    case("pad-reflect", 'y = Pad<mode="reflect">(x, p)', IMAGE, p=i(0, 0, 1, 2, 0, 0, 0, 1)),
    case("pad-cuts", "y = Pad(x, p)", IMAGE, p=i(0, 0, -1, 0, 0, 0, 0, -1)),
    case("pad-axes", "y = Pad(x, p, , a)", IMAGE, opset=18, p=i(1, 2), a=i(-1)),
    case("pad-old", "y = Pad<pads=[0,0,1,1,0,0,1,1]>(x)", IMAGE, opset=9),
    case("slice", "y = Slice(x, s, e, a, t)", IMAGE, s=i(1, -1), e=i(5, -100), a=i(2, 3), t=i(2, -2)),
    case("slice-old", "y = Slice<starts=[1], ends=[3], axes=[1]>(x)", opset=9),
    case("split", "a, b = Split<axis=1>(x, s)\n y = Concat<axis=1>(b, a)", s=i(1, 3)),
    case("split-halves", "a, b = Split<axis=1, num_outputs=2>(x)\n y = Sub(b, a)", opset=18),
    case("split-old", "a, b = Split<axis=1, split=[2,2]>(x)\n y = Sub(b, a)", opset=11),
    case("transpose", "y = Transpose<perm=[0,2,3,1]>(x)", IMAGE),
    case("transpose-all", "y = Transpose(x)", IMAGE),
    case("reshape", "y = Reshape(x, s)", IMAGE, s=i(0, -1)),
    case("reshape-flat", "y = Reshape(x, s)", IMAGE, s=i(-1)),
    case(
        "reshape-torch",
        "s = Shape(x)\n z = Gather<axis=0>(s, n)\n u = Unsqueeze(z, a)\n c = Concat<axis=0>(u, m)\n"
        " r = Reshape(x, c)\n y = Gemm(r, w)",
        "float[1,2,3,2] x",
        n=np.array(0, np.int64),
        a=i(0),
        m=i(-1),
        w=W(12, 3),
    ),
    case(
        "reshape-tensorflow",
        "s = Shape(x)\n z = Slice(s, a, b)\n h = Cast<to=1>(z)\n k = Cast<to=7>(h)\n c = Concat<axis=0>(k, m)\n"
        " y = Reshape(x, c)",
        IMAGE,
        a=i(0),
        b=i(1),
        m=i(-1),
    ),
    case("filled", "s = Shape(x)\n c = ConstantOfShape<value=float[1] {0.5}>(s)\n y = Add(x, c)"),
    case("flatten", "y = Flatten(x)", IMAGE),
    case("flatten-later", "y = Flatten<axis=2>(x)", IMAGE),
    case("squeeze", "a = GlobalAveragePool(x)\n y = Squeeze(a, d)", IMAGE, d=i(2, 3)),
    case("squeeze-all", "a = GlobalAveragePool(x)\n y = Squeeze(a)", IMAGE),
    case("squeeze-batch", "y = Squeeze(x, a)", "float[1, 1, 4] x", a=i(0)),
    case("unsqueeze", "y = Unsqueeze(x, d)", d=i(1, -1)),
    case("expand", "y = Expand(x, s)", "float[1, 1, 4] x", s=i(1, 3, 4)),
    case("tile", "y = Tile(x, r)", r=i(1, 2)),
    case("gather", "y = Gather<axis=1>(x, k)", k=i(3, 0, -1)),
    case("gather-one", "y = Gather<axis=1>(x, k)", k=np.array(2, np.int64)),
    case("gather-elements", "y = GatherElements<axis=1>(x, k)", k=np.array([[3, 1]], np.int64)),
    case("depth-to-space", "y = DepthToSpace<blocksize=2>(x)", "float[1,8,3,3] x"),
    case("space-to-depth", "y = SpaceToDepth<blocksize=2>(x)", "float[1,2,4,6] x"),
    case("resize", 'y = Resize<mode="nearest">(x, , s)', IMAGE, s=f(1, 1, 2, 3)),
    case(
        "resize-floor",
        'y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, , s)',
        IMAGE,
        s=f(1, 1, 2, 2),
    ),
    case("upsample", 'y = Upsample<mode="nearest">(x, s)', IMAGE, opset=9, s=f(1, 1, 2, 2)),
    case("resize at opset 10", 'y = Resize<mode="linear">(x, s)', IMAGE, opset=10, s=f(1, 1, 2, 2)),
    case("resize along axes", 'y = Resize<mode="linear", axes=[3]>(x, , s)', IMAGE, 18, s=np.float32([2])),
    case("identity", "y = Identity(x)"),
]

REDUCING = [
    case("mean-space", "y = ReduceMean<axes=[2,3]>(x)", IMAGE, opset=13),
    case("mean-space-dropped", "y = ReduceMean<axes=[2,3], keepdims=0>(x)", IMAGE, opset=13),
    case("mean-given", "y = ReduceMean<keepdims=0>(x, a)", IMAGE, opset=18, a=i(-1, -2)),
    case("mean-channels", "y = ReduceMean<axes=[1]>(x)", IMAGE, opset=13),
    case(
        "mean-added", "a = ReduceMean<axes=[0,1], keepdims=0>(x)\n y = Add(x, a)", "float[1,3,4] x", opset=13
    ),
    case("sum", "y = ReduceSum(x, a)", IMAGE, a=i(1)),
    case("sum-all", "y = ReduceSum<keepdims=0>(x)", IMAGE),
    case("largest", "y = ReduceMax<axes=[1]>(x)", IMAGE, opset=13),
    case("smallest", "y = ReduceMin<axes=[1,3], keepdims=0>(x)", IMAGE, opset=13),
    case("max-of-two", "z = Gemm(x, w)\n u = Gemm(x, v)\n y = Max(z, u)", w=W(4, 6), v=W(4, 6, seed=3)),
    case("min-of-two", "z = Gemm(x, w)\n u = Gemm(x, v)\n y = Min(z, u)", w=W(4, 6), v=W(4, 6, seed=3)),
    case("max-constant", "z = Gemm(x, w)\n y = Max(z, c)", w=W(4, 6), c=W(6, seed=4)),
]

_DENSE = {"w": W(4, 6), "b": W(6)}
_WIDE = {"low": -3.0, "high": 3.0, "close": 1e-4, "opset": 20}
BENDING = [
    *(
        case(op, f"z = Gemm(x, w, b)\n y = {op}(z)", **_DENSE, **_WIDE)
        for op in (
            *(
                "Relu",
                "LeakyRelu",
                "LeakyRelu<alpha=0.3>",
                "Sigmoid",
                "Tanh",
                "Elu",
                "Elu<alpha=2.0>",
                "Selu",
            ),
            *("Softplus", "Softsign", "Celu", "HardSigmoid", "HardSigmoid<alpha=0.5, beta=0.3>", "HardSwish"),
            *("ThresholdedRelu<alpha=0.5>", "Mish", "Gelu", 'Gelu<approximate="tanh">', "Abs"),
        )
    ),
    case("PRelu", "z = Gemm(x, w)\n y = PRelu(z, s)", w=W(4, 6), s=f(0.2)),
    case("PRelu-channels", "z = Gemm(x, w)\n y = PRelu(z, s)", w=W(4, 6), s=0.3 * W(6)),
    case("PRelu-image", "z = Conv(x, w)\n y = PRelu(z, s)", IMAGE, w=W(3, 2, 3, 3), s=0.3 * W(3, 1, 1)),
    case("Clip", "z = Gemm(x, w)\n y = Clip(z, a, b)", w=W(4, 6), a=f(0), b=f(0.6)),
    case("Max-zero", "z = Gemm(x, w)\n y = Max(z, a)", w=W(4, 6), a=f(0)),
    case("SiLU", "z = Gemm(x, w, b)\n s = Sigmoid(z)\n y = Mul(z, s)", **_DENSE, **_WIDE),
    case(
        "GELU-torch",
        "z = Gemm(x, w, b)\n d = Div(z, c)\n e = Erf(d)\n a = Add(e, o)\n m = Mul(z, a)\n y = Mul(m, h)",
        **_DENSE,
        **_WIDE,
        c=f(2**0.5),
        o=f(1),
        h=f(0.5),
    ),
    case("Where-ReLU", "z = Gemm(x, w)\n g = Greater(z, o)\n y = Where(g, z, o)", w=W(4, 6), o=f(0)),
    case(
        "Where-leaky",
        "z = Gemm(x, w)\n g = Greater(z, o)\n l = Mul(z, s)\n y = Where(g, z, l)",
        w=W(4, 6),
        o=f(0),
        s=f(0.1),
    ),
    case(
        "HardSwish-written",
        "z = Gemm(x, w, b)\n a = Add(z, t)\n c = Clip(a, o, s)\n m = Mul(z, c)\n y = Div(m, s)",
        **_DENSE,
        **_WIDE,
        o=f(0),
        s=f(6),
        t=f(3),
    ),
]

_BLOCK = "c = Conv<pads=[1,1,1,1]>(x, w)\n r = Relu(c)\n d = Conv<pads=[1,1,1,1]>(r, v)\n e = Add(d, x)\n y = Relu(e)"
BENCHMARKS = [
    case(
        "collision-avoidance",
        "s = Sub(x, m)\n f = Flatten<axis=1>(s)\n g = MatMul(f, w)\n a = Add(g, b)\n r = Relu(a)\n"
        " g2 = MatMul(r, w2)\n a2 = Add(g2, b)\n y = Relu(a2)",
        "float[1, 1, 1, 5] x",
        m=W(1, 1, 1, 5),
        w=W(5, 8),
        b=W(8),
        w2=W(8, 8),
    ),
    case(
        "scaled-image",
        "s = Sub(x, m)\n d = Div(s, q)\n c = Conv(d, w)\n y = Relu(c)",
        "float[1, 3, 5, 5] x",
        m=W(1, 3, 1, 1),
        q=np.abs(W(1, 3, 1, 1)) + 0.5,
        w=W(2, 3, 3, 3),
    ),
    case(
        "matlab",
        "s = Sub(x, m)\n c = Conv(s, w, b)\n r = Relu(c)\n p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)\n"
        " t = Transpose<perm=[0,2,3,1]>(p)\n f = Flatten(t)\n z = MatMul(f, v)\n a = Add(z, d)\n y = Relu(a)",
        "float[1, 2, 8, 8] x",
        m=W(2, 8, 8),
        w=W(3, 2, 3, 3),
        b=W(3),
        v=W(27, 4),
        d=W(4),
    ),
    case(
        "keras",
        "t = Transpose<perm=[0,3,1,2]>(x)\n c = Conv<pads=[1,1,1,1]>(t, w, b)\n r = Relu(c)\n"
        " n = Transpose<perm=[0,2,3,1]>(r)\n f = Reshape(n, s)\n z = MatMul(f, v)\n a = Add(z, d)\n y = Relu(a)",
        "float[1, 4, 4, 2] x",
        w=W(3, 2, 3, 3),
        b=W(3),
        s=i(-1, 48),
        v=W(48, 5),
        d=W(5),
    ),
    case("residual", _BLOCK, "float[1, 2, 5, 5] x", w=W(2, 2, 3, 3), v=W(2, 2, 3, 3, seed=1)),
    case("column", "z = MatMul(w, x)\n a = Add(z, b)\n y = Relu(a)", "float[4, 1] x", w=W(3, 4), b=W(3, 1)),
    case(
        "sigmoid-tanh",
        "z = Gemm(x, w)\n s = Sigmoid(z)\n u = Gemm(s, v)\n t = Tanh(u)\n q = Gemm(t, p)\n y = Relu(q)",
        w=W(4, 6),
        v=W(6, 5),
        p=W(5, 3),
        close=1e-4,
    ),
]
GRAPHS = [*WEIGHING, *CONVOLVING, *ARITHMETIC, *MOVING, *REDUCING, *BENDING, *BENCHMARKS]

REFUSED = [
    (case("conv-4d", "h = Conv(x, w)", "float[1,1,2,2,2,2] x", w=W(4, 1, 2, 2, 2, 2)), "in 4 dimensions"),
    (
        case(
            "average-ceil",
            "h = AveragePool<kernel_shape=[2,2], strides=[2,2], ceil_mode=1>(x)",
            IMAGE,
            opset=19,
        ),
        "rounds its size up",
    ),
    (case("samples-joined", "h = Concat<axis=0>(x, x)"), "axis of the samples"),
    (case("samples-made", "h = Add(x, c)", c=W(2, 4)), "several samples of one"),
    (case("by-zero", "h = Div(x, c)", c=f(1, 2, 0, -4)), "by zero"),
    (
        case("two-vary", "t = Transpose(x)\n h = MatMul(x, t)", "float[N, 4] x", shapes={"x": [1, 4]}),
        "both vary",
    ),
    (
        case(
            "two-vary-einsum",
            'h = Einsum<equation="ni,mi->nm">(x, x)',
            "float[N, 4] x",
            shapes={"x": [1, 4]},
        ),
        "both vary",
    ),
    (case("narrow", "n = Cast<to=10>(x)\n h = Cast<to=1>(n)"), "float16, which rounds"),
    (case("enlarged-smoothly", 'h = Resize<mode="linear">(x, , s)', IMAGE, s=f(1, 1, 3, 1)), "are rounded"),
    (
        case("along-axes", 'h = Resize<mode="linear", axes=[3]>(x, , s)', IMAGE, 18, s=np.float32([2.1])),
        "whole elements",
    ),
    (
        case(
            "nearest-along-axes",
            'h = Resize<mode="nearest", axes=[3]>(x, , s)',
            IMAGE,
            18,
            s=np.float32([2.1]),
        ),
        "no repetition",
    ),
    (
        case("as-many-elements", 'h = Resize<mode="linear">(x, , s)', IMAGE, s=f(1, 1, 1.1, 2)),
        "whole elements",
    ),
    (
        case("by-attribute", 'h = Upsample<mode="linear", scales=[1.0, 1.0, 1.1, 2.0]>(x)', IMAGE, 7),
        "whole elements",
    ),
    (case("enlarged-by-cubes", 'h = Resize<mode="cubic">(x, , s)', IMAGE, s=f(1, 1, 2, 2)), "no repetition"),
    (case("diagonal", 'h = Einsum<equation="bii->bi">(x)', "float[1,4,4] x"), "of that form"),
    (
        case(
            "summed-alone",
            't = ReduceMean<axes=[2], keepdims=0>(x)\n h = Einsum<equation="bij,bj->bj">(x, t)',
            "float[1, 4, 4] x",
            opset=13,
        ),
        "sums over one operand alone",
    ),
    (case("indices", "m, n = MaxPool<kernel_shape=[2,2]>(x)\n h = Cast<to=1>(n)", IMAGE), "MaxPool"),
    (case("powers", "h = Pow(c, x)", c=f(2)), "exponents that vary"),
    *((case(op, f"h = {op}(x)"), f"{op} .*no sound rule") for op in ("Erf", "Tan", "Sinh")),
]
"""What ends in a reason; h is what a ReLU layer reads."""
