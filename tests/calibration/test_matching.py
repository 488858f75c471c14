"""Arrays to inputs by name; what else they may be; what is told and what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from nla.calibration import Calibration, CalibrationOptions, open_calibration
from nla.errors import DataError
from nla.site import Input

X = Input("x", "float32", ("batch", 4))
OTHER = Input("other", "float32", ("batch", 2))
IDS = Input("input_ids", "int64", ("batch", "sequence"))
MASK = Input("attention_mask", "int64", ("batch", "sequence"))
SEGMENTS = Input("token_type_ids", "int64", ("batch", "sequence"))
POSITIONS = Input("position_ids", "int32", ("batch", "sequence"))
DATA = np.arange(12, dtype=np.float32).reshape(3, 4)
TOKENS = np.arange(6).reshape(2, 3)


def opened(data: object, *inputs: Input, **options: object) -> Calibration:
    return open_calibration(data, inputs, CalibrationOptions(**options))  # type: ignore[arg-type]


def test_single_array_feeds_the_single_input_and_says_so() -> None:
    calibration = opened({"pixels": DATA}, X)
    np.testing.assert_array_equal(calibration.feeds(np.arange(3))["x"], DATA)
    assert calibration.account == ("array 'pixels' is taken as the input 'x'",)


def test_usual_name_decides_among_several_arrays_and_the_rest_is_told() -> None:
    calibration = opened({"images": DATA, "weights": DATA}, X)
    assert "array 'images' is taken as the input 'x'" in calibration.account
    assert any("not used: weights float32 [3, 4]" in s for s in calibration.account)


def test_two_usual_names_are_ambiguous() -> None:
    with pytest.raises(DataError, match=r"no array for the model's input x.*--input x=ARRAY"):
        opened({"images": DATA, "data": DATA}, X)


def test_rename_names_the_array() -> None:
    calibration = opened({"val": DATA, "train": DATA + 1}, X, rename={"x": "train"})
    np.testing.assert_array_equal(calibration.feeds(np.arange(3))["x"], DATA + 1)


@pytest.mark.parametrize(
    ("rename", "told"),
    [({"z": "val"}, "no such data input; it has x"), ({"x": "w"}, "no array 'w'; it has val float32")],
)
def test_rename_of_what_is_not_there_lists_what_is(rename: dict[str, str], told: str) -> None:
    with pytest.raises(DataError, match=told):
        opened({"val": DATA}, X, rename=rename)


def test_missing_inputs_are_listed_with_both_remedies() -> None:
    with pytest.raises(
        DataError, match=r"input other\. The data has x float32 .*--input other=ARRAY.*--set other=0"
    ):
        opened({"x": DATA}, X, OTHER)


def test_constants_are_not_data() -> None:
    assert opened({"x": DATA}, X, OTHER, constants=("other",)).data_inputs == ("x",)


def test_arrays_of_different_lengths_are_named() -> None:
    with pytest.raises(DataError, match="x 3, other 2"):
        opened({"x": DATA, "other": np.zeros((2, 2), np.float32)}, X, OTHER)


def test_array_named_y_is_an_input_where_an_input_bears_the_name() -> None:
    calibration = opened({"x": DATA, "y": np.array([1, 2, 3])}, X, Input("y", "int64", ("batch",)))
    assert calibration.labels is None
    assert calibration.data_inputs == ("x", "y")


def test_only_array_is_data_even_if_it_is_named_labels() -> None:
    assert opened({"labels": TOKENS}, IDS).data_inputs == ("input_ids",)


def test_attention_mask_segments_and_positions_are_derived_where_certain() -> None:
    calibration = opened({"input_ids": TOKENS}, IDS, MASK, SEGMENTS, POSITIONS)
    fed = calibration.feeds(np.arange(2))
    assert fed["attention_mask"].tolist() == [[1, 1, 1]] * 2
    assert fed["token_type_ids"].tolist() == [[0, 0, 0]] * 2
    assert fed["position_ids"].tolist() == [[0, 1, 2]] * 2
    assert fed["position_ids"].dtype == np.int32
    assert sum("is not in the data and is made of" in s for s in calibration.account) == 3
    assert calibration.mask(np.arange(2)) is None


def test_mask_that_is_given_also_feeds_the_attention_mask() -> None:
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    calibration = opened({"input_ids": TOKENS}, IDS, MASK, mask=mask)
    np.testing.assert_array_equal(calibration.feeds(np.arange(2))["attention_mask"], mask)
    np.testing.assert_array_equal(calibration.mask(np.arange(2)), mask == 1)


def test_positions_are_not_derived_where_there_is_padding() -> None:
    mask = np.array([[0, 1, 1], [1, 1, 1]])
    with pytest.raises(DataError, match="position_ids, and it is not derived: padding is known"):
        opened({"input_ids": TOKENS, "attention_mask": mask}, IDS, MASK, POSITIONS)


def test_attention_mask_in_the_data_is_the_mask_until_turned_off() -> None:
    data = {"input_ids": TOKENS, "attention_mask": np.array([[1, 1, 0], [1, 0, 0]])}
    calibration = opened(data, IDS, MASK)
    assert calibration.mask(np.array([1])).tolist() == [[True, False, False]]
    assert any("taken as the mask" in s for s in calibration.account)
    assert opened(data, IDS, MASK, mask="none").mask(np.array([1])) is None
    assert opened(data, IDS).mask(np.array([0])).tolist() == [[True, True, False]]


def test_model_without_data_inputs_is_refused() -> None:
    with pytest.raises(DataError, match="no input that is data"):
        opened({"x": DATA})
