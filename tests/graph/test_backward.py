"""Backward passes against finite differences in float64, each rule on a graph of a few nodes."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from nla.activations import NAMES, Activation
from nla.errors import ModelError, UsageError
from nla.graph.backward.differentiate import RULES, backward_graph
from nla.graph.rewrite import extract

STEP = 1e-5
PLACES = 24
RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.standard_normal((5, 4)),
    "wt": RNG.standard_normal((4, 5)),
    "bias": RNG.standard_normal(5),
    "k": RNG.standard_normal((6, 4, 3, 3)),
    "kg": RNG.standard_normal((6, 2, 3, 2)),
    "kt": RNG.standard_normal((4, 3, 3, 3)),
    "kc": RNG.standard_normal((4, 3, 2)),
    "c4": RNG.uniform(0.5, 2, 4),
    "d4": RNG.standard_normal(4),
    "m4": RNG.standard_normal(4),
    "v4": RNG.uniform(0.5, 2, 4),
    "row": RNG.standard_normal((1, 4)),
    "column": RNG.standard_normal((4, 1, 1)),
    "s": np.array(0.7),
    "two": np.array(2.0),
    "three": np.array(3.0),
    "half": np.array(0.5),
    "low": np.array(-0.4),
    "high": np.array(0.9),
    "rows": np.array([0, -1], np.int64),
    "one": np.array([1], np.int64),
    "place": np.array(2, np.int64),
    "starts": np.array([1], np.int64),
    "ends": np.array([-1], np.int64),
    "pads": np.array([0, 0, 1, 0, 0, 0, 2, 1], np.int64),
    "wide": np.array([3, 4, 6, 5], np.int64),
}
DENSE, MAPS, LINE = (3, 4), (2, 4, 7, 6), (2, 4, 9)

NEAREST = 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'

CASES = {
    "gemm": (DENSE, "y = Gemm <alpha = 1.5, beta = 0.5> (x, wt, bias)"),
    "gemm turned": (DENSE, "y = Gemm <transB = 1> (x, w, bias)"),
    "gemm of the second": (DENSE, "y = Gemm <transB = 1> (w, x)"),
    "gemm, turned first": (DENSE, "y = Gemm <transA = 1> (x, x)"),
    "gemm, both turned": ((4, 3), "t = Transpose (x) y = Gemm <transA = 1, transB = 1, alpha = 2.0> (x, t)"),
    "gemm, both turned, of the second": ((3, 4), "y = Gemm <transA = 1, transB = 1> (wt, x)"),
    "gemm with a computed sum": (
        DENSE,
        "z = Gemm <transB = 1> (x, w, bias) y = Gemm <transB = 1, beta = 3.0> (x, w, z)",
    ),
    "matmul": (DENSE, "y = MatMul (x, wt)"),
    "matmul over tokens": ((2, 3, 4), "y = MatMul (x, wt)"),
    "matmul of two": ((2, 3, 4), "t = Transpose <perm = [0, 2, 1]> (x) y = MatMul (x, t)"),
    "matmul, spread": ((3, 4), "t = Transpose (x) y = MatMul (stack, t)"),
    "conv": (MAPS, "y = Conv (x, k)"),
    "conv, strides and pads": (MAPS, "y = Conv <strides = [2, 3], pads = [1, 0, 2, 1]> (x, k)"),
    "conv, dilations": (MAPS, "y = Conv <dilations = [2, 2], strides = [2, 1], pads = [2, 2, 2, 2]> (x, k)"),
    "conv, groups": (MAPS, "y = Conv <group = 2, strides = [2, 2]> (x, kg)"),
    "conv, same upper": (MAPS, 'y = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, k)'),
    "conv, same lower": (MAPS, 'y = Conv <auto_pad = "SAME_LOWER", strides = [2, 2]> (x, k)'),
    "conv of a line": (LINE, "t = Conv <group = 1, strides = [2]> (x, line) y = Tanh (t)"),
    "conv transposed": (MAPS, "y = ConvTranspose (x, kt)"),
    "conv transposed, strides": (
        MAPS,
        "y = ConvTranspose <strides = [2, 2], output_padding = [1, 0], pads = [1, 1, 0, 1]> (x, kt)",
    ),
    "batch norm": (MAPS, "y = BatchNormalization (x, c4, d4, m4, v4)"),
    "batch norm of rows": (DENSE, "y = BatchNormalization (x, c4, d4, m4, v4)"),
    "layer norm": ((2, 3, 4), "y = LayerNormalization (x, c4, d4)"),
    "layer norm written out": (
        (2, 3, 4),
        "m = ReduceMean <axes = [-1]> (x) c = Sub (x, m) q = Pow (c, two) v = ReduceMean <axes = [-1]> (q) "
        "e = Add (v, s) r = Sqrt (e) n = Div (c, r) y = Mul (n, c4)",
    ),
    "softmax": (DENSE, "y = Softmax <axis = 1> (x)"),
    "log softmax": (DENSE, "y = LogSoftmax <axis = -1> (x)"),
    "reduce": (MAPS, "y = ReduceMean <axes = [2, 3], keepdims = 0> (x)"),
    "reduce sum": (MAPS, "y = ReduceSum <keepdims = 0> (x, one)"),
    "reduce max": (MAPS, "y = ReduceMax <axes = [1, 2], keepdims = 0> (x)"),
    "reduce min": (MAPS, "y = ReduceMin <axes = [-1]> (x)"),
    "max pool": (MAPS, "y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)"),
    "max pool, overlapping": (
        MAPS,
        "y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x)",
    ),
    "max pool, up": (MAPS, "y = MaxPool <kernel_shape = [2, 3], strides = [2, 2], ceil_mode = 1> (x)"),
    "max pool of a line": (LINE, "y = MaxPool <kernel_shape = [3], strides = [2]> (x)"),
    "average pool": (
        MAPS,
        "y = AveragePool <kernel_shape = [3, 2], strides = [2, 2], pads = [1, 1, 0, 0]> (x)",
    ),
    "average pool with its padding": (
        MAPS,
        "y = AveragePool <kernel_shape = [3, 3], strides = [2, 1], pads = [1, 1, 1, 1], count_include_pad = 1> (x)",
    ),
    "global average": (MAPS, "y = GlobalAveragePool (x)"),
    "global max": (MAPS, "y = GlobalMaxPool (x)"),
    "add": (MAPS, "a = Tanh (x) b = Add (a, column) y = Add (b, x)"),
    "sub": (DENSE, "a = Sub (row, x) y = Sub (a, s)"),
    "sum of three": (DENSE, "a = Tanh (x) y = Sum (x, a, row)"),
    "mul": (DENSE, "a = Sigmoid (x) b = Mul (a, x) y = Mul (b, row)"),
    "square": (DENSE, "y = Mul (x, x)"),
    "spread and folded": (DENSE, "m = ReduceMean <axes = [0]> (x) y = Mul (m, x)"),
    "div": (DENSE, "a = Exp (x) b = Div (x, a) y = Div (s, a) z = Add (b, y) w2 = Div (z, row)"),
    "max with a constant": (DENSE, "y = Max (x, low)"),
    "max and min of two": (DENSE, "a = Tanh (x) b = Neg (x) c = Max (a, b) y = Min (c, x)"),
    "where": (DENSE, "h = Greater (x, s) a = Tanh (x) y = Where (h, a, x)"),
    "concat": (DENSE, "a = Tanh (x) y = Concat <axis = 1> (x, row3, a)"),
    "split": (DENSE, "a, b = Split <axis = 1> (x) c = Tanh (b) y = Mul (a, c)"),
    "half a split": (DENSE, "a, b = Split <axis = 1> (x) y = Tanh (b)"),
    "flatten": (MAPS, "a = Flatten (x) y = Tanh (a)"),
    "reshape": (MAPS, "a = Reshape (x, rows) y = Tanh (a)"),
    "unsqueeze, squeeze": (DENSE, "a = Unsqueeze (x, one) b = Tanh (a) y = Squeeze (b, one)"),
    "transpose": (MAPS, "a = Transpose <perm = [2, 0, 3, 1]> (x) y = Tanh (a)"),
    "slice": (DENSE, "a = Slice (x, starts, ends, one) y = Tanh (a)"),
    "gather": (MAPS, "a = Gather <axis = 1> (x, place) y = Tanh (a)"),
    "gather, kept": (MAPS, "a = Gather <axis = 2> (x, one) y = Tanh (a)"),
    "pad": (MAPS, "a = Pad (x, pads) y = Tanh (a)"),
    "expand": ((3, 4, 1, 1), "a = Expand (x, wide) y = Tanh (a)"),
    "identity, dropout": (DENSE, "a = Identity (x) b = Dropout (a) y = Tanh (b)"),
    "exp, log, sqrt": (DENSE, "a = Exp (x) b = Add (a, s) c = Sqrt (b) y = Log (c)"),
    "abs, neg, reciprocal": (DENSE, "a = Abs (x) b = Add (a, s) c = Reciprocal (b) y = Neg (c)"),
    "powers": (DENSE, "a = Pow (x, two) b = Pow (x, three) c = Add (a, s) d = Pow (c, half) y = Mul (b, d)"),
    "sine": (DENSE, "a = Sin (x) b = Cos (x) y = Mul (a, b)"),
    "instance norm": (MAPS, "y = InstanceNormalization <epsilon = 0.01> (x, c4, d4)"),
    "p norm": ((2, 3, 4), "y = LpNormalization <axis = 1> (x) z = Sin (y)"),
    "reduce to norms": (
        MAPS,
        "a = ReduceL2 <axes = [2]> (x) b = ReduceL1 <axes = [2]> (x) c = ReduceSumSquare <axes = [2]> (x) "
        "y = Sum (a, b, c)",
    ),
    "reduce to norms, without the axes": (
        MAPS,
        "a = ReduceL2 <axes = [1, 2], keepdims = 0> (x) b = ReduceLogSumExp <axes = [1, 2], keepdims = 0> (x) "
        "c = ReduceL1 <axes = [1, 2], keepdims = 0> (x) d = ReduceSumSquare <axes = [-3, 2], keepdims = 0> (x) "
        "y = Sum (a, b, c, d)",
    ),
    "mean": (DENSE, "a = Tanh (x) y = Mean (x, a, row)"),
    "tile": (MAPS, "a = Tile (x, times) y = Mul (a, wave)"),
    "pad, reflecting": (MAPS, 'a = Pad <mode = "reflect"> (x, pads) y = Tanh (a)'),
    "pad, repeating the edge": (MAPS, 'a = Pad <mode = "edge"> (x, pads) y = Tanh (a)'),
    "slice, every so many": (MAPS, "a = Slice (x, froms, tos, last, steps) y = Tanh (a)"),
    "gather one of a table": (MAPS, "a = Gather <axis = 1> (x, lone) y = Tanh (a)"),
    "gather several": (MAPS, "a = Gather <axis = 2> (x, rows) b = Gather <axis = 1> (a, table) y = Tanh (b)"),
    "depth to space": (
        (2, 8, 2, 3),
        'a = DepthToSpace <blocksize = 2> (x) b = DepthToSpace <blocksize = 2, mode = "CRD"> (x) y = Mul (a, b)',
    ),
    "space to depth": ((2, 2, 4, 6), "a = SpaceToDepth <blocksize = 2> (x) y = Tanh (a)"),
    "max pool of the whole map": (MAPS, "y = MaxPool <kernel_shape = [7, 6]> (x)"),
    "einsum": (
        (2, 3, 4),
        'a = Einsum <equation = "abc, dc -> adb"> (x, w) y = Einsum <equation = "adb, abc -> acd"> (a, x)',
    ),
    "resize to the nearest": (MAPS, f"y = Resize <{NEAREST}> (x, , scales)"),
    "resize between": (MAPS, 'y = Resize <mode = "linear"> (x, , scales)'),
    "resize to sizes": (
        MAPS,
        'y = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, , , wider)',
    ),
    "resize by cubes": (MAPS, 'y = Resize <mode = "cubic"> (x, , scales)'),
    "a shape on the way": (
        DENSE,
        "t = Tanh (x) n = Shape (x) a = Reshape (t, n) y = Floor (x) z = Add (a, y)",
    ),
}
WEIGHTS |= {
    "line": RNG.standard_normal((3, 4, 2)),
    "row3": RNG.standard_normal((3, 2)),
    "stack": RNG.standard_normal((2, 5, 4)),
    "times": np.array([1, 2, 1, 3]),
    "wave": RNG.standard_normal(18),
    "cuts": np.array([0, -1, 2, -2, 0, 1, -1, 0]),
    "froms": np.array([-1, 1]),
    "tos": np.array([-100, 7]),
    "last": np.array([3, 2]),
    "steps": np.array([-2, 3]),
    "table": np.array([[1, 3], [0, 1]]),
    "lone": np.array([[2]]),
    "scales": np.array([1, 1, 2, 1.5], np.float32),
    "wider": np.array([2, 4, 9, 4]),
    "none": np.zeros(0, np.float32),
}
"""By name, the shape of x and the nodes; the last output is the graph's."""


