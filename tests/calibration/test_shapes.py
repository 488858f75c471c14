"""How arrays fit inputs: what is allowed, what is told, what is refused and with which advice."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nla.calibration import CalibrationOptions, open_calibration
from nla.calibration.shapes import fit, wanted
from nla.errors import DataError
from nla.site import Input


def feeds(array: np.ndarray, *shape: int | str | None, where: np.ndarray | None = None) -> np.ndarray:
    calibration = open_calibration(array, [Input("x", "float32", shape)], CalibrationOptions())
    rows = np.arange(calibration.samples) if calibration.batchable else np.arange(1)
    return calibration.feeds(rows)["x"]


def numbered(*shape: int) -> np.ndarray:
    return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize(
    ("array", "declared", "fed"),
    [
        ((5, 784), ("batch", 784), (5, 784)),
        ((5, 28, 28), ("batch", 784), (5, 784)),
        ((5, 28, 28), (1, 1, 28, 28), (5, 1, 28, 28)),
        ((5, 28, 28, 1), ("N", 1, 28, 28), (5, 1, 28, 28)),
        ((5, 1, 3, 4, 4), (1, 3, 4, 4), (5, 3, 4, 4)),
        ((5, 1, 3, 4, 6), (1, 3, None, None), (5, 3, 4, 6)),
        ((5, 784), ("batch", 1, 28, 28), (5, 1, 28, 28)),
        ((5, 3, 4, 4), ("batch", 48), (5, 48)),
        ((5,), ("batch", 1), (5, 1)),
        ((5, 1), ("batch",), (5,)),
        ((784,), ("batch", 784), (1, 784)),
        ((3, 4, 4), (1, 3, 4, 4), (1, 3, 4, 4)),
        ((28, 28), (1, 1, 28, 28), (1, 1, 28, 28)),
        ((7,), ("batch", "sequence"), (1, 7)),
        ((5, 9), ("batch", "sequence"), (5, 9)),
        ((5, 2, 2), None, (5, 2, 2)),
        ((6, 1, 2), ("batch", 1, 2), (6, 1, 2)),
    ],
)
def test_what_fits_keeps_every_value_in_order(
    array: tuple[int, ...], declared: tuple[int | str | None, ...] | None, fed: tuple[int, ...]
) -> None:
    calibration = open_calibration(numbered(*array), [Input("x", "float32", declared)], CalibrationOptions())
    got = calibration.feeds(np.arange(calibration.samples))["x"]
    np.testing.assert_array_equal(got, numbered(*array).reshape(fed))
    assert bool(calibration.account) == (array != fed or declared is None)


@pytest.mark.parametrize(
    ("array", "declared", "advice"),
    [
        ((5, 64, 84, 3), ("batch", 3, 64, 84), r"transpose\(x, \(0, 3, 1, 2\)\)"),
        ((5, 3, 64, 84), ("batch", 64, 84, 3), r"transpose\(x, \(0, 2, 3, 1\)\)"),
        ((5, 20, 28), ("batch", 784), "must hold 784 values as \\[n, 784\\], here it holds 560"),
        ((5, 3072), ("batch", 3, 32, 32), r"\[n, 3, 32, 32\]"),
        ((5, 2, 3, 4, 4), (1, 3, 4, 4), "must hold 48 values"),
        ((16, 16), (8, 16), r"fixed first axis of 8.*give \[n, 8, 16\]"),
        ((5, 9), (), "--set x=0"),
        ((5, 6, 7), ("batch", "a", "b", "c"), r"give \[n, \?, \?, \?\]"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(
    array: tuple[int, ...], declared: tuple[int | str | None, ...], advice: str
) -> None:
    with pytest.raises(DataError, match=advice):
        fit("x", array, Input("x", "float32", declared))


def test_input_without_batch_axis_takes_one_sample_a_run() -> None:
    data = numbered(3, 8, 16)
    calibration = open_calibration(data, [Input("x", "float32", (8, 16))], CalibrationOptions())
    assert (calibration.samples, calibration.batchable) == (3, False)
    np.testing.assert_array_equal(calibration.feeds(np.array([2]))["x"], data[2])


def test_batch_named_on_another_axis_is_not_taken_for_the_first() -> None:
    want = wanted(Input("state", "float32", (2, "batch", 128)))
    assert (want.batched, want.sample) == (False, (2, 1, 128))
    want = wanted(Input("sequence", "float32", ("sequence_len", "batch", 100)))
    assert (want.batched, want.sample) == (False, (None, 1, 100))


def test_one_sample_beside_many_is_fed_with_each() -> None:
    data = {"x": numbered(5, 4), "state": numbered(2, 1, 3), "rate": np.array(16000)}
    inputs = [
        Input("x", "float32", ("batch", 4)),
        Input("state", "float32", (2, "batch", 3)),
        Input("rate", "int64", ()),
    ]
    calibration = open_calibration(data, inputs, CalibrationOptions())
    assert (calibration.samples, calibration.batchable) == (5, False)
    fed = calibration.feeds(np.array([3]))
    np.testing.assert_array_equal(fed["state"], data["state"])
    assert fed["rate"].shape == ()
    assert fed["rate"] == 16000
    assert any("'state' holds one sample, which is fed with each of the 5" in s for s in calibration.account)


@given(
    samples=st.integers(1, 5),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    data=st.data(),
)
def test_joined_axes_and_axes_of_one_never_reorder_values(
    samples: int, sizes: list[int], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sizes) - 1)) if len(sizes) > 1 else st.just(set())))
    edges = [0, *cuts, len(sizes)]
    target = [math.prod(sizes[a:b]) for a, b in itertools.pairwise(edges)]
    for at in data.draw(st.lists(st.integers(0, len(target)), max_size=2)):
        target.insert(at, 1)
    array = numbered(samples, *sizes)
    got = feeds(array, "batch", *target)
    assert got.size == array.size
    np.testing.assert_array_equal(got.reshape(-1), array.reshape(-1))
