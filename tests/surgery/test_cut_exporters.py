"""Cuts through what exporters write: parts beside the cut, rotary heads, keys scaled late, states of any batch."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cuts import bias, feeds, model, operate, random

from nla.manifest.document import Action

HEADS, SIZE, LENGTH = 4, 4, 5
WIDTH = HEADS * SIZE
INT = np.int64


@pytest.mark.parametrize(
    "part", ["Slice(h, four, six, axis)", "Slice(h, zero, two, axis)", "Gather <axis=1> (h, at)"]
)
def test_channels_leave_beside_a_part_that_has_none_of_them(part, tmp_path):
    weights = {"four": INT([4]), "six": INT([6]), "zero": INT([0]), "two": INT([2]), "axis": INT([1])}
    weights["at"] = INT([5, 4])
    given = {name: weights[name] for name in re.findall(r"\w+", part) if name in weights}
    proto = model(
        "float[N,4] x => float[N,2] y, float[N,3] z",
        f"a = Gemm(x, w1, b1)\n h = Relu(a)\n y = {part}\n z = MatMul(h, w2)",
        {"w1": random(4, 6), "b1": bias(6, 2, 3), "w2": random(6, 3), **given},
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (2, 3)}
    assert out.shape("w2") == (4, 3)


def rotary(keys: int, dead: int, *without: str) -> dict[str, np.ndarray]:
    """Weights of an attention with perhaps fewer heads of keys and values, the values of one of them zero."""
    made = {name: random(WIDTH, keys * SIZE, seed=k) for k, name in enumerate(("wk", "wv"))}
    made["wv"][:, dead * SIZE : (dead + 1) * SIZE] = 0
    sizes = {"qs": (-1, LENGTH, HEADS, SIZE), "ks": (-1, LENGTH, keys, SIZE), "merge": (-1, LENGTH, WIDTH)}
    whole = {
        **made,
        **{"wq": random(WIDTH, WIDTH), "wo": random(WIDTH, 3), "scale": np.float32(SIZE**-0.25)},
        **{name: INT(size) for name, size in sizes.items()},
        **{"zero": INT([0]), "half": INT([SIZE // 2]), "end": INT([9]), "axis": INT([3]), "two": INT([2])},
        **{"root": np.float32(SIZE**0.5), "pos": random(LENGTH, SIZE)},
    }
    return {name: weight for name, weight in whole.items() if name not in without}


ROTATED = """{n}4 = Reshape({n}, {sizes})
{n}t = Transpose <perm=[0,2,1,3]> ({n}4)
{n}c = Mul({n}t, cos)
{n}b = Slice({n}t, half, end, axis)
{n}m = Neg({n}b)
{n}a = Slice({n}t, zero, half, axis)
{n}r = Concat <axis=-1> ({n}m, {n}a)
{n}w = Mul({n}r, sin)
{n}p = Add({n}c, {n}w)
"""


@pytest.mark.parametrize("keys", [4, 2])
def test_a_silent_head_leaves_rotated_queries_and_keys_that_are_spread_over_it(keys, tmp_path):
    """The angles are computed from the length; keys and values of a group of heads are spread by Expand."""
    spread = "".join(
        f"{n}5 = Unsqueeze({n}{of}, two)\n{n}e = Expand({n}5, wide)\n{n}x = Reshape({n}e, all)\n"
        for n, of in (("k", "p"), ("v", "t"))
    )
    if keys == HEADS:
        spread = "kx = Identity(kp)\nvx = Identity(vt)\n"
    proto = model(
        f"float[N,{LENGTH},{WIDTH}] x => float[N,{LENGTH},3] y",
        """some = ReduceMax <keepdims=0> (x)
        none = Sub(some, some)
        angles = Add(pos, none)
        cos = Cos(angles)
        sin = Sin(angles)
        q = MatMul(x, wq)
        k = MatMul(x, wk)
        v = MatMul(x, wv)
        """
        + ROTATED.format(n="q", sizes="qs")
        + ROTATED.format(n="k", sizes="ks")
        + f"""v4 = Reshape(v, ks)
        vt = Transpose <perm=[0,2,1,3]> (v4)
        b = Shape <start=0, end=1> (x)
        wide = Concat <axis=0> (b, groups, each, tail)
        all = Concat <axis=0> (b, heads, tail)
        {spread}
        kk = Transpose <perm=[0,1,3,2]> (kx)
        s = MatMul(qp, kk)
        d = Div(s, root)
        p = Softmax <axis=-1> (d)
        c = MatMul(p, vx)
        ct = Transpose <perm=[0,2,1,3]> (c)
        h = Reshape(ct, merge)
        y = MatMul(h, wo)""",
        {
            **rotary(keys, 1, *(("scale", "two") if keys == HEADS else ("scale",))),
            **{
                "groups": INT([keys]),
                "each": INT([HEADS // keys]),
                "tail": INT([LENGTH, SIZE]),
                "heads": INT([HEADS]),
            },
        },
    )
    out = operate(proto, tmp_path)
    each = HEADS // keys
    assert out.done == {"h": tuple(range(each, 2 * each))}
    assert out.shape("wk") == out.shape("wv") == (WIDTH, (keys - 1) * SIZE)
    assert out.shape("wo") == (WIDTH - each * SIZE, 3)


def test_a_silent_head_leaves_keys_that_are_transposed_as_matrices_and_scaled_behind_that(tmp_path):
    """So PyTorch's newer exporter writes scaled_dot_product_attention."""
    proto = model(
        f"float[N,{LENGTH},{WIDTH}] x => float[N,{LENGTH},3] y",
        """q = MatMul(x, wq)
        k = MatMul(x, wk)
        v = MatMul(x, wv)
        q4 = Reshape(q, qs)
        k4 = Reshape(k, ks)
        v4 = Reshape(v, ks)
        qt = Transpose <perm=[0,2,1,3]> (q4)
        kt = Transpose <perm=[0,2,1,3]> (k4)
        vt = Transpose <perm=[0,2,1,3]> (v4)
        s = Shape(kt)
        front = Slice(s, zero, half)
        flat = Concat <axis=0> (rest, tail)
        back = Concat <axis=0> (front, liat)
        k3 = Reshape(kt, flat)
        kk = Transpose <perm=[0,2,1]> (k3)
        kb = Reshape(kk, back)
        qm = Mul(qt, scale)
        km = Mul(kb, scale)
        sc = MatMul(qm, km)
        p = Softmax <axis=-1> (sc)
        c = MatMul(p, vt)
        ct = Transpose <perm=[0,2,1,3]> (c)
        h = Reshape(ct, merge)
        y = MatMul(h, wo)""",
        {
            **rotary(HEADS, 2, "end", "axis", "two", "root", "pos"),
            **{"rest": INT([-1]), "tail": INT([LENGTH, SIZE]), "liat": INT([SIZE, LENGTH])},
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (2,)}
    assert out.shape("wk") == (WIDTH, 3 * SIZE)


@pytest.mark.parametrize(
    "start",
    [
        "s = ConstantOfShape(sizes)",
        "e = Expand(nought, sizes)\n s = Slice(e, zero, one, zero)",
    ],
)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_hidden_units_leave_where_states_start_as_zeros_for_any_batch(kind, start, tmp_path):
    gates, hidden = {"LSTM": 4, "GRU": 3}[kind], 5
    w, r, b = random(1, gates * hidden, 4), random(1, gates * hidden, hidden), random(1, 2 * gates * hidden)
    for unit in (1, 3):
        own = (gates - 1) * hidden + unit
        w[:, own], r[:, own], b[:, own], b[:, gates * hidden + own] = 0, 0, 0, 0
    started = ", s" if kind == "GRU" else ", s, s"
    constants = {"nought": np.float32(0), "zero": INT([0]), "one": INT([1])}
    proto = model(
        "float[7,N,4] x => float[7,1,N,3] y",
        f"""n = Shape <start=1, end=2> (x)
        sizes = Concat <axis=0> (layers, n, width)
        {start}
        t = {kind} <hidden_size={hidden}> (x, w, r, b, {started})
        y = MatMul(t, w2)""",
        {
            **{"w": w, "r": r, "b": b, "w2": random(hidden, 3), "layers": INT([1]), "width": INT([hidden])},
            **(constants if "Expand" in start else {}),
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"t": (1, 3)}
    assert out.shape("r") == (1, gates * 3, 3)
    assert not out.nodes("ConstantOfShape") + out.nodes("Expand")


def test_hidden_units_stay_where_states_start_as_something_else(tmp_path):
    w, r, b = random(1, 20, 4), random(1, 20, 5), random(1, 40)
    w[:, 16], r[:, 16], b[:, 16], b[:, 36] = 0, 0, 0, 0
    proto = model(
        "float[7,N,4] x => float[7,1,N,3] y",
        """n = Shape <start=1, end=2> (x)
        sizes = Concat <axis=0> (layers, n, width)
        s = Expand(ones, sizes)
        t = LSTM <hidden_size=5> (x, w, r, b, , s, s)
        y = MatMul(t, w2)""",
        {
            "w": w,
            "r": r,
            "b": b,
            "w2": random(5, 3),
            "layers": INT([1]),
            "width": INT([5]),
            "ones": np.float32(1),
        },
    )
    out = operate(proto, tmp_path, [Action("a", "remove", "t", (1,))])
    assert out.done == {}
    assert "given from outside" in out.reasons


GATED = """a = Conv(x, w1, b1)
e = Relu(a)
d = Conv <pads=[1,1,1,1], group=6> (e, wd, bd)
h = Relu(d)
m = GlobalAveragePool(h)
s1 = Conv(m, ws, bs)
s2 = Relu(s1)
s3 = Conv(s2, wg, bg)
g = Sigmoid(s3)
k = Mul(h, g)
y = Conv(k, w2)"""


def gated() -> dict[str, np.ndarray]:
    """An inverted bottleneck whose depthwise channels 1 and 4 are silent, and those before and their gates are not."""
    return {
        **{"w1": random(6, 3, 1, 1), "b1": bias(6) + 1, "wd": random(6, 1, 3, 3), "bd": bias(6, 1, 4)},
        **{"ws": random(3, 6, 1, 1), "bs": bias(3) + 1, "wg": random(6, 3, 1, 1), "bg": bias(6)},
        "w2": random(4, 6, 1, 1),
    }


def test_lively_channels_leave_that_only_silent_ones_read_or_multiply(tmp_path):
    """What goes into a silent depthwise channel, and the gate that multiplies it, is needed by nobody."""
    proto = model("float[N,3,6,6] x => float[N,4,6,6] y", GATED, gated())
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1, 4)}
    assert out.shape("w1") == (4, 3, 1, 1)
    assert out.shape("wd") == (4, 1, 3, 3)
    assert (out.shape("wg"), out.shape("ws"), out.shape("w2")) == ((4, 3, 1, 1), (3, 4, 1, 1), (4, 4, 1, 1))


