"""Sizes that nla follows where onnx's inference gives up are those of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest
from onnx import ModelProto
from site_graphs import model, run

from nla.graph.constants import Constants
from nla.graph.query import in_order
from nla.graph.shapes import Dims, Shapes

SIZES = {"N": 3, "T": 5, "H": 10, "W": 9}
INT = np.int64


@dataclass(frozen=True)
class Case:
    """Nodes, their constants, and the sizes of y that must be known from those of x alone."""

    head: str
    body: str
    weights: dict[str, object]
    y: Dims


TOKENS = "float[N,T,8] x => float[] y"
IMAGE = "float[N,4,H,10] x => float[] y"
CASES = {
    "slice of a table up to a size": Case(
        "float[N,T,8] x => float[] y",
        "n = Shape<start=1,end=2>(x)\np = Slice(table, zero, n, one)\nu = Unsqueeze(p, zero)\ny = Add(x, u)",
        {"table": (7, 8), "zero": INT([0]), "one": INT([0])},
        ("N", "T", 8),
    ),
    "one value for each channel, behind an operator whose sizes are open": Case(
        "float[N,4,H,10] x => float[] y",
        "f = com.microsoft.FusedConv<kernel_shape=[3,3]>(x, w)\np = GlobalAveragePool(f)\ny = Flatten(p)",
        {"w": (5, 4, 3, 3)},
        ("N", 5),
    ),
    "slice": Case(
        TOKENS,
        "y = Slice(x, s, e, a, k)",
        {"s": INT([7]), "e": INT([-99]), "a": INT([2]), "k": INT([-2])},
        ("N", "T", 4),
    ),
    "slice to the end": Case(
        TOKENS, "y = Slice(x, s, e, a)", {"s": INT([0]), "e": INT([2**62]), "a": INT([1])}, ("N", "T", 8)
    ),
    "reshape by computed sizes": Case(
        TOKENS,
        "s = Shape(x)\nb = Gather(s, i)\nt = Gather(s, j)\nbt = Mul(b, t)\nu = Unsqueeze(bt, i1)\n"
        "g = Concat<axis=0>(u, m, four)\ny = Reshape(x, g)",
        {"i": INT(0), "j": INT(1), "i1": INT([0]), "m": INT([-1]), "four": INT([4])},
        ("N·T", 2, 4),
    ),
    "reshape back from a product": Case(
        TOKENS,
        "s = Shape(x)\nf = Reshape(x, rows)\nb = Gather(s, i)\ng = Concat<axis=0>(b, m, last)\ny = Reshape(f, g)",
        {"rows": INT([-1, 8]), "i": INT([0]), "m": INT([-1]), "last": INT([8])},
        ("N", "T", 8),
    ),
    "product of sizes reduced": Case(
        "float[N,2,T,4] x => float[] y",
        "s = Shape(x)\nbt = Gather(s, i)\np = ReduceProd(bt, z)\ng = Concat<axis=0>(p, m, four)\ny = Reshape(x, g)",
        {"i": INT([0, 1]), "z": INT([0]), "m": INT([-1]), "four": INT([4])},
        ("N·2", "T", 4),
    ),
    "sizes split": Case(
        TOKENS,
        "s = Shape(x)\nb, t, c = Split(s, each)\ng = Concat<axis=0>(t, b, c)\ny = Expand(k, g)",
        {"each": INT([1, 1, 1]), "k": (1, 1, 8)},
        ("T", "N", 8),
    ),
    "expand with a target that keeps sizes of -1": Case(
        "float[N,1,8] x => float[] y",
        "s = Shape(x)\nb = Gather(s, i)\ng = Concat<axis=0>(b, m, eight)\n"
        "ones = ConstantOfShape<value = int64[1] {1}>(three)\n"
        "neg = Mul(ones, m)\nis = Equal(g, neg)\nt = Where(is, ones, g)\ny = Expand(k, t)",
        {"i": INT([0]), "m": INT([-1]), "eight": INT([8]), "three": INT([3]), "k": (1, 6, 8)},
        ("N", 6, 8),
    ),
    "largest of two shapes": Case(
        TOKENS,
        "s = Shape(x)\nr = Shape(x)\nl = Max(s, r)\ny = Expand(k, l)",
        {"k": (1, 1, 1)},
        ("N", "T", 8),
    ),
    "products of matrices": Case(
        "float[N,1,T,8] x => float[] y", "y = MatMul(x, w)", {"w": (2, 8, 5)}, ("N", 2, "T", 5)
    ),
    "fused product, transposed": Case(
        "float[N,T,8] x => float[] y",
        "y = com.microsoft.FusedMatMul<transB=1>(x, w)",
        {"w": (1, 5, 8)},
        ("N", "T", 5),
    ),
    "einsum": Case(TOKENS, 'y = Einsum<equation="btd,hdk->bhtk">(x, w)', {"w": (2, 8, 3)}, ("N", 2, "T", 3)),
    "lookup": Case(TOKENS, "y = Gather<axis=1>(x, i)", {"i": INT([[0, 1], [1, 0]])}, ("N", 2, 2, 8)),
    "concat": Case(TOKENS, "y = Concat<axis=-1>(x, x)", {}, ("N", "T", 16)),
    "parts": Case(TOKENS, "a, y = Split<axis=2>(x, each)", {"each": INT([3, 5])}, ("N", "T", 5)),
    "flatten": Case(
        IMAGE,
        "c = Conv<kernel_shape=[1,1]>(x, w)\ny = Flatten<axis=2>(c)",
        {"w": (2, 4, 1, 1)},
        ("N·2", "H·10"),
    ),
    "statistic": Case(TOKENS, "y = ReduceMean<keepdims=0>(x, a)", {"a": INT([-2])}, ("N", 8)),
    "statistic kept": Case(TOKENS, "y = ReduceMax(x, a)", {"a": INT([1])}, ("N", 1, 8)),
    "convolution": Case(
        "float[N,4,11,10] x => float[] y",
        "y = Conv<kernel_shape=[3,2],strides=[2,3],pads=[1,0,2,1],dilations=[2,1]>(x, w)",
        {"w": (6, 4, 3, 2)},
        ("N", 6, 5, 4),
    ),
    "convolution of the same size": Case(
        "float[N,4,11,10] x => float[] y",
        'y = Conv<kernel_shape=[3,3],strides=[2,2],auto_pad="SAME_UPPER">(x, w)',
        {"w": (6, 4, 3, 3)},
        ("N", 6, 6, 5),
    ),
    "pooling": Case(
        "float[N,4,11,10] x => float[] y",
        'y = MaxPool<kernel_shape=[3,3],auto_pad="VALID">(x)',
        {},
        ("N", 4, 9, 8),
    ),
    "skip normalisation": Case(
        TOKENS,
        "n, m, v, s = com.microsoft.SkipSimplifiedLayerNormalization(x, x, g)\ny = Add(n, s)",
        {"g": (8,)},
        ("N", "T", 8),
    ),
}


def followed(proto: ModelProto) -> tuple[Shapes, dict[str, ir.Value]]:
    """Shapes of a graph of which nothing was inferred, and its values."""
    graph = ir.from_proto(proto).graph
    nodes = in_order(graph)
    shapes = Shapes(Constants(graph, nodes), graph.inputs)
    for node in nodes:
        shapes.visit(node)
    return shapes, {str(value.name): value for node in nodes for value in node.outputs if value.name}


def number(size: int | str) -> int:
    return (
        size
        if isinstance(size, int)
        else math.prod(SIZES.get(part, 0) or int(part) for part in size.split("·"))
    )


@pytest.mark.parametrize("name", CASES)
def test_sizes_are_those_of_a_run(name: str) -> None:
    case = CASES[name]
    proto = model(case.head, case.body, case.weights)
    shapes, values = followed(proto)
    assert shapes.dims(values["y"]) == case.y
    dims = [d.dim_value or SIZES[d.dim_param] for d in proto.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).standard_normal(dims).astype(np.float32)
    for made, value in zip(run(proto, {"x": x}, list(values)), values.values(), strict=True):
        sizes, elements = shapes.dims(value), shapes.elements(value)
        if sizes is not None:
            known = [
                (number(size), real) for size, real in zip(sizes, made.shape, strict=True) if size is not None
            ]
            assert all(stated == real for stated, real in known), value.name
        if elements is not None:
            known = [
                (number(e), real) for e, real in zip(elements, made.reshape(-1), strict=True) if e is not None
            ]
            assert all(stated == real for stated, real in known), value.name


def test_a_free_size_is_only_spread_over_itself() -> None:
    """What is added to a tensor of free size has that size or 1, or the model would not run for every size."""
    shapes, values = followed(model("float[N,8] x, float[M,8] z => float[] y", "y = Add(x, z)"))
    assert shapes.dims(values["y"]) == (None, 8)
    shapes, values = followed(model("float[N,8] x, float[?,8] z => float[] y", "y = Add(x, z)"))
    assert shapes.dims(values["y"]) == ("N", 8)