def made(shape, nodes, *, opset=17, kind="double", weights=WEIGHTS):
    last = re.findall(r"(\w+) = [A-Z]", nodes)[-1]
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({kind}{list(shape)} x) => ({kind} {last}) {{ {nodes} }}'
    model = parser.parse_model(text)
    used = {name for node in model.graph.node for name in node.input}
    real = np.float64 if kind == "double" else np.float32
    for name in sorted(used & set(weights)):
        value = weights[name]
        value = value.astype(real) if value.dtype == np.float64 else value
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(model)


def run(proto, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    return session.run(None, {"x": x})[0]


def gradient_at_x(model, x, **options):
    found = backward_graph(ir.from_proto(model), ["x"], **{"loss": "mean-square", **options})
    proto = extract(found.model, [found.gradients["x"]])
    return run(proto, x.astype(np.float32))


def loss(evaluator, x):
    y = evaluator.run(None, {"x": x})[0]
    return float(np.sum(np.square(y)) / y.size * len(y))


def assert_as_differences(model, x, got):
    """At some places of x, drawn anew for each shape."""
    evaluator, scale = ReferenceEvaluator(model), float(np.abs(got).max())
    places = np.random.default_rng(x.size).permutation(x.size)[:PLACES]
    assert got.shape == x.shape
    for at in (np.unravel_index(place, x.shape) for place in places):
        step = np.zeros_like(x)
        step[at] = STEP
        expected = (loss(evaluator, x + step) - loss(evaluator, x - step)) / (2 * STEP)
        assert float(got[at]) == pytest.approx(expected, rel=1e-5, abs=1e-5 * scale)


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_what_finite_differences_give(case):
    shape, nodes = CASES[case]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32).astype(np.float64)
    got = gradient_at_x(made(shape, nodes, kind="float"), x)
    assert_as_differences(made(shape, nodes), x, got)


