"""Normalisations as operators and written out: their set is attained by adversarial inputs and not left by others."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from lowering_graphs import lowered, model, weights

from nla.certificates import backward
from nla.certificates.interval import ranges
from nla.certificates.sets import Normalised, anywhere

G, B, W = weights(8), weights(8, seed=1), weights(8, 5)
CONSTANTS = {
    "g": G,
    "b": B,
    "w": W,
    "eps": np.array(1e-5, np.float32),
    "less": np.array(-1e-5, np.float32),
    "two": np.array(2, np.float32),
    "one": np.array(1, np.float32),
    "half": np.array(0.5, np.float32),
    "minus": np.array(-0.5, np.float32),
    "last": np.array([-1], np.int64),
    "flat": np.array([1, 8], np.int64),
    "column": np.array([1, 1], np.int64),
    "eight": np.array(8, np.float32),
    "eighth": np.array(0.125, np.float32),
    "seventh": np.array(1 / 7, np.float32),
    "zero": np.array(0, np.float32),
    "axis": np.array([0], np.int64),
}
_MEAN = "m = ReduceMean<axes=[-1]>(x)\n d = Sub(x, m)\n"
_ROOT = " s = Mul(d, d)\n v = ReduceMean<axes=[-1]>(s)\n e = Add(v, eps)\n q = Sqrt(e)\n"
_SQUARE = "s = Mul(x, x)\n v = ReduceMean<axes=[-1]>(s)\n e = Add(v, eps)\n"
CENTRED = {
    "operator": "y = LayerNormalization(x, g, b)",
    "operator-axis": "y = LayerNormalization<axis=1>(x, g, b)",
    "torch": f"{_MEAN} s = Pow(d, two)\n v = ReduceMean<axes=[-1]>(s)\n e = Add(v, eps)\n q = Sqrt(e)\n u = Div(d, q)\n"
    " h = Mul(u, g)\n y = Add(h, b)",
    "positive-axes": "m = ReduceMean<axes=[1]>(x)\n d = Sub(x, m)\n s = Mul(d, d)\n v = ReduceMean<axes=[1]>(s)\n"
    " e = Add(eps, v)\n q = Sqrt(e)\n u = Div(d, q)\n h = Mul(g, u)\n y = Add(b, h)",
    "reciprocal": f"{_MEAN}{_ROOT} k = Reciprocal(q)\n u = Mul(k, d)\n h = Mul(g, u)\n y = Add(b, h)",
    "scaled-reciprocal": f"{_MEAN}{_ROOT} k = Reciprocal(q)\n l = Mul(k, g)\n u = Mul(l, d)\n y = Add(b, u)",
    "scaled-numerator": f"{_MEAN}{_ROOT} l = Mul(d, g)\n u = Div(l, q)\n y = Add(u, b)",
    "two-differences": "m = ReduceMean<axes=[-1]>(x)\n d0 = Sub(x, m)\n d = Sub(x, m)\n"
    f"{_ROOT} u = Div(d0, q)\n h = Mul(u, g)\n y = Add(h, b)",
    "tensorflow": f"{_MEAN}{_ROOT} k = Reciprocal(q)\n l = Mul(k, g)\n p = Mul(x, l)\n n = Mul(m, l)\n c = Sub(b, n)\n"
    " y = Add(p, c)",
    "moments": "s = Mul(x, x)\n v = ReduceMean<axes=[-1]>(s)\n m = ReduceMean<axes=[-1]>(x)\n d = Sub(x, m)\n"
    " n = Mul(m, m)\n f = Sub(v, n)\n e = Add(f, eps)\n q = Sqrt(e)\n u = Div(d, q)\n h = Mul(u, g)\n y = Add(h, b)",
    "flax": "t = ReduceSum<keepdims=0>(x, last)\n s = Mul(x, x)\n v = ReduceSum<keepdims=0>(s, last)\n"
    " m = Mul(t, eighth)\n c = Div(v, eight)\n n = Mul(m, m)\n f = Sub(c, n)\n k = Max(f, zero)\n"
    " l = Reshape(k, column)\n e = Add(l, eps)\n q = Sqrt(e)\n i = Reciprocal(q)\n j = Mul(i, g)\n"
    " o = Unsqueeze(m, last)\n d = Sub(x, o)\n h = Mul(d, j)\n y = Add(h, b)",
    "skip": "a = Unsqueeze(x, axis)\n h, i0, i1, i2 = com.microsoft.SkipLayerNormalization<epsilon=1e-5>(a, a, g, b)\n"
    " y = Reshape(h, flat)",
}
NOT_CENTRED = {
    "reciprocal": f"{_SQUARE} q = Sqrt(e)\n k = Div(one, q)\n u = Mul(x, k)\n y = Mul(u, g)",
    "power": f"{_SQUARE} q = Pow(e, half)\n u = Div(x, q)\n y = Mul(g, u)",
    "inverse-power": f"{_SQUARE} q = Pow(e, minus)\n u = Mul(x, q)\n y = Mul(g, u)",
    "cast": "c = Cast<to=1>(x)\n s = Pow(c, two)\n v = ReduceMean<axes=[-1]>(s)\n e = Add(v, eps)\n q = Sqrt(e)\n"
    " k = Reciprocal(q)\n u = Mul(c, k)\n t = Cast<to=1>(u)\n y = Mul(g, t)",
    "operator": "y = SimplifiedLayerNormalization<axis=-1, epsilon=1e-5>(x, g)",
}
REFUSED = {
    "negative-epsilon": f"{_MEAN}{_ROOT} u = Div(d, q)\n y = Mul(u, g)".replace("eps", "less"),
    "samples": f"{_MEAN}{_ROOT} u = Div(d, q)\n y = Mul(u, g)".replace("[-1]", "[0]"),
    "multiplied-root": f"{_SQUARE} q = Pow(e, minus)\n u = Div(x, q)\n y = Mul(g, u)",
    "other-numerator": f"{_SQUARE} q = Sqrt(e)\n n = Add(x, b)\n u = Div(n, q)\n y = Mul(u, g)",
    "other-moment": "s = Mul(x, b)\n v = ReduceMean<axes=[-1]>(s)\n m = ReduceMean<axes=[-1]>(x)\n d = Sub(x, m)\n"
    " n = Mul(m, m)\n f = Sub(v, n)\n e = Add(f, eps)\n q = Sqrt(e)\n u = Div(d, q)\n y = Mul(u, g)",
    "other-count": "s = Mul(x, x)\n v = ReduceMean<axes=[-1]>(s)\n t = ReduceSum(x, last)\n m = Mul(t, seventh)\n"
    " d = Sub(x, m)\n n = Mul(m, m)\n f = Sub(v, n)\n e = Add(f, eps)\n q = Sqrt(e)\n u = Div(d, q)\n y = Mul(u, g)",
    "other-mean": "s = Mul(x, x)\n v = ReduceMean<axes=[-1]>(s)\n m = ReduceMean<axes=[-1]>(x)\n"
    " w0 = Mul(x, b)\n m0 = ReduceMean<axes=[-1]>(w0)\n d = Sub(x, m0)\n"
    " n = Mul(m, m)\n f = Sub(v, n)\n e = Add(f, eps)\n q = Sqrt(e)\n u = Div(d, q)\n y = Mul(u, g)",
    "clamped-above": "s = Mul(x, x)\n v = ReduceMean<axes=[-1]>(s)\n m = ReduceMean<axes=[-1]>(x)\n d = Sub(x, m)\n"
    " n = Mul(m, m)\n f0 = Sub(v, n)\n f = Min(f0, one)\n e = Add(f, eps)\n q = Sqrt(e)\n"
    " u = Div(d, q)\n y = Mul(u, g)",
}


def _case(body, folder):
    words = body.replace("(", " ").replace(")", " ").replace(",", " ").split()
    arrays = {name: array for name, array in CONSTANTS.items() if name in (*words, "w")}
    made = model(
        f"{body}\n z = MatMul(y, w)\n r = Relu(z)",
        "float[1, 8] x",
        "r",
        domains=', "com.microsoft" : 1',
        **arrays,
    )
    return lowered(made, folder)


@pytest.mark.parametrize(
    ("form", "centred"), [*((form, True) for form in CENTRED), *((form, False) for form in NOT_CENTRED)]
)
def test_the_set_is_attained_and_never_left(form, centred, tmp_path):
    """sup w·y = √n·‖P(w·g)‖ + w·β: from the study; no input at all has to be bounded."""
    body = (CENTRED if centred else NOT_CENTRED)[form]
    case = _case(body, tmp_path)
    assert len(case.network.targets) == 1
    known = ranges(case.network, {"x": anywhere((8,))})
    bound = backward.upper(case.network, known, "z", np.eye(5))
    towards = W.astype(np.float64) * G[:, None]
    towards = (towards - towards.mean(axis=0) if centred else towards).T
    expected = np.sqrt(8) * np.linalg.norm(towards, axis=1) + (W.T.astype(np.float64) @ B if centred else 0)
    loose = {"tensorflow": 2e-3, "moments": 3e-2, "flax": 3e-2}.get(form, 1e-4)
    assert bound == pytest.approx(expected, rel=loose)
    rng = np.random.default_rng(2)
    rows = np.concatenate([1e3 * towards, rng.normal(size=(100, 8)) * 10 ** rng.uniform(-3, 3, (100, 1))])
    z = np.stack([case.run({"x": row[None].astype(np.float32)}, ["z"])[0].ravel() for row in rows])
    assert (z <= bound).all()
    assert z[:5].diagonal() == pytest.approx(expected, abs=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("size", [8, 512])
def test_a_variance_that_cancels_leaves_the_ball_of_exact_arithmetic_and_not_the_wider_one(size, tmp_path):
    """Means of up to 64 standard deviations, as the certificate assumes, towards each neuron's worst direction."""
    arrays = {"g": np.ones(size, np.float32), "b": np.zeros(size, np.float32), "w": weights(size, 5)}
    made = model(
        f"{CENTRED['moments']}\n z = MatMul(y, w)\n r = Relu(z)",
        f"float[1, {size}] x",
        "r",
        eps=CONSTANTS["eps"],
        **arrays,
    )
    case = lowered(made, tmp_path)
    known = ranges(case.network, {"x": anywhere((size,))})
    bound = backward.upper(case.network, known, "z", np.eye(5))
    towards = arrays["w"].astype(np.float64) - arrays["w"].mean(axis=0, dtype=np.float64)
    exact = np.sqrt(size) * np.linalg.norm(towards, axis=0)
    rng, largest = np.random.default_rng(0), np.zeros(5)
    for k in range(300):
        d = towards[:, k % 5] / towards[:, k % 5].std()
        x = 1e3 * (d + rng.choice([-1, 1]) * (63.9 if k % 3 else rng.uniform(0, 64)))
        z = case.run({"x": x[None].astype(np.float32)}, ["z"])[0].ravel()
        largest = np.maximum(largest, z)
    assert (largest <= bound).all()
    assert (largest > exact * (1 + 2.0**-15)).any()


