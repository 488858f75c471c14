"""Heads leave: queries, keys, values and the columns of the output projection, whatever way the axes are written."""

from __future__ import annotations

import numpy as np
import pytest
from cuts import model, operate, random

HEADS, SIZE, WIDTH = 3, 4, 10


def weights(*dead: int) -> dict[str, np.ndarray]:
    """Projections, the values of some heads zero."""
    made = {name: random(WIDTH, HEADS * SIZE, seed=k) for k, name in enumerate(("wq", "wk", "wv"))}
    for head in dead:
        made["wv"][:, head * SIZE : (head + 1) * SIZE] = 0
    return {**made, "wo": random(HEADS * SIZE, WIDTH), "scale": np.float32(SIZE**0.5)}


@pytest.mark.parametrize("batch", ["-1", "0"])
@pytest.mark.parametrize("mask", ["", "m = Add(d, own)", "m = Add(d, all)"])
def test_a_silent_head_leaves_all_four_projections(batch, mask, tmp_path):
    extra = {"own": random(1, HEADS, 5, 5)} if "own" in mask else {"all": random(1, 1, 5, 5)} if mask else {}
    proto = model(
        f"float[N,5,{WIDTH}] x => float[N,5,{WIDTH}] y",
        f"""q = MatMul(x, wq)
        k = MatMul(x, wk)
        v = MatMul(x, wv)
        q4 = Reshape(q, split)
        k4 = Reshape(k, split)
        v4 = Reshape(v, split)
        qt = Transpose <perm=[0,2,1,3]> (q4)
        kt = Transpose <perm=[0,2,3,1]> (k4)
        vt = Transpose <perm=[0,2,1,3]> (v4)
        s = MatMul(qt, kt)
        d = Div(s, scale)
        {mask or "m = Identity(d)"}
        p = Softmax <axis=-1> (m)
        c = MatMul(p, vt)
        ct = Transpose <perm=[0,2,1,3]> (c)
        h = Reshape(ct, merge)
        y = MatMul(h, wo)""",
        {
            **weights(1),
            **{"split": np.array([int(batch), 5, HEADS, SIZE]), "merge": np.array([0, 5, HEADS * SIZE])},
            **extra,
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1,)}
    assert {out.shape(name) for name in ("wq", "wk", "wv")} == {(WIDTH, 2 * SIZE)}
    assert out.shape("wo") == (2 * SIZE, WIDTH)
    assert out.weight("split")[2] == 2
    if extra:
        assert out.shape(next(iter(extra)))[1] == (2 if "own" in extra else 1)


def test_the_last_head_stays(tmp_path):
    proto = model(
        f"float[N,5,{WIDTH}] x => float[N,5,{WIDTH}] y",
        """qkv = MatMul(x, w)
        r = Reshape(qkv, split)
        t = Transpose <perm=[2,0,3,1,4]> (r)
        q = Gather <axis=0> (t, zero)
        k = Gather <axis=0> (t, one)
        v = Gather <axis=0> (t, two)
        kt = Transpose <perm=[0,1,3,2]> (k)
        s = MatMul(q, kt)
        p = Softmax <axis=-1> (s)
        c = MatMul(p, v)
        ct = Transpose <perm=[0,2,1,3]> (c)
        h = Reshape(ct, merge)
        y = MatMul(h, wo)""",
        {
            "w": np.concatenate([weights(0, 1, 2)[name] for name in ("wq", "wk", "wv")], 1),
            **{
                "wo": random(HEADS * SIZE, WIDTH),
                "zero": np.array(0),
                "one": np.array(1),
                "two": np.array(2),
            },
            **{"split": np.array([0, 5, 3, HEADS, SIZE]), "merge": np.array([0, 5, HEADS * SIZE])},
        },
    )
    out = operate(proto, tmp_path)
    assert out.done == {"h": (1, 2)}
    assert out.shape("w") == (WIDTH, 3 * SIZE)