OPSETS = {
    7: ("gemm", "matmul", "conv, strides and pads", "max pool, overlapping", "add", "where relu"),
    9: ("gemm", "softmax", "average pool", "max and min of two", "concat", "gather, kept"),
    11: (
        "resize at first",
        "resize at first to sizes",
        "gemm with a computed sum",
        "max pool, up",
        "split",
        "pad",
        "reduce",
    ),
    18: ("max pool, overlapping", "layer norm", "add", "mul", "conv, same upper", "pad"),
    22: ("gemm", "average pool with its padding", "layer norm", "softmax", "batch norm"),
    24: ("rms norm", "reduce to norms of inputs", "resize between", "pad, repeating the edge"),
}
OLD = {
    "where relu": (DENSE, "a = LeakyRelu (x) b = Elu (a) y = Clip <min = -0.5, max = 0.8> (b)"),
    "softmax": CASES["softmax"],
    "resize at first": (MAPS, 'y = Resize <mode = "linear"> (x, none, scales)'),
    "resize at first to sizes": (MAPS, 'y = Resize <mode = "linear"> (x, none, none, wider)'),
    "rms norm": ((2, 3, 4), "y = RMSNormalization (x, c4)"),
    "reduce to norms of inputs": (MAPS, "a = ReduceL2 (x, one) y = ReduceLogSumExp <keepdims = 0> (a, last)"),
}