def test_a_variance_that_may_round_to_nothing_has_no_ball(tmp_path):
    arrays = {"g": np.ones(4096, np.float32), "b": np.zeros(4096, np.float32), "w": weights(4096, 2)}
    made = model(
        f"{CENTRED['moments']}\n z = MatMul(y, w)\n r = Relu(z)",
        "float[1, 4096] x",
        "r",
        eps=CONSTANTS["eps"],
        **arrays,
    )
    network = lowered(made, tmp_path).network
    assert not network.targets
    (reason,) = network.reasons.values()
    assert "may round to nothing" in reason


@pytest.mark.parametrize("form", sorted(REFUSED))
def test_what_only_looks_like_a_normalisation_is_no_ball(form, tmp_path):
    network = _case(REFUSED[form], tmp_path).network
    assert not any(isinstance(held, Normalised) for held in network.given.values())
    for target in network.targets:  # what its operators make of anything at all: no bound
        known = ranges(network, {name: anywhere(shape) for name, shape in network.inputs.items()})
        assert np.isposinf(known.boxes[target.pre].hi).all() or form == "samples"  # of one sample: zero


def test_another_axis_than_the_last(tmp_path):
    """Normalised over channels, scaled by channel: the set lies turned."""
    body = (
        "m = ReduceMean<axes=[1]>(x)\n d = Sub(x, m)\n s = Mul(d, d)\n v = ReduceMean<axes=[1]>(s)\n e = Add(v, eps)\n"
        " q = Sqrt(e)\n k = Reciprocal(q)\n l = Mul(k, g)\n p = Mul(x, l)\n n = Mul(m, l)\n c = Sub(b, n)\n"
        " y = Add(p, c)\n z = Conv(y, w)\n r = Relu(z)"
    )
    arrays = {"g": weights(1, 6, 1), "b": weights(1, 6, 1, seed=3), "w": weights(4, 6, 1)}
    case = lowered(model(body, "float[1, 6, 5] x", "r", eps=CONSTANTS["eps"], **arrays), tmp_path)
    (target,) = case.network.targets
    known = ranges(case.network, {"x": anywhere((6, 5))})
    bound = backward.upper(case.network, known, "z", np.eye(20).reshape(20, 4, 5)).reshape(4, 5)
    w, g, b = (arrays[name].reshape(-1, 6).astype(np.float64) for name in ("w", "g", "b"))
    p = w * g - (w * g).mean(axis=1, keepdims=True)
    expected = np.sqrt(6) * np.linalg.norm(p, axis=1) + (w * b).sum(axis=1)
    assert bound == pytest.approx(np.repeat(expected[:, None], 5, axis=1), rel=2e-3)
    for row in p:
        x = (1e3 * row[None, :, None] * np.ones(5)).astype(np.float32)
        assert (case.run({"x": x}, ["z"])[0][0] <= bound).all()
    assert target.axis == 0


