"""Information about the label: hand-worked tables, SciPy, and scikit-learn where it is there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from nla.lifecycle import information as module
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.information import adjusted, information, labels_answered, selectivity
from nla.statistics.measurements import LabelMeasurements

LN2 = math.log(2)


def joint(*tables: Any) -> Any:
    """Tables [L, B] of single neurons, put together as [L, B, C]."""
    return np.stack([np.asarray(table) for table in tables], axis=-1)


def labelled(means: Any, samples: Any = None) -> LabelMeasurements:
    means = np.asarray(means, float)
    samples = np.full(len(means), 10) if samples is None else np.asarray(samples)
    names = tuple(map(str, range(len(means))))
    nothing = np.zeros((len(means), 2, means.shape[1]), np.int64)
    return LabelMeasurements(names, samples, "z > 0", (), nothing, means, nothing[:, 0])


def test_hand_worked_tables() -> None:
    """A neuron that is the label (ln 2 nats), one independent of it (0), one that is always on (0)."""
    told = information(joint([[10, 0], [0, 10]], [[5, 5], [5, 5]], [[0, 10], [0, 10]]))
    np.testing.assert_allclose(told.mutual, [LN2, 0, 0], atol=1e-15)
    np.testing.assert_allclose(told.attainable, [LN2, LN2, 0], atol=1e-15)
    # Miller-Madow: (rows + columns - cells - 1) / 2n
    np.testing.assert_allclose(told.corrected, [LN2 + 1 / 40, -1 / 40, 0], atol=1e-15)
    np.testing.assert_array_equal(told.p_value[1:], 1)
    assert told.selective(Criteria()).tolist() == [True, False, False]


@given(arrays.arrays(np.int64, (3, 4, 5), elements=st.integers(0, 40)))
def test_p_value_equals_scipys_g_test(counts: Any) -> None:
    told = information(counts)
    for c in range(5):
        table = counts[:, :, c]
        table = table[table.sum(1) > 0][:, table.sum(0) > 0]
        if min(table.shape, default=0) < 2:
            assert told.p_value[c] == 1
            assert told.mutual[c] == 0
        else:
            expected = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
            assert told.p_value[c] == pytest.approx(expected.pvalue, rel=1e-8, abs=1e-12)
            assert told.mutual[c] == pytest.approx(
                expected.statistic / (2 * table.sum()), rel=1e-8, abs=1e-12
            )


def test_mutual_information_equals_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(3)
    labels, response = random.integers(0, 10, 500), random.integers(0, 2, 500)
    counts = np.zeros((10, 2), np.int64)
    np.add.at(counts, (labels, response), 1)
    told = information(joint(counts))
    assert told.mutual[0] == pytest.approx(metrics.mutual_info_score(labels, response))


def test_blocks_of_neurons_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.random.default_rng(0).integers(0, 30, (10, 2, 37))
    whole = information(counts)
    monkeypatch.setattr(module, "_CELLS_AT_ONCE", 60)
    parts = information(counts)
    for name in ("mutual", "corrected", "attainable", "p_value", "q_value"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-15)


def test_correction_removes_the_bias_of_independent_neurons() -> None:
    """Plug-in information of nothing is about (L - 1)(B - 1) / 2n; corrected it averages to nothing."""
    random = np.random.default_rng(1)
    counts = random.multinomial(200, [1 / 20] * 20, 4000).reshape(4000, 10, 2).transpose(1, 2, 0)
    told = information(counts)
    assert told.mutual.mean() == pytest.approx(9 / 400, rel=0.1)
    assert abs(told.corrected.mean()) < 0.1 * told.mutual.mean()
    assert not told.selective(Criteria()).any()


def test_no_neuron_is_selective_by_chance_of_few_samples() -> None:
    """Every sample its own label: plug-in information is all of H(response), and means nothing."""
    random = np.random.default_rng(2)
    fired = random.integers(0, 2, (12, 100))
    told = information(np.stack([1 - fired, fired], axis=1))
    np.testing.assert_allclose(told.mutual, told.attainable)
    assert not told.selective(Criteria()).any()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_adjusted_p_values_equal_scipys(values: list[float]) -> None:
    np.testing.assert_allclose(adjusted(np.array(values)), stats.false_discovery_control(values))


def test_selectivity_of_hand_worked_neurons() -> None:
    """One label only: 1. Equal: 0. (6 - 2) / (6 + 2) = 0.5. Silent: 0."""
    labels = labelled([[3, 1, 6, 0], [0, 1, 1, 0], [0, 1, 3, 0]])
    np.testing.assert_allclose(selectivity(labels), [1, 0, 0.5, 0])


def test_labels_without_samples_are_left_out() -> None:
    labels = labelled([[3.0], [1.0], [np.nan]], samples=[5, 5, 0])
    np.testing.assert_allclose(selectivity(labels), [0.5])
    np.testing.assert_array_equal(labels_answered(labels, 0.5), [1])
    alone = labelled([[3.0], [np.nan]], samples=[5, 0])
    assert np.isnan(selectivity(alone)).all()


def test_labels_answered_at_half_height() -> None:
    labels = labelled([[4, 1, 0], [2, 1, 0], [1.9, 1, 0]])
    np.testing.assert_array_equal(labels_answered(labels, 0.5), [2, 3, 0])
