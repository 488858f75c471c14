"""Normalisations as operators and written out: their set is attained by adversarial inputs and not left by others."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from lowering_graphs import lowered, model, weights

from nla.certificates import backward
from nla.certificates.interval import ranges
from nla.certificates.sets import anywhere

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
    "skip": "a = Unsqueeze(x, zero)\n h, i0, i1, i2 = com.microsoft.SkipLayerNormalization<epsilon=1e-5>(a, a, g, b)\n"
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
    "raw-moment": "s = Mul(x, x)\n v = ReduceMean<axes=[-1]>(s)\n m = ReduceMean<axes=[-1]>(x)\n d = Sub(x, m)\n"
    " n = Mul(m, m)\n f = Sub(v, n)\n e = Add(f, eps)\n q = Sqrt(e)\n u = Div(d, q)\n y = Mul(u, g)",
}


def _case(body, folder):
    words = body.replace("(", " ").replace(")", " ").replace(",", " ").split()
    arrays = {name: array for name, array in CONSTANTS.items() if name in (*words, "w")}
    if "zero" in words:
        arrays["zero"] = np.array([0], np.int64)
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
    assert bound == pytest.approx(expected, rel=2e-3 if form == "tensorflow" else 1e-4)
    rng = np.random.default_rng(2)
    rows = np.concatenate([1e3 * towards, rng.normal(size=(100, 8)) * 10 ** rng.uniform(-3, 3, (100, 1))])
    z = np.stack([case.run({"x": row[None].astype(np.float32)}, ["z"])[0].ravel() for row in rows])
    assert (z <= bound).all()
    assert z[:5].diagonal() == pytest.approx(expected, abs=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("form", sorted(REFUSED))
def test_what_only_looks_like_a_normalisation_is_no_ball(form, tmp_path):
    network = _case(REFUSED[form], tmp_path).network
    assert not network.targets
    assert network.reasons


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
    assert box.hi[:, 0, 0] == pytest.approx(
        np.abs(weights(4)) * np.sqrt(size - 1) + weights(4, seed=2), rel=1e-3, abs=1e-3
    )
    rng = np.random.default_rng(0)
    bound = backward.upper(case.network, known, "z", np.eye(18).reshape(18, 2, 3, 3)).reshape(2, 3, 3)
    for _ in range(50):
        x = rng.normal(size=(1, 4, 3, 3)).astype(np.float32) ** 5
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
