"""What exporters write, distilled from models that they made to the few nodes that once were not understood.

Graphs are ONNX text; `Export` says which sites a person finds in them. Knows nothing of nla.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TypeProto, ValueInfoProto, helper
from site_graphs import model

INT = np.int64
ZERO, ONE, TWO, MINUS = INT([0]), INT([1]), INT([2]), INT([-1])
SAMPLES = 6


@dataclass(frozen=True)
class Expected:
    """A site: its tensor, and where its neurons lie in the tensor of one sample."""

    name: str
    role: str
    activation: str
    neurons: int
    axis: int | tuple[int, ...] = -1
    unit_size: int = 1


@dataclass(frozen=True)
class Export:
    """A model, the inputs that are not normal numbers, its sites, and what must be listed."""

    model: ModelProto
    sites: tuple[Expected, ...]
    listed: tuple[str, ...] = ()
    integers: dict[str, int] = field(default_factory=dict)
    """Integer inputs, and the number that their elements stay below."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Sizes of the free axes besides the batch."""
    one_by_one: bool = False
    """True where a sample's values depend on the others of its batch."""

    def feeds(self) -> dict[str, NDArray[Any]]:
        """Seeded values for every input, samples along axis 0."""
        numbers = np.random.default_rng(3)
        made: dict[str, NDArray[Any]] = {}
        known = {tensor.name for tensor in self.model.graph.initializer}
        for value in self.model.graph.input:
            if value.name in known:
                continue
            dims = value.type.tensor_type.shape.dim
            shape = (SAMPLES, *(d.dim_value or self.sizes[d.dim_param] for d in dims[1:]))
            if value.name in self.integers:
                made[value.name] = numbers.integers(0, self.integers[value.name], shape)
            else:
                made[value.name] = numbers.standard_normal(shape).astype(np.float32)
        return made


BLOCK = {
    **dict.fromkeys(("wq", "wk", "wv", "wo"), (8, 8)),
    **{
        "bo": (8,),
        "w1": (8, 12),
        "b1": (12,),
        "w2": (12, 8),
        "root": np.float32(0.5),
        "table": (20, 8),
        "gain": (8,),
    },
    **{"zero": ZERO, "one": ONE, "two": TWO, "minus": MINUS, "four": INT([4]), "i0": INT(0), "i1": INT(1)},
}
MLP = "f = MatMul(res, w1)\nz = Add(f, b1)\na = Relu(z)\nd = MatMul(a, w2)\ny = Add(res, d)"
HEADS = (Expected("heads", "head", "Identity", 2, unit_size=4), Expected("out", "attn_out", "Identity", 8))
MLP_SITE = Expected("a", "mlp_post", "Relu", 12)
SIZES = (
    "s = Shape(x)\nb0 = Gather(s, i0)\nt0 = Gather(s, i1)\nb = Unsqueeze(b0, zero)\nt = Unsqueeze(t0, zero)\n"
)
SPLIT = "to4 = Concat<axis=0>(b, t, minus, four)\n"
QKV = "q = MatMul(x, wq)\nk = MatMul(x, wk)\nv = MatMul(x, wv)\n" + "".join(
    f"{n}4 = Reshape({n}, to4)\n{n}t = Transpose<perm=[0,2,1,3]>({n}4)\n" for n in "qkv"
)
MERGE = (
    "ct = Transpose<perm=[0,2,1,3]>(c)\nto3 = Concat<axis=0>(b, t, minus)\nheads = Reshape(ct, to3)\n"
    "o = MatMul(heads, wo)\nout = Add(o, bo)\n"
)


