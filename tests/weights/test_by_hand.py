"""What weights prove, on networks of a few neurons planted by hand: every claim is one that a reader can check."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import oracle
import pytest
from builders import model, normal

import nla
from nla.rendering.strict_json import json_text
from nla.rendering.terminal import console
from nla.rendering.weights import print_weights
from nla.weights.results import WeightInspection

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "schemas/weights-1.schema.json").read_text())
RNG = np.random.default_rng(5)


def weighed(tmp_path: Path, proto: onnx.ModelProto, **given: Any) -> WeightInspection:
    """What the weights tell; its document keeps to the schema, and what is printed fits and says what was not seen."""
    onnx.save(proto, tmp_path / "model.onnx")
    found = nla.inspect(tmp_path / "model.onnx", in_process=True, **given)
    assert isinstance(found, WeightInspection)
    document = json.loads(json_text(found.to_dict()))
    jsonschema.validate(document, SCHEMA)
    assert document["activations_seen"] is False
    assert "no activation was seen" in document["statement"]
    out = io.StringIO()
    print_weights(found, console(out, 100))
    lines = out.getvalue().splitlines()
    assert "no activation was seen" in lines[0]
    assert max(map(len, lines[:-1])) <= 100  # the last is a command to paste
    return found


def dense(
    w: np.ndarray,
    b: np.ndarray,
    out: np.ndarray,
    phi: str = "Relu (z)",
    *,
    transposed: bool = False,
    **more: Any,
) -> onnx.ModelProto:
    """x -> z -> a -> y; `w` [out, in] and `out` [classes, hidden] whatever way they are stored."""
    flag, names = ("", ("w", "v")) if transposed else ("<transB = 1>", ("w", "v"))
    text = f"""g (float[n, {w.shape[1]}] x) => (float[n, {len(out)}] y) {{
      z = Gemm {flag} (x, {names[0]}, b)  a = {phi}  y = Gemm {flag} (a, {names[1]}) }}"""
    stored = (w.T, out.T) if transposed else (w, out)
    return model(text, {"w": stored[0], "b": b, "v": stored[1], **more}, opset=20)


def activations(proto: onnx.ModelProto, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """[samples, …] the tensor on inputs that are large, small and zero, by plain onnxruntime."""
    x = np.concatenate([RNG.standard_normal((20, *shape)) * scale for scale in (0, 1, 100)]).astype(
        np.float32
    )
    return oracle.replay(proto, {"x": x}, [name])[name]


# --- dead, constant, without effect


@pytest.mark.parametrize("transposed", [False, True])
def test_zero_rows_decide_a_neuron_and_zero_columns_make_it_idle(tmp_path, transposed):
    w, b, out = normal(RNG, 6, 4), normal(RNG, 6), normal(RNG, 3, 6)
    w[1], b[1] = 0, -0.3
    w[2], b[2] = 0, 0.7
    w[3], b[3] = 0, 0.0
    out[:, 4] = 0
    proto = dense(w, b, out, transposed=transposed)
    found = weighed(tmp_path, proto)["a"]
    assert found.states.tolist() == ["unknown", "dead", "constant", "dead", "unknown", "unknown"]
    assert found.evidence[1].startswith("incoming weights are zero, bias -0.3")
    assert found.values == {1: 0.0, 2: pytest.approx(0.7), 3: 0.0}
    assert found.unread is not None
    assert found.unread.tolist() == [False] * 4 + [True, False]
    np.testing.assert_allclose(found.incoming_norm, np.linalg.norm(w.astype(float), axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.outgoing_norm, np.linalg.norm(out.astype(float), axis=0), rtol=1e-12)
    a = activations(proto, "a", (4,))
    np.testing.assert_allclose(a[:, [1, 2, 3]], np.broadcast_to(np.float32([0, 0.7, 0]), (len(a), 3)))


@pytest.mark.parametrize(
    ("phi", "bias", "state", "value"),
    [
        ("Relu (z)", -0.5, "dead", 0.0),
        ("Relu (z)", 0.5, "constant", 0.5),
        ("Tanh (z)", 0.5, "constant", np.tanh(0.5)),
        ("Tanh (z)", 0.0, "dead", 0.0),
        ("Sigmoid (z)", -0.5, "constant", 1 / (1 + np.exp(0.5))),
        ("LeakyRelu <alpha = 0.1> (z)", -0.5, "constant", -0.05),
        ("Gelu (z)", -8.0, "dead", 0.0),
        ("Gelu (z)", -0.5, "constant", -0.154269),
    ],
)
def test_what_a_constant_z_makes_of_a_neuron_depends_on_its_activation(tmp_path, phi, bias, state, value):
    w = normal(RNG, 5, 4)
    w[2] = 0
    found = weighed(tmp_path, dense(w, np.full(5, bias), normal(RNG, 2, 5), phi))["a"]
    assert found.states.tolist() == ["unknown"] * 2 + [state] + ["unknown"] * 2
    assert found.values[2] == pytest.approx(value, abs=1e-6)


def conv(groups: int, kind: str = "Conv") -> tuple[str, dict[str, np.ndarray]]:
    shape = (6, 4 // groups, 3, 3) if kind == "Conv" else (4, 6 // groups, 3, 3)
    text = f"""g (float[n, 4, 8, 8] x) => (float[n, 2, k, k] y) {{
      z = {kind} <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = {groups}> (x, w, b)
      a = Relu (z)
      y = Conv <kernel_shape = [1, 1]> (a, v) }}"""
    return text, {"w": normal(RNG, *shape), "b": normal(RNG, 6), "v": normal(RNG, 2, 6, 1, 1)}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_convolutions_grouped_and_transposed(tmp_path, groups, kind):
    text, weights = conv(groups, kind)
    w, b, v = weights["w"], weights["b"], weights["v"]

    def row(channel):
        return (
            w[channel]
            if kind == "Conv"
            else w[channel // (6 // groups) * (4 // groups) :, channel % (6 // groups)][: 4 // groups]
        )

    row(5)[...], b[5] = 0, -1
    row(4)[...] = 3 * row(3)
    b[4] = 3 * b[3]
    v[:, 0] = 0
    proto = model(text, weights)
    result = weighed(tmp_path, proto)
    found = result["a"]
    assert found.states.tolist() == ["unknown"] * 5 + ["dead"]
    assert found.unread is not None
    assert np.flatnonzero(found.unread).tolist() == [0]
    assert np.flatnonzero(found.duplicate_of >= 0).tolist() == [4]
    assert found.duplicate_of[4] == 3
    norms = [np.linalg.norm(np.asarray(row(c), float)) for c in range(6)]
    np.testing.assert_allclose(found.incoming_norm, norms, rtol=1e-12)
    layer = result.layers[0]
    assert (layer.fan_in, layer.groups, layer.operator_kind) == (4 // groups * 9, groups, "bound")
    if kind == "Conv":
        parts = w.astype(float).reshape(groups, 6 // groups, -1)
        assert layer.spectral_norm == pytest.approx(max(np.linalg.norm(p, 2) for p in parts), rel=1e-9)
        assert layer.operator_norm == pytest.approx(3 * layer.spectral_norm)
    assert not activations(proto, "a", (4, 8, 8))[:, 5].any()


def test_columns_of_a_grouped_convolution_belong_to_the_channels_of_its_group(tmp_path):
    text = """g (float[n, 3, 8, 8] x) => (float[n, 4, 8, 8] y) {
      z = Conv <kernel_shape = [1, 1]> (x, w)  a = Relu (z)
      y = Conv <kernel_shape = [1, 1], group = 2> (a, v) }"""
    v = normal(RNG, 4, 3, 1, 1)
    v[2:, 1] = 0  # the second group's reading of its second channel: channel 4 of 6
    found = weighed(tmp_path, model(text, {"w": normal(RNG, 6, 3, 1, 1), "v": v}))["a"]
    assert found.unread is not None
    assert np.flatnonzero(found.unread).tolist() == [4]
    expected = [np.linalg.norm(v[:2, c]) for c in range(3)] + [np.linalg.norm(v[2:, c]) for c in range(3)]
    np.testing.assert_allclose(found.outgoing_norm, expected, rtol=1e-6)


def test_a_batch_normalisation_and_a_bias_behind_are_part_of_what_decides(tmp_path):
    text = """g (float[n, 3, 4, 4] x) => (float[n, 2, 4, 4] y) {
      c = Conv <kernel_shape = [1, 1]> (x, w)
      z = BatchNormalization <epsilon = 0.001> (c, gamma, beta, mean, variance)
      a = Relu (z)  y = Conv <kernel_shape = [1, 1]> (a, v) }"""
    weights = {
        "w": normal(RNG, 5, 3, 1, 1),
        "gamma": np.array([1.0, 0.0, 0.0, 2.0, -1.0]),
        "beta": np.array([0.1, -0.2, 0.4, 1.0, -1.0]),
        "mean": np.array([0.3, 5.0, 5.0, 0.9, 2.0]),
        "variance": np.array([1.0, 1.0, 1.0, 1.999, 0.999]),
        "v": normal(RNG, 2, 5, 1, 1),
    }
    weights["w"][3:] = 0
    proto = model(text, weights)
    found = weighed(tmp_path, proto)["a"]
    # a scale of zero: β alone; zero weights: β - mean·γ/√(var + ε)
    assert found.states.tolist() == ["unknown", "dead", "constant", "dead", "constant"]
    assert found.values[2] == pytest.approx(0.4)
    assert found.values[4] == pytest.approx(-1 + 2 / 1.0, rel=1e-6)
    assert "a scale on the way is zero" in found.evidence[1]
    a = activations(proto, "a", (3, 4, 4))
    np.testing.assert_allclose(a[:, 4], np.full_like(a[:, 4], 1.0), rtol=1e-6)
    assert not a[:, [1, 3]].any()


def test_a_gated_product_is_decided_by_either_factor(tmp_path):
    text = """g (float[n, 4] x) => (float[n, 4] y) {
      p = MatMul (x, gate)  q = MatMul (x, up)  s = Sigmoid (p)  m = Mul (p, s)  a = Mul (m, q)
      y = MatMul (a, down) }"""
    gate, up, down = normal(RNG, 4, 6), normal(RNG, 4, 6), normal(RNG, 6, 4)
    gate[:, 1] = 0  # silu(0) = 0
    up[:, 2] = 0
    gate[:, 4], up[:, 4] = gate[:, 3], up[:, 3]
    gate[:, 5], up[:, 5] = 2 * gate[:, 3], up[:, 3]  # a scaled gate is another function
    down[0] = 0
    proto = model(text, {"gate": gate, "up": up, "down": down})
    found = weighed(tmp_path, proto)["a"]
    assert found.site.activation.name == "SwiGLU"
    assert found.states.tolist() == ["unknown", "dead", "dead", "unknown", "unknown", "unknown"]
    assert found.duplicate_of.tolist() == [-1, -1, -1, -1, 3, -1]
    assert found.duplicate_exact.tolist() == [False] * 4 + [True, False]
    assert found.unread is not None
    assert found.unread.tolist() == [True] + [False] * 5
    assert not activations(proto, "a", (4,))[:, [1, 2]].any()


def test_recurrent_layers_are_left_out_with_the_reason(tmp_path):
    text = """g (float[t, n, 3] x) => (float[t, n, 2] y) {
      h, last = GRU <hidden_size = 4> (x, w, r)
      s = Squeeze (h, one)  y = MatMul (s, v) }"""
    weights = {
        "w": normal(RNG, 1, 12, 3),
        "r": normal(RNG, 1, 12, 4),
        "v": normal(RNG, 4, 2),
        "one": np.array([1]),
    }
    weights["v"][1] = 0
    found = weighed(tmp_path, model(text, weights))["h"]
    assert "recurrent" in found.skipped
    assert set(found.states) == {"unknown"}
    assert found.unread is None  # its own next step reads it too
    assert found.outgoing_norm is not None
    assert found.outgoing_norm[1] == 0


def test_a_residual_sum_is_not_decided_by_one_of_its_terms(tmp_path):
    text = """g (float[n, 4] x) => (float[n, 2] y) {
      p = Gemm <transB = 1> (x, u, c)  h = Relu (p)
      q = Gemm <transB = 1> (h, w, b)  z = Add (q, h)  a = Relu (z)  y = Gemm <transB = 1> (a, v) }"""
    w, v = np.zeros((4, 4)), normal(RNG, 2, 4)
    weights = {"u": normal(RNG, 4, 4), "c": np.ones(4), "w": w, "b": -np.ones(4), "v": v}
    result = weighed(tmp_path, model(text, weights))
    assert set(result["a"].states) == {"unknown"}
    assert result["h"].unread is None  # the sum reads it
    assert "'a'" in result["h"].outgoing_skipped
    assert "branches" in result.unchained["h"]
    assert [len(chain.factors) for chain in result.chains] == [1]  # from a to y only


def test_a_sum_whose_sign_is_rounding_is_constant_and_not_called_dead(tmp_path):
    text = """g (float[n, 3] x) => (float[n, 2] y) {
      p = MatMul (x, w)  q = Add (p, b)  z = Add (q, c)  a = Relu (z)  y = MatMul (a, v) }"""
    weights = {
        "w": np.zeros((3, 2)),
        "b": np.array([0.1, 0.1]),
        "c": np.array([-0.1 - 1e-9, -0.2]),
        "v": np.eye(2),
    }
    found = weighed(tmp_path, model(text, weights))["a"]
    assert found.states.tolist() == ["constant", "dead"]


# --- duplicates


def test_duplicates_are_found_up_to_a_positive_factor_before_a_relu(tmp_path):
    w, b = normal(RNG, 40, 8), normal(RNG, 40)
    w[7], b[7] = w[3], b[3]
    w[9], b[9] = 0.37 * w[3], 0.37 * b[3]
    w[11], b[11] = -w[3], -b[3]
    w[12], b[12] = w[3], b[3] + 0.01
    w[20], b[20] = w[5] * (1 + 1e-7), b[5]
    w[21] = w[6] + 1e-4
    b[21] = b[6]
    found = weighed(tmp_path, dense(w, b, normal(RNG, 2, 40)))["a"]
    assert {int(k): int(found.duplicate_of[k]) for k in np.flatnonzero(found.duplicate_of >= 0)} == {
        7: 3,
        9: 3,
        20: 5,
    }
    assert np.flatnonzero(found.duplicate_exact).tolist() == [7]
    assert found.compared == 40


def test_a_factor_is_no_duplicate_before_an_activation_that_bends(tmp_path):
    w, b = normal(RNG, 10, 8), normal(RNG, 10)
    w[7], b[7] = 2 * w[3], 2 * b[3]
    w[8], b[8] = w[3], b[3]
    found = weighed(tmp_path, dense(w, b, normal(RNG, 2, 10), "Tanh (z)"))["a"]
    assert np.flatnonzero(found.duplicate_of >= 0).tolist() == [8]


def test_many_equal_rows_make_one_cluster(tmp_path):
    w = np.tile(normal(RNG, 1, 5), (3000, 1))
    found = weighed(tmp_path, dense(w, np.zeros(3000), np.ones((1, 3000))))["a"]
    assert found.duplicates == 2999 == int(found.duplicate_exact.sum())


def test_rows_that_are_nearly_equal_by_the_thousand_do_not_ask_for_all_pairs(tmp_path, monkeypatch):
    monkeypatch.setattr("nla.weights.duplicates._MOST_READ", 5000)
    w = 1 + 2e-6 * RNG.standard_normal((1000, 5)).astype(np.float32)
    found = weighed(tmp_path, dense(w, np.zeros(1000), np.ones((1, 1000)), "Tanh (z)"))["a"]
    assert found.compared < 1000  # and it says so


def test_equal_rows_of_groups_that_read_other_channels_are_no_duplicates(tmp_path):
    text, weights = conv(2)
    weights["w"][3:] = weights["w"][:3]
    weights["b"][:] = 1
    found = weighed(tmp_path, model(text, weights))["a"]
    assert found.duplicates == 0


# --- numbers that are no numbers, and blocks


def test_nan_infinities_and_denormals_are_counted_and_keep_a_neuron_open(tmp_path):
    w, b, out = normal(RNG, 5, 4), np.zeros(5), normal(RNG, 2, 5)
    w[0, 1], w[1, 2], w[2, 0] = np.nan, np.inf, 1e-40
    w[3] = 0
    w[3, 0] = np.nan
    result = weighed(tmp_path, dense(w, b, out))
    layer = result.layers[0]
    assert (layer.nans, layer.infinities, layer.denormals, layer.zeros) == (2, 1, 1, 3)
    assert np.isnan(layer.spectral_norm)
    assert not layer.likenesses
    assert result["a"].states.tolist() == ["unknown"] * 5
    assert np.isnan(result["a"].incoming_norm).tolist() == [True, True, False, True, False]


def test_no_bound_is_made_of_weights_that_are_no_numbers(tmp_path):
    out = normal(RNG, 2, 5)
    out[0, 0] = np.inf
    result = weighed(tmp_path, dense(normal(RNG, 5, 4), np.zeros(5), out))
    assert result.chains == ()
    assert "NaN or infinities" in result.unchained["a"]


def test_a_denormal_weight_is_no_zero(tmp_path):
    w = np.zeros((3, 4), np.float32)
    w[1, 1] = 1e-45
    found = weighed(tmp_path, dense(w, -np.ones(3), normal(RNG, 2, 3)))["a"]
    assert found.states.tolist() == ["dead", "unknown", "dead"]


@pytest.mark.parametrize("transposed", [False, True])
def test_blocks_of_any_size_give_the_same_numbers(tmp_path, monkeypatch, transposed):
    w, b, out = normal(RNG, 30, 17), normal(RNG, 30), normal(RNG, 3, 30)
    w[5], w[9] = 0, 2 * w[8]
    b[9] = 2 * b[8]
    proto = dense(w, b, out, transposed=transposed)
    whole = weighed(tmp_path, proto)
    monkeypatch.setattr("nla.weights.matrix._BLOCK", 7)
    parts = weighed(tmp_path, proto)
    np.testing.assert_allclose(parts["a"].incoming_norm, whole["a"].incoming_norm, rtol=1e-12)
    np.testing.assert_allclose(parts["a"].outgoing_norm, whole["a"].outgoing_norm, rtol=1e-12)
    assert parts["a"].states.tolist() == whole["a"].states.tolist()
    assert parts["a"].duplicate_of.tolist() == whole["a"].duplicate_of.tolist()
    assert parts.layers[0].std == pytest.approx(whole.layers[0].std, rel=1e-12)
    assert parts.layers[0].std == pytest.approx(np.sqrt(np.mean(w.astype(float) ** 2)), rel=1e-12)


# --- the bound of eq. 4


def chain_of(weights: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    text = """g (float[n, 5] x) => (float[n, 3] y) {
      z1 = Gemm <transB = 1> (x, w1)  a1 = Sigmoid (z1)
      z2 = Gemm <transB = 1, alpha = 2.0> (a1, w2)  a2 = Relu (z2)
      m = MatMul (a2, w3)  z3 = Mul (m, s)  a3 = Tanh (z3)
      y = MatMul (a3, w4) }"""
    return model(text, weights)


def test_the_bound_along_a_chain_is_the_product_of_slopes_and_norms(tmp_path):
    weights = {
        **{
            "w1": normal(RNG, 6, 5),
            "w2": normal(RNG, 7, 6),
            "w3": normal(RNG, 7, 8),
            "w4": normal(RNG, 8, 3),
        },
        "s": np.float32([-3] + [0.5] * 7),
    }
    result = weighed(tmp_path, chain_of(weights))
    (chain,) = result.chains
    norms = {name: np.linalg.norm(w.astype(float), 2) for name, w in weights.items() if w.ndim == 2}
    assert [(f.site, f.slope) for f in chain.factors] == [("a1", 0.25), ("a2", 1.0), ("a3", 1.0)]
    assert [f.norm for f in chain.factors] == pytest.approx([2 * norms["w2"], 3 * norms["w3"], norms["w4"]])
    assert [f.kind for f in chain.factors] == ["exact", "bound", "exact"]
    expected = 0.25 * 2 * norms["w2"] * 3 * norms["w3"] * norms["w4"]
    assert 10 ** chain.log10_bounds[0] == pytest.approx(expected)
    assert chain.stopped == ""
    jacobian = _jacobian(weights)
    assert np.linalg.norm(jacobian, 2) <= expected


def _jacobian(weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """∂y/∂z1 at a random input, by the chain rule written out."""
    w = {name: value.astype(float) for name, value in weights.items()}
    z1 = w["w1"] @ np.ones(5)
    a1 = 1 / (1 + np.exp(-z1))
    z2 = 2 * w["w2"] @ a1
    a2 = np.maximum(z2, 0)
    z3 = (a2 @ w["w3"]) * w["s"]
    into_2 = 2 * w["w2"] @ np.diag(a1 * (1 - a1))
    into_3 = np.diag(w["s"]) @ w["w3"].T @ np.diag((z2 > 0).astype(float)) @ into_2
    return w["w4"].T @ np.diag(1 - np.tanh(z3) ** 2) @ into_3


def test_two_readers_end_a_chain(tmp_path):
    text = """g (float[n, 4] x) => (float[n, 2] y, float[n, 2] q) {
      z = MatMul (x, w)  a = Relu (z)  y = MatMul (a, v)  q = MatMul (a, u) }"""
    weights = {"w": normal(RNG, 4, 4), "v": normal(RNG, 4, 2), "u": normal(RNG, 4, 2)}
    result = weighed(tmp_path, model(text, weights))
    assert result.chains == ()
    assert "2 layers read it" in result.unchained["a"]
    np.testing.assert_allclose(
        result["a"].outgoing_norm,
        np.linalg.norm(np.hstack([weights["v"], weights["u"]]).astype(float), axis=1),
    )
