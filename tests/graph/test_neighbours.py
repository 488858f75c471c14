"""What stands before and behind a site: consumers, outgoing norms, upstream, coupling, bottlenecks."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper
from site_graphs import find, model

from nla.site import Consumer

ROWS = "float[N,5] x => float[P,Q] y"
IMAGE = "float[N,3,8,8] x => float[P,Q,R,S] y"


def weight(proto: ModelProto, name: str) -> np.ndarray:
    return next(
        numpy_helper.to_array(t).astype(np.float64) for t in proto.graph.initializer if t.name == name
    )


def test_a_chain_of_dense_layers() -> None:
    body = "z = Gemm(x, w)\na = Relu(z)\nu = Gemm<transB=1>(a, v)\nb = Relu(u)\ny = Gemm(b, out)"
    proto = model(ROWS, body, {"w": (5, 4), "v": (3, 4), "out": (3, 2)})
    sites, _ = find(proto)
    assert sites["a"].consumers == (Consumer("Gemm_2", "Gemm", "v", 1, "b", 3, (3, 4), (0, 1, 1, 1)),)
    assert sites["b"].consumers == (Consumer("Gemm_4", "Gemm", "out", 0, None, 2, (3, 2), (0, 1, 1, 1)),)
    assert (sites["a"].upstream, sites["b"].upstream) == (None, ("a",))
    np.testing.assert_allclose(sites["a"].out_norm, np.linalg.norm(weight(proto, "v"), axis=0), rtol=1e-6)
    assert sites["a"].bottleneck
    assert sites["b"].bottleneck


def test_several_consumers_add_up_in_the_norm() -> None:
    body = "z = Gemm(x, w)\na = Relu(z)\np = Gemm(a, v1)\nq = MatMul(a, v2)\ny = Add(p, q)"
    proto = model(ROWS, body, {"w": (5, 4), "v1": (4, 2), "v2": (4, 2)})
    site = find(proto)[0]["a"]
    both = np.concatenate([weight(proto, "v1"), weight(proto, "v2")], 1)
    np.testing.assert_allclose(site.out_norm, np.linalg.norm(both, axis=1), rtol=1e-6)


def test_a_flattened_channel_owns_a_block_of_columns() -> None:
    body = "c = Conv(x, w)\na = Relu(c)\nf = Flatten(a)\ny = Gemm(f, v)"
    proto = model("float[N,3,4,4] x => float[P,Q] y", body, {"w": (6, 3, 3, 3), "v": (24, 2)})
    site = find(proto)[0]["a"]
    expected = np.linalg.norm(weight(proto, "v").reshape(6, 4 * 2), axis=1)
    np.testing.assert_allclose(site.out_norm, expected, rtol=1e-6)
    assert site.consumers[0].parameters_per_neuron == 4 * 2
    assert site.consumers[0].places == (0, 4, 4, 1)


def test_a_flattened_nhwc_map_repeats_its_channels() -> None:
    body = "c = Conv(x, w)\nh = Transpose<perm=[0,2,3,1]>(c)\na = Relu(h)\nf = Reshape(a, flat)\ny = MatMul(f, v)"
    given = {"w": (6, 3, 3, 3), "v": (24, 2), "flat": np.int64([-1, 24])}
    proto = model("float[N,3,4,4] x => float[P,Q] y", body, given)
    site = find(proto)[0]["a"]
    assert site.channel_axes == (-1,)
    expected = np.linalg.norm(weight(proto, "v").reshape(4, 6, 2).transpose(1, 0, 2).reshape(6, 8), axis=1)
    np.testing.assert_allclose(site.out_norm, expected, rtol=1e-6)


def test_grouped_convolutions_read_their_own_group() -> None:
    body = "c = Conv(x, w)\na = Relu(c)\ny = Conv<group=2>(a, v)"
    proto = model(IMAGE, body, {"w": (6, 3, 1, 1), "v": (4, 3, 3, 3)})
    site = find(proto)[0]["a"]
    v = weight(proto, "v").reshape(2, 2, 3, 9)  # group, output, input, kernel
    np.testing.assert_allclose(site.out_norm, np.sqrt((v**2).sum((1, 3)).reshape(6)), rtol=1e-6)
    assert site.consumers[0].parameters_per_neuron == 2 * 9


def test_a_dequantised_weight_is_measured_in_its_own_scale() -> None:
    body = "z = Gemm(x, w)\na = Relu(z)\nd = DequantizeLinear<axis=1>(q, s, o)\ny = MatMul(a, d)"
    q = np.random.default_rng(5).integers(-127, 127, (4, 2)).astype(np.int8)
    scale = np.float32([0.1, 0.5])
    proto = model(ROWS, body, {"w": (5, 4), "q": q, "s": scale, "o": np.zeros(2, np.int8)})
    site = find(proto)[0]["a"]
    assert site.consumers[0].weight == "q"
    np.testing.assert_allclose(site.out_norm, np.linalg.norm(q * scale.astype(np.float64), axis=1), rtol=1e-6)


def test_half_precision_weights_are_measured() -> None:
    body = "z = Gemm(x, w)\na = Relu(z)\nf = Cast<to=1>(h)\ny = MatMul(a, f)"
    h = np.random.default_rng(5).standard_normal((4, 2)).astype(np.float16)
    site = find(model(ROWS, body, {"w": (5, 4), "h": h}))[0]["a"]
    np.testing.assert_allclose(site.out_norm, np.linalg.norm(h.astype(np.float64), axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("tail", "shape"),
    [
        ("l = LayerNormalization(a, g, g)\ny = MatMul(l, v)", "float[P,Q] y"),
        ("y = Softmax(a)", "float[P,Q] y"),
        ("m = MatMul(a, v)\ns = ReduceSum(a, axes)\ny = Add(m, s)", "float[P,Q] y"),
        ("m = MatMul(a, v)\nk = other.Twist(a)\ny = Add(m, k)", "float[P,Q] y"),
    ],
)
def test_no_norm_where_something_else_reads_the_neurons(tail: str, shape: str) -> None:
    given = {"w": (5, 4), "v": (4, 4), "g": (4,), "axes": np.int64([1])}
    proto = model(f"float[N,5] x => {shape}", f"z = Gemm(x, w)\na = Relu(z)\n{tail}", given)
    assert find(proto)[0]["a"].out_norm is None


def test_no_norm_where_the_graph_returns_the_activation() -> None:
    proto = model(
        "float[N,5] x => float[P,Q] a, float[R,S] y",
        "z = Gemm(x, w)\na = Relu(z)\ny = Gemm(a, v)",
        {"w": (5, 4), "v": (4, 2)},
    )
    site = find(proto)[0]["a"]
    assert site.out_norm is None
    assert site.bottleneck  # every path to either output passes here
    assert site.consumers[0].weight == "v"


def test_a_shape_that_is_read_does_not_hide_the_norm() -> None:
    body = "z = Gemm(x, w)\na = Relu(z)\ns = Shape(a)\nr = Reshape(a, s)\ny = Gemm(r, v)"
    assert find(model(ROWS, body, {"w": (5, 4), "v": (4, 2)}))[0]["a"].out_norm is not None


RESIDUAL = (
    "c0 = Conv(x, w0)\na = Relu(c0)\nc1 = Conv(a, w1)\nb = Relu(c1)\nc2 = Conv(b, w2)\ns = Add(c2, a)\n"
    "r = Relu(s)\ny = Conv(r, w3)"
)
SQUARE = {"w0": (6, 3, 1, 1), "w1": (6, 6, 1, 1), "w2": (6, 6, 1, 1), "w3": (2, 6, 1, 1)}


def test_a_residual_sum_couples_what_it_adds() -> None:
    sites, _ = find(model(IMAGE, RESIDUAL, SQUARE))
    assert sites["a"].coupled == ("r",)
    assert sites["r"].coupled == ("a",)
    assert sites["b"].coupled == ()
    assert [producer.weight for producer in sites["r"].producers] == ["w2"]
    assert sites["r"].upstream is None  # the skip feeds it too
    assert [site.bottleneck for site in sites.values()] == [True, False, True]


def test_both_branches_of_a_projected_residual_are_producers() -> None:
    body = RESIDUAL.replace("Add(c2, a)", "Add(c2, p)").replace("s = ", "p = Conv(a, w4)\ns = ")
    sites, _ = find(model(IMAGE, body, {**SQUARE, "w4": (6, 6, 1, 1)}))
    assert {producer.weight for producer in sites["r"].producers} == {"w2", "w4"}
    assert set(sites["r"].upstream or ()) == {"a", "b"}
    assert sites["r"].parameters_in == 12
    assert sites["a"].coupled == ()


def test_a_depthwise_convolution_couples_its_input_and_output() -> None:
    body = "c = Conv(x, w)\na = Relu(c)\nd = Conv<group=6>(a, k)\nb = Relu(d)\ny = Conv(b, v)"
    sites, _ = find(model(IMAGE, body, {"w": (6, 3, 1, 1), "k": (6, 1, 3, 3), "v": (2, 6, 1, 1)}))
    assert (sites["a"].coupled, sites["b"].coupled) == (("b",), ("a",))


def test_a_concatenation_keeps_branches_apart_and_in_order() -> None:
    body = (
        "c = Conv(x, w)\na = Relu(c)\nd = Conv(x, k)\nb = Relu(d)\nj = Concat<axis=1>(a, b)\n"
        "e = Conv(j, v)\ny = Relu(e)"
    )
    proto = model(IMAGE, body, {"w": (2, 3, 1, 1), "k": (4, 3, 1, 1), "v": (3, 6, 1, 1)})
    sites, _ = find(proto)
    assert sites["y"].upstream == ("a", "b")
    assert (sites["a"].coupled, sites["b"].coupled) == ((), ())
    columns = np.linalg.norm(weight(proto, "v")[:, :, 0, 0], axis=0)
    np.testing.assert_allclose(sites["a"].out_norm, columns[:2], rtol=1e-6)
    np.testing.assert_allclose(sites["b"].out_norm, columns[2:], rtol=1e-6)


def test_an_activation_of_a_concatenation_has_all_branches_as_producers() -> None:
    body = "c = Conv(x, w)\nd = Conv(x, k)\nj = Concat<axis=1>(c, d)\na = Relu(j)\ny = Conv(a, v)"
    sites, _ = find(model(IMAGE, body, {"w": (2, 3, 1, 1), "k": (4, 3, 3, 3), "v": (3, 6, 1, 1)}))
    site = sites["a"]
    assert [(p.weight, p.channel_offset) for p in site.producers] == [("w", 0), ("k", 0)]
    assert site.parameters_in == round((2 * 3 + 4 * 27) / 6)


def test_a_densely_connected_layer_is_coupled_with_the_sites_it_collects() -> None:
    body = (
        "c = Conv(x, w)\na = Relu(c)\nd = Conv(a, k)\nj = Concat<axis=1>(a, d)\n"
        "n = BatchNormalization(j, g, g, g, g)\nb = Relu(n)\ny = Conv(b, v)"
    )
    given = {"w": (2, 3, 1, 1), "k": (4, 2, 1, 1), "v": (3, 6, 1, 1), "g": np.ones(6, np.float32)}
    sites, _ = find(model(IMAGE, body, given))
    assert sites["b"].neurons == 6
    assert sites["b"].coupled == ("a",)
    assert [p.weight for p in sites["b"].producers] == ["k"]


def test_parallel_branches_are_no_bottleneck() -> None:
    body = (
        "c = Conv(x, w)\na = Relu(c)\nd = Conv(x, k)\nb = Relu(d)\ns = Add(a, b)\ne = Conv(s, v)\n"
        "r = Relu(e)\ny = Identity(r)"
    )
    sites, _ = find(model(IMAGE, body, {"w": (4, 3, 1, 1), "k": (4, 3, 1, 1), "v": (3, 4, 1, 1)}))
    assert [site.bottleneck for site in sites.values()] == [False, False, True]


def test_shared_weights_serve_several_nodes() -> None:
    body = "p = Gemm(x, w)\na = Relu(p)\nq = Gemm(a, w)\nb = Relu(q)\ny = Gemm(b, w)"
    sites, _ = find(model("float[N,4] x => float[P,Q] y", body, {"w": (4, 4)}))
    assert [site.producers[0].weight for site in sites.values()] == ["w", "w"]
    assert [site.producers[0].node for site in sites.values()] == ["Gemm_0", "Gemm_2"]


def test_a_residual_that_a_gemm_adds_itself_is_a_sum() -> None:
    body = "p = Gemm(x, w)\na = Relu(p)\nq = Gemm(a, v, a)\nb = Relu(q)\ny = Gemm(b, out)"
    sites, _ = find(model(ROWS, body, {"w": (5, 4), "v": (4, 4), "out": (4, 2)}))
    assert sites["b"].coupled == ("a",)
    assert sites["b"].upstream is None
    assert [producer.weight for producer in sites["b"].producers] == ["v"]