@pytest.mark.parametrize(
    ("opset", "case"), [(opset, case) for opset, cases in OPSETS.items() for case in cases]
)
def test_gradients_are_written_for_every_opset(opset, case):
    shape, nodes = CASES.get(case) or OLD[case]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32).astype(np.float64)
    got = gradient_at_x(made(shape, nodes, opset=opset, kind="float"), x)
    assert_as_differences(made(shape, nodes, opset=opset), x, got)


AGAIN = {
    "group norm": (
        21,
        (2, 4, 5),
        "y = GroupNormalization <num_groups = 2, epsilon = 0.01> (x, c4, d4) z = Sin (y)",
        "a = Reshape (x, halves) b = InstanceNormalization <epsilon = 0.01> (a, ones, zeros) n = Shape (x) "
        "c = Reshape (b, n) d = Mul (c, column1) e = Add (d, column2) z = Sin (e)",
    ),
    "group norm of groups": (
        18,
        (2, 4, 5),
        "y = GroupNormalization <num_groups = 2, epsilon = 0.01> (x, c2, d2) z = Sin (y)",
        "a = Reshape (x, halves) b = InstanceNormalization <epsilon = 0.01> (a, c2, d2) n = Shape (x) "
        "c = Reshape (b, n) z = Sin (c)",
    ),
    "local response norm": (
        13,
        MAPS,
        "y = LRN <size = 3, alpha = 0.9, beta = 0.6, bias = 1.5> (x)",
        "q = Mul (x, x) t = Conv (q, band) u = Add (t, bend) p = Pow (u, steep) y = Div (x, p)",
    ),
    "flat softmax": (
        11,
        LINE,
        "a = Softmax <axis = 1> (x) b = LogSoftmax <axis = 1> (x) y = Mul (a, b)",
        "f = Flatten (x) a = Softmax <axis = 1> (f) b = LogSoftmax <axis = 1> (f) y = Mul (a, b)",
    ),
    "upsample": (9, MAPS, "y = Upsample (x, scales)", f"y = Resize <{NEAREST}> (x, , scales)"),
    "pad that takes away": (
        13,
        MAPS,
        "a = Pad (x, cuts, s) y = Tanh (a)",
        "b = Slice (x, low3, high3, axes3) a = Pad (b, adds, s) y = Tanh (a)",
    ),
    "conv transposed to a size": (
        13,
        MAPS,
        "y = ConvTranspose <strides = [2, 3], output_shape = [14, 17]> (x, kt)",
        "y = ConvTranspose <strides = [2, 3], pads = [1, 1, 0, 0]> (x, kt)",
    ),
    "conv transposed, same upper": (
        13,
        MAPS,
        'y = ConvTranspose <strides = [2, 2], auto_pad = "SAME_UPPER"> (x, kt)',
        "y = ConvTranspose <strides = [2, 2], pads = [0, 0, 1, 1]> (x, kt)",
    ),
    "conv transposed, same lower": (
        13,
        MAPS,
        'y = ConvTranspose <strides = [2, 2], auto_pad = "SAME_LOWER"> (x, kt)',
        "y = ConvTranspose <strides = [2, 2], pads = [1, 1, 0, 0]> (x, kt)",
    ),
}
"""By name: opset, shape of x, nodes that the reference computes otherwise than onnxruntime, and others for them."""
WEIGHTS |= {
    "halves": np.array([0, 2, -1]),
    "ones": np.ones(2),
    "zeros": np.zeros(2),
    "column1": WEIGHTS["c4"][:, None],
    "column2": WEIGHTS["d4"][:, None],
    "c2": np.array([0.7, 1.6]),
    "d2": np.array([-0.2, 0.4]),
    "band": np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]).reshape(4, 4, 1, 1) * 0.3,
    "bend": np.array(1.5),
    "steep": np.array(0.6),
    "low3": np.array([1, 0, 2]),
    "high3": np.array([9, 6, 6]),
    "axes3": np.array([1, 2, 3]),
    "adds": np.array([0, 0, 2, 0, 0, 1, 0, 0]),
}


