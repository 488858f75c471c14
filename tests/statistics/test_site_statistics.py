"""All statistics of one site together: fed, merged, stored and read out."""

from __future__ import annotations

import numpy as np
import pytest
from observations import observe
from scipy.linalg import svdvals
from scipy.stats import entropy

from nla.errors import UsageError
from nla.statistics.configuration import CONFIG_TYPES
from nla.statistics.site import SiteStatistics
from nla.statistics.summary import Thresholds

RELU = Thresholds(nonnegative=True)
NAMES = ("a", "b")


def _activations(count, positions, seed=0):
    z = np.random.default_rng(seed).normal(size=(count, positions, 6))
    z[:, :, 0] = -1.0
    return z, np.maximum(z, 0)


def _share(samples):
    """A fifth of the samples: whose z every shard observes."""
    return samples % 5 == 0


def _fed(a, z=None, *, first=0, labels=None, share=False, inputs=None, **options):
    site = SiteStatistics(a.shape[2], thresholds=RELU, labels=0 if labels is None else 2, **options)
    for where in np.array_split(np.arange(len(a)), 4):
        chosen = None if labels is None else labels[where]
        seen = observe(a[where], where + first, chosen, thresholds=RELU)
        site.update(seen, a[where].reshape(-1, a.shape[2]))
        seen_z = where[_share(where + first)] if share else where
        if z is not None and len(seen_z):
            site.update_pre(observe(z[seen_z], seen_z + first, first=_share), share=share)
        if inputs is not None:
            site.update_inputs(observe(inputs[where], where + first))
    return site


def test_one_position_a_sample_read_out_equals_numpy():
    z, a = _activations(50, 1)
    m = _fed(a, z).measure(silent_samples=3, killed_samples=2, notes=("said",))
    flat, flat_z = a[:, 0], z[:, 0]
    assert (m.samples, m.positions, m.silent_samples, m.killed_samples) == (50, 50, 3, 2)
    assert m.notes == ("said",)
    assert m.positive.tolist() == (flat > 0).sum(axis=0).tolist() == m.fired_samples.tolist()
    for name, want in {
        "mean": flat.mean(0),
        "mean_abs": flat.mean(0),
        "std": flat.std(0),
        "min": flat.min(0),
        "max": flat.max(0),
        "pre_max": flat_z.max(0),
        "pre_mean": flat_z.mean(0),
        "pre_std": flat_z.std(0),
    }.items():
        np.testing.assert_allclose(getattr(m, name), want, rtol=1e-12, atol=1e-12, err_msg=name)
    assert m.low is None
    assert m.high is None
    assert np.isnan(m.lifetime_sparseness[0])
    r = flat[:, 1]
    want = (1 - r.mean() ** 2 / (r**2).mean()) / (1 - 1 / 50)
    assert m.lifetime_sparseness[1] == pytest.approx(want)
    values = svdvals(flat.astype(np.float32).astype(np.float64))
    values = values[values > 1e-6]
    assert m.effective_rank == pytest.approx(np.exp(entropy(values)), rel=1e-6)
    assert (m.effective_rank_rows, m.effective_rank_exact) == (50, False)
    assert (m.histogram.values, m.histogram.exact) == (300, False)
    assert m.histogram.counts.sum() == 300
    assert m.pre_histogram.counts.sum() == 60  # of the share
    np.testing.assert_array_equal(np.sort(m.pre_rows, axis=0), np.sort(flat_z.astype(np.float32), axis=0))
    assert m.input_mean is None
    assert m.labels is None


def test_several_positions_a_sample_take_sparseness_over_samples():
    _, a = _activations(30, 4)
    m = _fed(a).measure()
    r = a.mean(axis=1)[:, 2]
    want = (1 - r.mean() ** 2 / (r**2).mean()) / (1 - 1 / 30)
    assert m.lifetime_sparseness[2] == pytest.approx(want)
    assert m.fired_samples.tolist() == (a > 0).any(axis=1).sum(axis=0).tolist()
    assert m.positions == 120


def test_exact_rank_and_histogram_use_every_row():
    _, a = _activations(200, 40)
    m = _fed(a, exact_rank=True, exact_histogram=True).measure()
    values = svdvals(a.reshape(-1, 6))
    assert m.effective_rank == pytest.approx(np.exp(entropy(values[values > 1e-9])), rel=1e-9)
    assert (m.effective_rank_rows, m.effective_rank_exact) == (8000, True)
    assert (m.histogram.values, m.histogram.exact) == (48000, True)


