"""Heads, output projections, MLPs and gated products; and what must not be taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto
from site_graphs import assert_channels, feeds, find, model, rows, run

TOKENS = "float[N,6,8] x => float[P,Q,R] y"
SHAPES = {"split": np.int64([0, 0, 2, 4]), "merge": np.int64([0, 0, 8]), "root": np.float32(0.5)}
SCORES = (
    "q = MatMul(x, wq)\nk = MatMul(x, wk)\nv = MatMul(x, wv)\n"
    "q4 = Reshape(q, split)\nk4 = Reshape(k, split)\nv4 = Reshape(v, split)\n"
    "qt = Transpose<perm=[0,2,1,3]>(q4)\nkt = Transpose<perm=[0,2,3,1]>(k4)\nvt = Transpose<perm=[0,2,1,3]>(v4)\n"
    "qk = MatMul(qt, kt)\ns = Mul(qk, root)\n"
)
MERGE = "c = MatMul(p, vt)\nct = Transpose<perm=[0,2,1,3]>(c)\nheads = Reshape(ct, merge)\n"
PROJECT = "o = MatMul(heads, wo)\nout = Add(o, bo)\n"
MLP = (
    "res = Add(x, out)\nf = MatMul(res, w1)\nz = Add(f, b1)\na = Relu(z)\nd = MatMul(a, w2)\ny = Add(res, d)"
)
WEIGHTS = {
    **dict.fromkeys(("wq", "wk", "wv", "wo"), (8, 8)),
    **{"bo": (8,), "w1": (8, 12), "b1": (12,), "w2": (12, 8)},
    **SHAPES,
}


def block(softmax: str = "p = Softmax<axis=-1>(s)", **more: object) -> ModelProto:
    return model(TOKENS, SCORES + softmax + "\n" + MERGE + PROJECT + MLP, {**WEIGHTS, **more})


def test_a_transformer_block_has_heads_an_output_and_an_mlp() -> None:
    sites, left_alone = find(block())
    assert not left_alone
    assert [(s.name, s.role, s.neurons, s.unit_size) for s in sites.values()] == [
        ("heads", "head", 2, 4),
        ("out", "attn_out", 8, 1),
        ("a", "mlp_post", 12, 1),
    ]
    assert sites["heads"].activation.name == sites["out"].activation.name == "Identity"
    assert sites["out"].upstream == ("heads",)
    assert sites["heads"].consumers[0].parameters_per_neuron == 4 * 8
    assert sites["heads"].parameters_in == 4 * 8  # of its value projection


def test_a_head_is_a_slice_of_its_own_values() -> None:
    """Changing the value weights of one head changes that head's slice and no other."""
    proto = block()
    site = find(proto)[0]["heads"]
    given = feeds(proto)
    before = rows(run(proto, given, ["heads"])[0], site)
    for tensor in proto.graph.initializer:
        if tensor.name == "wv":
            array = np.frombuffer(tensor.raw_data, np.float32).reshape(8, 8).copy()
            array[:, 4:] += 1  # the second head
            tensor.raw_data = array.tobytes()
    after = rows(run(proto, given, ["heads"])[0], site)
    changed = np.abs(after - before).max(1).reshape(site.neurons, site.unit_size).max(1) > 1e-6
    assert changed.tolist() == [False, True]


