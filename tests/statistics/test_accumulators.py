"""One contract for every accumulator: any split equals one pass, and the state says everything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from observations import observe

from nla.statistics.firing import Firing
from nla.statistics.gram import Gram
from nla.statistics.histogram import BINS, EDGES, Histogram
from nla.statistics.inputs import InputMean
from nla.statistics.labels import Labels
from nla.statistics.liveness import Liveness
from nla.statistics.moments import Moments
from nla.statistics.pre import Pre
from nla.statistics.rows import RowSample
from nla.statistics.sample_moments import SampleMoments

LABELS = 3
CAPACITY = 8
VALUES = [0.0, -0.0, 1e-4, 0.25, -0.25, 1.0, 2.5, -3.0, 7.0, 1e4, np.nan, np.inf, -np.inf]


@dataclass(frozen=True)
class Data:
    """Activations [S, P, C] of samples that bear a label, with padding."""

    a: np.ndarray
    samples: np.ndarray
    labels: np.ndarray
    valid: np.ndarray

    def observation(self, where):
        return observe(self.a[where], self.samples[where], self.labels[where], self.valid[where])

    def full(self, where):
        """[R, C] the counted rows."""
        return self.a[where][self.valid[where]].astype(np.float32)

    def alive(self, where):
        """[sites, S], taking every neuron for a site."""
        with np.errstate(invalid="ignore"):
            return ((self.a[where] > 0) & self.valid[where][:, :, None]).any(axis=1).T

    def finite(self):
        """Per neuron, the finite counted values."""
        flat = self.a[self.valid]
        return [flat[np.isfinite(flat[:, c]), c] for c in range(flat.shape[1])]


@st.composite
def data(draw, positions=(1, 3)):
    count, neurons = draw(st.integers(0, 12)), draw(st.integers(1, 3))
    p = draw(st.sampled_from(positions))
    a = draw(
        hnp.arrays(np.float64, (count, p, neurons), elements=st.sampled_from(VALUES), fill=st.just(0.25))
    )
    labels = draw(hnp.arrays(np.int64, count, elements=st.integers(0, LABELS - 1)))
    samples = np.array(draw(st.permutations(range(100, 100 + 2 * count))), np.int64)[:count]
    valid = (
        np.ones((count, p), bool) if p == 1 else draw(hnp.arrays(np.bool_, (count, p), fill=st.just(True)))
    )
    return Data(a, samples, labels, valid)


@st.composite
def parts(draw, count):
    """Shards of batches: lists of lists of index arrays that hold every sample once; some are empty."""
    order = draw(st.permutations(range(count)))
    cuts = sorted(draw(st.lists(st.integers(0, count), max_size=5)))
    batches = [np.array(order[i:j], np.int64) for i, j in zip([0, *cuts], [*cuts, count], strict=True)]
    shard_of = [draw(st.integers(0, 2)) for _ in batches]
    return [[b for b, s in zip(batches, shard_of, strict=True) if s == k] for k in range(3)]


@dataclass(frozen=True)
class Member:
    """How one accumulator is made and fed."""

    make: object
    feed: object
    positions: tuple = (1, 3)


def _labels(d):
    return Labels(d.a.shape[2], labels=LABELS, per_sample=d.a.shape[1] > 1, nonnegative=False)


MEMBERS = {
    "firing": Member(lambda d: Firing(d.a.shape[2], low=True, high=True), Data.observation),
    "moments": Member(lambda d: Moments(d.a.shape[2]), Data.observation),
    "sample_moments": Member(lambda d: SampleMoments(d.a.shape[2]), Data.observation, (3,)),
    "labels": Member(_labels, Data.observation),
    "rows": Member(lambda d: RowSample(d.a.shape[2], capacity=CAPACITY), Data.observation),
    "gram": Member(lambda d: Gram(d.a.shape[2]), Data.full),
    "histogram": Member(lambda d: Histogram(), Data.full),
    "liveness": Member(lambda d: Liveness(d.a.shape[2]), Data.alive),
    "pre": Member(lambda d: Pre(d.a.shape[2]), Data.observation),
    "pre_share": Member(lambda d: Pre(d.a.shape[2], share=True), Data.observation),
    "inputs": Member(lambda d: InputMean(d.a.shape[2]), Data.observation),
}


def one_pass(member, d):
    made = member.make(d)
    made.update(member.feed(d, np.arange(len(d.a))))
    return made


def assert_same_state(got, want):
    """Counts and rows exactly, sums of floats up to rounding."""
    assert got.keys() == want.keys()
    for name, expected in want.items():
        assert got[name].dtype == expected.dtype, name
        if expected.dtype == np.float64:
            np.testing.assert_allclose(got[name], expected, rtol=1e-9, atol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(got[name], expected, err_msg=name)


@pytest.mark.parametrize("name", MEMBERS)
@given(st.data())
@settings(deadline=None, max_examples=60)
def test_any_split_merged_in_either_order_equals_one_pass(name, source):
    member = MEMBERS[name]
    d = source.draw(data(member.positions))
    shards = []
    for batches in source.draw(parts(len(d.a))):
        shard = member.make(d)
        for where in batches:
            shard.update(member.feed(d, where))
        shards.append(shard)
    shards = [shards[k] for k in source.draw(st.permutations(range(3)))]
    merged = shards[0]
    before = shards[1].state()
    merged.merge(shards[1])
    assert_same_state(shards[1].state(), before)
    shards[2].merge(merged)  # the other way round
    assert_same_state(shards[2].state(), one_pass(member, d).state())


@pytest.mark.parametrize("name", MEMBERS)
@given(st.data())
@settings(deadline=None, max_examples=25)
def test_state_round_trips_and_goes_on(name, source):
    member = MEMBERS[name]
    d = source.draw(data(member.positions))
    cut = source.draw(st.integers(0, len(d.a)))
    first = member.make(d)
    first.update(member.feed(d, np.arange(cut)))
    again = type(first).from_state(first.state(), **first.config)
    for field, array in first.state().items():
        np.testing.assert_array_equal(again.state()[field], array)
    again.update(member.feed(d, np.arange(cut, len(d.a))))
    assert_same_state(again.state(), one_pass(member, d).state())


@pytest.mark.parametrize("name", MEMBERS)
def test_state_fits_the_layout_and_is_a_copy(name):
    d = Data(np.ones((2, 3, 2)), np.arange(2), np.zeros(2, np.int64), np.ones((2, 3), bool))
    made = one_pass(MEMBERS[name], d)
    state = made.state()
    layout = made.layout(**made.config)
    assert state.keys() == layout.keys()
    for field, spec in layout.items():
        assert spec.fault(state[field].shape, state[field].dtype) is None
        assert state[field].nbytes <= spec.largest_bytes
        state[field][...] = 0
    assert any(array.any() for array in made.state().values())


@pytest.mark.parametrize("name", MEMBERS)
def test_strange_states_are_refused(name):
    d = Data(np.ones((2, 3, 2)), np.arange(2), np.zeros(2, np.int64), np.ones((2, 3), bool))
    made = one_pass(MEMBERS[name], d)
    kind, state, config = type(made), made.state(), made.config
    some = next(iter(state))
    others = [
        {key: value for key, value in state.items() if key != some},
        {**state, "other": np.zeros(2)},
        {**state, some: np.zeros(state[some].shape, np.float16)},
        {**state, some: np.zeros((2, 3, 4, 5), state[some].dtype)},
    ]
    counts = [key for key, value in state.items() if value.dtype == np.int64]
    others += [{**state, key: state[key] - 1000} for key in counts]
    for other in others:
        with pytest.raises(ValueError, match=kind.name):
            kind.from_state(other, **config)


@pytest.mark.parametrize("name", [name for name in MEMBERS if name != "histogram"])
def test_other_configurations_do_not_merge(name):
    two = Data(np.ones((1, 3, 2)), np.arange(1), np.zeros(1, np.int64), np.ones((1, 3), bool))
    three = Data(np.ones((1, 3, 3)), np.arange(1), np.zeros(1, np.int64), np.ones((1, 3), bool))
    with pytest.raises(ValueError, match="cannot merge"):
        MEMBERS[name].make(two).merge(MEMBERS[name].make(three))
    with pytest.raises(ValueError, match="cannot merge"):
        MEMBERS[name].make(two).merge(Histogram())


@given(data())
@settings(deadline=None)
def test_firing_equals_plain_counts(d):
    firing = one_pass(MEMBERS["firing"], d)
    counted = d.valid[:, :, None] & np.isfinite(d.a)
    with np.errstate(invalid="ignore"):
        positive = counted & (d.a > 0)
        assert firing.fired.tolist() == (counted & (np.abs(d.a) > 1e-3)).sum((0, 1)).tolist()
        assert firing.low.tolist() == (counted & (d.a <= -1)).sum((0, 1)).tolist()
        assert firing.high.tolist() == (counted & (d.a >= 2)).sum((0, 1)).tolist()
    assert firing.positive.tolist() == positive.sum((0, 1)).tolist()
    assert firing.fired_samples.tolist() == positive.any(axis=1).sum(axis=0).tolist()
    assert firing.counted.tolist() == counted.sum((0, 1)).tolist()
    assert firing.positions == d.valid.sum()
    assert firing.samples == d.valid.any(axis=1).sum()


@given(data())
@settings(deadline=None)
def test_moments_equal_plain_numpy(d):
    moments = one_pass(MEMBERS["moments"], d)
    for c, values in enumerate(d.finite()):
        assert moments.count[c] == len(values)
        if not len(values):
            assert np.isnan(
                [moments.std[c], moments.mean_abs[c], moments.where_counted(moments.mean)[c]]
            ).all()
            continue
        got = [moments.mean[c], moments.std[c], moments.mean_abs[c], moments.total_sq[c]]
        want = [values.mean(), values.std(), np.abs(values).mean(), (values**2).sum()]
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
        assert (moments.min[c], moments.max[c]) == (values.min(), values.max())


@given(data())
@settings(deadline=None)
def test_input_means_are_those_of_the_finite_values(d):
    inputs = one_pass(MEMBERS["inputs"], d)
    for c, values in enumerate(d.finite()):
        assert inputs.count[c] == len(values)
        want = values.mean() if len(values) else np.nan
        np.testing.assert_allclose(inputs.mean[c], want, rtol=1e-9, atol=1e-9)


@given(data())
@settings(deadline=None)
def test_input_means_taken_from_the_neurons_before_are_those_observed(d):
    moments, taken = one_pass(MEMBERS["moments"], d), InputMean(d.a.shape[2])
    taken.take(moments.count, moments.mean)
    assert_same_state(taken.state(), one_pass(MEMBERS["inputs"], d).state())


def test_a_large_mean_does_not_swallow_the_variance():
    values = 1e9 + np.random.default_rng(0).normal(size=(1000, 1, 1))
    moments = Moments(1)
    for part in np.split(values, 10):
        moments.update(observe(part, np.arange(100)))
    np.testing.assert_allclose(moments.std, values.std(), rtol=1e-7)


def test_a_constant_neuron_has_no_variance_at_all():
    moments = Moments(1)
    for k in range(3):
        moments.update(observe(np.full((7, 3, 1), 0.1), np.arange(7) + 7 * k))
    assert moments.m2.tolist() == [0.0]
    assert moments.mean.tolist() == [0.1]


def test_negative_zero_is_zero():
    moments = Moments(1)
    moments.update(observe(np.full((2, 1, 1), -0.0), np.arange(2)))
    state = moments.state()
    assert not any(np.signbit(state[name]).any() for name in ("mean", "min", "max", "total_abs"))


@given(data((3,)))
@settings(deadline=None)
def test_sample_moments_are_of_each_samples_mean_magnitude(d):
    got = one_pass(MEMBERS["sample_moments"], d)
    for c in range(d.a.shape[2]):
        responses = []
        for sample, valid in zip(d.a[:, :, c], d.valid, strict=True):
            values = sample[valid & np.isfinite(sample)]
            if len(values):
                responses.append(np.abs(values).mean())
        assert got.count[c] == len(responses)
        np.testing.assert_allclose(got.total[c], np.sum(responses), rtol=1e-9)
        np.testing.assert_allclose(got.total_sq[c], np.sum(np.square(responses)), rtol=1e-9)


@given(data())
@settings(deadline=None)
def test_gram_is_the_product_of_the_finite_rows(d):
    gram = one_pass(MEMBERS["gram"], d)
    rows = d.full(np.arange(len(d.a))).astype(np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]
    assert gram.rows == len(rows)
    np.testing.assert_allclose(gram.gram, rows.T @ rows, rtol=1e-12)


def test_histogram_has_quarters_of_a_decade_from_a_millionth_to_a_million_on_either_side():
    assert (len(EDGES), BINS) == (100, 99)
    assert (-EDGES[::-1]).tolist() == EDGES.tolist()
    np.testing.assert_allclose(EDGES[50:99], [10.0 ** (k / 4) for k in range(-24, 25)], rtol=1e-12)


@given(data())
@settings(deadline=None)
def test_histogram_counts_every_finite_value_in_its_bin(d):
    histogram = one_pass(MEMBERS["histogram"], d)
    want = np.zeros(BINS, np.int64)
    for value in d.full(np.arange(len(d.a))).ravel():
        if np.isfinite(value):
            want[sum(edge <= value for edge in EDGES[1:-1])] += 1
    assert histogram.counts.tolist() == want.tolist()


@given(data())
@settings(deadline=None)
def test_liveness_counts_silent_samples_and_the_first_to_kill(d):
    alive = d.alive(np.arange(len(d.a)))
    liveness = one_pass(MEMBERS["liveness"], d)
    killed = [0] * len(alive)
    for sample in alive.T:
        silent = [k for k, living in enumerate(sample) if not living]
        if silent:
            killed[silent[0]] += 1
    assert liveness.samples == alive.shape[1]
    assert liveness.silent.tolist() == (~alive).sum(axis=1).tolist()
    assert liveness.killed.tolist() == killed
