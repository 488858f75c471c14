"""The blocked tap gives what plain outputs give, under the right names, and steps aside where it cannot."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nla.replay import blocked, kernels
from nla.replay.blocked import BlockedModel, block_size, blocked_model
from nla.replay.session import Session
from nla.statistics.summary import Thresholds

Array = NDArray[Any]

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="onnxruntime blocks feature maps on x86-64 only"
)

# Channels 24, 40 and 17 are no multiple of the block; r1 is a residual sum, rd depthwise with two consumers.
CNN = """
<ir_version: 9, opset_import: ["" : 17]>
cnn (float[n,3,20,20] x) => () <float lo = {0}, float hi = {6}>
{
  c0 = Conv <pads = [1, 1, 1, 1]> (x, w0, b0)
  n0 = BatchNormalization (c0, s0, t0, m0, v0)
  r0 = Relu (n0)
  c1 = Conv <pads = [1, 1, 1, 1]> (r0, w1, b1)
  a1 = Add (c1, r0)
  r1 = Relu (a1)
  cd = Conv <pads = [1, 1, 1, 1], group = 32> (r1, wd, bd)
  rd = Clip (cd, lo, hi)
  mp = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (rd)
  c2 = Conv (mp, w2, b2)
  sg = Sigmoid (c2)
  c3 = Conv (mp, w3, b3)
  r3 = Relu (c3)
  cat = Concat <axis = 1> (r3, sg)
  c4 = Conv (cat, w4, b4)
  th = Tanh (c4)
  c5 = Conv (cat, w5, b5)
  lr = LeakyRelu <alpha = 0.1> (c5)
  c6 = Conv (cat, w6, b6)
  hs = HardSigmoid (c6)
  sw = Mul (c6, hs)
  gap = GlobalAveragePool (sw)
  flat = Flatten (gap)
  y = Gemm (flat, wf, bf)
}
"""
SHAPES = {
    "0": (32, 3, 3, 3), "1": (32, 32, 3, 3), "d": (32, 1, 3, 3), "2": (40, 32, 1, 1), "3": (24, 32, 1, 1),
    "4": (16, 64, 1, 1), "5": (17, 64, 1, 1), "6": (32, 64, 1, 1),
}  # fmt: skip
CHANNELS = {
    "r0": 32, "r1": 32, "rd": 32, "mp": 32, "sg": 40, "r3": 24, "th": 16, "lr": 17, "sw": 32, "c4": 16,
}  # fmt: skip


def build(text: str, weights: Mapping[str, Array], taps: list[str]) -> onnx.ModelProto:
    """The model with random weights, whose outputs are the taps."""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in taps)
    return model


def cnn(taps: list[str]) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights: dict[str, Array] = {}
    for key, shape in SHAPES.items():
        weights[f"w{key}"] = rng.normal(0, 0.3, shape)
        weights[f"b{key}"] = rng.normal(0, 0.3, shape[0])
    weights |= {name: rng.uniform(0.5, 1.5, 32) for name in ("s0", "t0", "m0", "v0")}
    weights |= {"wf": rng.normal(0, 0.3, (32, 10)), "bf": np.zeros(10)}
    return build(CNN, {name: value.astype(np.float32) for name, value in weights.items()}, taps)


def images(count: int) -> Array:
    return np.random.default_rng(1).standard_normal((count, 3, 20, 20)).astype(np.float32)


def unblocked(values: Array, channels: int) -> Array:
    """An NCHWc tensor as NCHW, by the definition of the layout."""
    n, padded, *size = values.shape
    block = block_size()
    maps = values.reshape(n, padded // block, -1, block).transpose(0, 1, 3, 2).reshape(n, padded, *size)
    return maps[:, :channels]


def run_both(
    model: onnx.ModelProto,
    built: BlockedModel,
    x: Array,
    taps: list[str],
    external: Mapping[str, Array] | None = None,
) -> None:
    """Every tap, blocked or not, has the values of the plain model."""
    plain = Session(model.SerializeToString(), external).run(taps, {"x": x})
    names = [built.taps[tap].tensor if tap in built.taps else tap for tap in taps]
    fast = Session(built.model, external, optimise=False).run(names, {"x": x})
    for tap, want, got in zip(taps, plain, fast, strict=True):
        maps = unblocked(got, built.taps[tap].channels) if tap in built.taps else got
        np.testing.assert_allclose(maps, want, rtol=1e-5, atol=1e-6, err_msg=tap)


@pytest.mark.parametrize("batch", [1, 3])
def test_every_tap_has_the_values_of_the_plain_model(batch: int) -> None:
    taps = [*CHANNELS, "cat", "y"]
    model = cnn(taps)
    built = blocked_model(model.SerializeToString(), taps)
    assert built is not None
    assert {"r0", "r1", "rd", "r3"} <= set(built.taps)
    assert "y" not in built.taps
    for tap, place in built.taps.items():
        assert place.channels == CHANNELS.get(tap, 64)
    run_both(model, built, images(batch), taps)


def test_the_mapping_is_by_name_and_not_by_order() -> None:
    taps = ["sw", "r3", "y", "r0", "r1"]
    model = cnn(taps)
    built = blocked_model(model.SerializeToString(), list(reversed(taps)))
    assert built is not None
    run_both(model, built, images(1), taps)


def test_outputs_that_are_no_taps_keep_their_names() -> None:
    model = cnn(["r0", "r1"])
    built = blocked_model(model.SerializeToString(), ["r1"])
    assert built is not None
    assert set(built.taps) == {"r1"}
    assert [o.name for o in onnx.load_model_from_string(built.model).graph.output] == [
        "r0",
        built.taps["r1"].tensor,
    ]


def test_no_reordering_is_left_that_nothing_reads() -> None:
    taps = ["r0", "r1", "rd"]
    built = blocked_model(cnn(taps).SerializeToString(), taps)
    assert built is not None
    nodes = onnx.load_model_from_string(built.model).graph.node
    made = {name for node in nodes for name in node.output}
    assert not made & set(taps)
    assert {place.tensor for place in built.taps.values()} <= made


def test_a_reordered_tensor_that_another_node_reads_is_kept() -> None:
    taps = ["r3", "cat"]  # 24 channels cannot be concatenated in blocks
    model = cnn(taps)
    built = blocked_model(model.SerializeToString(), taps)
    assert built is not None
    run_both(model, built, images(2), taps)


def test_kernels_read_a_blocked_tap_as_they_read_the_plain_one() -> None:
    taps = ["r1", "lr"]
    model = cnn(taps)
    built = blocked_model(model.SerializeToString(), taps)
    assert built is not None
    x, kernel, thresholds = images(2), kernels.load("numpy"), Thresholds()
    plain = Session(model.SerializeToString()).run(taps, {"x": x})
    fast = Session(built.model, optimise=False).run([built.taps[tap].tensor for tap in taps], {"x": x})
    for tap, values, maps in zip(taps, fast, plain, strict=True):
        n, padded = values.shape[:2]
        slabs = values.reshape(n, padded // built.block, -1, built.block)
        got = kernel.blocked(slabs, built.taps[tap].channels, thresholds)
        want = kernel.maps(maps.reshape(n, CHANNELS[tap], -1), thresholds)
        np.testing.assert_array_equal(got.positive, want.positive)
        np.testing.assert_allclose(got.absolute, want.absolute, rtol=1e-5)


def test_external_data_stays_where_it_is(tmp_path: Path) -> None:
    taps = ["r0", "sw", "y"]
    model = cnn(taps)
    onnx.save_model(
        model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    light = onnx.load_model(tmp_path / "m.onnx", load_external_data=False)
    external = {"w.bin": np.memmap(tmp_path / "w.bin", np.uint8, mode="r")}
    built = blocked_model(light.SerializeToString(), taps, external)
    assert built is not None
    run_both(light, built, images(1), taps, external)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "w.bin"]


def test_a_model_without_blocked_taps_gives_none() -> None:
    text = """
    <ir_version: 9, opset_import: ["" : 17]>
    mlp (float[n,4] x) => () { h = MatMul (x, w)  r = Relu (h) }
    """
    model = build(text, {"w": np.eye(4, dtype=np.float32)}, ["r"])
    assert blocked_model(model.SerializeToString(), ["r"]) is None


def test_what_is_not_a_model_gives_none() -> None:
    assert blocked_model(b"not a model", ["r"]) is None


def test_a_model_too_large_to_be_written_again_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    taps = ["r0"]
    model = cnn(taps).SerializeToString()
    monkeypatch.setattr(blocked, "_LARGEST_BYTES", len(model) - 1)
    assert blocked_model(model, taps) is None


def test_a_folder_that_cannot_be_written_to_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(prefix: str) -> None:
        raise OSError(28, "No space left on device", prefix)

    monkeypatch.setattr(blocked, "TemporaryDirectory", full)
    assert blocked_model(cnn(["r0"]).SerializeToString(), ["r0"]) is None


def test_a_body_that_reads_a_reordered_tensor_keeps_it() -> None:
    """Names read only inside a body are read all the same."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["r0"], ["inner"])],
        "b",
        [],
        [helper.make_empty_tensor_value_info("inner")],
    )
    nodes = [
        helper.make_node("ReorderOutput", ["t"], ["r0"], domain="com.microsoft.nchwc", channels=32),
        helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("r0", "z")]
    model = helper.make_model(helper.make_graph(nodes, "g", [], outputs))
    assert blocked._tap(model, frozenset(["r0"])) == {"r0": ("t", 32)}
    assert [node.op_type for node in model.graph.node] == ["ReorderOutput", "If"]
    assert [output.name for output in model.graph.output] == ["t", "z"]


def test_the_block_is_a_power_of_two_that_kernels_know() -> None:
    assert block_size() in (4, 8, 16)