@pytest.mark.parametrize("case", AGAIN)
def test_the_gradient_is_that_of_the_same_in_other_nodes(case):
    opset, shape, nodes, others = AGAIN[case]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    got = gradient_at_x(made(shape, nodes, opset=opset, kind="float"), x)
    same = gradient_at_x(made(shape, others, opset=opset if opset > 9 else 13, kind="float"), x)
    np.testing.assert_allclose(got, same, rtol=1e-5, atol=1e-5 * np.abs(same).max())


PARAMETERS = {
    "LeakyRelu": {"alpha": 0.1},
    "Elu": {"alpha": 1.3},
    "Celu": {"alpha": 0.7},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "Swish": {"alpha": 1.5},
}
SPELT = {
    "PRelu": "y = PRelu (x, s)",
    "Clip": "y = Clip (x, low, high)",
    "Gelu": "y = Gelu (x)",
    "Swish": "y = Swish <alpha = 1.5> (x)",
}
GRID = np.concatenate([np.linspace(-6, 6, 193), [0.0, -30.0, 30.0, 3.0, -3.0]]).astype(np.float32)


def as_nodes(name):
    if name in SPELT:
        return SPELT[name]
    given = ", ".join(f"{key} = {value}" for key, value in PARAMETERS.get(name, {}).items())
    return f"y = {name} {f'<{given}>' if given else ''} (x)"


