"""Witnesses behind normalisations: ascent in the model itself, over numbers and over tokens."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import nla
from nla.graph.loading import load
from nla.graph.lookups import lookups
from nla.replay.tasks import open_checkpoint

WIDTH, NEURONS, TOKENS = 12, 6, 500
MAKE = onnx.helper.make_node


def saved(path, declared, nodes, arrays):
    graph = onnx.helper.make_graph(
        nodes,
        "made",
        [onnx.helper.make_tensor_value_info(*declared)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


def behind_a_norm(rng, source):
    nodes = [
        MAKE("LayerNormalization", [source, "g"], ["u"]),
        MAKE("Gemm", ["u", "w", "b"], ["z"]),
        MAKE("Relu", ["z"], ["y"]),
    ]
    w = rng.normal(size=(WIDTH, NEURONS)).astype(np.float32)
    return nodes, {"g": np.ones(WIDTH, np.float32), "w": w}


def test_inputs_that_come_near_the_limit_of_a_layer_norm_are_found(tmp_path):
    """The sphere has eleven dimensions: by chance no input lies so near to the one that is best."""
    nodes, arrays = behind_a_norm(np.random.default_rng(0), "x")
    w = arrays["w"].astype(np.float64)
    most = np.sqrt(WIDTH) * np.linalg.norm(w - w.mean(axis=0), axis=0)
    share = np.where(np.arange(NEURONS) % 2, 0.995, 1.01)
    arrays["b"] = (-share * most).astype(np.float32)
    path = saved(tmp_path / "m.onnx", ("x", onnx.TensorProto.FLOAT, ["N", WIDTH]), nodes, arrays)
    site = nla.certify(path, in_process=True)["y"]
    assert site.verdict.tolist() == ["certified", "refuted"] * (NEURONS // 2)
    assert set(site.found[1::2]) == {"ascent"}


@pytest.fixture
def tokens(tmp_path):
    """The mean of three rows of a table, normalised; of 4,000 texts at random each neuron is woken by none."""
    rng = np.random.default_rng(1)
    nodes, arrays = behind_a_norm(rng, "m")
    arrays["table"] = rng.normal(size=(TOKENS, WIDTH)).astype(np.float32)
    nodes = [
        MAKE("Cast", ["ids"], ["places"], to=onnx.TensorProto.INT32),
        MAKE("Gather", ["table", "places"], ["e"]),
        MAKE("ReduceMean", ["e"], ["m"], axes=[1], keepdims=0),
        *nodes,
    ]
    texts = rng.integers(0, TOKENS, (4000, 3))
    m = arrays["table"][texts].mean(axis=1)
    u = (m - m.mean(axis=1, keepdims=True)) / m.std(axis=1, keepdims=True)
    arrays["b"] = -(u @ arrays["w"]).max(axis=0) * np.float32(1.02)
    return saved(tmp_path / "t.onnx", ("ids", onnx.TensorProto.INT64, ["N", 3]), nodes, arrays)


def test_tokens_are_exchanged_until_a_neuron_wakes(tokens):
    found = nla.certify(tokens, domain="any", in_process=True)
    assert found["y"].verdict.tolist() == ["refuted"] * NEURONS
    assert "ascent" in found["y"].found
    ids = found.witnesses["ids"]
    assert ids.dtype == np.int64
    assert ids.min() >= 0
    assert ids.max() < TOKENS


def test_tokens_stay_within_their_range(tokens):
    found = nla.certify(tokens, box="0:4", in_process=True)
    assert found["y"].verdict.tolist() == ["undecided"] * NEURONS
    everything = np.stack(np.meshgrid(*[np.arange(5)] * 3), axis=-1).reshape(-1, 3)
    woken = nla.certify(tokens, everything, domain="any", method="interval", time_budget=2.0, in_process=True)
    assert "data" not in woken["y"].found  # so that nothing was missed


def test_an_embedding_is_found_behind_casts(tokens):
    (found,) = lookups(load(open_checkpoint(str(tokens))).graph)
    assert (found.input, found.rows, found.table.shape) == ("ids", "e", (TOKENS, WIDTH))
