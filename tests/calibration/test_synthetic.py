"""Random samples only on request, the same in every batch and shard, and always said."""

from __future__ import annotations

import numpy as np
import pytest

from nla.calibration import CalibrationOptions, open_calibration
from nla.errors import DataError, UsageError
from nla.site import Input

X = Input("x", "float32", ("batch", 3, "width"))
IDS = Input("ids", "int64", ("batch", 5))


def test_nothing_is_random_unless_asked() -> None:
    with pytest.raises(UsageError, match="--synthetic"):
        open_calibration(None, [X], CalibrationOptions())


def test_data_and_synthetic_samples_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="both data and synthetic"):
        open_calibration(np.zeros((1, 3, 4)), [X], CalibrationOptions(synthetic=4))


def test_samples_are_the_same_in_any_batch_order_and_shard() -> None:
    whole = open_calibration(None, [X, IDS], CalibrationOptions(synthetic=12, seed=5))
    everything = whole.feeds(np.arange(12))
    assert everything["x"].shape == (12, 3, 32)
    assert set(everything["ids"].ravel().tolist()) == {0, 1}
    np.testing.assert_array_equal(whole.feeds(np.array([7, 2]))["x"], everything["x"][[7, 2]])
    shard = whole.shard(2, 3)
    np.testing.assert_array_equal(shard.feeds(np.arange(4))["ids"], everything["ids"][1::3])


def test_seed_decides_and_is_described() -> None:
    one, same, other = (
        open_calibration(None, [X], CalibrationOptions(synthetic=4, seed=seed)) for seed in (1, 1, 2)
    )
    assert one.digest == same.digest != other.digest
    assert not np.array_equal(one.feeds(np.arange(4))["x"], other.feeds(np.arange(4))["x"])
    assert (one.synthetic, one.describe()["synthetic"], one.describe()["seed"]) == (True, True, 1)
    assert any("SYNTHETIC" in sentence for sentence in one.account)


def test_values_are_standard_normal() -> None:
    values = open_calibration(None, [X], CalibrationOptions(synthetic=200)).feeds(np.arange(200))["x"]
    assert abs(float(values.mean())) < 0.03
    assert abs(float(values.std()) - 1) < 0.03


def test_strings_cannot_be_made_up() -> None:
    with pytest.raises(DataError, match="no random samples"):
        open_calibration(None, [Input("s", "str", ("batch", 1))], CalibrationOptions(synthetic=2))