def test_the_norm_of_a_head_is_that_of_its_rows_of_the_projection() -> None:
    proto = block()
    weight = next(np.frombuffer(t.raw_data, np.float32) for t in proto.graph.initializer if t.name == "wo")
    expected = np.linalg.norm(weight.reshape(2, 4 * 8), axis=1)
    norm = find(proto)[0]["heads"].out_norm
    assert norm is not None
    np.testing.assert_allclose(norm, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "softmax",
    [
        "m = Add(s, mask)\np = Softmax<axis=-1>(m)",
        "m = Where(keep, s, low)\nq1 = Softmax<axis=-1>(m)\nn = IsNaN(q1)\np = Where(n, zero, q1)",
        "q1 = Softmax<axis=-1>(s)\nq2 = Dropout(q1)\np = Cast<to=1>(q2)",
        "e = Exp(s)\nt = ReduceSum(e, last)\np = Div(e, t)",
    ],
)
def test_masked_cleaned_and_decomposed_softmaxes_are_seen(softmax: str) -> None:
    more = {
        **{"mask": np.zeros((6, 6), np.float32), "keep": np.ones((6, 6), bool)},
        **{"low": np.float32(-1e9), "zero": np.float32(0), "last": np.int64([-1])},
    }
    sites, _ = find(block(softmax, **more))
    assert [site.role for site in sites.values()] == ["head", "attn_out", "mlp_post"]


def test_heads_that_share_an_axis_with_the_batch() -> None:
    """As torch's nn.MultiheadAttention: [T, B·H, d] and one bmm for all."""
    body = (
        "v = MatMul(x, wv)\nv3 = Reshape(v, apart)\nvt = Transpose<perm=[1,0,2]>(v3)\n"
        "qk = MatMul(s0, s1)\np = Softmax<axis=-1>(qk)\nc = MatMul(p, vt)\n"
        "ct = Transpose<perm=[1,0,2]>(c)\nheads = Reshape(ct, rows)\ny = Gemm(heads, wo, bo)"
    )
    weights = {
        "wv": (8, 8),
        "wo": (8, 8),
        "bo": (8,),
        "apart": np.int64([6, -1, 4]),
        "rows": np.int64([-1, 8]),
    }
    head = "float[6,N,8] x, float[M,6,3] s0, float[M,3,6] s1 => float[P,Q] y"
    sites, _ = find(model(head, body, weights))
    assert [(s.name, s.neurons, s.unit_size) for s in sites.values()] == [("heads", 2, 4), ("y", 8, 1)]


def test_attention_without_heads_is_one_head_before_its_projection_or_else_listed() -> None:
    body = (
        "q = MatMul(x, wq)\nt = Transpose<perm=[0,2,1]>(q)\nqk = MatMul(q, t)\np = Softmax<axis=-1>(qk)\n"
        "c = MatMul(p, q)\n"
    )
    sites, _ = find(model(TOKENS, body + "y = MatMul(c, wo)", {"wq": (8, 8), "wo": (8, 8)}))
    assert [(s.name, s.role, s.neurons, s.unit_size) for s in sites.values()] == [
        ("c", "head", 1, 8),
        ("y", "attn_out", 8, 1),
    ]
    sites, left_alone = find(model(TOKENS, body + "y = Neg(c)", {"wq": (8, 8)}))
    assert not sites
    assert "no output projection" in left_alone["c"].reason


@pytest.mark.parametrize("operator", ["MultiHeadAttention", "GroupQueryAttention"])
def test_fused_attention(operator: str) -> None:
    more = ", kv_num_heads=2" if operator.startswith("Group") else ""
    body = (
        "q = MatMul(x, wq)\nk = MatMul(x, wk)\nv = MatMul(x, wv)\n"
        f"h = com.microsoft.{operator}<num_heads=2{more}>(q, k, v)\ny = MatMul(h, wo)"
    )
    sites, _ = find(model(TOKENS, body, WEIGHTS))
    assert [(s.name, s.role, s.neurons, s.unit_size) for s in sites.values()] == [
        ("h", "head", 2, 4),
        ("y", "attn_out", 8, 1),
    ]


def test_the_attention_operator_of_opset_23() -> None:
    body = (
        "q = MatMul(x, wq)\nk = MatMul(x, wk)\nv = MatMul(x, wv)\n"
        "h = Attention<q_num_heads=2, kv_num_heads=2>(q, k, v)\ny = MatMul(h, wo)"
    )
    sites, _ = find(model(TOKENS, body, WEIGHTS, 23))
    assert [(s.name, s.role, s.neurons, s.unit_size) for s in sites.values()] == [
        ("h", "head", 2, 4),
        ("y", "attn_out", 8, 1),
    ]