@pytest.mark.parametrize("name", [n for n in NAMES if Activation.named(n).elementwise])
def test_every_activation_has_the_slope_that_its_formula_says(name):
    own = {"PRelu": {"slope_min": 0.7, "slope_max": 0.7}, "Clip": {"min": -0.4, "max": 0.9}}
    activation = Activation.named(name, **(own.get(name) or PARAMETERS.get(name, {})))
    opset = 24 if name == "Swish" else 22
    model = made((1, GRID.size), as_nodes(name), opset=opset, kind="float")
    got = gradient_at_x(model, GRID[None], loss="sum")[0]
    np.testing.assert_allclose(got, activation.derivative(GRID), rtol=2e-5, atol=2e-6)


def test_a_gradient_goes_through_casts_in_the_types_of_the_forward_pass():
    nodes = "d = Cast <to = 11> (x) t = Tanh (d) y = Cast <to = 1> (t)"
    got = gradient_at_x(made((1, GRID.size), nodes, kind="float"), GRID[None], loss="sum")[0]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, Activation.named("Tanh").derivative(GRID), rtol=1e-5, atol=1e-9)


def test_relu_has_no_slope_at_zero_and_of_equals_the_first_is_the_largest():
    model = made((1, 1, 4), "a = Relu (x) y = MaxPool <kernel_shape = [2], strides = [2]> (a)", kind="float")
    got = gradient_at_x(model, np.array([[[0.0, 0.0, 2.0, 2.0]]]), loss="sum")
    assert got.tolist() == [[[0.0, 0.0, 1.0, 0.0]]]