def torchscript() -> Export:
    """Positions cut from a table to the length of the ids; a mask spread by Where(target == -1, 1, target)."""
    body = (
        "e = Gather(words, ids)\nn = Shape<start=1,end=2>(ids)\nrow = Slice(table, zero, n, zero)\n"
        "p1 = Unsqueeze(row, zero)\nx = Add(e, p1)\n"
        + SIZES
        + SPLIT
        + QKV
        + "kk = Transpose<perm=[0,1,3,2]>(kt)\n"
        "qk = MatMul(qt, kk)\nraw = Mul(qk, root)\nm1 = Unsqueeze(mask, axes)\n"
        "want = Concat<axis=0>(b, minus, t, t)\nof = Shape(want)\nones = ConstantOfShape<value = int64[1] {1}>(of)\n"
        "neg = Mul(ones, minus)\nkeep = Equal(want, neg)\ntarget = Where(keep, ones, want)\nm2 = Expand(m1, target)\n"
        "sc = Add(raw, m2)\np = Softmax<axis=-1>(sc)\nc = MatMul(p, vt)\n"
        + MERGE
        + "res = Add(x, out)\n"
        + MLP
    )
    weights = {**BLOCK, "words": (30, 8), "axes": INT([1, 2])}
    proto = model("int64[batch,seq] ids, float[batch,seq] mask => float[] y", body, weights)
    return Export(proto, (*HEADS, MLP_SITE), integers={"ids": 30}, sizes={"seq": 5})


def runtime_fused() -> Export:
    """onnxruntime's extended optimisations: scores in one FusedMatMul, sums inside the normalisation."""
    body = (
        SIZES
        + SPLIT
        + QKV
        + "raw = com.microsoft.FusedMatMul<transB=1, alpha=0.5>(qt, kt)\np = Softmax<axis=-1>(raw)\n"
        "c = MatMul(p, vt)\nct = Transpose<perm=[0,2,1,3]>(c)\nto3 = Concat<axis=0>(b, t, minus)\n"
        "heads = Reshape(ct, to3)\nout = MatMul(heads, wo)\n"
        "norm, u1, u2, res = com.microsoft.SkipSimplifiedLayerNormalization(x, out, gain)\n"
        "f = MatMul(norm, w1)\nz = Add(f, b1)\na = Relu(z)\nd = MatMul(a, w2)\n"
        "y, u3, u4, sum2 = com.microsoft.SkipSimplifiedLayerNormalization(res, d, gain)"
    )
    proto = model("float[batch,seq,8] x => float[] y", body, BLOCK)
    return Export(proto, (*HEADS, MLP_SITE), sizes={"seq": 5})


def dynamically_quantised() -> Export:
    """Projections of 8 bits whose input is quantised in every run, over the whole batch."""
    names = "qkv"
    body = SIZES + SPLIT + "x8, xs, xz = DynamicQuantizeLinear(x)\n"
    for n in names:
        body += f"{n}i = MatMulInteger(x8, w{n}8, xz)\n{n}f = Cast<to=1>({n}i)\n"
        body += f"{n}s = Mul(xs, ws)\n{n} = Mul({n}f, {n}s)\n"
        body += f"{n}4 = Reshape({n}, to4)\n{n}t = Transpose<perm=[0,2,1,3]>({n}4)\n"
    body += "kk = Transpose<perm=[0,1,3,2]>(kt)\nqk = MatMul(qt, kk)\np = Softmax<axis=-1>(qk)\nc = MatMul(p, vt)\n"
    body += MERGE + "res = Add(x, out)\n" + MLP
    numbers = np.random.default_rng(1)
    weights = {
        **BLOCK,
        **{f"w{n}8": numbers.integers(-9, 9, (8, 8), np.int8) for n in names},
        "ws": np.float32(0.05),
    }
    proto = model("float[batch,seq,8] x => float[] y", body, weights)
    return Export(proto, (*HEADS, MLP_SITE), sizes={"seq": 5}, one_by_one=True)


