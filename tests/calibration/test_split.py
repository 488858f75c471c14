"""Held-out samples and shards are functions of the global index."""

from __future__ import annotations

import numpy as np
import pytest

from nla.calibration import CalibrationOptions, open_calibration
from nla.calibration.split import is_held_out, splitmix64
from nla.errors import DataError, UsageError
from nla.site import Input

X = Input("x", "float32", ("batch", 1))


def reference_splitmix64(index: int) -> int:
    """The published C code, in Python's integers."""
    mask = (1 << 64) - 1
    z = (index + 1) * 0x9E3779B97F4A7C15 & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return z ^ z >> 31


def test_splitmix64_equals_the_published_code() -> None:
    indices = np.array([0, 1, 2, 1000, 2**40, 2**62])
    assert [int(h) for h in splitmix64(indices)] == [reference_splitmix64(int(i)) for i in indices]


def test_held_out_share_is_met_within_chance() -> None:
    assert abs(is_held_out(np.arange(100_000), 0.2).mean() - 0.2) < 0.005


def test_larger_share_holds_out_a_superset() -> None:
    indices = np.arange(1000)
    assert not (is_held_out(indices, 0.1) & ~is_held_out(indices, 0.3)).any()


def test_split_is_by_the_option_unless_told_otherwise() -> None:
    calibration = open_calibration(np.zeros((100, 1), np.float32), [X], CalibrationOptions(held_out=0.3))
    main, held = calibration.split()
    assert main.samples + held.samples == 100
    assert held.indices.tolist() == np.flatnonzero(is_held_out(np.arange(100), 0.3)).tolist()


def test_share_that_holds_out_nothing_is_refused() -> None:
    calibration = open_calibration(np.zeros((2, 1), np.float32), [X], CalibrationOptions())
    with pytest.raises(DataError, match="comes to none"):
        calibration.split(0.01)


def test_shard_without_samples_is_refused() -> None:
    with pytest.raises(DataError, match="shard 3/16"):
        open_calibration(np.zeros((2, 1), np.float32), [X], CalibrationOptions(shard=(3, 16)))


@pytest.mark.parametrize("shard", [(0, 4), (5, 4), (1, 0)])
def test_impossible_shards_are_refused(shard: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="shard"):
        CalibrationOptions(shard=shard)
