"""Deep, wide and malformed graphs: the search ends, soon, without a traceback."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper
from site_graphs import find, model

from nla.graph.find import find_sites


def chain(nodes: list[onnx.NodeProto], last: str, **weights: np.ndarray) -> ir.Model:
    inputs = [helper.make_tensor_value_info("x", 1, ["N", 4])]
    outputs = [helper.make_tensor_value_info(last, 1, None)]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))


def test_a_chain_of_thousands_of_nodes_needs_no_deep_stack() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["v0"])]
    nodes += [helper.make_node("Mul", [f"v{i}", "k"], [f"v{i + 1}"]) for i in range(5000)]
    nodes.append(helper.make_node("Relu", ["v5000"], ["y"]))
    sites, _ = find_sites(chain(nodes, "y", w=np.ones((4, 4), np.float32), k=np.float32(1)))
    assert [site.name for site in sites] == ["y"]


def test_a_sum_that_doubles_at_every_step_is_opened_once() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["v0"]), helper.make_node("MatMul", ["x", "w"], ["u0"])]
    for i in range(200):
        nodes.append(helper.make_node("Add", [f"v{i}", f"u{i}"], [f"v{i + 1}"]))
        nodes.append(helper.make_node("Mul", [f"v{i}", f"u{i}"], [f"u{i + 1}"]))
    nodes.append(helper.make_node("Relu", ["v200"], ["y"]))
    sites, _ = find_sites(chain(nodes, "y", w=np.ones((4, 4), np.float32)))
    assert [site.name for site in sites] == ["y"]
    assert {producer.node for producer in sites[0].producers} <= {"v0", "u0"}


def test_a_long_residual_stream_is_followed_to_its_end() -> None:
    nodes, stream = [], "x"
    for i in range(100):
        nodes += [
            helper.make_node("MatMul", [stream, "w"], [f"m{i}"]),
            helper.make_node("Relu", [f"m{i}"], [f"a{i}"]),
            helper.make_node("MatMul", [f"a{i}", "w"], [f"o{i}"]),
            helper.make_node("Add", [stream, f"o{i}"], [f"s{i}"]),
        ]
        stream = f"s{i}"
    sites, _ = find_sites(chain(nodes, stream, w=np.ones((4, 4), np.float32)), frozenset({"linear"}))
    assert len(sites) == 200


def test_a_constant_that_doubles_at_every_step_is_not_computed() -> None:
    nodes = [helper.make_node("Concat", ["k0", "k0"], ["k1"], axis=0)]
    nodes += [helper.make_node("Concat", [f"k{i}", f"k{i}"], [f"k{i + 1}"], axis=0) for i in range(1, 60)]
    nodes += [helper.make_node("MatMul", ["x", "k60"], ["z"]), helper.make_node("Relu", ["z"], ["y"])]
    sites, _ = find_sites(chain(nodes, "y", k0=np.ones((4, 4), np.float32)))
    assert not sites


def test_nodes_out_of_order_and_on_a_cycle() -> None:
    nodes = [
        helper.make_node("Relu", ["z"], ["y"]),
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("Add", ["p", "x"], ["q"]),
        helper.make_node("Relu", ["q"], ["p"]),
    ]
    sites, left_alone = find_sites(chain(nodes, "y", w=np.ones((4, 4), np.float32)))
    assert [site.name for site in sites] == ["y"]
    assert not left_alone


MALFORMED = [
    "z = Gemm(x, e)\ny = Relu(z)",
    "z = Conv(x, w)\ny = Relu(z)",
    "z = Gemm(x, w)\nt = Transpose<perm=[0, 0]>(z)\ny = Relu(t)",
    "z = Gemm(x, w)\nt = Transpose<perm=[0, 7]>(z)\ny = Relu(t)",
    "z = Gemm(x, w)\nt = Reshape(z, zeros)\ny = Relu(t)",
    "z = Gemm(x, w)\nt = Reshape(z, huge)\ny = Relu(t)",
    "z = Gemm(x, w)\nt = Squeeze(z, far)\ny = Relu(t)",
    "z = Gemm(x, w)\nt = Unsqueeze(z, far)\ny = Relu(t)",
    "z = Gemm(x, w)\nt = Flatten<axis=9>(z)\ny = Relu(t)",
    "z = Gemm(x, w)\nt = Gather<axis=1>(z, far)\ny = Relu(t)",
    "z = Gemm(x, w)\nt = Slice(z, far, far, far)\ny = Relu(t)",
    "z = Gemm(x, w)\nt, s = Split<axis=5>(z)\ny = Relu(t)",
    "z = Gemm(x, w)\nt, s = Split<axis=1>(z, far)\ny = Relu(t)",
    "z = Gemm(x, w)\nt = Concat<axis=9>(z, z)\ny = Relu(t)",
    "z = Gemm(x, w)\nt = Tile(z, far)\ny = Relu(t)",
    "z = Gemm(x, w)\nt = Pad(z, far)\ny = Relu(t)",
    "z = Gemm(x, w)\nt = Expand(z, far)\ny = Relu(t)",
    "z = Gemm(x, w)\nt = ReduceMean(z, far)\ny = Relu(t)",
    "z = Gemm(x, w)\nt = Clip(z, nan)\ny = Relu(t)",
    "z = Gemm(x, w)\nt = Add(z)\ny = Relu(t)",
    "z = Gemm(x)\ny = Relu(z)",
    "z = MatMul(x, scalar)\ny = Relu(z)",
    "z = LSTM(x, w, w)\ny = Relu(z)",
    "z = Gemm(x, w)\nt = com.microsoft.MultiHeadAttention<num_heads=3>(z)\ny = MatMul(t, w)",
    "q, s, p = DynamicQuantizeLinear(x)\nz = MatMulInteger(q)\ny = Relu(z)",
    "z = com.microsoft.MatMulNBits<K=0, N=4>(x, w)\ny = Relu(z)",
    "z = Gemm(x, w)\nt = Upsample(z, scalar)\ny = Relu(t)",
]


@pytest.mark.parametrize("body", MALFORMED)
def test_malformed_nodes_are_no_sites_and_no_tracebacks(body: str) -> None:
    weights = {
        **{"w": (5, 4), "e": (0, 4), "zeros": np.int64([0, 0, 0]), "huge": np.int64([1 << 40, 1 << 40])},
        **{"far": np.int64([99]), "nan": np.float32(np.nan), "scalar": np.float32(1)},
    }
    proto = model("float[N,5] x => float[P,Q] y", body, weights)
    graph = ir.from_proto(proto)
    find_sites(graph, frozenset({"linear", "mlp_pre"}))


def test_an_empty_graph_has_no_sites() -> None:
    assert find(onnx.parser.parse_model('<ir_version: 9, opset_import: ["" : 18]> g () => () { }')) == (
        {},
        {},
    )


@pytest.mark.parametrize("alpha", [float("nan"), float("inf")])
def test_a_parameter_that_is_no_number_is_listed(alpha: float) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("LeakyRelu", ["z"], ["y"], alpha=alpha),
    ]
    sites, left_alone = find_sites(chain(nodes, "y", w=np.ones((4, 4), np.float32)))
    assert not sites
    assert "finite" in left_alone[0].reason