def test_linear_and_pre_activation_sites_come_on_request() -> None:
    sites, _ = find(block(), "linear", "mlp_pre")
    roles = {name: site.role for name, site in sites.items()}
    assert roles == {
        **dict.fromkeys(("q", "k", "v", "d"), "linear"),
        **{"heads": "head", "out": "attn_out", "z": "mlp_pre", "a": "mlp_post"},
    }
    assert list(sites) == ["q", "k", "v", "heads", "out", "z", "a", "d"]


def test_einsum_projections_and_attention_as_keras_writes_them() -> None:
    body = (
        'q = Einsum<equation="abc,cde->abde">(x, wq)\nk = Einsum<equation="abc,cde->abde">(x, wk)\n'
        'v0 = Einsum<equation="abc,cde->abde">(x, wv)\nv = Add(v0, bv)\n'
        's = Einsum<equation="aecd,abcd->acbe">(k, q)\np = Softmax<axis=-1>(s)\n'
        'heads = Einsum<equation="acbe,aecd->abcd">(p, v)\n'
        'o = Einsum<equation="abcd,cde->abe">(heads, wo)\nout = Add(o, bo)\n'
        'f = Einsum<equation="abc,cd->abd">(out, w1)\na = Relu(f)\ny = Einsum<equation="abc,cd->abd">(a, w2)'
    )
    weights = {
        **dict.fromkeys(("wq", "wk", "wv"), (8, 2, 4)),
        **{"bv": (2, 4), "wo": (2, 4, 8), "bo": (8,), "w1": (8, 12), "w2": (12, 8)},
    }
    proto = model(TOKENS, body, weights)
    sites, left_alone = find(proto)
    assert not left_alone
    assert [(s.name, s.role, s.neurons, s.unit_size, s.channel_axes) for s in sites.values()] == [
        ("heads", "head", 2, 4, (-2, -1)),
        ("out", "attn_out", 8, 1, (-1,)),
        ("a", "dense", 12, 1, (-1,)),
    ]
    assert_channels(proto, sites["a"])
    weight = next(np.frombuffer(t.raw_data, np.float32) for t in proto.graph.initializer if t.name == "wo")
    np.testing.assert_allclose(
        sites["heads"].out_norm, np.linalg.norm(weight.reshape(2, 32), axis=1), rtol=1e-6
    )
    assert set(find(proto, "linear")[0]) - set(sites) == {"q", "k", "v0", "y"}


def test_values_on_the_left_of_transposed_scores() -> None:
    """As in convolutional attention: [B, H, d, N] times the scores turned round, then a 1×1 convolution."""
    body = (
        "c = Conv(x, w)\nq, k, v = Split<axis=1, num_outputs=3>(c)\n"
        "qh = Reshape(q, heads)\nkh = Reshape(k, heads)\nvh = Reshape(v, heads)\n"
        "qt = Transpose<perm=[0,1,3,2]>(qh)\ns = MatMul(qt, kh)\np = Softmax<axis=-1>(s)\n"
        "pt = Transpose<perm=[0,1,3,2]>(p)\nm = MatMul(vh, pt)\nr = Reshape(m, back)\ny = Conv(r, wo)"
    )
    weights = {
        **{"w": (24, 3, 1, 1), "wo": (8, 8, 1, 1)},
        **{"heads": np.int64([0, 2, 4, 16]), "back": np.int64([0, 8, 4, 4])},
    }
    sites, left_alone = find(model("float[N,3,4,4] x => float[P,Q,R,S] y", body, weights))
    assert not left_alone
    assert [(s.name, s.role, s.neurons, s.unit_size, s.channel_axes) for s in sites.values()] == [
        ("r", "head", 2, 4, (-3,)),
        ("y", "attn_out", 8, 1, (-3,)),
    ]


