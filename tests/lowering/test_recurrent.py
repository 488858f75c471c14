"""Hidden states lie between minus one and one, whatever is read: held against onnxruntime at large weights."""

from __future__ import annotations

import numpy as np
import pytest
from lowering_graphs import lowered, model, weights

from nla.certificates.interval import ranges
from nla.certificates.proving import prove
from nla.certificates.sets import anywhere

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, WIDTH, READ = 6, 3, 4


def _arrays(kind, sides=1, scale=8.0):
    gates = GATES[kind] * WIDTH
    return {
        "w": scale * weights(sides, gates, READ),
        "r": scale * weights(sides, gates, WIDTH),
        "k": weights(sides, 2 * gates),
    }


def _states(case, names, feeds):
    """Assert that ranges for any input at all hold what onnxruntime computes; the ranges."""
    network = case.network
    known = ranges(network, {name: anywhere(shape) for name, shape in network.inputs.items()})
    for value, name in zip(case.run(feeds, names), names, strict=True):
        box = known.boxes[name]
        assert (np.abs(value.reshape(box.shape)) <= box.hi).all(), name
        assert (box.lo == -box.hi).all()
    return [known.boxes[name].hi for name in names]


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_states_are_bounded_for_every_input(kind, direction, tmp_path):
    sides = 2 if direction == "bidirectional" else 1
    body = f'y, h = {kind}<hidden_size={WIDTH}, direction="{direction}">(x, w, r, k)'
    made = model(body, f"float[{STEPS}, 1, {READ}] x", "y, h", **_arrays(kind, sides))
    case = lowered(made, tmp_path)
    rng = np.random.default_rng(0)
    for scale in (0.1, 1.0, 1e3):
        x = (scale * rng.normal(size=(STEPS, 1, READ))).astype(np.float32)
        for end in _states(case, ["y", "h"], {"x": x}):
            assert (end < 1.01).all()
    assert case.network.given["y"].box.shape == (STEPS, sides, 1, WIDTH)


def test_a_cell_grows_by_one_a_step(tmp_path):
    made = model(
        f"y, h, c = LSTM<hidden_size={WIDTH}>(x, w, r, k, , s, s)",
        f"float[{STEPS}, 1, {READ}] x",
        "c",
        s=np.full((1, 1, WIDTH), 2.0, np.float32),
        **_arrays("LSTM", scale=100.0),
    )
    case = lowered(made, tmp_path)
    for seed in range(10):
        x = 1e3 * np.random.default_rng(seed).normal(size=(STEPS, 1, READ)).astype(np.float32)
        (end,) = _states(case, ["c"], {"x": x})
    assert end == pytest.approx(STEPS + 2, rel=1e-2)


@pytest.mark.parametrize(("first", "reached"), [(3.0, 3.0), (0.5, 1.0)])
def test_the_first_state_of_a_gru_counts(first, reached, tmp_path):
    made = model(
        f"y, h = GRU<hidden_size={WIDTH}>(x, w, r, k, , s)",
        f"float[{STEPS}, 1, {READ}] x",
        "y",
        s=np.full((1, 1, WIDTH), first, np.float32),
        **_arrays("GRU"),
    )
    case = lowered(made, tmp_path)
    for seed in range(10):
        x = 10 * np.random.default_rng(seed).normal(size=(STEPS, 1, READ)).astype(np.float32)
        (end,) = _states(case, ["y"], {"x": x})
    assert end == pytest.approx(reached, rel=1e-2)


def test_a_layer_behind_a_recurrent_one_is_decided_for_every_input_and_first_state(tmp_path):
    v = weights(WIDTH, 4)
    reach = np.abs(v).sum(axis=0)
    made = model(
        f"y, h, c = LSTM<hidden_size={WIDTH}>(x, w, r, k, , s, t)\n g = Reshape(h, flat)\n"
        " z = Gemm(g, v, b)\n a = Relu(z)\n d = Reshape(c, flat)\n u = Gemm(d, v, b)\n e = Relu(u)",
        f"float[{STEPS}, 1, {READ}] x, float[1, 1, {WIDTH}] s, float[1, 1, {WIDTH}] t",
        "a, e",
        v=v,
        b=(-reach * np.array([1.01, 0.99, 1.01, 0.99])).astype(np.float32),
        flat=np.array([1, WIDTH], np.int64),
        **_arrays("LSTM"),
    )
    network = lowered(made, tmp_path).network
    domain = {name: anywhere(shape) for name, shape in network.inputs.items()}
    found = prove(network, domain, {target.site: range(4) for target in network.targets})
    assert found["a"].certified.tolist() == [True, False, True, False]
    assert "e" not in found or not found["e"].certified.any()


@pytest.mark.parametrize(
    ("node", "why"),
    [
        ('RNN<hidden_size=3, activations=["Relu"]>(x, w, r, k)', "no bound here"),
        ('GRU<hidden_size=3, activations=["Tanh", "Tanh"]>(x, w, r, k)', "no bound here"),
        ("GRU<hidden_size=3>(x, w, r, k, , s)", "first state varies"),
        ("LSTM<hidden_size=3>(x, w, r, k, n, s, s)", "first state varies"),
    ],
)
def test_states_without_a_bound_have_none(node, why, tmp_path):
    kind = node.split("<")[0]
    made = model(
        f"y, h = {node}\n g = Reshape(h, flat)\n z = Gemm(g, v, b)\n a = Relu(z)",
        f"float[{STEPS}, 1, {READ}] x, float[1, 1, {WIDTH}] s, int32[1] n",
        "a",
        v=np.zeros((WIDTH, 2), np.float32),
        b=-np.ones(2, np.float32),
        flat=np.array([1, WIDTH], np.int64),
        **_arrays(kind),
    )
    network = lowered(made, tmp_path).network
    (reason,) = {why_ for site, why_ in network.reasons.items() if site == "a"}
    assert why in reason


def test_a_cell_has_no_bound_where_its_steps_may_be_the_samples(tmp_path):
    body = f"y, h, c = LSTM<hidden_size={WIDTH}>(x, w, r, k)"
    made = model(body, f"float[N, 1, {READ}] x", "c", **_arrays("LSTM"))
    given = lowered(made, tmp_path, {"x": [1, 1, READ]}).network.given
    assert np.isinf(given["c"].box.hi).all()
    assert (given["h"].box.hi < 1.01).all()