def test_exact_statistics_without_the_rows_are_a_defect_and_too_many_neurons_a_usage_error():
    site = SiteStatistics(1, thresholds=RELU, exact_rank=True)
    with pytest.raises(ValueError, match="every row"):
        site.update(observe(np.ones((1, 1, 1)), np.arange(1)))
    with pytest.raises(UsageError, match="effective-rank exact"):
        SiteStatistics(5000, thresholds=RELU, exact_rank=True)


@pytest.mark.parametrize("positions", [1, 3])
def test_shards_merge_to_one_pass_and_their_state_says_all(positions):
    z, a = _activations(60, positions)
    labels = np.arange(60) % 2
    whole = _fed(a, z, labels=labels)
    parts = [
        _fed(a[i:j], z[i:j], first=i, labels=labels[i:j]) for i, j in ((0, 1), (1, 40), (40, 40), (40, 60))
    ]
    merged = SiteStatistics(6, thresholds=RELU, labels=2)
    for part in (parts[2], parts[3], parts[0], parts[1]):
        again = SiteStatistics.from_state(part.state(), part.config)
        merged.merge(again)
    assert merged.config == whole.config
    want = whole.state()
    for name, array in merged.state().items():
        if array.dtype == np.float64:
            np.testing.assert_allclose(array, want[name], rtol=1e-12, atol=1e-12, err_msg=name)
        else:
            np.testing.assert_array_equal(array, want[name], err_msg=name)
    layout = SiteStatistics.layout(whole.config)
    assert want.keys() == layout.keys()
    assert all(spec.fault(want[k].shape, want[k].dtype) is None for k, spec in layout.items())
    assert whole.config.keys() == CONFIG_TYPES.keys()
    assert whole.measure(NAMES).labels.labels == NAMES


def test_z_observed_in_one_shard_only_leaves_the_margin_unknown_after_merging():
    z, a = _activations(20, 1)
    seen, unseen = _fed(a[:10], z[:10]), _fed(a[10:], first=10)
    assert not np.isnan(seen.measure().pre_max).any()
    unseen.merge(seen)
    m = unseen.measure()
    assert np.isnan([m.pre_max, m.pre_mean, m.pre_std]).all()


SHARDS = ((0, 1), (1, 40), (40, 40), (40, 60))


def _shards(kinds, positions=3):
    """Shards whose z was observed on all samples ("a"), on the share ("s") or not at all ("-")."""
    z, a = _activations(60, positions)
    return [
        _fed(a[i:j], None if kind == "-" else z[i:j], first=i, share=kind == "s")
        for kind, (i, j) in zip(kinds, SHARDS, strict=True)
    ]


def _merged(parts):
    merged = SiteStatistics(6, thresholds=RELU)
    for part in parts:
        merged.merge(part)
    return merged


@pytest.mark.parametrize("kinds", ["ssss", "sass", "asaa", "s--a", "-as-", "as-s"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 0, 3, 1)])
def test_rows_of_z_seen_in_part_by_a_share_are_those_of_the_share(kinds, order):
    z, a = _activations(60, 3)
    seen = np.zeros(60, bool)
    for kind, (i, j) in zip(kinds, SHARDS, strict=True):
        seen[i:j] = kind != "-"
    where = np.flatnonzero(seen & _share(np.arange(60)))
    want = SiteStatistics(6, thresholds=RELU)
    want.update(observe(a, np.arange(60), thresholds=RELU))
    want.update_pre(observe(z[where], where, first=_share), share=True)
    parts = _shards(kinds)
    merged = _merged([parts[k] for k in order])
    assert merged.config == want.config
    for name in ("pre.keys", "pre.rows"):
        np.testing.assert_array_equal(merged.state()[name], want.state()[name])
    got, expected = merged.measure(), want.measure()
    assert got.pre_histogram.counts.tolist() == expected.pre_histogram.counts.tolist()
    assert len(got.pre_rows) == len(expected.pre_rows) == 3 * len(where)
    assert np.isnan(got.pre_max).all()


def test_rows_of_z_seen_on_all_samples_are_of_all_with_the_share_first():
    z, a = _activations(2000, 3)
    merged = _merged([_fed(a[:700], z[:700]), _fed(a[700:], z[700:], first=700)])
    whole = _fed(a, z)
    np.testing.assert_array_equal(merged.state()["pre.rows"], whole.state()["pre.rows"])
    m = merged.measure()
    assert m.pre_rows.shape == (2048, 6)
    assert m.pre_histogram.values == 3 * 400 * 6
    share = z[_share(np.arange(2000))].astype(np.float32).reshape(-1, 6)
    assert set(map(tuple, share)) <= set(map(tuple, m.pre_rows))


