"""Element types: what is cast and told, what is refused, and how values are scaled."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from nla.calibration import Calibration, CalibrationOptions, finite, open_calibration
from nla.errors import DataError, UsageError
from nla.site import Input


def opened(array: np.ndarray, dtype: str, **options: object) -> Calibration:
    shape = ("batch", *array.shape[1:])
    return open_calibration(array, [Input("x", dtype, shape)], CalibrationOptions(**options))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("uint8", "float32"),
        ("int64", "float32"),
        ("bool", "float32"),
        ("float64", "float32"),
        ("float16", "float32"),
        ("float32", "float16"),
        ("float32", "float64"),
        ("int16", "int64"),
        ("int64", "int32"),
        ("int64", "uint8"),
        ("uint8", "bool"),
        ("bool", "int64"),
    ],
)
def test_cast_is_told_and_keeps_the_values(given: str, wanted: str) -> None:
    values = np.array([[0, 1], [1, 0]]).astype(given)
    calibration = opened(values, wanted)
    fed = calibration.feeds(np.arange(2))["x"]
    assert fed.dtype == wanted
    np.testing.assert_array_equal(fed.astype(float), values.astype(float))
    assert any(f"from {given} to {wanted}" in sentence for sentence in calibration.account)


def test_equal_types_are_not_told() -> None:
    assert opened(np.zeros((2, 3), np.float32), "float32").account == ()


def test_bfloat16_is_fed_as_the_model_wants_it() -> None:
    fed = opened(np.array([[1.0, 2.5]], np.float32), "bfloat16").feeds(np.arange(1))["x"]
    assert fed.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(fed.astype(np.float32), [[1.0, 2.5]])


def test_bytes_fed_to_a_float_input_are_warned_of() -> None:
    (sentence,) = opened(np.zeros((2, 3), np.uint8), "float32").account
    assert "0..255" in sentence
    assert "nothing was scaled" in sentence


@pytest.mark.parametrize("wanted", ["int64", "int32", "bool"])
def test_floats_are_never_cast_to_integers(wanted: str) -> None:
    with pytest.raises(DataError, match=f"the model wants {wanted}"):
        opened(np.zeros((2, 3), np.float32), wanted)


def test_strings_and_numbers_do_not_mix() -> None:
    with pytest.raises(DataError, match="the model wants float32"):
        opened(np.array([["a"]]), "float32")
    with pytest.raises(DataError, match="the model wants str"):
        opened(np.zeros((2, 3), np.float32), "str")


def test_strings_are_fed_as_objects() -> None:
    fed = opened(np.array([["a", "bc"]]), "str").feeds(np.arange(1))["x"]
    assert fed.tolist() == [["a", "bc"]]
    assert fed.dtype == object


@pytest.mark.parametrize(
    ("value", "given", "wanted"),
    [(2**31, "int64", "int32"), (-1, "int64", "uint8"), (256, "int64", "uint8"), (2, "uint8", "bool")],
)
def test_integer_out_of_range_is_an_error_that_names_it(value: int, given: str, wanted: str) -> None:
    with pytest.raises(DataError, match=f"holds {value}, which does not fit the model's {wanted}"):
        opened(np.array([[0], [value]], given), wanted).feeds(np.arange(2))


def test_casts_can_be_turned_off() -> None:
    with pytest.raises(DataError, match="casts are turned off"):
        opened(np.zeros((2, 3), np.float64), "float32", cast=False)


@pytest.mark.parametrize("options", [{"scale": 1 / 255}, {"std": 255}])
def test_scaled_bytes_equal_division_in_float32(options: dict[str, float]) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(256, 1)
    fed = opened(pixels, "float32", **options).feeds(np.arange(256))["x"]
    np.testing.assert_array_equal(fed, pixels.astype(np.float32) / np.float32(255))


def test_mean_and_std_are_per_channel_first_or_last() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    options = {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    mean, std = (np.array(options[k]).reshape(3, 1, 1) for k in ("mean", "std"))
    want = ((pixels / 255.0 - mean) / std).astype(np.float32)
    np.testing.assert_allclose(opened(pixels, "float32", **options).feeds(np.arange(2))["x"], want, rtol=1e-6)
    last = opened(np.moveaxis(pixels, 1, -1), "float32", **options).feeds(np.arange(2))["x"]
    np.testing.assert_allclose(last, np.moveaxis(want, 1, -1), rtol=1e-6)


def test_mean_for_channels_that_are_not_there_is_refused() -> None:
    with pytest.raises(DataError, match="no channel axis"):
        opened(np.zeros((2, 4, 8, 8), np.uint8), "float32", mean=(1, 2, 3))


def test_scaling_without_a_single_float_input_is_refused() -> None:
    with pytest.raises(UsageError, match="single float input"):
        opened(np.zeros((2, 3), np.int64), "int64", scale=2.0)


def test_finite_finds_the_samples_with_nan_or_infinity() -> None:
    x = np.zeros((5, 2, 3), np.float32)
    x[1, 0, 0], x[3, 1, 2] = np.nan, -np.inf
    x[4] = np.finfo(np.float32).max  # finite, although its sum is not
    assert finite({"x": x, "i": np.zeros((5, 1), np.int64)}, 5).tolist() == [True, False, True, False, True]


def test_finite_of_half_precision_does_not_overflow() -> None:
    assert finite({"x": np.full((1, 4096), 60000, np.float16)}, 1).tolist() == [True]
