"""The comparison of two models' outputs, against plain onnxruntime on the whole data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import nla
from nla.verification import Verification

SAMPLES = Path(__file__).parents[2] / "sample_models"


def edited(model: Path, folder: Path, change: Any) -> Path:
    """The model with `change` done to its largest weight."""
    proto = onnx.load(model)
    weight = max(proto.graph.initializer, key=lambda t: np.prod(t.dims))
    values = onnx.numpy_helper.to_array(weight).copy()
    change(values)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    path = folder / "edited.onnx"
    onnx.save(proto, path)
    return path


def outputs(path: Path, feeds: dict[str, Any]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, feeds)


def nudge(values: np.ndarray) -> None:
    values.reshape(-1)[::7] += 0.01


def verify(name: str, other: Path | None = None, **options: Any) -> Verification:
    model = SAMPLES / name / "model.onnx"
    return nla.verify(model, other or model, SAMPLES / name / "data.npz", in_process=True, **options)


def test_the_differences_are_those_of_plain_onnxruntime(tmp_path: Path):
    model = SAMPLES / "dying_relu/model.onnx"
    other = edited(model, tmp_path, nudge)
    data = np.load(SAMPLES / "dying_relu/data.npz")
    (before,), (after,) = outputs(model, {"x": data["x"]}), outputs(other, {"x": data["x"]})
    split = verify("dying_relu", other).splits["calibration"]
    (output,) = split.outputs
    assert output.largest_absolute == pytest.approx(np.abs(before - after).max(), rel=1e-3)
    assert output.largest_value == pytest.approx(np.abs(before).max(), rel=1e-5)
    assert output.values == before.size
    assert output.top1 == pytest.approx((before.argmax(1) == after.argmax(1)).mean(), abs=2 / len(before))
    assert split.accuracy is not None
    assert split.accuracy.before == int((before.argmax(1) == data["y"]).sum())
    assert split.accuracy.after == int((after.argmax(1) == data["y"]).sum())
    assert not split.unchanged


def test_batches_and_threads_change_no_number(tmp_path: Path):
    other = edited(SAMPLES / "dying_relu/model.onnx", tmp_path, nudge)
    whole, parts = (
        verify("dying_relu", other, limit=300, **o).splits for o in ({}, {"batch_size": 7, "threads": 3})
    )
    one, many = whole["calibration"].outputs[0], parts["calibration"].outputs[0]
    assert one.values == many.values
    assert one.largest_absolute == pytest.approx(many.largest_absolute, rel=1e-3)


@pytest.mark.parametrize("name", ["fixed_batch", "lstm", "qdq_int8", "external_data", "fp16", "cnn_residual"])
def test_a_model_is_the_same_as_itself(name: str):
    seen = verify(name, limit=50)
    assert seen.holds
    assert all(output.largest_absolute == 0 for output in seen.splits["calibration"].outputs)
    assert seen.size_before == seen.size_after


def test_a_fixed_batch_is_run_one_by_one():
    assert [latency.batch for latency in verify("fixed_batch", limit=20).latencies] == [1]


def test_both_splits_are_compared_and_share_no_sample():
    seen = verify("dying_relu", held_out=0.2)
    assert set(seen.splits) == {"calibration", "held_out"}
    assert sum(split.samples for split in seen.splits.values()) == len(
        np.load(SAMPLES / "dying_relu/data.npz")["x"]
    )


def test_latency_is_of_pairs_with_one_sample_and_with_a_batch():
    latencies = verify("dying_relu", limit=200).latencies
    assert latencies[0].batch == 1
    assert latencies[1].batch > 1
    for latency in latencies:
        assert latency.pairs >= 3
        assert 0 < latency.ratio < 100


def test_models_with_other_inputs_or_outputs_are_not_compared():
    with pytest.raises(nla.UsageError, match=r"its \w+s are"):
        verify("dying_relu", SAMPLES / "gated_block/model.onnx")


def test_types_that_onnx_does_not_have_are_told_by_number(tmp_path: Path):
    proto = onnx.load(SAMPLES / "dying_relu/model.onnx")
    proto.graph.input[0].type.tensor_type.elem_type = 99
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(nla.NlaError, match="type 99"):
        verify("dying_relu", tmp_path / "m.onnx")


def test_an_edited_model_that_does_not_run_is_named(tmp_path: Path):
    proto = onnx.load(SAMPLES / "dying_relu/model.onnx")
    next(n for n in proto.graph.node if n.op_type == "Relu").op_type = "Frobnicate"
    path = tmp_path / "broken.onnx"
    onnx.save(proto, path)
    with pytest.raises(nla.ModelError, match=r"broken\.onnx"):
        verify("dying_relu", path)


def test_samples_with_nan_are_left_out(tmp_path: Path):
    x = np.load(SAMPLES / "dying_relu/data.npz")["x"][:20].copy()
    x[3, 0] = np.nan
    model = SAMPLES / "dying_relu/model.onnx"
    split = nla.verify(model, model, x, in_process=True).splits["calibration"]
    assert (split.samples, split.left_out) == (19, 1)


def test_a_tolerance_that_is_none_is_refused():
    with pytest.raises(nla.UsageError, match="tolerance nan"):
        verify("dying_relu", tolerance=float("nan"))