def test_a_silent_gate_stays_where_what_it_multiplies_is_read_elsewhere(tmp_path):
    weights = gated()
    weights["bg"][2] = -1e4
    proto = model("float[N,3,6,6] x => float[N,4,6,6] y", GATED, {**weights, "bd": bias(6) + 1})
    out = operate(proto, tmp_path, given=feeds(proto))
    assert out.done == {}
    assert "not known to be constant behind Conv" in out.reasons


@pytest.mark.parametrize(
    "rounded",
    [
        "q = QuantizeLinear(s, step)\n r = DequantizeLinear(q, step)",
        "q = Cast <to=6> (s)\n r = Cast <to=1> (q)",
        "r = Shrink <lambd=0.5> (s)",
        "q = Greater(s, step)\n r = Cast <to=1> (q)",
    ],
)
def test_what_is_not_known_stays_so_through_roundings_and_comparisons(rounded, tmp_path):
    """Silent channels of a stream that a lively branch is added to: the sum is alive, whatever rounds it."""
    proto = model(
        "float[N,3,6,6] x => float[N,4,6,6] y",
        f"a = Conv(x, w1, b1)\n h = Relu(a)\n c = Conv(h, w2)\n s = Add(h, c)\n {rounded}\n y = Conv(r, w3)",
        {
            **{
                "w1": random(6, 3, 1, 1),
                "b1": bias(6, 1, 4),
                "w2": random(6, 6, 1, 1),
                "w3": random(4, 6, 1, 1),
            },
            **({"step": np.float32(0.05)} if "step" in rounded else {}),
        },
    )
    out = operate(proto, tmp_path, [Action("a", "remove", "h", (1, 4))])
    assert out.done == {}
    assert out.reasons
