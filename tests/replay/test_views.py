"""A view puts samples, positions and neurons of a tensor in order, whatever order the model wrote them in."""

from __future__ import annotations

import numpy as np
import pytest

from nla.errors import ModelError
from nla.replay.masks import masked_runs
from nla.replay.views import Blocked, Columns, Layout, Maps, blocked_view, position_shape, view

SAMPLES, TOKENS, NEURONS = 3, 4, 5
TRUTH = np.arange(SAMPLES * TOKENS * NEURONS, dtype=np.float32).reshape(SAMPLES, TOKENS, NEURONS)


def of(seen) -> np.ndarray:
    """[samples, positions, neurons], read through the rows of the view."""
    sample, within = np.divmod(np.arange(seen.samples * seen.positions), seen.positions)
    return seen.rows(sample, within).reshape(seen.samples, seen.positions, -1)


@pytest.mark.parametrize(
    ("tensor", "layout"),
    [
        (TRUTH, Layout(NEURONS, (-1,))),
        (TRUTH.transpose(0, 2, 1).copy(), Layout(NEURONS, (-2,))),
        (TRUTH.transpose(1, 0, 2).copy(), Layout(NEURONS, (-1,), sample_axis=1)),
        (TRUTH.transpose(2, 0, 1).copy(), Layout(NEURONS, (-3,), sample_axis=1)),
        (TRUTH.reshape(-1, NEURONS), Layout(NEURONS, (-1,), flattened=True)),
        (
            TRUTH.transpose(1, 0, 2).reshape(-1, NEURONS),
            Layout(NEURONS, (-1,), flattened=True, sample_major=False),
        ),
        (TRUTH.reshape(-1, NEURONS).T.copy(), Layout(NEURONS, (-2,), sample_axis=1, flattened=True)),
        (TRUTH.reshape(SAMPLES, 2, 2, NEURONS).transpose(0, 3, 1, 2).copy(), Layout(NEURONS, (-3,))),
    ],
    ids=["tokens", "maps", "time first", "channels first of all", "flat", "flat, time first", "left", "nchw"],
)
def test_every_order_of_axes_gives_the_same_values(tensor: np.ndarray, layout: Layout) -> None:
    seen = view(tensor, layout, SAMPLES)
    assert (seen.samples, seen.positions) == (SAMPLES, TOKENS)
    assert np.array_equal(of(seen), TRUTH)
    assert np.array_equal(seen.columns().values.reshape(TRUTH.shape), TRUTH)


def test_a_run_of_one_sample_needs_no_sample_axis() -> None:
    seen = view(TRUTH[0], Layout(NEURONS, (-1,), sample_axis=None), 1)
    assert np.array_equal(of(seen), TRUTH[:1])


def test_both_directions_of_a_recurrent_layer_are_one_row_of_neurons() -> None:
    y = (
        np.random.default_rng(0).normal(size=(7, 2, SAMPLES, 4)).astype(np.float32)
    )  # [time, direction, sample, unit]
    seen = view(y, Layout(8, (-3, -1), sample_axis=2), SAMPLES)
    assert np.array_equal(of(seen), y.transpose(2, 0, 1, 3).reshape(SAMPLES, 7, 8))


def test_a_head_is_the_norm_of_its_slice() -> None:
    values = np.random.default_rng(1).normal(size=(SAMPLES, TOKENS, 6)).astype(np.float32)
    seen = view(values, Layout(2, (-1,), unit_size=3), SAMPLES)
    expected = np.linalg.norm(values.reshape(SAMPLES, TOKENS, 2, 3).astype(np.float64), axis=-1)
    assert np.allclose(of(seen), expected, rtol=1e-6)


def test_feature_maps_are_read_without_a_copy() -> None:
    maps = np.zeros((2, 3, 4, 4), np.float32)
    seen = view(maps, Layout(3, (-3,)), 2)
    assert isinstance(seen, Maps)
    assert np.shares_memory(seen.values, maps)
    tokens = view(TRUTH, Layout(NEURONS, (-1,)), SAMPLES)
    assert isinstance(tokens, Columns)
    assert np.shares_memory(tokens.values, TRUTH)


def test_blocked_order_is_told_from_the_declared_shape() -> None:
    maps = (
        np.random.default_rng(2).normal(size=(2, 20, 3, 3)).astype(np.float32)
    )  # 20 channels in blocks of 16
    padded = np.pad(maps, ((0, 0), (0, 12), (0, 0), (0, 0)))
    memory = padded.reshape(2, 2, 16, 9).transpose(0, 1, 3, 2).copy().reshape(2, 32, 3, 3)
    seen = blocked_view(memory, 20, 16)
    assert isinstance(seen, Blocked)
    expected = maps.reshape(2, 20, 9).transpose(0, 2, 1)
    assert np.array_equal(of(seen), expected)
    assert np.array_equal(seen.columns().values.reshape(expected.shape), expected)


def test_position_axes_are_told_in_reading_order() -> None:
    assert position_shape(np.zeros((2, 8, 5, 7)), Layout(8, (-3,)), 2) == (5, 7)
    assert position_shape(np.zeros((12, 8)), Layout(8, (-1,), flattened=True), 3) == (4,)


def test_a_tensor_of_another_size_is_refused() -> None:
    with pytest.raises(ModelError, match="does not hold 3 samples of 6 channels"):
        view(TRUTH, Layout(6, (-1,)), SAMPLES)
    with pytest.raises(ModelError, match="does not hold 2 samples"):
        view(TRUTH, Layout(NEURONS, (-1,)), 2)


def test_masked_runs_cover_the_counted_rows_and_no_other() -> None:
    valid = np.random.default_rng(3).random((6, 9)) < 0.6
    valid[2] = False
    covered = np.zeros(54, int)
    for first, last, group in masked_runs(valid):
        assert first // 9 == (last - 1) // 9 == group
        covered[first:last] += 1
    assert np.array_equal(covered.reshape(6, 9), valid.astype(int))