def test_packed_projection_and_attention_in_one_operator() -> None:
    body = (
        "m = MatMul(x, w0)\na = Relu(m)\nh = com.microsoft.Attention<num_heads=2>(a, w, b)\ny = MatMul(h, wo)"
    )
    weights = {"w0": (8, 8), "w": (8, 24), "b": (24,), "wo": (8, 8)}
    proto = model(TOKENS, body, weights)
    sites, _ = find(proto)
    assert [(s.name, s.role) for s in sites.values()] == [("a", "dense"), ("h", "head"), ("y", "attn_out")]
    weight = next(np.frombuffer(t.raw_data, np.float32) for t in proto.graph.initializer if t.name == "w")
    np.testing.assert_allclose(sites["a"].out_norm, np.linalg.norm(weight.reshape(8, 24), axis=1), rtol=1e-6)


def test_a_language_model_of_fused_operators_and_four_bit_weights() -> None:
    """As onnxruntime-genai writes them: no shape is inferred behind the first operator of another domain."""
    layer = "com.microsoft.MatMulNBits<K={k}, N={n}, bits=4, block_size=16>({x}, {w}, scales)"
    body = "\n".join(
        (
            "n1 = SimplifiedLayerNormalization<axis=-1>(x, gamma)",
            "qkv = " + layer.format(k=16, n=32, x="n1", w="w1"),
            "att = com.microsoft.GroupQueryAttention<num_heads=4, kv_num_heads=2>(qkv, , , past, past, n, n)",
            "o = " + layer.format(k=16, n=16, x="att", w="w2"),
            "n2, , , r = com.microsoft.SkipSimplifiedLayerNormalization(x, o, gamma)",
            "g = " + layer.format(k=16, n=48, x="n2", w="w3"),
            "u = " + layer.format(k=16, n=48, x="n2", w="w4"),
            "s = Sigmoid(g)",
            "gate = Mul(g, s)",
            "h = Mul(gate, u)",
            "d = " + layer.format(k=48, n=16, x="h", w="w5"),
            "n3, , , y = com.microsoft.SkipSimplifiedLayerNormalization(r, d, gamma)",
            "logits = " + layer.format(k=16, n=20, x="n3", w="w6"),
        )
    )
    weights = {
        **{"gamma": (16,), "scales": (4,), "past": (1, 2, 3, 4), "n": np.int32([1])},
        **{f"w{i}": np.zeros((4, 1, 8), np.uint8) for i in range(1, 7)},
    }
    sites, left_alone = find(model("float[B,T,16] x => float[P,Q,R] logits", body, weights))
    assert not left_alone
    assert [(s.name, s.role, s.activation.name, s.neurons, s.unit_size) for s in sites.values()] == [
        ("att", "head", "Identity", 4, 4),
        ("o", "attn_out", "Identity", 16, 1),
        ("h", "mlp_post", "SwiGLU", 48, 1),
    ]


# --- gated products

GATES = {
    "SwiGLU": "s = Sigmoid(g)\ngate = Mul(g, s)",
    "GeGLU": "gate = com.microsoft.Gelu(g)",
    "ReGLU": "gate = Relu(g)",
    "GLU": "gate = Sigmoid(g)",
}


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("order", ["h = Mul(gate, u)", "h = Mul(u, gate)"])
def test_a_gated_product_is_one_site_with_gate_and_up(name: str, order: str) -> None:
    body = f"g = MatMul(x, wg)\nu = MatMul(x, wu)\n{GATES[name]}\n{order}\ny = MatMul(h, wd)"
    sites, left_alone = find(model(TOKENS, body, {"wg": (8, 12), "wu": (8, 12), "wd": (12, 8)}))
    assert not left_alone
    assert list(sites) == ["h"]
    site = sites["h"]
    assert (site.activation.name, site.role, site.neurons, site.gate, site.up) == (
        name,
        "mlp_post",
        12,
        "gate",
        "u",
    )
    assert {producer.weight for producer in site.producers} == {"wg", "wu"}
    assert site.parameters_in == 16
    assert site.pre is None


