"""Weights of real and sample models: what training leaves, read without data."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from builders import model, normal
from onnx import numpy_helper
from safetensors.numpy import save_file

import nla
from nla.graph import loading
from nla.weights import reading
from nla.weights.matrix import Matrix, matrix
from nla.weights.results import WeightInspection

ROOT = Path(__file__).resolve().parents[2]


def weighed(path: Path, **given: object) -> WeightInspection:
    found = nla.inspect(path, in_process=True, **given)  # type: ignore[arg-type]
    assert isinstance(found, WeightInspection)
    assert found.activations_seen is False
    return found


@pytest.mark.shared
def test_a_network_at_birth_and_after_twelve_epochs(shared):
    born = weighed(shared / "models/dying-relu/relu/epoch00.onnx")
    trained = weighed(shared / "models/dying-relu/relu/epoch12.onnx")
    assert [layer.rejected for layer in born.layers] == [False] * 6
    assert all("glorot-uniform" in layer.nearest for layer in born.layers)
    assert [layer.rejected for layer in trained.layers] == [True] * 6
    # the states stay open: of these neurons 302 are dead on data, and none by its weights
    assert trained.summary == {
        **{"neurons": 1280, "dead": 0, "constant": 0, "unknown": 1280, "unread": 0, "duplicates": 0}
    }
    assert "born" not in {state for site in born.sites for state in site.states}


@pytest.mark.shared
def test_norms_and_the_bound_are_those_of_the_float64_oracle(shared):
    trained = weighed(shared / "models/dying-relu/relu/epoch12.onnx")
    with np.load(shared / "acceptance/reference/dying_relu_epoch12_t10k.npz") as reference:
        norms, product = reference["spectral_norms"], float(reference["eq4_product_l2_L"])
    np.testing.assert_allclose([layer.spectral_norm for layer in trained.layers], norms, rtol=1e-9)
    assert 10 ** trained.chains[0].log10_bounds[0] == pytest.approx(product, rel=1e-9)


@pytest.mark.shared
def test_a_checkpoint_without_a_graph_tells_the_same_as_its_export(shared):
    folder = shared / "models/tiny-opt"
    found = weighed(folder)
    stored = {layer.weight for layer in found.layers}
    assert "model.decoder.layers.0.fc1.weight" in stored
    exported = weighed(folder / "model.onnx")
    ours = [s for s in found.sites if s.site.role == "mlp_post"]
    theirs = [s for s in exported.sites if s.site.role == "mlp_post"]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.incoming_norm, other.incoming_norm, rtol=1e-6)
        np.testing.assert_allclose(one.outgoing_norm, other.outgoing_norm, rtol=1e-6)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "sample_models").glob("*/model.onnx")), ids=lambda p: p.parent.name
)
def test_what_weights_prove_of_the_sample_models_is_true_of_them(path):
    truth = json.loads((ROOT / "sample_models/expected" / f"{path.parent.name}.json").read_text())
    expected = {site["name"]: site for site in truth["sites"]}
    for site in weighed(path).sites:
        for unit in np.flatnonzero(site.states != "unknown"):
            assert unit in expected[site.name]["units"][site.states[unit]]


def test_weights_that_are_in_a_file_are_read_where_they_lie(tmp_path, monkeypatch):
    seen: list[Matrix] = []

    def spy(*arguments):
        found = matrix(*arguments)
        assert isinstance(found, Matrix)
        seen.append(found)
        return found

    monkeypatch.setattr(reading, "matrix", spy)
    monkeypatch.setattr(loading, "_COPIED_BYTES", 0)  # small weights are copied, these are small
    rng = np.random.default_rng(0)
    tensors = {"fc1.weight": normal(rng, 64, 32), "fc1.bias": np.zeros(64, np.float32)}
    tensors |= {"fc2.weight": normal(rng, 10, 64), "fc2.bias": np.zeros(10, np.float32)}
    tensors["fc1.weight"][3], tensors["fc1.bias"][3] = 0, -1
    for dtype in (np.float32, np.float16, ml_dtypes.bfloat16):
        seen.clear()
        save_file({name: array.astype(dtype) for name, array in tensors.items()}, tmp_path / "m.safetensors")
        found = weighed(tmp_path / "m.safetensors", layers="fc1,fc2", activation="relu")
        assert found.summary["dead"] == 1
        assert {each.array.dtype for each in seen} == {np.dtype(dtype)}
        assert not any(each.array.flags.writeable or each.array.flags.owndata for each in seen)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_types_are_read_as_they_are(tmp_path, kind):
    rng = np.random.default_rng(1)
    w = normal(rng, 6, 4).astype(kind)
    text = f"""g ({"float16" if kind is np.float16 else "double"}[n, 4] x) => (float[n, 2] y) {{
      z = Gemm <transB = 1> (x, w)  a = Relu (z)  y = Gemm <transB = 1> (a, v) }}"""
    proto = model(text, {})
    proto.graph.output[0].type.tensor_type.elem_type = proto.graph.input[0].type.tensor_type.elem_type
    arrays = {"w": w, "v": normal(rng, 2, 6).astype(kind)}
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    onnx.save(proto, tmp_path / "m.onnx")
    layer = weighed(tmp_path / "m.onnx").layers[0]
    assert layer.dtype == np.dtype(kind).name
    assert layer.spectral_norm == pytest.approx(np.linalg.norm(w.astype(float), 2), rel=1e-12)


def test_the_child_gives_what_this_process_gives(tmp_path):
    path = ROOT / "sample_models/constant_units/model.onnx"
    here = nla.inspect(path, in_process=True)
    there = nla.inspect(path)
    assert isinstance(here, WeightInspection)
    assert isinstance(there, WeightInspection)
    assert here.to_dict() == there.to_dict()
    assert here.summary["constant"] == 4


def test_dead_weights_are_judged_by_the_tolerance_of_the_criteria():
    path = ROOT / "sample_models/constant_units/model.onnx"
    assert weighed(path, criteria={"dead_tolerance_abs": 0.0}).summary["constant"] == 4


def test_a_model_without_layers_is_refused_with_what_to_do(tmp_path):
    text = "g (float[n, 4] x) => (float[n, 4] y) { y = Relu (x) }"
    onnx.save(model(text, {}), tmp_path / "m.onnx")
    with pytest.raises(nla.ModelError, match="no layer of neurons"):
        nla.inspect(tmp_path / "m.onnx", in_process=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"output": "run.h5"}, "a recording holds what a replay"),
        ({"labels": "y"}, "labels"),
        ({"mask": "m"}, "mask"),
        ({"held_out": 0.2}, "held-out"),
        ({"limit": 5}, "limit"),
        ({"shard": (1, 2)}, "shard"),
        ({"inputs": {"x": "y"}}, "inputs"),
        ({"image": {"resize": (2, 2)}}, "resize"),
        ({"tokenizer": "t.json"}, "tokenizer"),
        ({"max_length": 4}, "max-length"),
        ({"exclude_bos": True}, "exclude-bos"),
        ({"initial": "m.onnx"}, "initial"),
        ({"pre_activations": True}, "pre-activations"),
        ({"effective_rank": "exact"}, "effective-rank"),
        ({"histogram": "exact"}, "histogram"),
        ({"batch_size": 4}, "batch-size"),
    ],
)
def test_what_is_about_data_is_refused_where_there_are_none(given, said):
    with pytest.raises(nla.UsageError, match=said):
        nla.inspect(ROOT / "sample_models/healthy/model.onnx", **given)


def test_other_verbs_still_ask_for_data():
    with pytest.raises(nla.UsageError, match="calibration data"):
        nla.verify(ROOT / "sample_models/healthy/model.onnx", ROOT / "sample_models/healthy/model.onnx")
