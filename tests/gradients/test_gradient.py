"""Gradient flow of whole models: against the reference, against finite differences, and what is refused."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import builders
import graphs_spatial
import jsonschema
import numpy as np
import onnx
import pytest

import nla
from nla.errors import DataError, ModelError, NlaError, UsageError
from nla.theory.gradient_flow import EXPLODING, NONE, STEADY, VANISHING, GradientFlow, LayerGradient

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "schemas/gradient-1.schema.json").read_text())
RNG = np.random.default_rng(0)


def mlp(weights=None, *, nodes="", opset=17, head="y = Gemm <transB = 1> (a2, w3, b3)"):
    given = {
        "w1": builders.normal(RNG, 7, 4),
        "b1": builders.normal(RNG, 7, scale=0.3),
        "w2": builders.normal(RNG, 6, 7),
        "b2": builders.normal(RNG, 6, scale=0.3),
        "w3": builders.normal(RNG, 3, 6),
        "b3": builders.normal(RNG, 3, scale=0.3),
        **(weights or {}),
    }
    text = f"""mlp (float[n, 4] x) => (float[n, 3] y) {{
        z1 = Gemm <transB = 1> (x, w1, b1)
        a1 = Relu (z1)
        z2 = Gemm <transB = 1> (a1, w2, b2)
        a2 = Tanh (z2)
        {nodes}
        {head}
    }}"""
    used = {name: value for name, value in given.items() if name in text}
    return builders.model(text, used, opset=opset)


def saved(model, path):
    path.write_bytes(model.SerializeToString())
    return path


def measured(model, tmp_path, data, **options):
    return nla.gradient(saved(model, tmp_path / "m.onnx"), data, in_process=True, **options)


X = RNG.standard_normal((11, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 11)


@pytest.mark.shared
def test_the_reference_network(shared):
    reference = np.load(shared / "acceptance/reference/dying_relu_epoch12_t10k.npz")
    found = nla.gradient(
        shared / "models/dying-relu/relu/epoch12.onnx",
        shared / "data/mnist_t10k.npz",
        image={"scale": 1 / 255},
    )
    assert found.mean_loss == pytest.approx(float(reference["ce_loss"]), rel=1e-6)
    means = [layer.mean for layer in reversed(found.layers)]
    assert means == pytest.approx(reference["delta_mean_norm_l6_to_l1"], rel=1e-5)
    for k, layer in enumerate(found.layers[:-1]):
        for got, name in ((layer.row_norm, "grad_row_norm"), (layer.bias_abs, "grad_bias_abs")):
            np.testing.assert_allclose(
                got, reference[name][k], rtol=1e-5, atol=1e-5 * reference[name][k].max()
            )
        assert layer.bound is not None
        assert layer.bound.norm == pytest.approx(reference["spectral_norms"][k + 1], rel=1e-8)
    first = found.layers[0].bound
    assert 10**first.log10 == pytest.approx(float(reference["eq4_product_l2_L"]), rel=1e-8)
    assert (first.measured, first.vacuous) == (pytest.approx(1.5378, rel=1e-4), True)
    assert [layer.without for layer in found.layers[:-1]] == (reference["grad_row_norm"] == 0).sum(1).tolist()
    assert found.verdict == STEADY


def test_weights_and_biases_against_finite_differences_of_the_mean_loss(tmp_path):
    model = mlp()
    found = measured(model, tmp_path, {"x": X}, labels=LABELS)
    held = {
        tensor.name: onnx.numpy_helper.to_array(tensor).astype(np.float64)
        for tensor in model.graph.initializer
    }

    def loss(values):
        a = X.astype(np.float64)
        a = np.maximum(a @ values["w1"].T + values["b1"], 0)
        a = np.tanh(a @ values["w2"].T + values["b2"])
        y = a @ values["w3"].T + values["b3"]
        return float(np.mean(np.log(np.exp(y).sum(1)) - y[np.arange(len(y)), LABELS]))

    def slope(name, at):
        step = np.zeros_like(held[name])
        step[at] = 1e-6
        return (loss({**held, name: held[name] + step}) - loss({**held, name: held[name] - step})) / 2e-6

    assert found.mean_loss == pytest.approx(loss(held), rel=1e-6)
    for layer, number in zip(found.layers, "12", strict=False):
        for j in range(layer.neurons):
            row = [slope(f"w{number}", (j, i)) for i in range(held[f"w{number}"].shape[1])]
            assert layer.row_norm[j] == pytest.approx(np.linalg.norm(row), rel=1e-5, abs=1e-7)
            assert layer.bias_abs[j] == pytest.approx(abs(slope(f"b{number}", j)), rel=1e-5, abs=1e-7)


def test_results_do_not_depend_on_threads_or_processes_and_hold_the_schema(tmp_path):
    path = saved(mlp(), tmp_path / "m.onnx")
    x = np.random.default_rng(1).standard_normal((1300, 4)).astype(np.float32)
    one, two = (
        nla.gradient(path, {"x": x}, loss="sum", threads=threads, in_process=alone).to_dict()
        for threads, alone in ((1, True), (3, False))
    )
    assert one == two
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(one, SCHEMA)
    assert one["settings"]["batch_size"] == 512


def test_a_neuron_without_gradient_is_counted_and_a_dead_one_is_such(tmp_path):
    weights = {"b1": np.full(7, 0.5, np.float32), "w2": builders.normal(RNG, 6, 7)}
    weights["b1"][2] = -100.0
    weights["w2"][:, 4] = 0
    first = measured(mlp(weights), tmp_path, {"x": X}, labels=LABELS).layers[0]
    assert set(np.flatnonzero(first.peak == 0)) == {2, 4}
    assert first.without == 2
    assert first.row_norm[2] == first.bias_abs[4] == 0


@pytest.mark.parametrize(
    "kind", ["conv1d", "conv2d", "conv3d", "grouped", "depthwise", "transposed", "relu6", "batch_norm"]
)
def test_convolutions_are_measured_and_bounded_from_above(kind, tmp_path):
    built = graphs_spatial.conv(kind)
    found = measured(built.model, tmp_path, built.feeds, loss="mean-square")
    assert len(found.layers) == 3
    assert [layer.neurons for layer in found.layers[:2]] == [site.neurons for site in built.sites]
    first = found.layers[0].bound
    assert first is not None
    assert first.log10_apart > -1e-6
    assert first.kind == ("bound" if kind == "transposed" else "estimate")
    assert found.layers[0].peak[1] == 0  # planted dead


def test_a_graph_of_one_sample_is_run_one_by_one_or_freed_with_the_same_result(tmp_path):
    model = mlp()
    fixed = mlp()
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    fixed.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    free = measured(model, tmp_path, {"x": X}, loss="sum")
    one = measured(fixed, tmp_path, {"x": X}, loss="sum")
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for tensor in fixed.graph.initializer:
        tensor.CopyFrom(weights[tensor.name])
    one = measured(fixed, tmp_path, {"x": X}, loss="sum")
    for a, b in zip(free.layers, one.layers, strict=True):
        np.testing.assert_allclose(a.rms, b.rms, rtol=1e-5, atol=1e-7)


def test_samples_with_nan_are_left_out(tmp_path):
    model, spoilt = mlp(), X.copy()
    spoilt[3, 1] = np.nan
    found = measured(model, tmp_path, {"x": spoilt}, labels=LABELS)
    clean = measured(model, tmp_path, {"x": np.delete(X, 3, 0)}, labels=np.delete(LABELS, 3))
    assert (found.samples, found.left_out) == (10, 1)
    assert found.layers[0].mean == pytest.approx(clean.layers[0].mean, rel=1e-6)
    with pytest.raises(DataError, match="every sample"):
        measured(model, tmp_path, {"x": np.full_like(X, np.nan)}, labels=LABELS)


def test_a_softmax_at_the_end_is_seen_through(tmp_path):
    weights = {name: builders.normal(RNG, *shape) for name, shape in (("w3", (3, 6)), ("b3", (3,)))}
    plain = mlp(weights)
    shares = onnx.ModelProto()
    shares.CopyFrom(plain)
    shares.graph.node[-1].output[0] = "logits"
    shares.graph.node.append(onnx.helper.make_node("Softmax", ["logits"], ["y"], axis=-1))
    a, b = (measured(model, tmp_path, {"x": X}, labels=LABELS) for model in (plain, shares))
    assert b.output.tensor == "logits"
    assert [layer.mean for layer in a.layers] == pytest.approx([layer.mean for layer in b.layers], rel=1e-6)


def test_labels_may_be_names_in_their_order(tmp_path):
    model = mlp()
    names = np.array(["ant", "bee", "cat"])[LABELS]
    named = measured(model, tmp_path, {"x": X}, labels=names)
    assert named.mean_loss == measured(model, tmp_path, {"x": X}, labels=LABELS).mean_loss
    assert any("order of their spelling" in note for note in named.notes)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, DataError, "no labels"),
        ({"labels": LABELS + 1}, DataError, "label 3: the model tells 3 classes apart"),
        ({"labels": np.where(LABELS == 0, "a", "b")}, DataError, "2 labels"),
        ({"loss": "hinge"}, UsageError, "no loss 'hinge'"),
        ({"loss": "sum", "loss_of": "q"}, UsageError, "no output 'q'; its outputs are y"),
        ({"loss": "sum", "threads": 0}, UsageError, "threads"),
        ({"loss": "sum", "providers": ("Odd",)}, ModelError, "no provider Odd"),
    ],
)
def test_what_does_not_fit_is_refused(options, error, said, tmp_path):
    with pytest.raises(error, match=said):
        measured(mlp(), tmp_path, {"x": X}, **options)


def test_the_oldest_operator_set_has_no_expand_and_gives_the_same_gradient(tmp_path):
    rng = np.random.default_rng(3)
    weights = {
        name: builders.normal(rng, *shape)
        for name, shape in {
            "w1": (7, 4),
            "b1": (7,),
            "w2": (6, 7),
            "b2": (6,),
            "w3": (3, 6),
            "b3": (3,),
        }.items()
    }
    old, new = (
        measured(mlp(weights, opset=opset), tmp_path, {"x": X}, loss="sum").layers for opset in (7, 17)
    )
    assert [each.mean for each in old] == pytest.approx([each.mean for each in new], rel=1e-5)


def test_no_data_is_refused(tmp_path):
    with pytest.raises(UsageError, match="measured over data"):
        nla.gradient(saved(mlp(), tmp_path / "m.onnx"))


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ("q = CumSum (a2, axis)", "the operator CumSum"),
        ("q = Trilu (a2)", "the operator Trilu"),
    ],
)
def test_an_operator_without_a_rule_is_refused_by_name(nodes, said, tmp_path):
    model = mlp({"axis": np.array(1)}, nodes=nodes, head="y = Gemm <transB = 1> (q, w3, b3)")
    with pytest.raises(ModelError, match=said):
        measured(model, tmp_path, {"x": X}, loss="sum")


def test_layers_behind_an_operator_without_a_rule_are_measured_and_those_before_it_listed_with_it(tmp_path):
    nodes = "q = CumSum (a2, axis) z4 = Gemm (q, w4) a4 = Relu (z4)"
    weights = {"axis": np.array(1), "w4": builders.normal(RNG, 6, 5), "w3": builders.normal(RNG, 3, 5)}
    model = mlp(weights, nodes=nodes, head="y = Gemm <transB = 1> (a4, w3, b3)")
    found = measured(model, tmp_path, {"x": X}, labels=LABELS)
    assert [layer.name for layer in found.layers] == ["a4", "y"]
    assert set(found.not_measured) == {"a1", "a2"}
    assert all("CumSum" in why for why in found.not_measured.values())


def test_dropout_that_is_left_in_training_is_said_and_nothing_before_it_is_measured(tmp_path):
    nodes = (
        "n = Constant <value_int = 1> () training = Cast <to = 9> (n) "
        "q = Dropout (a2, , training) r = Gemm <transB = 1> (q, w3, b3)"
    )
    found = measured(mlp(nodes=nodes, head="y = Relu (r)"), tmp_path, {"x": X}, loss="sum")
    assert set(found.not_measured) == {"a1", "a2"}
    assert any("draws at random" in note for note in found.notes)


def test_weights_that_are_read_twice_have_no_gradient_by_one_reader(tmp_path):
    """The gradient of what is shared is the sum over its readers, and that is not what one layer's rows would say."""
    nodes = "t = Gemm <transB = 1> (x, w1) r = Relu (t) s = Gemm <transB = 1> (r, w2) u = Add (s, a2)"
    model = mlp(nodes=nodes, head="y = Gemm <transB = 1> (u, w3, b3)")
    found = {layer.name: layer for layer in measured(model, tmp_path, {"x": X}, labels=LABELS).layers}
    assert len(found["a1"].row_norm) == len(found["a2"].row_norm) == 0
    assert "read 2 times" in found["a1"].rows_skipped


