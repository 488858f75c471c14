"""The row sample: who is drawn, and that the smallest keys are kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nla.statistics.rows import (
    NOTHING_KEPT,
    SLOTS,
    RowSample,
    capacity,
    draw,
    is_first,
    keys,
    ranked,
    splitmix64,
)


def test_splitmix64_gives_the_published_sequence():
    state, gamma = np.uint64(1234567), 0x9E3779B97F4A7C15
    states = np.array([(int(state) + k * gamma) % 2**64 for k in range(3)], np.uint64)
    assert splitmix64(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_keys_are_distinct():
    samples, slots = np.meshgrid(np.arange(3000), np.arange(SLOTS))
    assert len(np.unique(keys(samples, slots))) == samples.size


@given(st.lists(st.integers(0, 500), min_size=1, max_size=6), st.integers(0, 2**40))
def test_positions_are_distinct_valid_and_independent_of_the_batch(positions, first):
    samples = first + np.arange(len(positions))
    within, drawn = draw(samples, np.array(positions))
    for s, count in enumerate(positions):
        offered = min(count, SLOTS)
        mine = within[s, :offered]
        assert len(set(mine.tolist())) == offered
        assert all(0 <= p < count for p in mine)
        assert (within[s, offered:] == -1).all()
        assert (drawn[s, offered:] == NOTHING_KEPT).all()
        alone, alone_keys = draw(samples[s : s + 1], count)
        assert alone[0].tolist() == mine.tolist()
        assert alone_keys[0].tolist() == drawn[s, :offered].tolist()


def test_few_positions_are_all_offered():
    within, _ = draw(np.arange(3), 7)
    assert within.tolist() == [list(range(7))] * 3


def test_one_position_for_every_sample_needs_no_weighing():
    within, drawn = draw(np.arange(5), 1)
    assert within.tolist() == [[0]] * 5
    assert drawn[:, 0].tolist() == keys(np.arange(5), np.array(0)).tolist()
    assert draw(np.arange(0), 1)[0].shape[0] == 0


def test_positions_are_drawn_uniformly_and_long_samples_by_their_length():
    samples = np.arange(4000)
    lengths = np.where(samples % 2 == 0, 640, 128)
    within, drawn = draw(samples, lengths)
    kept = drawn < np.sort(drawn.ravel())[2000]
    share = kept[lengths == 640].sum() / kept.sum()
    assert abs(share - 640 / 768) < 0.03
    places = within[lengths == 640].ravel()
    counts = np.histogram(places, bins=10, range=(0, 640))[0]
    assert np.abs(counts / counts.mean() - 1).max() < 0.05


@given(st.lists(st.integers(1, 2**64 - 2), unique=True, max_size=60), st.integers(1, 12), st.data())
def test_the_smallest_keys_are_kept_in_order(numbers, size, source):
    sample = RowSample(1, capacity=size)
    given_keys = np.array(numbers, np.uint64)
    rows = (given_keys % np.uint64(1000)).astype(np.float32)[:, None]
    cuts = sorted(source.draw(st.lists(st.integers(0, len(numbers)), max_size=4)))
    for part in np.split(np.arange(len(numbers)), cuts):
        sample.offer(given_keys[part], rows[part])
    want = sorted(numbers)[:size]
    assert sample.state()["keys"].tolist() == want
    assert sample.values()[:, 0].tolist() == [k % 1000 for k in want]


def test_rows_at_or_above_the_threshold_change_nothing():
    random = np.random.default_rng(0)
    every = random.integers(0, 2**63, 5000).astype(np.uint64)
    rows = random.normal(size=(5000, 3)).astype(np.float32)
    all_offered, only_candidates = RowSample(3, capacity=50), RowSample(3, capacity=50)
    for start in range(0, 5000, 20):
        part = slice(start, start + 20)
        all_offered.offer(every[part], rows[part])
        wanted = every[part] < only_candidates.threshold
        only_candidates.offer(every[part][wanted], rows[part][wanted])
    assert only_candidates.threshold < 2**63 // 20
    for name, array in all_offered.state().items():
        np.testing.assert_array_equal(only_candidates.state()[name], array)


def test_memory_is_taken_at_the_start_and_bounded():
    for neurons in (1, 256, 512, 4096, 50_000):
        rows = capacity(neurons)
        assert 256 <= rows <= 2048
        assert rows == 256 or rows * neurons * 4 <= 4 << 20
    sample = RowSample(4, capacity=64)
    before = sample.rows.nbytes
    for k in range(10):
        sample.offer(keys(np.arange(100) + 100 * k, np.array(0)), np.ones((100, 4), np.float32))
    assert sample.rows.nbytes == before


@pytest.mark.parametrize("broken", ["unpaired", "twice", "falling"])
def test_states_that_no_sample_has_are_refused(broken):
    state = {
        "unpaired": {"keys": np.array([1, 2], np.uint64), "rows": np.zeros((1, 2), np.float32)},
        "twice": {"keys": np.array([2, 2], np.uint64), "rows": np.zeros((2, 2), np.float32)},
        "falling": {"keys": np.array([2, 1], np.uint64), "rows": np.zeros((2, 2), np.float32)},
    }[broken]
    with pytest.raises(ValueError, match="increasing keys"):
        RowSample.from_state(state, neurons=2, capacity=8)


def test_ranked_keys_put_some_rows_first_and_keep_the_order_within():
    given_keys = np.array([90, 40, NOTHING_KEPT, 70, 20, 10], np.uint64)
    first = np.array([False, True, True, False, True, False])
    got = ranked(given_keys, first)
    assert np.argsort(got).tolist() == [4, 1, 5, 3, 0, 2]
    assert is_first(got).tolist() == [False, True, False, False, True, False]
    assert got[2] == NOTHING_KEPT
