"""Sums over several calls are those of one call over everything, with either kernel."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_oracle import SIGNED, TANH, THRESHOLDS, check, values
from numpy.typing import NDArray

from nla.replay import kernels
from nla.replay.kernels import Kernel, Sums

Array = NDArray[Any]


@pytest.fixture(scope="module", params=["numpy", "numba"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    if request.param == "numba":
        pytest.importorskip("numba")
    return kernels.load(request.param)


def cuts(rng: np.random.Generator, length: int) -> list[slice]:
    """`length` things in some calls, one of them perhaps empty."""
    ends = [0, *np.sort(rng.integers(0, length + 1, rng.integers(0, 4))), length]
    return [slice(first, last) for first, last in itertools.pairwise(ends)]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_any_split_into_calls_gives_the_sums_of_one_call(
    kernel: Kernel, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    thresholds = data.draw(st.sampled_from(THRESHOLDS))
    channels = data.draw(st.sampled_from([1, 3, 16, 20, 33]))
    positions = data.draw(st.sampled_from([1, 7, 16, 49, 530]))
    samples = data.draw(st.integers(1, 6))
    a = values(rng, (samples, channels, positions), thresholds)
    if data.draw(st.booleans()):  # each call then has another shift
        a *= (10.0 ** np.arange(samples, dtype=np.float32))[:, None, None]
    if data.draw(st.booleans()):
        a[rng.integers(samples), rng.integers(channels), rng.integers(positions)] = rng.choice(
            [np.nan, np.inf]
        )
    groups = [x.T for x in a]
    for way in (add_columns, add_maps, add_blocked):
        sums, shifts = kernel.sums(thresholds, True), []
        for part in cuts(rng, samples):
            way(sums, a[part])
            alone = kernel.sums(thresholds, True)
            way(alone, a[part])
            shifts.append(alone.summary().shift)
        check(sums.summary(), groups, thresholds, True, shifts)


def add_columns(sums: Sums, a: Array) -> None:
    """One call of `columns` for maps [G, C, P]."""
    groups, channels, positions = a.shape
    first = np.arange(groups) * positions
    runs = np.stack([first, first + positions, np.arange(groups)], axis=1)
    sums.columns(np.ascontiguousarray(a.transpose(0, 2, 1)).reshape(-1, channels), runs, groups)


def add_maps(sums: Sums, a: Array) -> None:
    """One call of `maps`."""
    sums.maps(np.ascontiguousarray(a))


def add_blocked(sums: Sums, a: Array) -> None:
    """One call of `blocked` for maps [G, C, P], in blocks of 8 that are padded with NaN."""
    groups, channels, positions = a.shape
    blocks = -(-channels // 8)
    padded = np.full((groups, blocks * 8, positions), np.nan, np.float32)
    padded[:, :channels] = a
    slabs = padded.reshape(groups, blocks, 8, positions).transpose(0, 1, 3, 2)
    sums.blocked(np.ascontiguousarray(slabs), channels)


def test_one_call_with_nan_leaves_the_others_as_they_were(kernel: Kernel) -> None:
    rng = np.random.default_rng(5)
    a = values(rng, (3, 40, 20), SIGNED)
    a[1, 3] = np.nan
    alone, sums = [kernel.maps(x[None], SIGNED) for x in a], kernel.sums(SIGNED, True)
    for x in a:
        sums.maps(x[None])
    joint = sums.summary()
    check(joint, [x.T for x in a], SIGNED, True)
    assert joint.nonfinite is not None
    assert joint.nonfinite.sum(axis=1).tolist() == [0, 20, 0]
    for g in (0, 2):
        np.testing.assert_array_equal(joint.positive[g], alone[g].positive[0])
        np.testing.assert_array_equal(joint.min[g], alone[g].min[0])


def test_groups_without_rows_stay_empty_among_several_calls(kernel: Kernel) -> None:
    rng = np.random.default_rng(6)
    a = values(rng, (30, 18), TANH)
    sums = kernel.sums(TANH, False)
    sums.columns(a[:10], np.zeros((0, 3), np.int64), 2)
    sums.columns(a[10:], np.array([[0, 4, 0], [4, 20, 1]]), 2)
    check(sums.summary(), [a[:0], a[:0], a[10:14], a[14:]], TANH, False)


def test_calls_of_different_means_keep_their_small_variances(kernel: Kernel) -> None:
    rng = np.random.default_rng(0)
    parts = [(mean + 1e-2 * rng.standard_normal((500, 40))).astype(np.float32) for mean in (1e4, -2e3, 0.0)]
    sums = kernel.sums(SIGNED, True)
    for part in parts:
        sums.columns(part, np.array([[0, 500, 0]]), 1)
    got = sums.summary()
    mean = got.total / 500
    variance = got.total_sq / 500 - mean**2
    for g, part in enumerate(parts):
        np.testing.assert_allclose(
            mean[g] + got.shift, part.mean(axis=0, dtype=np.float64), rtol=1e-6, atol=1e-6
        )
        np.testing.assert_allclose(variance[g], part.var(axis=0, dtype=np.float64), atol=1e-6)


def test_a_call_of_one_huge_row_does_not_swallow_the_small_ones_of_the_next(kernel: Kernel) -> None:
    """Sums of all calls about a value of the first would round the others to multiples of 6e-5."""
    sums = kernel.sums(SIGNED, False)
    for rows, value in ((1, 1000.0), (20_000, 1e-3)):
        sums.columns(np.full((rows, 16), value, np.float32), np.array([[0, rows, 0]]), 1)
    got = sums.summary()
    total = got.total + got.counted * got.shift
    np.testing.assert_allclose(total[1], 20_000 * 1e-3, rtol=1e-6)