def test_spoilt_files_end_in_an_error_of_ours_or_none(tmp_path):
    built = graphs_spatial.conv("conv2d")
    rng = np.random.default_rng(0)
    content = built.model.SerializeToString()
    for _ in range(12):
        broken = bytearray(content)
        for at in rng.integers(0, len(broken) // 3, 3):
            broken[at] = rng.integers(0, 256)
        (tmp_path / "m.onnx").write_bytes(broken)
        with contextlib.suppress(NlaError):
            nla.gradient(tmp_path / "m.onnx", built.feeds, loss="sum", in_process=True)


def layer(mean, name="l"):
    values = np.array([mean])
    return LayerGradient(name, name, "dense", "Relu", 1, mean, (mean,) * 5, 0, values, values, values, values)


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ((1e-5, 1.0), VANISHING),
        ((0.02, 1.0), STEADY),
        ((500.0, 1.0), EXPLODING),
        ((1.0, 0.0), NONE),
        ((1.0,), NONE),
    ],
)
def test_verdicts(means, verdict):
    flow = GradientFlow(tuple(map(layer, means)), "sum", 1.0, 1, 0, {}, {}, {})
    assert flow.verdict == verdict
    plain, arrays = flow.to_plain()
    assert GradientFlow.from_plain(plain, arrays).to_dict() == flow.to_dict()


def test_rows_have_an_entry_a_neuron(tmp_path):
    found = measured(mlp(), tmp_path, {"x": X}, labels=LABELS)
    rows = found.rows()
    assert len(rows) == 7 + 6 + 3
    assert rows[7]["neuron"] == 0
    assert rows[-1]["row_norm"] is None