def test_cross_entropy_is_that_of_the_logits_behind_a_softmax():
    for nodes in ("y = Gemm <transB = 1> (x, w, bias)", "z = Gemm <transB = 1> (x, w, bias) y = Softmax (z)"):
        model = made(DENSE, nodes, kind="float")
        found = backward_graph(ir.from_proto(model), ["x"])
        assert found.fed is not None
        assert found.fed.shape == (None, 5)
        session = onnxruntime.InferenceSession(
            extract(found.model, [found.gradients["x"], found.output]).SerializeToString()
        )
        x = np.random.default_rng(2).standard_normal(DENSE).astype(np.float32)
        target = np.eye(5, dtype=np.float32)[[0, 4, 2]]
        got, logits = session.run(None, {"x": x, "nla.target": target})
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(got, (shares - target) @ WEIGHTS["w"], rtol=1e-4, atol=1e-6)


def test_a_gradient_can_be_fed():
    model = made(DENSE, "y = Gemm <transB = 1> (x, w)", kind="float")
    found = backward_graph(ir.from_proto(model), ["x"], loss="given")
    session = onnxruntime.InferenceSession(extract(found.model, [found.gradients["x"]]).SerializeToString())
    seed = np.random.default_rng(3).standard_normal((3, 5)).astype(np.float32)
    got = session.run(None, {"nla.seed": seed})[0]
    np.testing.assert_allclose(got, seed @ WEIGHTS["w"], rtol=1e-5)


@pytest.mark.parametrize("kind", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("kept", [0, 1])
def test_a_reduction_of_no_axes_changes_nothing(kind, kept):
    model = made(
        DENSE, f"y = {kind} <keepdims = {kept}, noop_with_empty_axes = 1> (x)", opset=18, kind="float"
    )
    x = np.random.default_rng(4).standard_normal(DENSE)
    got = gradient_at_x(model, x, loss="mean-square")
    np.testing.assert_allclose(got, 2 * x / 4, rtol=1e-5)
    norm = made(
        DENSE, f"y = ReduceL1 <keepdims = {kept}, noop_with_empty_axes = 1> (x)", opset=18, kind="float"
    )
    with pytest.raises(ModelError, match="reduces no axis"):
        backward_graph(ir.from_proto(norm), ["x"], loss="sum")


def test_a_vector_of_zeros_has_no_gradient_through_its_norm():
    model = made(DENSE, "y = LpNormalization <axis = 1> (x)", kind="float")
    x = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [3, 4, 0, 0]], np.float32)
    got = gradient_at_x(model, x, loss="sum")
    np.testing.assert_allclose(got, [[0] * 4, [0, 1, 1, 1], np.array([4, -3, 25, 25]) / 125], atol=1e-6)


def test_the_model_is_left_as_it_was():
    model = ir.from_proto(made(DENSE, "y = Gemm <transB = 1> (x, w)", kind="float"))
    before = ir.to_proto(model).SerializeToString()
    backward_graph(model, ["x"], loss="sum")
    assert ir.to_proto(model).SerializeToString() == before


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ("y = CumSum (x, place)", "the operator CumSum"),
        ("t = Tanh (x) y = com.example.Odd (t)", "com.example.Odd"),
        ("y = Pow (s, x)", "its parameters are computed"),
        (
            "y = MaxPool <kernel_shape = [300, 300], pads = [299, 299, 299, 299]> (m)",
            "too large to be taken apart",
        ),
        ("y, i = MaxPool <kernel_shape = [1, 1], storage_order = 1> (m)", "storage_order"),
        ("r = Reshape (x, rows) y = Conv (m, r)", "computed by the network itself"),
        ("n = Shape (x) y = Gather <axis = 1> (x, n)", "gathers places that are computed"),
        ('y = Einsum <equation = "ab->a"> (x)', "its equation"),
        ('y = Einsum <equation = "ab, cd -> ac"> (x, w)', "nothing else has"),
        ("n = Tanh (x) y = Resize (m, , n)", "computed"),
        ("y = LpNormalization <p = 1> (x)", "p = 1"),
        ("t = ReduceMean <keepdims = 0> (x) y = Pad (x, around, t)", "what it pads with"),
        ('y = MaxPool <kernel_shape = [2, 2], dilations = [2, 2], auto_pad = "SAME_LOWER"> (m)', "auto_pad"),
        ('y = AveragePool <kernel_shape = [2, 2], ceil_mode = 1, auto_pad = "SAME_UPPER"> (m)', "auto_pad"),
        (
            "p = AveragePool <kernel_shape = [2, 2], strides = [2, 2], pads = [1, 0, 1, 0], ceil_mode = 1> (m) "
            "y = Tanh (p)",
            "begins behind all values",
        ),
        ("y = Softmax <axis = 0> (x)", None),
    ],
)
def test_what_has_no_rule_is_refused_by_name(nodes, said):
    if "m)" in nodes or "(m" in nodes:
        nodes = f"m = Reshape (x, image) {nodes}"
    weights = {**WEIGHTS, "image": np.array([1, 1, 3, 4]), "around": np.array([0, 1, 0, 1])}
    if "Conv" in nodes:
        weights["rows"] = np.array([1, 1, 3, 4])
    text_opset = 17
    model = refused(nodes, text_opset, weights)
    if said is None:
        backward_graph(ir.from_proto(model), ["x"], loss="sum")
        return
    with pytest.raises(ModelError, match=said):
        backward_graph(ir.from_proto(model), ["x"], loss="sum")