def heads_in_the_batch() -> Export:
    """An Einsum as tf2onnx takes it apart: batch and heads multiplied by ReduceProd, put back by Max of two shapes."""
    body = (
        "q = MatMul(x, wq)\nk = MatMul(x, wk)\nv = MatMul(x, wv)\n"
        "q4 = Reshape(q, split)\nk4 = Reshape(k, split)\nv4 = Reshape(v, split)\n"
        "qt = Transpose<perm=[0,2,1,3]>(q4)\nkt = Transpose<perm=[0,2,3,1]>(k4)\nvt = Transpose<perm=[0,2,3,1]>(v4)\n"
        + "".join(
            f"{n}s = Shape({n}t)\n{n}b = Gather({n}s, first)\n{n}l = Gather({n}s, three)\n"
            f"{n}p = ReduceProd({n}b, zero)\n{n}g = Concat<axis=0>({n}p, minus, {n}l)\n{n}3 = Reshape({n}t, {n}g)\n"
            for n in "qkv"
        )
        + "qk = MatMul(q3, k3)\np = Softmax<axis=-1>(qk)\nvv = Transpose<perm=[0,2,1]>(v3)\nc3 = MatMul(p, vv)\n"
        "both = Max(qb, vb)\nback = Concat<axis=0>(both, five, four)\nc = Reshape(c3, back)\n"
        "ct = Transpose<perm=[0,2,1,3]>(c)\nheads = Reshape(ct, merge)\no = MatMul(heads, wo)\nout = Add(o, bo)\n"
        "res = Add(x, out)\n" + MLP
    )
    more = {"split": INT([-1, 5, 2, 4]), "merge": INT([-1, 5, 8]), "first": INT([0, 1]), "five": INT([5])}
    more["three"] = INT([3])
    return Export(model("float[batch,5,8] x => float[] y", body, {**BLOCK, **more}), (*HEADS, MLP_SITE))


def attention_over_pixels() -> Export:
    """A diffusion U-Net: heads are runs of channels of an NCHW map, weighed by Einsum."""
    body = (
        "s = Shape(x)\nb = Gather(s, zero)\nrows = Concat<axis=0>(b, six, minus)\nflat = Reshape(x, rows)\n"
        "qkv = Conv<kernel_shape=[1]>(flat, w)\nb2 = Mul(b, two)\nfold = Concat<axis=0>(b2, nine, pixels)\n"
        "f = Reshape(qkv, fold)\nq, k, v = Split<axis=1>(f, each)\n"
        'sc = Einsum<equation="bct,bcs->bts">(q, k)\np = Softmax<axis=-1>(sc)\n'
        'c = Einsum<equation="bts,bcs->bct">(p, v)\nheads = Reshape(c, rows)\nout = Conv<kernel_shape=[1]>(heads, wo)\n'
        "map = Reshape(out, s)\ny = Add(x, map)"
    )
    weights = {
        **{"w": (18, 6, 1), "wo": (6, 6, 1), "zero": ZERO, "two": TWO, "six": INT([6]), "minus": MINUS},
        **{"nine": INT([9]), "pixels": INT([16]), "each": INT([3, 3, 3])},
    }
    sites = (
        Expected("heads", "head", "Identity", 2, axis=-2, unit_size=3),
        Expected("out", "attn_out", "Identity", 6, axis=-2),
    )
    return Export(model("float[batch,6,4,4] x => float[] y", body, weights), sites)


def _quantised(name: str, made: str) -> str:
    return f"{made}q = QuantizeLinear({name}, qs, mid)\n{made} = DequantizeLinear({made}q, qs, mid)\n"


def quantised_gate() -> Export:
    """A gated MLP of 8 bits: three nodes for each that the float model has, between projection and product."""
    body = (
        f"{_quantised('x', 'xd')}gu = MatMul(xd, w)\n{_quantised('gu', 'gd')}biased = Add(gd, bias)\n"
        f"{_quantised('biased', 'bd')}g0, u0 = Split<axis=-1>(bd, each)\n{_quantised('g0', 'g')}"
        f"{_quantised('u0', 'u')}sg = Sigmoid(g)\n{_quantised('sg', 'sd')}silu = Mul(g, sd)\n"
        f"{_quantised('silu', 'act')}product = Mul(act, u)\n{_quantised('product', 'pd')}y = MatMul(pd, v)"
    )
    weights = {
        **{"w": (5, 8), "bias": (8,), "v": (4, 3), "each": INT([4, 4])},
        **{"qs": np.float32(0.05), "mid": np.uint8(128)},
    }
    sites = (Expected("product", "mlp_post", "SwiGLU", 4),)
    return Export(model("float[N,5] x => float[] y", body, weights), sites)


