"""Every kernel against plain NumPy in float64: counts and extremes exactly, sums to 1e-6."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_oracle import RELU, SIGNED, TANH, THRESHOLDS, check, values
from numpy.typing import NDArray

from nla.errors import MissingExtraError, UsageError
from nla.replay import kernels
from nla.replay.kernels import Kernel
from nla.statistics.summary import Summary, Thresholds

Array = NDArray[Any]


@pytest.fixture(scope="module", params=["numpy", "numba"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    if request.param == "numba":
        pytest.importorskip("numba")
    return kernels.load(request.param)


def as_groups(a: Array, runs: Array, groups: int) -> list[Array]:
    """The rows of each group, as [n, C]."""
    parts: list[list[Array]] = [[a[:0]] for _ in range(groups)]
    for first, end, group in runs:
        parts[group].append(a[first:end])
    return [np.concatenate(part) for part in parts]


def ragged(rng: np.random.Generator, rows: int, groups: int) -> Array:
    """Runs that leave rows out, some of them empty, in groups that may have several or none."""
    cuts = np.sort(rng.integers(0, rows + 1, 2 * rng.integers(0, 6)))
    return np.stack([cuts[::2], cuts[1::2], rng.integers(0, groups, len(cuts) // 2)], axis=1).astype(np.int64)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.sampled_from([0, 1, 2, 31, 33, 100]), data=st.data())
def test_columns_equal_the_oracle(kernel: Kernel, seed: int, rows: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    thresholds = data.draw(st.sampled_from(THRESHOLDS))
    channels = data.draw(st.sampled_from([1, 3, 15, 16, 17, 32, 40, 100]))
    groups = data.draw(st.integers(1, 4))
    a, runs = values(rng, (rows, channels), thresholds), ragged(rng, rows, groups)
    got = kernel.columns(a, runs, groups, thresholds, False)
    check(got, as_groups(a, runs, groups), thresholds, False)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), groups=st.integers(1, 3), data=st.data())
def test_maps_equal_the_oracle(kernel: Kernel, seed: int, groups: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    thresholds = data.draw(st.sampled_from(THRESHOLDS))
    channels = data.draw(st.sampled_from([1, 3, 16, 17, 24, 33]))
    positions = data.draw(st.sampled_from([1, 4, 15, 16, 17, 49, 196, 512, 513, 521, 1024, 1025, 1031, 1200]))
    a = values(rng, (groups, channels, positions), thresholds)
    check(kernel.maps(a, thresholds), [x.T for x in a], thresholds, True)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), groups=st.integers(1, 3), data=st.data())
def test_blocked_maps_equal_the_oracle(kernel: Kernel, seed: int, groups: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    thresholds = data.draw(st.sampled_from(THRESHOLDS))
    block = data.draw(st.sampled_from([4, 8, 16]))
    blocks = data.draw(st.integers(1, 5))
    channels = data.draw(st.integers((blocks - 1) * block + 1, blocks * block))
    positions = data.draw(st.sampled_from([1, 2, 7, 49, 169]))
    a = values(rng, (groups, blocks, positions, block), thresholds)
    flat = a.transpose(0, 2, 1, 3).reshape(groups, positions, blocks * block)[:, :, :channels]
    check(kernel.blocked(a, channels, thresholds), list(flat), thresholds, True)


def test_no_sample_gives_a_summary_without_rows(kernel: Kernel) -> None:
    for got in (
        kernel.columns(np.zeros((0, 20), np.float32), np.zeros((0, 3), np.int64), 0, TANH, True),
        kernel.maps(np.zeros((0, 20, 49), np.float32), TANH),
        kernel.blocked(np.zeros((0, 2, 49, 16), np.float32), 20, TANH),
    ):
        assert got.positions.shape == (0,)
        assert got.positive.shape == got.total.shape == got.min.shape == (0, 20)


def test_padding_of_the_last_block_is_not_counted(kernel: Kernel) -> None:
    a = np.ones((1, 2, 9, 16), np.float32)
    a[0, 1, :, 4:] = np.nan
    got = kernel.blocked(a, 20, SIGNED)
    assert got.neurons == 20
    assert got.nonfinite is None
    assert (got.absolute == 9).all()


@pytest.mark.parametrize("thresholds", THRESHOLDS)
def test_values_that_are_not_finite_are_counted_apart(kernel: Kernel, thresholds: Thresholds) -> None:
    rng = np.random.default_rng(3)
    a = values(rng, (70, 40), thresholds)
    for spot, value in (((0, 0), np.nan), ((3, 1), np.inf), ((5, 2), -np.inf), ((9, 39), np.nan)):
        a[spot] = value
    a[:, 7], a[:, 8] = np.nan, np.inf
    a[40:60, 20] = [np.nan, np.inf, -np.inf, 1.0] * 5
    runs = np.array([[0, 10, 0], [12, 65, 1], [65, 70, 0]])
    got = kernel.columns(a, runs, 3, thresholds, True)
    check(got, as_groups(a, runs, 3), thresholds, True)
    assert got.nonfinite is not None
    assert got.nonfinite[:, 7].tolist() == [15, 53, 0]
    maps = np.ascontiguousarray(a.T.reshape(2, 20, 70))
    check(kernel.maps(maps, thresholds), [x.T for x in maps], thresholds, True)
    slabs = np.ascontiguousarray(a[:, :32].reshape(1, 70, 2, 16).transpose(0, 2, 1, 3))
    check(kernel.blocked(slabs, 30, thresholds), [a[:, :30]], thresholds, True)


def test_finite_values_whose_squares_overflow_float32_are_not_called_infinite(kernel: Kernel) -> None:
    a = np.full((40, 20), 3e38, np.float32)
    got = kernel.columns(a, np.array([[0, 40, 0]]), 1, SIGNED, False)
    assert got.nonfinite is None
    np.testing.assert_allclose(got.absolute, 40 * 3e38, rtol=1e-6)


def pooled_sd(got: Summary) -> Array:
    n = got.counted
    return np.sqrt(got.total_sq / n - (got.total / n) ** 2)


@pytest.mark.parametrize("thresholds", [SIGNED, RELU])
def test_a_large_mean_does_not_swallow_a_small_variance(kernel: Kernel, thresholds: Thresholds) -> None:
    a = (1e4 + 1e-2 * np.random.default_rng(0).standard_normal((4096, 40))).astype(np.float32)
    runs = np.array([[0, 4096, 0]])
    true = a.astype(np.float64).std(axis=0)
    slabs = np.zeros((1, 3, 4096, 16), np.float32)
    for c in range(40):
        slabs[0, c // 16, :, c % 16] = a[:, c]
    for got in (
        kernel.columns(a, runs, 1, thresholds, False),
        kernel.maps(np.ascontiguousarray(a.T)[None], thresholds),
        kernel.blocked(slabs, 40, thresholds),
    ):
        np.testing.assert_allclose(pooled_sd(got)[0], true, rtol=1e-3)


def test_one_huge_first_value_does_not_swallow_the_small_ones(kernel: Kernel) -> None:
    """A shift taken from the first value alone would round every other value to a multiple of 6e-5."""
    a = np.full((20_000, 16), 1e-3, np.float32)
    a[0] = 1000.0
    summaries = (
        kernel.columns(a, np.array([[0, 20_000, 0]]), 1, SIGNED, False),
        kernel.maps(np.ascontiguousarray(a.T)[None], SIGNED),
    )
    for got in summaries:
        total = got.total + got.counted * got.shift
        np.testing.assert_allclose(total[0], 1000.0 + 19_999 * 1e-3, rtol=1e-6)


def test_long_sums_of_equal_values_keep_six_digits(kernel: Kernel) -> None:
    """Rounding errors of one sign add up: one float32 sum would be wrong in the fourth digit."""
    a = np.full((2, 16, 112 * 112), 0.1, np.float32)
    a[0, :, 6000] = 0.0  # so that the shift is not the value itself
    a[1] = 0.7
    got = kernel.maps(a, RELU)
    np.testing.assert_allclose(got.absolute, a.sum(axis=2, dtype=np.float64), rtol=1e-6)
    columns = np.ascontiguousarray(a.transpose(0, 2, 1)).reshape(-1, 16)
    runs = np.array([[0, 112 * 112, 0], [112 * 112, 2 * 112 * 112, 1]])
    got = kernel.columns(columns, runs, 2, RELU, True)
    np.testing.assert_allclose(got.absolute, a.sum(axis=2, dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_give_the_same_counts(kernel: Kernel, dtype: type) -> None:
    rng = np.random.default_rng(1)
    a = rng.standard_normal((50, 24)).astype(dtype)
    runs = np.array([[0, 20, 0], [20, 50, 1]])
    check(kernel.columns(a, runs, 2, TANH, True), as_groups(a, runs, 2), TANH, True)
    maps = np.ascontiguousarray(a.T)[None]
    check(kernel.maps(maps, TANH), [a], TANH, True)
    slabs = np.ascontiguousarray(a.reshape(1, 50, 3, 8).transpose(0, 2, 1, 3))
    check(kernel.blocked(slabs, 20, TANH), [a[:, :20]], TANH, True)


def test_thresholds_that_float32_cannot_hold_compare_as_in_float64(kernel: Kernel) -> None:
    nearest = np.float32(1e-3)
    neighbours = [np.nextafter(nearest, np.float32(0)), nearest, np.nextafter(nearest, np.float32(1))]
    a = np.array(neighbours)[:, None]
    thresholds = Thresholds(positive=1e-3, fired=1e-3, low=1e-3, high=1e-3)
    check(kernel.columns(a, np.array([[0, 3, 0]]), 1, thresholds, False), [a], thresholds, False)


def test_a_run_outside_the_rows_is_refused(kernel: Kernel) -> None:
    a = np.zeros((4, 16), np.float32)
    for run in ([0, 5, 0], [-1, 3, 0], [0, 4, 1], [0, 4, -1]):
        with pytest.raises(IndexError, match="outside the rows or the groups"):
            kernel.columns(a, np.array([run]), 1, SIGNED, False)


def test_several_threads_share_a_kernel(kernel: Kernel) -> None:
    arrays = [np.random.default_rng(k).standard_normal((1, 32, 300)).astype(np.float32) for k in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for a, got in zip(arrays, pool.map(lambda x: kernel.maps(x, SIGNED), arrays), strict=True):
            check(got, [a[0].T], SIGNED, True)


def test_inputs_are_left_alone_and_may_be_read_only(kernel: Kernel) -> None:
    a = np.random.default_rng(0).standard_normal((2, 20, 60)).astype(np.float32)
    before = a.copy()
    a.flags.writeable = False
    kernel.maps(a, SIGNED)
    kernel.columns(a[0], np.array([[0, 20, 0]]), 1, SIGNED, False)
    np.testing.assert_array_equal(a, before)


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_silent_rows_are_found_and_nan_is_not_silence(name: str) -> None:
    silent = kernels.load(name).silent
    a = np.zeros((6, 200), np.float32)
    a[1, 0], a[2, 199], a[3] = 1.0, 1.0, -1.0
    a[4, 100], a[5, 3] = np.nan, np.inf
    assert silent(a, 0.0).tolist() == [True, False, False, True, False, False]
    assert silent(a[:0], 0.0).tolist() == []
    assert silent(a[:1, :0], 0.0).tolist() == [True]


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(UsageError, match="expected one of auto, numba, numpy"):
        kernels.load("cuda")


def test_a_small_job_does_not_import_numba() -> None:
    code = """
import sys
from nla.replay import kernels
print(kernels.load("auto", values=1000).name, "numba" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["numpy", "False"]


def test_without_numba_auto_is_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "find_spec", lambda name: None)
    assert kernels.load("auto").name == "numpy"


def test_asking_for_numba_where_it_is_absent_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"nla\[fast\]"):
        kernels.load("numba")


def test_a_broken_numba_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Kernel:
        raise OSError("no space left on device")

    monkeypatch.setattr(kernels, "_numba", broken)
    assert kernels.load("auto").name == "numpy"
