"""Networks as verifiers' benchmarks have them, small: lowered whole, held to onnxruntime, planted silence proved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from lowering_graphs import lowered, model
from operator_cases import f, i

from nla.certificates.interval import ranges
from nla.certificates.proving import prove
from nla.certificates.sets import Box

RNG = np.random.default_rng(7)


def scaled(*shape: int) -> np.ndarray:
    """Weights of variance 1 / fan-in."""
    return (RNG.normal(size=shape) / np.sqrt(shape[0] if len(shape) < 4 else np.prod(shape[1:]))).astype(
        np.float32
    )


def planted(size: int, deep: float = -50.0) -> np.ndarray:
    """A bias that plants a silent neuron, the first, and one that wakes, the second."""
    made = RNG.normal(0, 0.1, size).astype(np.float32)
    made[:2] = deep, 3
    return made


W, B = scaled, planted


@dataclass(frozen=True)
class Benchmark:
    """A network, the box of its inputs, and the sites with a planted neuron on either side."""

    body: str
    inputs: str
    planted: tuple[str, ...]
    arrays: dict[str, np.ndarray]
    low: float | list[float] = -0.5
    high: float | list[float] = 0.5
    opset: int = 13


BENCHMARKS = {
    "acasxu": Benchmark(
        "s = Sub(x, m)\n f = Flatten<axis=1>(s)\n a = MatMul(f, w0)\n b = Add(a, b0)\n r0 = Relu(b)\n "
        "c = MatMul(r0, w1)\n d = Add(c, b1)\n r1 = Relu(d)\n e = MatMul(r1, w2)\n y = Add(e, b2)",
        "float[1, 1, 1, 5] x",
        ("r0", "r1"),
        {"m": W(1, 1, 1, 5), "w0": W(5, 9), "b0": B(9), "w1": W(9, 9), "b1": B(9), "w2": W(9, 5), "b2": B(5)},
    ),
    "mnist_fc, a column": Benchmark(
        "a = MatMul(w0, x)\n b = Add(a, b0)\n r = Relu(b)\n c = MatMul(w1, r)\n y = Add(c, b1)",
        "float[16, 1] x",
        ("r",),
        {"w0": W(16, 6).T.copy(), "b0": B(6)[:, None], "w1": W(6, 3).T.copy(), "b1": B(3)[:, None]},
        opset=9,
    ),
    "mscn": Benchmark(
        "p, q = Split<axis=2>(x, n)\n a = MatMul(p, w0)\n b = Add(a, b0)\n r0 = Relu(b)\n c = Mul(r0, q)\n "
        "d = ReduceSum<keepdims=0>(c, one)\n e = ReduceSum<keepdims=0>(q, one)\n g = Div(d, e)\n "
        "z = Gemm(g, w1, b1)\n r1 = Relu(z)\n t = MatMul(r1, w2)\n y = Sigmoid(t)",
        "float[1, 4, 6] x",
        ("r0", "r1"),
        {"n": i(5, 1), "one": i(1), "w0": W(5, 6), "b0": B(6), "w1": W(6, 6), "b1": B(6), "w2": W(6, 1)},
        low=0.25,
        high=1.0,
    ),
    "cgan": Benchmark(
        "a = Gemm(x, w0)\n h = Reshape(a, s)\n c = ConvTranspose<strides=[2,2], pads=[1,1,1,1]>(h, w1, b1)\n "
        "n = BatchNormalization(c, o, b2, b3, o)\n r0 = Relu(n)\n u = Resize(r0, , k)\n "
        "d = Conv(u, w2, b1)\n r1 = Relu(d)\n y = Tanh(r1)",
        "float[1, 5] x",
        ("r0", "r1"),
        {
            "w0": W(5, 32),
            "s": i(-1, 2, 4, 4),
            "w1": W(2, 3, 4, 4),
            "b1": B(3),
            "o": np.ones(3, np.float32),
            "b2": f(0, 0.1, 0.2),
            "b3": f(0, 0.1, -0.2),
            "k": f(1, 1, 2, 2),
            "w2": W(3, 3, 3, 3),
        },
    ),
    "traffic signs": Benchmark(
        "t = Transpose<perm=[0,3,1,2]>(x)\n c = Conv(t, w0)\n "
        "p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c)\n n = BatchNormalization(p, o, b1, b2, o)\n "
        "q = Sign(n)\n u = Transpose<perm=[0,2,3,1]>(q)\n h = Reshape(u, s)\n d = MatMul(h, w1)\n "
        "e = Add(d, b3)\n r = Relu(e)\n y = MatMul(r, w2)",
        "float[1, 6, 6, 1] x",
        ("r",),
        {
            "w0": np.sign(W(3, 1, 3, 3)),
            "o": np.ones(3, np.float32),
            "b1": f(0, 0.5, -0.5),
            "b2": f(0, 0, 1),
            "s": i(-1, 12),
            "w1": np.sign(W(12, 5)),
            "b3": B(5),
            "w2": W(5, 3),
        },
        low=0,
        high=255,
    ),
    "power flow": Benchmark(
        "a = Gemm(x, w0, b0)\n r0 = Relu(a)\n v = Gemm(r0, w1)\n s = Sigmoid(v)\n g = Gather<axis=1>(s, j)\n "
        "h = Gather<axis=1>(s, k)\n d = Sub(g, h)\n c = Cos(d)\n e = Sin(d)\n p = Pow(g, two)\n "
        "m = Mul(g, h)\n n = Mul(m, c)\n o = Mul(m, e)\n q = Sub(p, n)\n u = Concat<axis=1>(q, o)\n "
        "z = Gemm(u, w2, b2)\n r1 = Relu(z)\n y = Abs(r1)",
        "float[1, 4] x",
        ("r0", "r1"),
        {
            "w0": W(4, 6),
            "b0": B(6),
            "w1": W(6, 4),
            "j": i(0, 1, 2),
            "k": i(1, 2, 3),
            "two": f(2),
            "w2": W(6, 5),
            "b2": B(5),
        },
        low=0.9,
        high=1.1,
    ),
    "lyapunov": Benchmark(
        "a = Gemm(x, w0, b0)\n l = LeakyRelu(a)\n v = Gemm(l, w1)\n a0 = Gemm(x0, w0, b0)\n "
        "l0 = LeakyRelu(a0)\n v0 = Gemm(l0, w1)\n d = Sub(v, v0)\n e = Abs(d)\n m = Transpose(q)\n "
        "k = MatMul(m, q)\n c = Sub(x, x0)\n h = MatMul(c, k)\n o = Abs(h)\n s = ReduceSum(o, one)\n "
        "t = Add(e, s)\n u = Mul(x, h)\n g = Concat<axis=1>(t, u)\n z = Gemm(g, w2, b2)\n r = Relu(z)\n "
        "y = Neg(r)",
        "float[1, 3] x",
        ("r",),
        {
            "x0": f(0, 0, 0)[None],
            "w0": W(3, 6),
            "b0": B(6, 0.1),
            "w1": W(6, 1),
            "q": W(3, 3),
            "one": i(1),
            "w2": W(4, 5),
            "b2": B(5),
        },
    ),
    "a patch in an image": Benchmark(
        "p, q = Split<axis=1>(x, n)\n e = Floor(p)\n l = GreaterOrEqual(g, e)\n o = Add(e, two)\n "
        "h = Less(g, o)\n a = And(l, h)\n i = Where(a, q, c)\n z = Gemm(i, w, b)\n r = Relu(z)\n "
        "t = ArgMax<axis=1>(r)\n y = Cast<to=1>(t)",
        "float[1, 2] x",
        ("r",),
        {
            "n": i(1, 1),
            "g": np.arange(9, dtype=np.float32)[None],
            "two": f(2),
            "c": np.abs(W(1, 9)),
            "w": W(9, 5),
            "b": B(5),
        },
        low=[1, 0],
        high=[5.5, 1],
    ),
    "an attention": Benchmark(
        "c = Conv<strides=[2,2]>(x, w0)\n f = Reshape(c, s)\n t = Transpose<perm=[0,2,1]>(f)\n "
        "k = Expand(cls, sh)\n j = Concat<axis=1>(k, t)\n e = Add(j, pos)\n q = MatMul(e, w1)\n "
        "u = Transpose<perm=[0,2,1]>(e)\n m = MatMul(q, u)\n a = Softmax<axis=-1>(m)\n v = MatMul(a, e)\n "
        "d = Add(e, v)\n h = MatMul(d, w2)\n g = Add(h, b)\n r = Relu(g)\n "
        "o = ReduceMean<axes=[1], keepdims=0>(r)\n y = MatMul(o, w3)",
        "float[1, 1, 4, 4] x",
        ("r",),
        {
            "w0": W(3, 1, 2, 2),
            "s": i(1, 3, -1),
            "cls": W(1, 1, 3),
            "sh": i(1, 1, 3),
            "pos": W(1, 5, 3),
            "w1": W(3, 3),
            "w2": W(3, 6),
            "b": B(6),
            "w3": W(6, 2),
        },
        low=0,
        high=1,
    ),
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_lowered_whole_and_planted_neurons_come_out_right(name, tmp_path):
    held = BENCHMARKS[name]
    case = lowered(model(held.body, held.inputs, "y", held.opset, **held.arrays), tmp_path)
    network = case.network
    targets = {target.site: target for target in network.targets}
    assert set(held.planted) <= set(targets), network.reasons
    assert all("never rests at zero" in why for why in network.reasons.values()), network.reasons
    ((graph_input, shape),) = network.inputs.items()
    sizes = [d.dim_value for d in case.model.graph.input[0].type.tensor_type.shape.dim]
    lo, hi = (np.array(np.broadcast_to(np.float64(end), shape)) for end in (held.low, held.high))
    domain = {graph_input: Box(lo, hi)}
    known = ranges(network, domain)
    found = prove(network, domain, {site: np.arange(t.neurons) for site, t in targets.items()})
    made = {name for node in case.model.graph.node for name in node.output}
    names = [op.output for op in network.before([t.pre for t in targets.values()]) if op.output in made]
    seen = {site: np.full(t.neurons, -np.inf) for site, t in targets.items()}
    rng = np.random.default_rng(0)
    for k in range(24):
        x = rng.uniform(lo, hi) if k % 2 else np.where(rng.random(shape) < 0.5, lo, hi)
        x = x.astype(np.float32)
        got = dict(zip(names, case.run({graph_input: x.reshape(sizes)}, names), strict=True))
        exact = network.forward({graph_input: x[None].astype(np.float64)}, names)
        for tensor, value in got.items():
            real = np.asarray(value, np.float64).reshape(network.shapes[tensor])
            box = known.boxes[tensor]
            assert ((box.lo <= real) & (real <= box.hi)).all(), tensor
            assert np.abs(exact[tensor][0] - real).max() <= 1e-4 * (1 + np.abs(real).max()), tensor
        for site, target in targets.items():
            z = np.moveaxis(got[target.pre].reshape(network.shapes[target.pre]), target.axis, 0)
            seen[site] = np.maximum(seen[site], z.reshape(target.neurons, -1).max(axis=1))
            assert (seen[site] <= found[site].upper).all()
    for site in held.planted:
        assert found[site].certified[0]
        assert seen[site][1] > 0
        assert not found[site].certified[1]