def quantised_pre_activation() -> Export:
    """DenseNet in 8 bits: BatchNormalization after a Relu, whose own Relu is the cut of a quantisation."""
    body = (
        "c = Conv<kernel_shape=[1,1]>(x, w)\nr = Relu(c)\nrq = QuantizeLinear(r, qs, bottom)\n"
        "rd = DequantizeLinear(rq, qs, bottom)\nn = BatchNormalization(rd, g, b, m, s)\n"
        "nq = QuantizeLinear(n, qs, bottom)\nnd = DequantizeLinear(nq, qs, bottom)\ny = Conv<kernel_shape=[1,1]>(nd, v)"
    )
    weights = {
        **{
            "w": (4, 3, 1, 1),
            "v": (2, 4, 1, 1),
            "g": (4,),
            "b": (4,),
            "m": (4,),
            "s": np.float32([1, 2, 3, 1]),
        },
        **{"qs": np.float32(0.02), "bottom": np.uint8(0)},
    }
    sites = (Expected("r", "conv", "Relu", 4, axis=-3), Expected("nd", "conv", "Relu", 4, axis=-3))
    return Export(model("float[N,3,5,5] x => float[] y", body, weights), sites)


def graph_network() -> Export:
    """A graph convolution: the adjacency is an input, and mixes nodes, not neurons."""
    body = (
        "h = MatMul(x, w)\nn = MatMul(adjacency, h)\na = Relu(n)\no = MatMul(a, v)\ny = MatMul(adjacency, o)"
    )
    proto = model("float[N,5,3] x, float[N,5,5] adjacency => float[] y", body, {"w": (3, 6), "v": (6, 2)})
    return Export(proto, (Expected("a", "dense", "Relu", 6),))


def attention_pooling() -> Export:
    """A softmax over positions weighs tokens; what reads the mean is a layer with an activation, no projection."""
    body = (
        "t = MatMul(x, u)\nscore = MatMul(t, r)\nst = Transpose<perm=[0,2,1]>(score)\np = Softmax<axis=-1>(st)\n"
        "h = MatMul(x, w0)\nm = MatMul(p, h)\nc = Squeeze(m, one)\nz = Gemm(c, w)\na = Relu(z)\ny = Gemm(a, v)"
    )
    weights = {"u": (4, 3), "r": (3, 1), "w0": (4, 6), "w": (6, 5), "v": (5, 2), "one": ONE}
    sites = (Expected("c", "head", "Identity", 1, unit_size=6), Expected("a", "dense", "Relu", 5))
    return Export(model("float[N,7,4] x => float[] y", body, weights), sites)


def rectifiers_by_maximum() -> Export:
    """max(z, zeros), the zeros made in the shape of z."""
    body = (
        "z = Gemm(x, w)\ns = Shape(z)\nn = ConstantOfShape(s)\na = Max(z, n)\n"
        "u = Gemm(a, v)\nt = Shape(u)\ne = Expand(nought, t)\nb = Max(e, u)\ny = Gemm(b, o)"
    )
    weights = {"w": (5, 6), "v": (6, 4), "o": (4, 2), "nought": np.float32(0)}
    sites = (Expected("a", "dense", "Relu", 6), Expected("b", "dense", "Relu", 4))
    return Export(model("float[N,5] x => float[] y", body, weights), sites)


def scikit_learn() -> Export:
    """A classifier with its default output: a list of maps from label to probability."""
    body = (
        "c = Cast<to=1>(x)\nm = MatMul(c, w)\nz = Add(m, b)\na = Relu(z)\nn = MatMul(a, v)\np = Softmax(n)\n"
        "k = ArgMax<axis=1>(p)\nlabel = Cast<to=7>(k)"
    )
    proto = model("float[N,5] x => int64[] label", body, {"w": (5, 6), "b": (1, 6), "v": (6, 3)})
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    zipped = helper.make_node(
        "ZipMap", ["p"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]
    )
    proto.graph.node.append(zipped)
    kind = TypeProto()
    kind.sequence_type.elem_type.map_type.key_type = 7
    kind.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type = 1
    proto.graph.output.append(ValueInfoProto(name="probabilities", type=kind))
    return Export(proto, (Expected("a", "dense", "Relu", 6),))