def refused(nodes, opset, weights):
    domains = f'["" : {opset}, "com.example" : 1]'
    text = f"<ir_version: 8, opset_import: {domains}> g (float[3, 4] x) => (float y) {{ {nodes} }}"
    model = parser.parse_model(text)
    used = {name for node in model.graph.node for name in node.input}
    for name in sorted(used & set(weights)):
        value = weights[name]
        model.graph.initializer.append(
            numpy_helper.from_array(value.astype(np.float32) if value.dtype.kind == "f" else value, name)
        )
    return onnx.shape_inference.infer_shapes(model)


def test_an_operator_without_a_rule_beside_the_way_is_no_matter():
    nodes = "c = CumSum (x, place) z = Gemm <transB = 1> (c, w) y = Tanh (z)"
    found = backward_graph(ir.from_proto(made(DENSE, nodes, kind="float")), ["z"], loss="sum")
    assert set(found.gradients) == {"z"}


def test_a_tensor_that_does_not_lead_to_the_output_has_no_gradient():
    nodes = "z = Gemm <transB = 1> (x, w) q = Tanh (z) y = Tanh (x)"
    found = backward_graph(ir.from_proto(made(DENSE, nodes, kind="float")), ["z", "x"], loss="sum")
    assert set(found.gradients) == {"x"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss": "hinge"}, "no loss 'hinge'"),
        ({"output": "q"}, "no output 'q'"),
        ({"loss": "cross-entropy"}, "two classes"),
    ],
)
def test_a_loss_that_cannot_be_had_is_refused(options, said):
    model = ir.from_proto(made((3, 4, 2), "y = Tanh (x)", kind="float"))
    with pytest.raises((ModelError, UsageError), match=said):
        backward_graph(model, ["x"], **options)


def test_rules_stand_for_operators_of_onnx_or_of_onnxruntime():
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    known.add("SimplifiedLayerNormalization")  # onnxruntime's own, in ONNX's domain
    assert {kind for kind in RULES if "." not in kind} <= known


def test_behind_an_operator_without_a_rule_gradients_are_had_and_before_it_the_operator_is_named():
    nodes = (
        "z = Gemm <transB = 1> (x, w) c = CumSum (z, place) t = Tanh (c) u = Add (t, z) "
        "q = Gemm <transB = 1> (x, w) y = Add (u, q)"
    )
    found = backward_graph(ir.from_proto(made(DENSE, nodes, kind="float")), ["x", "z", "c", "q"], loss="sum")
    assert set(found.gradients) == {"c", "q"}  # z, and with it x, has a part of its gradient by another way
    assert set(found.stopped) == {"x", "z"}
    assert "the operator CumSum" in found.stopped["x"]
