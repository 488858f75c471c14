"""Label counts against plain loops, and the bins that they are taken in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observations import observe

from nla.errors import UsageError
from nla.statistics.labels import JOINT_CELLS, MOST_CELLS, NONNEGATIVE_EDGES, SIGNED_EDGES, Labels, bin_edges
from nla.statistics.summary import Thresholds

NAMES = ("a", "b", "c")


def _measure(a, labels, *, nonnegative=False, valid=None, order=None):
    thresholds = Thresholds(nonnegative=nonnegative)
    made = Labels(a.shape[2], labels=len(NAMES), per_sample=a.shape[1] > 1, nonnegative=nonnegative)
    valid = np.ones(a.shape[:2], bool) if valid is None else valid
    for where in np.array_split(np.arange(len(a)), 3):
        made.update(observe(a[where], where, labels[where], valid[where], thresholds))
    return made.measure(NAMES)


def _loop(a, labels, valid, response):
    """Per label, response and neuron: how many samples gave that response; a plain loop."""
    joint = {}
    for sample, label, counted in zip(a, labels, valid, strict=True):
        for c in range(a.shape[2]):
            values = sample[counted & np.isfinite(sample[:, c]), c]
            if len(values):
                key = (int(label), response(values), c)
                joint[key] = joint.get(key, 0) + 1
    return joint


def _as_dict(joint):
    return {tuple(int(i) for i in where): int(joint[tuple(where)]) for where in np.argwhere(joint)}


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
@settings(deadline=None, max_examples=40)
def test_one_position_per_sample_counts_the_bit_z_above_zero(seed, count):
    random = np.random.default_rng(seed)
    a = random.choice([0.0, -0.0, 1.0, -2.0, np.nan], (count, 1, 4))
    labels = random.integers(0, 3, count)
    got = _measure(a, labels)
    assert got.response == "z > 0"
    assert got.bin_edges == ()
    want = _loop(a, labels, np.ones((count, 1), bool), lambda values: int(values[0] > 0))
    assert _as_dict(got.joint) == want
    assert got.samples_per_label.tolist() == np.bincount(labels, minlength=3).tolist()
    assert got.fired_by_label.tolist() == got.joint[:, 1].tolist()


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.booleans())
@settings(deadline=None, max_examples=40)
def test_several_positions_count_the_bin_of_the_samples_mean(seed, count, nonnegative):
    random = np.random.default_rng(seed)
    a = random.normal(size=(count, 5, 3)) * 10 ** random.uniform(-4, 1, (count, 1, 3))
    a[random.random(a.shape) < 0.05] = np.nan
    a = np.maximum(a, 0) if nonnegative else a
    a[random.random(count) < 0.3] = 0.0
    labels = random.integers(0, 3, count)
    valid = random.random((count, 5)) < 0.7
    got = _measure(a, labels, nonnegative=nonnegative, valid=valid)
    edges = np.array(got.bin_edges)
    assert got.response == "binned mean activation"
    assert _as_dict(got.joint) == _loop(a, labels, valid, lambda values: int((edges < values.mean()).sum()))
    some = valid.any(axis=1)
    assert got.samples_per_label.tolist() == np.bincount(labels[some], minlength=3).tolist()
    for label in range(3):
        with np.errstate(invalid="ignore"):
            fired = ((a > 0) & valid[:, :, None])[labels == label].any(axis=1).sum(axis=0)
        assert got.fired_by_label[label].tolist() == fired.tolist()


def test_mean_by_label_is_of_the_samples_mean_magnitude_and_unknown_without_samples():
    a = np.array([[[1.0], [-3.0]], [[0.0], [2.0]], [[5.0], [5.0]]])
    got = _measure(a, np.array([0, 0, 2]))
    np.testing.assert_array_equal(got.mean_by_label, [[1.5], [np.nan], [5.0]])


def test_a_silent_sample_never_leaves_the_lowest_bin_whatever_the_shift():
    a = np.zeros((40, 3, 1))
    a[0] = 0.7  # the shift of its batch
    got = _measure(a, np.zeros(40, np.int64), nonnegative=True)
    assert got.joint[0, :, 0].tolist()[0] == 39


def test_a_sample_that_fires_once_faintly_is_not_in_the_silent_bin():
    a = np.zeros((2, 3, 1))
    a[0], a[1, 0] = 1e9, 1e-12  # round-off about the shift 1e9 would take the second for silent
    got = _measure(a, np.zeros(2, np.int64), nonnegative=True)
    assert got.joint[0, 0, 0] == 0


@pytest.mark.parametrize("edges", [*NONNEGATIVE_EDGES, *SIGNED_EDGES])
def test_edges_increase_and_hold_no_round_number_but_zero(edges):
    assert list(edges) == sorted(set(edges))
    assert all(edge == 0 or f"{abs(edge):.3g}" != repr(abs(edge)) for edge in edges)


def test_bins_are_given_up_before_memory_is():
    sizes = [len(bin_edges(labels, 512, nonnegative=True)) for labels in (10, 1000, 1600, 8000)]
    assert sizes == [12, 4, 4, 0]
    for labels in (10, 1000, 1600):
        assert labels * (len(bin_edges(labels, 512, nonnegative=False)) + 1) * 512 <= JOINT_CELLS


def test_where_no_bins_fit_the_response_is_whether_the_sample_fired(monkeypatch):
    monkeypatch.setattr("nla.statistics.labels.JOINT_CELLS", 1)
    a = np.array([[[1.0], [-3.0]], [[0.0], [-2.0]], [[5.0], [5.0]]])
    got = _measure(a, np.array([0, 0, 2]))
    assert got.response == "fired in the sample"
    assert got.joint[:, :, 0].tolist() == [[1, 1], [0, 0], [0, 1]]


def test_too_many_labels_are_refused():
    with pytest.raises(UsageError, match=r"4097 labels × 4096 neurons"):
        Labels(4096, labels=MOST_CELLS // 4096 + 1, per_sample=False, nonnegative=True)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range_are_refused(label):
    made = Labels(1, labels=3, per_sample=False, nonnegative=False)
    with pytest.raises(ValueError, match="expected one in"):
        made.update(observe(np.ones((1, 1, 1)), np.arange(1), np.array([label])))
    with pytest.raises(ValueError, match="expected one in"):
        made.update(observe(np.ones((1, 1, 1)), np.arange(1)))