def detector_head() -> Export:
    """Fixed sizes behind a chunk by computed bounds: anchors and classes stand on axes of their own."""
    body = (
        "c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w)\nr = Relu(c)\ns = Shape(r)\nn = Gather(s, one)\n"
        "n1 = Add(n, one)\nhalf = Div(n1, two)\nl = Slice(r, zero, half, one)\nh = Conv<kernel_shape=[1,1]>(l, v)\n"
        "f = Reshape(h, to)\nt = Transpose<perm=[0,1,3,4,2]>(f)\na = Sigmoid(t)\ny = Reshape(a, flat)"
    )
    weights = {
        **{"w": (8, 3, 3, 3), "v": (6, 4, 1, 1), "zero": ZERO, "one": ONE, "two": TWO},
        **{"to": INT([1, 2, 3, 4, 4]), "flat": INT([1, -1, 3])},
    }
    sites = (Expected("r", "conv", "Relu", 8, axis=-3), Expected("a", "conv", "Sigmoid", 6, axis=(-4, -1)))
    return Export(model("float[1,3,4,4] x => float[] y", body, weights), sites)


def packed_projection() -> Export:
    """torch.nn.MultiheadAttention with a fixed batch: sizes from a shape cut at (2 mod 3), batch and heads as one."""
    body = (
        "x0 = Transpose<perm=[1,0,2]>(x)\nqkv = MatMul(x0, w)\n"
        "at = Mod(two, three)\nto = Add(at, one)\ns = Shape(qkv)\n"
        "left = Slice(s, zero, at)\nright = Slice(s, to, last)\ng = Concat<axis=0>(left, parts, right)\n"
        "p5 = Reshape(qkv, g)\np6 = Unsqueeze(p5, zero)\np7 = Transpose<perm=[3,1,2,0,4]>(p6)\n"
        "p8 = Squeeze(p7, three)\nq = Gather(p8, i0)\nk = Gather(p8, i1)\nv = Gather(p8, i2)\n"
        + "".join(
            f"{n}f = Reshape({n}, fold)\n{n}t = Transpose<perm=[1,0,2]>({n}f)\n{n}4 = Reshape({n}t, open)\n"
            for n in "qkv"
        )
        + "kk = Transpose<perm=[0,1,3,2]>(k4)\nqk = MatMul(q4, kk)\np = Softmax<axis=-1>(qk)\nc = MatMul(p, v4)\n"
        "ct = Transpose<perm=[2,0,1,3]>(c)\nheads = Reshape(ct, rows)\nout = Gemm(heads, wo, bo)\n"
        "o3 = Reshape(out, back)\no1 = Transpose<perm=[1,0,2]>(o3)\nres = Add(x, o1)\n" + MLP
    )
    more = {
        **{"w": (8, 24), "three": INT([3]), "last": INT([2**62]), "parts": INT([3, 8]), "i2": INT(2)},
        **{"fold": INT([5, 2, 4]), "open": INT([1, 2, 5, 4]), "rows": INT([5, 8]), "back": INT([5, 1, 8])},
    }
    return Export(model("float[1,5,8] x => float[] y", body, {**BLOCK, **more}), (*HEADS, MLP_SITE))


def unknown_operators() -> Export:
    """An operator that is none of ONNX's, as tf2onnx leaves it, and one of a runtime that holds weights."""
    body = (
        "z = Gemm(x, w)\na = Relu(z)\nu = Gemm(a, v)\ne = Erfc(u)\nq = Gemm(e, o)\n"
        "n = other.BlockedConv(x, weights)\nr = Relu(n)\ny = Add(q, r)"
    )
    proto = model(
        "float[N,5] x => float[] y", body, {"w": (5, 6), "v": (6, 4), "o": (4, 3), "weights": (3, 2, 1)}
    )
    return Export(proto, (Expected("a", "dense", "Relu", 6),), listed=("e", "n", "r"))


RUNNABLE = {
    make.__name__: make
    for make in (
        *(torchscript, runtime_fused, dynamically_quantised, heads_in_the_batch, attention_over_pixels),
        *(quantised_gate, quantised_pre_activation, graph_network, attention_pooling, rectifiers_by_maximum),
        *(scikit_learn, detector_head, packed_projection),
    )
}
LISTED = {"unknown_operators": unknown_operators}
