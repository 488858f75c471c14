"""Slices left out in place: equal to numpy's take on every axis, layout and order of places."""

from __future__ import annotations

import numpy as np
import pytest

from nla.surgery.cutting import compacting
from nla.surgery.cutting.compacting import compacted


@pytest.mark.parametrize("block", [1, 64, 1 << 20])
@pytest.mark.parametrize("shape", [(7,), (6, 5), (5, 4, 3), (3, 1, 4, 2), (0, 4), (2, 9, 1)])
def test_equals_take(shape: tuple[int, ...], block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "_BLOCK_BYTES", block)
    rng = np.random.default_rng(sum(shape))
    for axis, size in enumerate(shape):
        for count in range(size + 1):
            array = rng.standard_normal(shape).astype(np.float32)
            kept = np.sort(rng.choice(size, count, replace=False))
            expected = np.take(array, kept, axis)
            np.testing.assert_array_equal(compacted(array, axis, kept), expected)


def test_uses_the_memory_that_there_is() -> None:
    array = np.arange(20.0).reshape(4, 5)
    assert np.shares_memory(compacted(array, 1, np.array([0, 2, 4])), array)


@pytest.mark.parametrize("kept", [[2, 0], [1, 1], [0, 3, 1]])
def test_places_that_do_not_rise_are_taken_in_their_order(kept: list[int]) -> None:
    array = np.arange(20.0).reshape(5, 4)
    np.testing.assert_array_equal(compacted(array.copy(), 0, np.array(kept)), array[kept])


@pytest.mark.parametrize("axis", [0, 1])
def test_foreign_memory_is_left_alone(axis: int) -> None:
    array = np.arange(20.0).reshape(4, 5)
    before = array.copy()
    array.setflags(write=False)
    np.testing.assert_array_equal(compacted(array, axis, np.array([1, 3])), np.take(before, [1, 3], axis))
    np.testing.assert_array_equal(compacted(array.T, axis, np.array([1, 3])), np.take(before.T, [1, 3], axis))
    np.testing.assert_array_equal(array, before)