def test_z_seen_on_a_share_only_gives_the_rows_of_the_share():
    z, a = _activations(60, 1)
    m = _fed(a, z, share=True).measure()
    want = np.sort(z[_share(np.arange(60)), 0].astype(np.float32), axis=0)
    np.testing.assert_array_equal(np.sort(m.pre_rows, axis=0), want)


def test_means_of_inputs_survive_a_merge_where_every_shard_has_them():
    _, a = _activations(60, 3)
    x = np.random.default_rng(1).normal(size=(60, 5, 2))
    parts = [_fed(a[i:j], first=i, inputs=x[i:j]) for i, j in SHARDS]
    np.testing.assert_allclose(_merged(parts).measure().input_mean, x.mean(axis=(0, 1)), rtol=1e-12)
    lacking = _fed(a[40:], first=40)
    for some in ([*parts[:2], lacking], [lacking, *parts[:2]], [parts[1], lacking, parts[0]]):
        merged = _merged(some)
        assert merged.measure().input_mean is None
        again = SiteStatistics.from_state(merged.state(), merged.config)
        assert again.measure().input_mean is None


def test_means_of_other_inputs_do_not_merge():
    _, a = _activations(10, 3)
    one, other = (_fed(a, inputs=np.ones((10, 1, n))) for n in (2, 3))
    with pytest.raises(ValueError, match="means of 2 inputs and of 3"):
        one.merge(other)
    with pytest.raises(ValueError, match="another number of inputs"):
        one.update_inputs(observe(np.ones((1, 1, 3)), np.arange(1)))


def test_inputs_that_are_the_neurons_of_another_site_have_their_means():
    _, a = _activations(30, 3)
    before, site = _fed(a), _fed(a)
    site.take_inputs(before)
    np.testing.assert_array_equal(site.measure().input_mean, before.measure().mean)


def test_z_that_is_not_finite_where_a_is_leaves_that_neurons_margin_unknown():
    z, a = _activations(20, 1)
    z[3, 0, 2] = -np.inf
    m = _fed(a, z).measure()
    assert np.isnan(m.pre_max).tolist() == [False, False, True, False, False, False]


def test_nothing_seen_reads_out_as_unknown():
    m = SiteStatistics(2, thresholds=RELU).measure()
    assert (m.samples, m.positions, m.effective_rank_rows) == (0, 0, 0)
    for name in ("mean", "mean_abs", "std", "min", "max", "lifetime_sparseness", "pre_max", "effective_rank"):
        assert np.isnan(getattr(m, name)).all(), name
    assert m.pre_histogram is None


def test_a_neuron_without_finite_values_is_unknown_and_harms_no_other():
    _, a = _activations(20, 1)
    a[:, :, 3] = np.nan
    m = _fed(a).measure()
    assert m.nonfinite.tolist() == [0, 0, 0, 20, 0, 0]
    assert np.isnan(m.mean).tolist() == [False, False, False, True, False, False]
    assert m.effective_rank_rows == 0


def test_samples_do_not_change_between_one_and_several_positions():
    site = _fed(_activations(4, 1)[1])
    with pytest.raises(ValueError, match="one position in one batch and several in another"):
        site.update(observe(np.ones((1, 2, 6)), np.arange(1)))
    with pytest.raises(ValueError, match="one position in one batch and several in another"):
        site.merge(_fed(_activations(4, 2)[1]))


def test_other_sites_do_not_merge():
    with pytest.raises(ValueError, match="another kind"):
        SiteStatistics(2, thresholds=RELU).merge(SiteStatistics(3, thresholds=RELU))


def test_a_copy_is_updated_apart():
    site = _fed(_activations(4, 1)[1])
    copy = site.copy()
    copy.update(observe(np.ones((1, 1, 6)), np.arange(1) + 90))
    assert (site.measure().samples, copy.measure().samples) == (4, 5)


def test_sums_beyond_the_largest_float_do_not_warn():
    with np.errstate(over="ignore"):
        seen = observe(np.array([[[1e308]], [[-1e308]], [[1.0]]]), np.arange(3))
    site = SiteStatistics(1, thresholds=RELU)
    site.update(seen)
    m = site.measure()
    assert (m.min.tolist(), m.max.tolist()) == ([-1e308], [1e308])
    assert not np.isfinite(m.std).any()
