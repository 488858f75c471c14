"""ONNX's test_data_set_* folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from nla.calibration import Calibration, CalibrationOptions, open_calibration
from nla.errors import DataError
from nla.site import Input

X = Input("x", "float32", (1, 2, 3))


def save(path: Path, array: np.ndarray, name: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(onnx.numpy_helper.from_array(array, name).SerializeToString())


def opened(path: Path, *inputs: Input) -> Calibration:
    return open_calibration(path, inputs, CalibrationOptions())


def sample(number: int) -> np.ndarray:
    return np.full((1, 2, 3), number, np.float32)


def test_folders_are_samples_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        save(tmp_path / f"test_data_set_{number}/input_0.pb", sample(number), "x")
        save(tmp_path / f"test_data_set_{number}/output_0.pb", np.zeros(3))
    fed = opened(tmp_path, X).feeds(np.arange(3))["x"]
    assert fed[:, 0, 0].tolist() == [0, 2, 10]


def test_one_folder_may_be_named_itself(tmp_path: Path) -> None:
    save(tmp_path / "test_data_set_0/input_0.pb", sample(4), "x")
    assert opened(tmp_path / "test_data_set_0", X).samples == 1


def test_input_without_a_name_is_taken_by_its_number(tmp_path: Path) -> None:
    save(tmp_path / "test_data_set_0/input_0.pb", sample(1))
    save(tmp_path / "test_data_set_0/input_1.pb", np.zeros((1, 5), np.int64), "unknown")
    calibration = opened(tmp_path, X, Input("ids", "int64", ("batch", 5)))
    assert calibration.data_inputs == ("x", "ids")
    assert any("input_1.pb is taken as the input 'ids' by its number" in s for s in calibration.account)


def test_batches_in_folders_are_laid_end_to_end(tmp_path: Path) -> None:
    values = np.arange(30, dtype=np.float32).reshape(5, 2, 3)
    save(tmp_path / "test_data_set_0/input_0.pb", values[:2], "x")
    save(tmp_path / "test_data_set_1/input_0.pb", values[2:], "x")
    calibration = opened(tmp_path, Input("x", "float32", ("batch", 2, 3)))
    np.testing.assert_array_equal(calibration.feeds(np.array([4, 1, 2]))["x"], values[[4, 1, 2]])


def test_input_without_batch_axis_has_one_sample_a_folder(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"test_data_set_{number}/input_0.pb", np.full((4, 2), number, np.float32), "x")
    calibration = opened(tmp_path, Input("x", "float32", (4, 2)))
    assert (calibration.samples, calibration.batchable) == (3, False)
    assert calibration.feeds(np.array([2]))["x"].tolist() == [[2, 2]] * 4


def test_folders_that_differ_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "test_data_set_0/input_0.pb", sample(1), "x")
    save(tmp_path / "test_data_set_1/input_0.pb", np.zeros((1, 2, 4), np.float32), "x")
    with pytest.raises(DataError, match="differ in type or shape"):
        opened(tmp_path, X)


@pytest.mark.parametrize(
    "tensor",
    [
        onnx.TensorProto(dims=[1, 2, 3], data_type=1, raw_data=bytes(4)),
        onnx.TensorProto(dims=[1 << 40], data_type=1, raw_data=bytes(4)),
        onnx.TensorProto(dims=[-6], data_type=1, raw_data=bytes(24)),
        onnx.TensorProto(dims=[6], data_type=1, data_location=1),
        onnx.TensorProto(dims=[6]),
        onnx.TensorProto(dims=[6], data_type=999, raw_data=bytes(24)),
    ],
)
def test_tensor_that_lies_is_refused(tensor: onnx.TensorProto, tmp_path: Path) -> None:
    path = tmp_path / "test_data_set_0/input_0.pb"
    path.parent.mkdir()
    path.write_bytes(tensor.SerializeToString())
    with pytest.raises(DataError, match="not a readable tensor"):
        opened(tmp_path, X)


def test_file_that_is_no_protobuf_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "test_data_set_0/input_0.pb"
    path.parent.mkdir()
    path.write_bytes(b"\xff" * 50)
    with pytest.raises(DataError, match="not a readable tensor"):
        opened(tmp_path, X)
