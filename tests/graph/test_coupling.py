"""Which channels leave a graph together, and what keeps the others: graphs that are worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto
from site_graphs import Weights, find, loaded, model

from nla.checkpoint.onnx_file import open_onnx
from nla.errors import ModelError
from nla.graph.assemble import assemble
from nla.graph.channels import NOBODY
from nla.graph.components import components
from nla.graph.coupling import LOCKED, Coupling, Placed
from nla.graph.find import walked
from nla.graph.prepare import prepare
from nla.graph.walk import Walk

ROWS = "float[N,5] x => float[P,Q] y"
IMAGE = "float[N,3,8,8] x => float[P,Q,R,S] y"
TOKENS = "float[N,6,8] x => float[P,Q,R] y"


class Coupled:
    """The coupling of a graph, asked by the names of tensors."""

    def __init__(self, proto: ModelProto) -> None:
        walk = walked(loaded(proto))
        self.coupling = Coupling(walk)
        self._values = {value.name: value for node in walk.nodes for value in node.outputs}

    def placed(self, name: str) -> Placed:
        placed = self.coupling.placed(self._values[name])
        assert placed is not None
        return placed

    def groups(self, name: str) -> list[int]:
        return self.placed(name).groups.reshape(-1).tolist()


def coupled(head: str, body: str, weights: Weights, opset: int = 18) -> Coupled:
    return Coupled(model(head, body, weights, opset))


def test_the_layers_of_a_chain_leave_channel_by_channel() -> None:
    body = "z = Gemm(x, w)\na = Relu(z)\nu = Gemm(a, v)\nb = Relu(u)\ny = Gemm(b, o)"
    found = coupled(ROWS, body, {"w": (5, 4), "v": (4, 3), "o": (3, 2)})
    assert found.coupling.groups("a").tolist() == found.groups("z") == found.groups("a") == [0, 1, 2, 3]
    assert found.coupling.groups("b").tolist() == found.groups("u") == [4, 5, 6]
    assert found.placed("a").axes == (-1,)
    assert found.coupling.lock(0) is None
    assert found.coupling.kept("a") is None


def test_what_the_graph_returns_stays() -> None:
    body = "z = Gemm(x, w)\na = Relu(z)\ny = Gemm(a, v)"
    found = coupled("float[N,5] x => float[P,Q] y, float[R,S] z", body, {"w": (5, 4), "v": (4, 2)})
    assert found.coupling.groups("a").tolist() == [-1] * 4
    assert found.coupling.kept("a") == "the graph output 'z'"
    assert found.groups("y") == [-1] * 2
    locked = found.coupling.everyone("a").tolist()
    assert len(set(locked)) == 4
    assert [found.coupling.lock(group) for group in locked] == ["the graph output 'z'"] * 4


def test_the_partners_of_a_residual_stream_are_one_group_each() -> None:
    body = "s0 = Conv(x, w0)\n"
    for k in range(3):
        body += f"p{k} = Conv(s{k}, w)\na{k} = Relu(p{k})\nq{k} = Conv(a{k}, v)\ns{k + 1} = Add(s{k}, q{k})\n"
    body += "t = Relu(s3)\ny = Conv(t, o)"
    weights = {"w0": (4, 3, 1, 1), "w": (6, 4, 1, 1), "v": (4, 6, 1, 1), "o": (2, 4, 1, 1)}
    found = coupled(IMAGE, body, weights)
    stream = ["s0", "q0", "s1", "q1", "s2", "q2", "s3", "t"]
    assert [found.groups(name) for name in stream] == [found.groups("s0")] * len(stream)
    inner = [found.coupling.groups(f"a{k}").tolist() for k in range(3)]
    numbers = [number for each in (*inner, found.groups("t")) for number in each]
    assert sorted(numbers) == list(range(3 * 6 + 4))
    sites = find(model(IMAGE, body, weights))[0]
    assert [site.coupled for site in sites.values()] == [()] * 4


def test_two_activations_on_a_stream_are_coupled() -> None:
    body = "s = Conv(x, w0)\na = Relu(s)\nq = Conv(a, w)\nt = Add(a, q)\nb = Relu(t)\ny = Conv(b, o)"
    weights = {"w0": (4, 3, 1, 1), "w": (4, 4, 1, 1), "o": (2, 4, 1, 1)}
    sites = find(model(IMAGE, body, weights))[0]
    assert sites["a"].coupled == ("b",)
    assert sites["a"].groups is not None
    assert sites["a"].groups.tolist() == sites["b"].groups.tolist() == [0, 1, 2, 3]


def test_a_concat_keeps_channels_apart_and_a_split_too() -> None:
    body = (
        "p = Conv(x, w)\na = Relu(p)\nq = Conv(x, v)\nb = Relu(q)\nc = Concat<axis=1>(a, b)\n"
        "d = Conv(c, u)\ne = Relu(d)\nf, g = Split<axis=1>(e, cut)\nh = Conv(f, o)\ni = Conv(g, o2)\ny = Add(h, i)"
    )
    weights = {"w": (2, 3, 1, 1), "v": (3, 3, 1, 1), "u": (4, 5, 1, 1), "cut": np.int64([1, 3])}
    found = coupled(IMAGE, body, {**weights, "o": (2, 1, 1, 1), "o2": (2, 3, 1, 1)})
    assert (found.groups("a"), found.groups("b")) == ([0, 1], [2, 3, 4])
    assert found.groups("c") == [0, 1, 2, 3, 4]
    assert (found.groups("f"), found.groups("g")) == ([5], [6, 7, 8])
    assert all(found.coupling.kept(name) is None for name in "abe")


def test_the_part_that_a_graph_returns_stays_and_the_rest_can_go() -> None:
    body = "p = Gemm(x, w)\na = Relu(p)\nf, z = Split<axis=1>(a, cut)\ny = Gemm(f, v)"
    head = "float[N,5] x => float[P,Q] y, float[R,S] z"
    proto = model(head, body, {"w": (5, 4), "v": (3, 2), "cut": np.int64([3, 1])})
    site = find(proto)[0]["a"]
    assert site.groups is not None
    assert site.groups.tolist() == [0, 1, 2, -1]
    assert site.kept == "the graph output 'z'"


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_depthwise_convolution_ties_out_to_in(multiplier: int) -> None:
    body = "p = Conv(x, w)\na = Relu(p)\nq = Conv<group=3>(a, d)\nb = Relu(q)\ny = Conv(b, o)"
    found = coupled(
        IMAGE, body, {"w": (3, 3, 1, 1), "d": (3 * multiplier, 1, 3, 3), "o": (2, 3 * multiplier, 1, 1)}
    )
    assert found.groups("a") == [0, 1, 2]
    assert found.groups("b") == np.repeat([0, 1, 2], multiplier).tolist()


def test_a_depthwise_convolution_of_an_input_cannot_lose_a_channel() -> None:
    found = coupled(
        IMAGE, "p = Conv<group=3>(x, d)\na = Relu(p)\ny = Conv(a, o)", {"d": (3, 1, 3, 3), "o": (2, 3, 1, 1)}
    )
    assert found.groups("a") == [-1] * 3
    assert "no neuron's" in str(found.coupling.kept("a"))


def test_a_grouped_convolution_separates_in_from_out() -> None:
    body = "p = Conv(x, w)\na = Relu(p)\nq = Conv<group=2>(a, d)\nb = Relu(q)\ny = Conv(b, o)"
    found = coupled(IMAGE, body, {"w": (4, 3, 1, 1), "d": (6, 2, 3, 3), "o": (2, 6, 1, 1)})
    assert (found.groups("a"), found.groups("b")) == ([0, 1, 2, 3], [4, 5, 6, 7, 8, 9])


def test_a_gated_product_ties_gate_and_up() -> None:
    body = "g = MatMul(x, wg)\nu = MatMul(x, wu)\ns = Sigmoid(g)\na = Mul(g, s)\nh = Mul(a, u)\ny = MatMul(h, wd)"
    found = coupled(TOKENS, body, {"wg": (8, 5), "wu": (8, 5), "wd": (5, 8)})
    assert found.coupling.groups("h").tolist() == [0, 1, 2, 3, 4]
    assert found.groups("g") == found.groups("u") == found.groups("a") == [0, 1, 2, 3, 4]


def test_a_gate_for_all_channels_ties_nothing_and_has_its_own_channel() -> None:
    body = "p = Conv(x, w)\na = Relu(p)\nm = Conv(a, v)\ng = Sigmoid(m)\nh = Mul(a, g)\ny = Conv(h, o)"
    found = coupled(IMAGE, body, {"w": (3, 3, 1, 1), "v": (1, 3, 1, 1), "o": (2, 3, 1, 1)})
    assert found.groups("h") == found.groups("a") == [0, 1, 2]
    assert found.groups("g") == [-1]
    assert found.coupling.kept("g") == "Mul 'Mul_4', which spreads it over other channels"


def test_transposes_and_flattening_move_groups_with_the_channels() -> None:
    body = (
        "c = Conv(x, w)\na = Relu(c)\nt = Transpose<perm=[0,2,3,1]>(a)\nf = Flatten(a)\ng = Reshape(t, flat)\n"
        "u = Gemm(f, v)\ns = Gemm(g, v)\ny = Add(u, s)"
    )
    given = {"w": (2, 3, 7, 7), "v": (8, 2), "flat": np.int64([-1, 8])}
    found = coupled("float[N,3,8,8] x => float[P,Q] y", body, given)
    assert found.placed("t").axes == (-1,)
    assert found.groups("t") == [0, 1]
    assert found.groups("f") == [0, 0, 0, 0, 1, 1, 1, 1]
    assert found.groups("g") == [0, 1] * 4


def test_a_shuffle_leaves_in_slices() -> None:
    body = (
        "c = Conv(x, w)\na = Relu(c)\nf = Reshape(a, apart)\nt = Transpose<perm=[0,2,1,3,4]>(f)\n"
        "s = Reshape(t, back)\ny = Conv(s, o)"
    )
    shapes = {"apart": np.int64([0, 2, 3, 8, 8]), "back": np.int64([0, 6, 8, 8])}
    found = coupled(IMAGE, body, {"w": (6, 3, 1, 1), "o": (2, 6, 1, 1), **shapes})
    assert found.placed("f").axes == (-4, -3)
    assert found.groups("a") == [0, 1, 2, 0, 1, 2]
    assert found.groups("s") == [0, 0, 1, 1, 2, 2]


def test_weights_that_two_layers_share_tie_nothing() -> None:
    body = (
        "p = Gemm(x, w)\na = Relu(p)\nq = Gemm(x, w)\nb = Relu(q)\nc = Concat<axis=1>(a, b)\ny = Gemm(c, o)"
    )
    found = coupled(ROWS, body, {"w": (5, 2), "o": (4, 2)})
    assert found.groups("c") == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        ("s = LayerNormalization(a, scale)", "LayerNormalization_2', a normalisation over channels"),
        ("s = Softmax<axis=-1>(a)", "which weighs its channels against one another"),
        ("m = ReduceMean(a, last)\ns = Sub(a, m)", "a statistic taken over the channels"),
        ("s = other.Thing(a)", "other.Thing 'Thing_2', an operator that nla does not know"),
        ("s = CumSum(a, one)", "CumSum 'CumSum_2', after which channels are not followed"),
        ("s = Add(a, x)", "Add 'Add_2', where they meet 'x', which has no neurons"),
        ("i = ArgMax<axis=-1>(a)\nk = Cast<to=1>(i)\ns = Add(a, k)", "ArgMax 'ArgMax_2'"),
    ],
)  # fmt: skip
def test_what_keeps_channels(step: str, kept: str) -> None:
    body = f"p = MatMul(x, w)\na = Relu(p)\n{step}\ny = MatMul(s, v)"
    given = {
        **{"w": (8, 8), "v": (8, 8), "scale": (8,), "last": np.int64([-1]), "one": np.int64([1])},
        **{"zero": np.int64([0]), "minus": np.int64([-1])},
    }
    found = coupled(TOKENS, body, given)
    assert found.coupling.groups("a").tolist() == [-1] * 8
    assert kept in str(found.coupling.kept("a"))


@pytest.mark.parametrize(
    "step",
    [
        "s = Softmax<axis=1>(a)",
        "s = Mul(a, scale)",
        "m = ReduceMax(x, last)\ns = Mul(a, m)",
        "n = Shape(a)\nb = Slice(n, zero, two)\nt = Concat<axis=0>(b, minus)\ns = Reshape(a, t)",
        "n = Shape(a)\nb = Slice(n, zero, two)\nt = Concat<axis=0>(b, eight)\ns = Reshape(a, t)",
    ],
)
def test_what_does_not_keep_channels(step: str) -> None:
    given = {
        **{"w": (8, 8), "v": (8, 8), "scale": (8,), "last": np.int64([-1]), "zero": np.int64([0])},
        **{"two": np.int64([2]), "minus": np.int64([-1]), "eight": np.int64([8])},
    }
    found = coupled(TOKENS, f"p = MatMul(x, w)\na = Relu(p)\n{step}\ny = MatMul(s, v)", given)
    assert found.coupling.kept("a") is None
    assert found.groups("s") == found.groups("a") == list(range(8))


def test_a_reshape_to_sizes_that_are_fed_keeps_channels() -> None:
    body = "p = MatMul(x, w)\na = Relu(p)\ns = Reshape(a, sizes)\ny = MatMul(s, v)"
    found = coupled("float[N,6,8] x, int64[3] sizes => float[P,Q,R] y", body, {"w": (8, 8), "v": (8, 8)})
    assert found.coupling.kept("a") == "Reshape 'Reshape_2', whose sizes the data decides"


def test_a_slice_of_tokens_whose_bounds_are_fed_keeps_nothing() -> None:
    body = "p = MatMul(x, w)\na = Relu(p)\ns = Slice(a, zero, end, one)\ny = MatMul(s, v)"
    given = {"w": (8, 8), "v": (8, 8), "zero": np.int64([0]), "one": np.int64([1])}
    found = coupled("float[N,6,8] x, int64[1] end => float[P,Q,R] y", body, given)
    assert found.coupling.kept("a") is None


def test_what_a_body_captures_stays() -> None:
    body = (
        "p = MatMul(x, w)\na = Relu(p)\nq = MatMul(a, v)\n"
        "y = If(c) <then_branch = t () => (float[N,6,8] r) { r = Add(a, q) }, "
        "else_branch = e () => (float[N,6,8] s) { s = Neg(q) }>"
    )
    found = coupled("float[N,6,8] x, bool c => float[N,6,8] y", body, {"w": (8, 8), "v": (8, 8)})
    assert found.coupling.groups("a").tolist() == [-1] * 8
    assert found.coupling.kept("a") == "If 'If_3', whose bodies are left alone"


# --- recurrent layers


def lstm(directions: int = 1, **more: object) -> Weights:
    shapes = {"w": (directions, 12, 5), "r": (directions, 12, 3), "b": (directions, 24)}
    return {**shapes, "v": (3 * directions, 2), "flat": np.int64([0, 0, -1]), "pre": (5, 5), **more}


HEAD = "float[T,N,5] x => float[P,Q,R] y"
AFTER = "\nt = Transpose<perm=[0,2,1,3]>(h)\nf = Reshape(t, flat)\ny = MatMul(f, v)"


def test_hidden_units_and_what_they_read_are_separate() -> None:
    body = "m = MatMul(x, pre)\na = Relu(m)\nh = LSTM<hidden_size=3>(a, w, r, b)" + AFTER
    found = coupled(HEAD, body, lstm())
    assert (found.coupling.groups("a").tolist(), found.coupling.groups("h").tolist()) == (
        [0, 1, 2, 3, 4],
        [5, 6, 7],
    )
    assert found.groups("f") == [5, 6, 7]


def test_both_directions_lose_the_same_unit() -> None:
    body = 'h = LSTM<hidden_size=3, direction="bidirectional">(x, w, r, b)' + AFTER
    found = coupled(HEAD, body, lstm(2))
    assert found.coupling.groups("h").tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("head", "operator", "kept"),
    [
        (
            "float[T,N,5] x, float[1,N,3] s => float[P,Q,R] y",
            "h = LSTM<hidden_size=3>(x, w, r, b, , s)",
            "which are given from outside",
        ),
        (
            "float[T,N,5] x => float[P,Q,R] y, float[A,B,C] c",
            "h, , c = LSTM<hidden_size=3>(x, w, r, b)",
            "are read",
        ),
    ],
)
def test_states_that_others_see_keep_the_units(head: str, operator: str, kept: str) -> None:
    found = coupled(head, operator + AFTER, lstm())
    assert found.coupling.groups("h").tolist() == [-1] * 3
    assert kept in str(found.coupling.kept("h"))


# --- heads

SPLIT = (
    "q = MatMul(x, wq)\nk = MatMul(x, wk)\nv = MatMul(x, wv)\n"
    "q4 = Reshape(q, split)\nk4 = Reshape(k, split)\nv4 = Reshape(v, split)\n"
    "qt = Transpose<perm=[0,2,1,3]>(q4)\nvt = Transpose<perm=[0,2,1,3]>(v4)\n"
)
KEYS = "kt = Transpose<perm=[0,2,3,1]>(k4)\n"
STACKED_KEYS = (
    "kh = Transpose<perm=[0,2,1,3]>(k4)\nk3 = Reshape(kh, stack)\nk3t = Transpose<perm=[0,2,1]>(k3)\n"
    "n = Shape(kh)\nlead = Slice(n, zero, two)\nback = Concat<axis=0>(lead, tail)\nkt = Reshape(k3t, back)\n"
)
COUNTED_KEYS = STACKED_KEYS.replace(
    "k3 =",
    "n0 = Shape(kh)\nlead0 = Slice(n0, zero, one)\nrows = Mul(lead0, two)\nstack2 = Concat<axis=0>(rows, sizes)\nk3 =",
).replace("kh, stack", "kh, stack2")
"""The axis of batch and heads is a product with the number of heads, which would have to be edited."""
SOFTMAX = "s = Mul(qk, root)\nm = Add(s, mask)\np = Softmax<axis=-1>(m)\n"
MERGE = (
    "c = MatMul(p, vt)\nct = Transpose<perm=[0,2,1,3]>(c)\nheads = Reshape(ct, merge)\ny = MatMul(heads, wo)"
)
WEIGHTS = {
    **dict.fromkeys(("wq", "wk", "wv", "wo"), (8, 8)),
    **{"split": np.int64([0, 0, 2, 4]), "merge": np.int64([0, 0, 8]), "root": np.float32(0.5)},
    **{"mask": (2, 6, 6), "stack": np.int64([-1, 6, 4]), "tail": np.int64([4, 6])},
    **{"zero": np.int64([0]), "two": np.int64([2]), "last": np.int64([-1])},
    **{"one": np.int64([1]), "sizes": np.int64([6, 4])},
}


def attention(keys: str = KEYS, softmax: str = SOFTMAX, head: str = TOKENS, **more: object) -> Coupled:
    return coupled(head, SPLIT + keys + "qk = MatMul(qt, kt)\n" + softmax + MERGE, {**WEIGHTS, **more})


@pytest.mark.parametrize("keys", [KEYS, STACKED_KEYS])
def test_a_head_takes_its_queries_keys_values_and_scores_with_it(keys: str) -> None:
    found = attention(keys)
    assert found.coupling.groups("heads").tolist() == [0, 1]
    by_head = [0] * 4 + [1] * 4
    assert found.groups("q") == found.groups("k") == found.groups("v") == found.groups("heads") == by_head
    assert (found.placed("kt").axes, found.groups("kt")) == ((-3, -2), by_head)
    for scores in ("qk", "s", "m", "p"):
        assert (found.placed(scores).axes, found.groups(scores)) == ((-3,), [0, 1])
    assert {node.outputs[0].name for node in found.coupling.products} >= {"qk", "c"}


@pytest.mark.parametrize(
    "softmax",
    [
        "m = Where(keep, qk, low)\nq1 = Softmax<axis=-1>(m)\nn1 = IsNaN(q1)\np = Where(n1, root, q1)\n",
        "h1 = ReduceMax(qk, last)\nh2 = Sub(qk, h1)\ne = Exp(h2)\nt = ReduceSum(e, last)\np = Div(e, t)\n",
        "t1 = Tanh(qk)\nt2 = Mul(t1, root)\nt3 = Softmax<axis=3>(t2)\np = Dropout(t3)\n",
    ],
)
def test_scores_are_followed_through_masks_and_softmaxes_of_every_form(softmax: str) -> None:
    found = attention(softmax=softmax, keep=np.ones((1, 1, 6, 6), bool), low=np.float32(-1e9))
    assert found.coupling.groups("heads").tolist() == [0, 1]


@pytest.mark.parametrize(
    ("head", "keys", "softmax", "kept"),
    [
        (TOKENS + ", float[A,B,C,D] p", KEYS, SOFTMAX, "whose scores are the graph output 'p'"),
        (
            TOKENS + ", float[A] e",
            KEYS,
            SOFTMAX + "e = ReduceSum<keepdims=0>(p)\n",
            "ReduceSum 'ReduceSum_13' reads too",
        ),
        (
            "float[N,6,8] x, float[N,2,6,6] bias => float[P,Q,R] y",
            KEYS,
            "m = Add(qk, bias)\np = Softmax<axis=-1>(m)\n",
            "whose scores come from elsewhere",
        ),
        (TOKENS, KEYS, "o = other.Mask(qk)\np = Softmax<axis=-1>(o)\n", "whose scores come from other.Mask"),
        (TOKENS + ", float[A,B,C,D] kt", KEYS, SOFTMAX, "the graph output 'kt'"),
    ],
)
def test_heads_that_are_needed_elsewhere_stay(head: str, keys: str, softmax: str, kept: str) -> None:
    found = attention(keys, softmax, head)
    assert found.coupling.groups("heads").tolist() == [-1, -1]
    assert kept in str(found.coupling.kept("heads"))


@pytest.mark.parametrize(
    ("head", "keys", "more"),
    [
        (TOKENS + ", float[A,B,C] k3", STACKED_KEYS, {}),
        (TOKENS + ", float[A,B,C,D] kt", STACKED_KEYS, {}),
        (TOKENS, STACKED_KEYS, {"stack": np.int64([-1, 3, 8])}),
        (TOKENS, COUNTED_KEYS, {}),
    ],
)
def test_stacked_keys_that_others_read_or_that_are_cut_otherwise_keep_their_heads(
    head: str, keys: str, more: dict[str, object]
) -> None:
    assert attention(keys, head=head, **more).coupling.groups("heads").tolist() == [-1, -1]


def test_stacked_keys_of_a_batch_of_known_size_are_followed() -> None:
    found = attention(STACKED_KEYS, head="float[5,6,8] x => float[P,Q,R] y", stack=np.int64([10, 6, 4]))
    assert found.coupling.groups("heads").tolist() == [0, 1]
    assert found.groups("k3t") == ([0] * 4 + [1] * 4) * 5


def test_rotated_queries_and_keys_leave_with_their_head() -> None:
    rotate = "".join(
        f"{k}a, {k}b = Split<axis=-1, num_outputs=2>({k}0)\n{k}n = Neg({k}b)\n{k}r = Concat<axis=-1>({k}n, {k}a)\n"
        f"{k}c = Mul({k}0, cos)\n{k}s = Mul({k}r, sin)\n{k}t = Add({k}c, {k}s)\n"
        for k in ("Q", "K")
    )
    body = (
        SPLIT.replace("qt =", "Q0 =") + "K0 = Transpose<perm=[0,2,1,3]>(k4)\n" + rotate
        + "kt = Transpose<perm=[0,1,3,2]>(Kt)\nqk = MatMul(Qt, kt)\n" + SOFTMAX + MERGE
    )  # fmt: skip
    head = "float[N,6,8] x, float[N,1,6,4] cos, float[N,1,6,4] sin => float[P,Q,R] y"
    found = coupled(head, body, WEIGHTS)
    assert found.coupling.groups("heads").tolist() == [0, 1]
    assert found.groups("q") == [0] * 4 + [1] * 4


def test_heads_of_a_fused_operator_stay() -> None:
    body = (
        "q = MatMul(x, wq)\nk = MatMul(x, wk)\nv = MatMul(x, wv)\n"
        "h = com.microsoft.MultiHeadAttention<num_heads=2>(q, k, v)\ny = MatMul(h, wo)"
    )
    found = coupled(TOKENS, body, WEIGHTS)
    assert found.coupling.groups("h").tolist() == [-1, -1]
    assert "in one operator" in str(found.coupling.kept("h"))


def test_keys_and_values_that_heads_share_stay() -> None:
    """Two heads of queries, one of keys and values, repeated."""
    repeat = "{0}5 = Expand({0}4, twice)\n"
    body = (
        "q = MatMul(x, wq)\nk = MatMul(x, wk)\nv = MatMul(x, wv)\n"
        "q4 = Reshape(q, split)\nk4 = Reshape(k, one)\nv4 = Reshape(v, one)\n"
        + repeat.format("k") + repeat.format("v")
        + "qt = Transpose<perm=[0,2,1,3]>(q4)\nkt = Transpose<perm=[0,2,3,1]>(k5)\nvt = Transpose<perm=[0,2,1,3]>(v5)\n"
        "qk = MatMul(qt, kt)\n" + SOFTMAX + MERGE
    )  # fmt: skip
    more = {"wk": (8, 4), "wv": (8, 4), "one": np.int64([0, 0, 1, 4]), "twice": np.int64([1, 1, 2, 4])}
    assert coupled(TOKENS, body, {**WEIGHTS, **more}).coupling.groups("heads").tolist() == [-1, -1]


# --- sites and arithmetic


def test_pre_activations_and_linear_outputs_leave_with_the_site_behind_them() -> None:
    body = "f = MatMul(x, w)\nz = Add(f, b)\na = Relu(z)\nd = MatMul(a, v)\nt = Add(x, d)\ny = MatMul(t, o)"
    sites = find(
        model(TOKENS, body, {"w": (8, 4), "b": (4,), "v": (4, 8), "o": (8, 8)}), "linear", "mlp_pre"
    )[0]
    assert {name: site.groups is None for name, site in sites.items()} == {"a": False, "d": True, "y": True}


def test_the_shapes_of_weights_are_those_of_the_checkpoint() -> None:
    body = "wt = Transpose<perm=[1,0]>(w)\nz = Gemm(x, wt, b)\na = Relu(z)\ny = Gemm(a, v)"
    site = find(model(ROWS, body, {"w": (4, 5), "b": (4,), "v": (4, 2)}))[0]["a"]
    assert (site.producers[0].weight, site.producers[0].weight_axis, site.producers[0].shape) == (
        "w",
        0,
        (4, 5),
    )
    assert site.consumers[0].shape == (4, 2)


def test_components_agree_with_a_plain_search() -> None:
    random = np.random.default_rng(5)
    for count, edges in ((1, 0), (10, 4), (60, 40), (300, 500)):
        left, right = random.integers(0, count, (2, edges))
        near = [{k} for k in range(count)]
        for a, b in zip(left, right, strict=True):
            near[a].add(int(b))
            near[b].add(int(a))
        expected = []
        for start in range(count):
            seen, pending = {start}, [start]
            while pending:
                new = near[pending.pop()] - seen
                seen |= new
                pending.extend(new)
            expected.append(min(seen))
        assert components(count, left, right).tolist() == expected


def test_too_many_channels_are_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nla.graph.coupling.MOST_GROUPS", 8)
    body = "z = Gemm(x, w)\na = Relu(z)\ny = Gemm(a, v)"
    site = find(model(ROWS, body, {"w": (5, 4), "v": (4, 2)}))[0]["a"]
    assert site.groups is not None
    assert site.groups.tolist() == [-1] * 4
    assert "more than" in str(site.kept)
    assert site.coupled == ()


# --- real models


@pytest.mark.shared
def test_the_groups_of_every_real_model_are_consistent(shared: Path) -> None:
    opened = 0
    for path in sorted((shared / "models").rglob("*.onnx")):
        try:
            prepared = prepare(open_onnx(path))
        except ModelError:
            continue
        opened += 1
        walk = walked(prepared.model)
        coupling = Coupling(walk)
        sites = assemble(walk, frozenset(), coupling)
        assert_one_group_per_channel(walk, coupling)
        for site in sites:
            assert site.groups is not None
            own = site.groups[site.groups != LOCKED]
            assert all(coupling.lock(group) is None for group in own)
            assert (site.kept is None) == (len(own) == site.neurons)
            assert site.kept == coupling.kept(site.name)
        numbers = {site.name: set(coupling.everyone(site.name).tolist()) for site in sites}
        for site in sites:
            others = (n for n in numbers if n != site.name and numbers[n] & numbers[site.name])
            assert set(site.coupled) == set(others)
    assert opened > 100


def assert_one_group_per_channel(walk: Walk, coupling: Coupling) -> None:
    """A channel has one group wherever it lies, and groups leave every tensor in whole slices."""
    known: dict[tuple[int, int], int] = {}
    for node in walk.nodes:
        for value in node.outputs:
            fact, placed = walk.flow.channels(value), coupling.placed(value)
            if fact is None or placed is None:
                continue
            assert (placed.axes, placed.groups.shape) == (fact.axes, fact.index.shape)
            where = zip(
                *(part.tolist() for part in fact.flat()), placed.groups.reshape(-1).tolist(), strict=True
            )
            for source, index, group in set(where):
                assert (
                    group == LOCKED if source == NOBODY else known.setdefault((source, index), group) == group
                )
            axes = range(placed.groups.ndim)
            along = [placed.groups.max(tuple(a for a in axes if a != at)) for at in axes]
            shaped = [part.reshape([-1 if a == at else 1 for a in axes]) for at, part in enumerate(along)]
            assert any((placed.groups == part).all() for part in shaped)


# --- what shields another


def test_a_silent_channel_shields_what_goes_into_it_and_what_multiplies_it() -> None:
    body = (
        "a = Conv(x, w)\ne = Relu(a)\nd = Conv<group=4>(e, wd)\nh = Relu(d)\nm = GlobalAveragePool(h)\n"
        "s = Conv(m, ws)\ng = Sigmoid(s)\nk = Mul(h, g)\ny = Conv(k, v)"
    )
    weights = {"w": (4, 3, 1, 1), "wd": (4, 1, 1, 1), "ws": (4, 4, 1, 1), "v": (2, 4, 1, 1)}
    sites = find(model(IMAGE, body, weights))[0]
    assert {name: site.shielded_by for name, site in sites.items()} == {"e": ("h",), "h": (), "g": ("h",)}


def test_a_channel_that_is_added_or_read_elsewhere_is_not_shielded() -> None:
    body = (
        "m = MatMul(x, w)\na = Relu(m)\nn = MatMul(x, u)\nb = Sigmoid(n)\np = Mul(a, b)\nq = Add(p, b)\n"
        "y = MatMul(q, v)"
    )
    sites = find(model(ROWS, body, {"w": (5, 4), "u": (5, 4), "v": (4, 2)}))[0]
    assert {name: site.shielded_by for name, site in sites.items()} == {"a": ("b",), "b": ()}
