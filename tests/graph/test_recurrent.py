"""Hidden units of recurrent layers, wherever ONNX's layouts put them."""

from __future__ import annotations

import numpy as np
import pytest
from site_graphs import find, model

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def weights(operator: str, directions: int = 1) -> dict[str, object]:
    gates = GATES[operator]
    return {
        "w": (directions, gates * 3, 5),
        "r": (directions, gates * 3, 3),
        "b": (directions, 2 * gates * 3),
    }


@pytest.mark.parametrize("operator", GATES)
def test_one_direction(operator: str) -> None:
    proto = model(
        "float[T,N,5] x => float[P,Q,R,S] y", f"y = {operator}<hidden_size=3>(x, w, r, b)", weights(operator)
    )
    site = find(proto)[0]["y"]
    assert (site.role, site.activation.name, site.neurons, site.channel_axes) == (
        "recurrent",
        operator,
        3,
        (-1,),
    )
    assert site.parameters_in == GATES[operator] * (5 + 3 + 2)
    assert site.producers[0].weight == "w"


@pytest.mark.parametrize(("layout", "axes"), [(0, (-3, -1)), (1, (-2, -1))])
def test_two_directions(layout: int, axes: tuple[int, int]) -> None:
    body = f'y = GRU<hidden_size=3, direction="bidirectional", layout={layout}>(x, w, r, b)'
    site = find(model("float[A,B,5] x => float[P,Q,R,S] y", body, weights("GRU", 2)))[0]["y"]
    assert (site.neurons, site.channel_axes) == (6, axes)


def test_the_last_state_names_the_site_where_the_sequence_is_left_out() -> None:
    body = ", h = LSTM<hidden_size=3>(x, w, r, b)\ns = Squeeze(h, zero)\ny = Gemm(s, v)"
    proto = model(
        "float[T,N,5] x => float[P,Q] y", body, {**weights("LSTM"), "v": (3, 2), "zero": np.int64([0])}
    )
    sites, _ = find(proto)
    assert list(sites) == ["h"]
    assert [consumer.weight for consumer in sites["h"].consumers] == ["v"]


def test_both_directions_are_followed_through_transpose_and_reshape_to_their_reader() -> None:
    body = (
        'l = LSTM<hidden_size=3, direction="bidirectional">(x, w, r, b)\nt = Transpose<perm=[0,2,1,3]>(l)\n'
        "f = Reshape(t, merge)\ny = MatMul(f, v)"
    )
    outgoing = np.random.default_rng(3).standard_normal((6, 2)).astype(np.float32)
    given = {**weights("LSTM", 2), "v": outgoing, "merge": np.int64([0, 0, 6])}
    site = find(model("float[T,N,5] x => float[P,Q,R] y", body, given))[0]["l"]
    assert site.out_norm is not None
    np.testing.assert_allclose(site.out_norm, np.linalg.norm(outgoing, axis=1), rtol=1e-6)


def test_a_recurrent_layer_reads_the_layer_before_it() -> None:
    body = "m = MatMul(x, w0)\na = Relu(m)\ny = LSTM<hidden_size=3>(a, w, r, b)"
    sites, _ = find(model("float[T,N,4] x => float[P,Q,R,S] y", body, {**weights("LSTM"), "w0": (4, 5)}))
    assert sites["y"].upstream == ("a",)
    assert sites["a"].consumers[0].site == "y"
    assert sites["a"].consumers[0].parameters_per_neuron == 12


def test_computed_weights_are_listed() -> None:
    body = "w2 = Mul(w, k)\ny = LSTM<hidden_size=3>(x, w2, r, b)"
    head = "float[T,N,5] x, float[1] k => float[P,Q,R,S] y"
    sites, left_alone = find(model(head, body, weights("LSTM")))
    assert not sites
    assert "not constants" in left_alone["y"].reason