@pytest.mark.parametrize(
    ("op", "groups"),
    [("InstanceNormalization(x, g, b)", 4), ("GroupNormalization<num_groups=2>(x, g, b)", 2)],
)
def test_groups_of_channels(op, groups, tmp_path):
    made = model(
        f"y = {op}\n z = Conv(y, w)\n r = Relu(z)",
        "float[1, 4, 3, 3] x",
        "r",
        opset=21,
        g=weights(4),
        b=weights(4, seed=2),
        w=weights(2, 4, 1, 1),
    )
    sized = onnx.helper.make_tensor_value_info
    made.graph.value_info.extend(  # as exporters declare them, where onnx infers nothing
        [sized("y", 1, [1, 4, 3, 3]), sized("z", 1, [1, 2, 3, 3]), sized("r", 1, [1, 2, 3, 3])]
    )
    case = lowered(made, tmp_path)
    assert len(case.network.targets) == 1, case.network.reasons
    known = ranges(case.network, {"x": anywhere((4, 3, 3))})
    box = known.boxes["y"]
    size = 36 // groups
    sharp = np.abs(weights(4)) * np.sqrt(size - 1) + weights(4, seed=2)
    room = 1e-3 if op.startswith("Instance") else 0.04  # mean(x²) - mean(x)² rounds more
    assert box.hi[:, 0, 0] == pytest.approx(sharp, rel=room, abs=room)
    rng = np.random.default_rng(0)
    bound = backward.upper(case.network, known, "z", np.eye(18).reshape(18, 2, 3, 3)).reshape(2, 3, 3)
    for k in range(50):
        x = rng.normal(size=(1, 4, 3, 3)).astype(np.float32) ** 5
        if k % 2:  # one element stands out, far from zero
            x = 40 + 3 * (np.arange(36) % size == k % size).reshape(x.shape).astype(np.float32)
        y, z = case.run({"x": x}, ["y", "z"])
        assert (y[0] <= box.hi).all()
        assert (z[0] <= bound).all()


def test_half_precision_leaves_room_for_its_rounding(tmp_path):
    """Rounding to eleven bits moves the output by 5e-4 of itself: eight thousand times more than float32."""
    arrays = {"g": G.astype(np.float16), "b": B.astype(np.float16), "w": W.astype(np.float16)}
    made = model(
        "h = Cast<to=10>(x)\n y = LayerNormalization(h, g, b)\n z = MatMul(y, w)\n a = Relu(z)\n r = Cast<to=1>(a)",
        "float[1, 8] x",
        "r",
        **arrays,
    )
    case = lowered(made, tmp_path)
    known = ranges(case.network, {"x": anywhere((8,))})
    bound = backward.upper(case.network, known, "z", np.eye(5))
    exact = _case(CENTRED["operator"], tmp_path)
    tight = backward.upper(exact.network, ranges(exact.network, {"x": anywhere((8,))}), "z", np.eye(5))
    assert (bound > tight + 1e-2).all()
    assert len(case.network.targets) == 1
    for row in np.random.default_rng(1).normal(size=(50, 8)) * 100:
        (z,) = case.run({"x": row[None].astype(np.float32)}, ["z"])
        assert (z[0] <= bound).all()
