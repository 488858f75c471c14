"""Evidence that layers are as they were drawn, on small graphs whose weights are known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import nla
from nla.weights.initialisation import judged

RNG = np.random.default_rng(0)
BOUND = math.sqrt(6 / 96)


def uniform() -> np.ndarray:
    return RNG.uniform(-BOUND, BOUND, (32, 64)).astype(np.float32)


def saved(path, weight, bias, *, apart=False, norm=False, dtype=np.float32):
    """x·W + b, then a normalisation or none, ReLU, and a second layer that is all ones."""
    initial = {"w": weight, "v": np.ones((64, 4), np.float32)}
    if bias is not None:
        initial["b"] = np.asarray(bias, np.float32)
    if bias is None:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["z"], name="first")]
    elif apart:
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["y"], name="first"),
            helper.make_node("Add", ["b", "y"], ["z"]),
        ]
    else:
        nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["z"], name="first")]
    z = "z"
    if norm:
        initial |= {"one": np.ones(64, np.float32), "zero": np.zeros(64, np.float32)}
        nodes.append(helper.make_node("BatchNormalization", ["z", "one", "zero", "zero", "one"], ["n"]))
        z = "n"
    nodes += [
        helper.make_node("Relu", [z], ["a"]),
        helper.make_node("MatMul", ["a", "v"], ["out"], name="last"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 32])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(array, name) for name, array in initial.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    found = nla.initialisation(path, in_process=True)
    return next(layer for layer in found.layers if layer.layer.name == "first")


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("bias", "norm", "said"),
    [
        (np.zeros(64), False, "zero"),
        (np.zeros(64), True, "normalised"),
        (np.full(64, 0.1), False, "set"),
        (None, False, "none"),
    ],
)
def test_the_bias_is_found_where_it_stands(tmp_path, apart, bias, norm, said):
    normal = (RNG.standard_normal((32, 64)) * math.sqrt(2 / 32)).astype(np.float32)
    found = saved(tmp_path / "m.onnx", normal, bias, apart=apart, norm=norm)
    assert found.layer.bias == said
    assert found.strength == ("strong" if said == "zero" else "weak")
    assert found.bias_zero == (said == "zero")
    assert not found.range_filled
    assert "he-normal" in found.layer.nearest


def test_a_range_that_is_filled_is_strong_and_a_little_training_ends_it(tmp_path):
    weight = uniform()
    fresh = saved(tmp_path / "a.onnx", weight, np.full(64, 0.1))
    assert (fresh.strength, fresh.range_filled, fresh.scheme) == ("strong", True, "glorot-uniform")
    moved = weight + RNG.standard_normal(weight.shape).astype(np.float32) * 0.005 * BOUND
    trained = saved(tmp_path / "b.onnx", moved, np.full(64, 0.1))
    assert (trained.strength, trained.range_filled) == ("weak", False)
    decayed = saved(tmp_path / "c.onnx", weight * np.float32(0.98), np.full(64, 0.1))
    assert (decayed.strength, decayed.range_filled) == ("weak", False)
    half = saved(tmp_path / "d.onnx", weight.astype(np.float16).astype(np.float32), None)
    stored = judged(dataclasses.replace(half.layer, dtype="float16"))
    assert stored.range_filled


def test_a_layer_that_fits_nothing_has_no_strong_evidence(tmp_path):
    found = saved(tmp_path / "m.onnx", np.full((32, 64), 0.5, np.float32), np.zeros(64))
    assert (found.strength, found.bias_zero) == ("against", False)
    none = saved(tmp_path / "n.onnx", np.zeros((32, 64), np.float32), np.zeros(64))
    assert (none.strength, none.scheme) == ("none", "")