def test_gate_and_up_in_one_projection() -> None:
    body = (
        "f = MatMul(x, w)\nb0 = Add(f, b)\ng, u = Split<axis=-1, num_outputs=2>(b0)\n"
        "gate = com.microsoft.Gelu(g)\nh = Mul(gate, u)\ny = MatMul(h, wd)"
    )
    sites, _ = find(model(TOKENS, body, {"w": (8, 24), "b": (24,), "wd": (12, 8)}))
    assert list(sites) == ["h"]
    assert sites["h"].activation.name == "GeGLU"
    assert sorted(producer.channel_offset for producer in sites["h"].producers) == [0, 12]


def test_squeeze_and_excite_is_no_gated_product() -> None:
    body = (
        "c = Conv(x, w)\nm = Relu(c)\ng = GlobalAveragePool(m)\nr = Conv(g, w1)\nr1 = Relu(r)\ne = Conv(r1, w2)\n"
        "gate = Sigmoid(e)\nh = Mul(m, gate)\ny = Conv(h, v)"
    )
    weights = {"w": (6, 3, 3, 3), "w1": (2, 6, 1, 1), "w2": (6, 2, 1, 1), "v": (4, 6, 1, 1)}
    sites, _ = find(model("float[N,3,8,8] x => float[P,Q,R,S] y", body, weights))
    assert {name: site.activation.name for name, site in sites.items()} == {
        **{"m": "Relu", "r1": "Relu", "gate": "Sigmoid"}
    }
    assert sites["m"].coupled == ("gate",)


def test_gates_of_a_written_out_lstm_are_no_gated_products() -> None:
    body = (
        "a = MatMul(x, w)\nb0 = MatMul(h0, r)\ns = Add(a, b0)\ni, f, g, o = Split<axis=1, num_outputs=4>(s)\n"
        "si = Sigmoid(i)\nsf = Sigmoid(f)\ntg = Tanh(g)\nso = Sigmoid(o)\n"
        "ig = Mul(si, tg)\nfc = Mul(sf, c0)\nc1 = Add(ig, fc)\ntc = Tanh(c1)\nh1 = Mul(so, tc)\ny = MatMul(h1, v)"
    )
    head = "float[N,8] x, float[N,3] h0, float[N,3] c0 => float[P,Q] y"
    sites, _ = find(model(head, body, {"w": (8, 12), "r": (3, 12), "v": (3, 2)}))
    assert {name: site.activation.name for name, site in sites.items()} == {
        **{"si": "Sigmoid", "sf": "Sigmoid", "tg": "Tanh", "so": "Sigmoid", "tc": "Tanh"}
    }
    assert [p.channel_offset for p in sites["so"].producers] == [9, 9]


def test_a_silu_of_a_shared_projection_is_no_gated_product() -> None:
    body = "u = MatMul(x, w)\ng = Sigmoid(u)\nh = Mul(g, u)\ny = MatMul(h, wd)"
    sites, _ = find(model(TOKENS, body, {"w": (8, 12), "wd": (12, 8)}))
    assert sites["h"].activation.name == "Swish"


def test_a_gate_that_something_else_reads_stays_a_site() -> None:
    body = (
        "g = MatMul(x, wg)\nu = MatMul(x, wu)\ngate = Relu(g)\nh = Mul(gate, u)\nd = MatMul(h, wd)\n"
        "y = Concat<axis=-1>(d, gate)"
    )
    sites, _ = find(model(TOKENS, body, {"wg": (8, 12), "wu": (8, 12), "wd": (12, 8)}))
    assert list(sites) == ["gate"]
