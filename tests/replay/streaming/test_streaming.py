"""Replay in stages: the same bits as in one stage, and the numbers of the path that takes the model as a whole."""

from __future__ import annotations

from dataclasses import replace

import cut_checkpoints as made
import numpy as np
import pytest

from nla.calibration import CalibrationOptions, open_calibration
from nla.errors import OutputError
from nla.graph.find import find_sites
from nla.graph.prepare import prepare
from nla.replay.observing import observing
from nla.replay.passes import Settings, SplitResult
from nla.replay.streaming import splitting

SETTINGS = Settings(0.001, 1e-3, 1e-6, "numpy", 2, None)


class Case:
    """A checkpoint, its data, and replays of them."""

    def __init__(self, checkpoint, arrays, **options) -> None:
        self.checkpoint = checkpoint
        inputs = prepare(checkpoint).inputs
        given = dict(arrays)
        self.data = open_calibration(given, inputs, CalibrationOptions(**options))
        self.prepared = prepare(checkpoint, {}, self.data.shapes)
        self.sites = find_sites(self.prepared.model, frozenset())[0]

    def replay(self, cuts=None, settings=SETTINGS, data=None, **more) -> SplitResult:
        """With these cuts instead of its own; with none at all, as a whole."""
        checkpoint = self.checkpoint if cuts is None else replace(self.checkpoint, cuts=cuts)
        with observing(checkpoint, self.prepared, ("CPUExecutionProvider",)) as observe:
            return observe("calibration", self.sites, data or self.data, settings, lambda *_: None, **more)


def gpt2(folder, samples=40, dtype="float32", seed=1, **options) -> Case:
    return Case(
        made.opened(made.gpt2(folder / "c", dtype)),
        made.tokens(samples, seed),
        mask="attention_mask",
        **options,
    )


def plain(folder, samples=200, spoil=(), **options) -> Case:
    x = np.random.default_rng(3).standard_normal((samples, 6)).astype(np.float32)
    x[list(spoil)] = np.nan
    return Case(made.network(made.layers(folder / "c"), options.pop("cut_at", "act")), {"x": x}, **options)


def same(one: SplitResult, other: SplitResult, relative: float = 0.0) -> None:
    """Counts equal, floats equal or within `relative` of the largest of their array."""
    assert len(one.statistics) == len(other.statistics)
    for a, b in zip(one.statistics, other.statistics, strict=True):
        assert a.config == b.config
        ours, theirs = a.state(), b.state()
        assert ours.keys() == theirs.keys()
        for key, array in ours.items():
            if not relative or array.dtype.kind != "f":
                np.testing.assert_array_equal(array, theirs[key], err_msg=key)
            else:
                scale = np.abs(theirs[key], where=np.isfinite(theirs[key]), out=np.zeros(array.shape)).max(
                    initial=1e-12
                )
                np.testing.assert_allclose(array, theirs[key], rtol=0, atol=relative * scale, err_msg=key)
    for name in ("samples", "silent", "killed"):
        np.testing.assert_array_equal(getattr(one.liveness, name), getattr(other.liveness, name))
    for name in (
        "left_out",
        "unmasked",
        "pre_sites",
        "unmasked_inputs",
        "batch_size",
        "kernel",
    ):
        assert getattr(one, name) == getattr(other, name), name
    assert bool(one.one_by_one) == bool(other.one_by_one)


ONE = ("nowhere",)
"""Cuts that cut nothing: streamed in one stage."""


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_many_stages_give_the_bits_of_one_and_the_numbers_of_the_whole(tmp_path, dtype):
    case = gpt2(tmp_path, dtype=dtype, seed=5)  # no z of it is so near to zero that rounding decides its sign
    assert len(case.sites) == 3 * made.LAYERS
    many = case.replay()
    same(many, case.replay(ONE))
    same(many, case.replay(()), 2e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"pre_activations": True},
        {"exact_rank": True, "exact_histogram": True},
        {"batch_size": 3},
        {"batch_size": 1},
        {"workers": 1},
    ],
    ids=str,
)
def test_whatever_the_settings(tmp_path, change):
    case = gpt2(tmp_path)
    settings = replace(SETTINGS, **change)
    same(case.replay(settings=settings), case.replay(ONE, settings))


def test_labels_group_samples_alike_in_every_stage(tmp_path):
    case = gpt2(tmp_path, labels=np.arange(40) % 3)
    same(case.replay(), case.replay(ONE))
    same(case.replay(), case.replay(()), 2e-6)


@pytest.mark.parametrize("cut_at", ["act", "sum"])
def test_one_position_a_sample_labels_and_samples_that_are_not_finite(tmp_path, cut_at):
    case = plain(tmp_path, spoil=(0, 17, 199), labels=np.arange(200) % 4, cut_at=cut_at)
    many = case.replay()
    assert many.left_out == 3
    assert many.liveness.samples == 197
    same(many, case.replay(ONE))
    same(many, case.replay(()), 2e-6)


def test_means_of_inputs_are_those_of_the_site_before_though_it_is_in_another_stage(tmp_path):
    case = plain(tmp_path)
    assert case.checkpoint.cuts == tuple(site.name for site in case.sites)
    many = case.replay(settings=replace(SETTINGS, pre_activations=True))
    assert all(statistics.config["inputs"] for statistics in many.statistics)
    same(many, case.replay(ONE, replace(SETTINGS, pre_activations=True)))


def test_the_dead_have_their_margin(tmp_path):
    case = plain(tmp_path)
    many = case.replay()
    assert many.pre_sites
    assert many.pre_sites == case.replay(()).pre_sites
    assert many.statistics[0].measure().positive[:2].tolist() == [0, 0]


def test_all_samples_left_out(tmp_path):
    case = plain(tmp_path, samples=8, spoil=range(8))
    many = case.replay()
    assert many.left_out == 8
    assert many.liveness.samples == 0


def test_held_out_samples_and_shards(tmp_path):
    case = gpt2(tmp_path)
    for part in (*case.data.split(0.3), case.data.shard(2, 3)):
        same(case.replay(data=part, observe_pre=False), case.replay(ONE, data=part, observe_pre=False))


def test_one_sample(tmp_path):
    case = gpt2(tmp_path, samples=1)
    many = case.replay()
    assert many.one_by_one == "there is one sample"
    same(many, case.replay(ONE))


class Ragged:
    """Data whose samples are as long as the longest of their batch, as text is."""

    def __init__(self, data, lengths) -> None:
        self._data, self._lengths = data, lengths

    def __getattr__(self, name):
        return getattr(self._data, name)

    @property
    def shapes(self):
        return dict.fromkeys(self._data.shapes, (None, None))

    def _length(self, where):
        return max(self._lengths[i] for i in self._data.indices[where].tolist())

    def feeds(self, where):
        return {
            name: np.ascontiguousarray(v[:, : self._length(where)])
            for name, v in self._data.feeds(where).items()
        }

    def mask(self, where):
        return self._data.mask(where)[:, : self._length(where)]

    def subset(self, where):
        return Ragged(self._data.subset(where), self._lengths)


@pytest.mark.parametrize("first", [9, 4], ids=["together", "one by one"])
def test_sequences_as_long_as_the_longest_of_their_batch(tmp_path, first):
    """The second pass, of other batches, reads hidden states that were padded otherwise."""
    lengths = [9, 9, 9] + [3 + 2 * (i % 4) for i in range(37)]
    lengths[0] = first
    arrays = made.tokens(40)
    arrays["attention_mask"] = (np.arange(9) < np.array(lengths)[:, None]).astype(np.int64)
    case = Case(made.opened(made.gpt2(tmp_path / "c")), arrays, mask="attention_mask")
    case.prepared = prepare(case.checkpoint)
    case.sites = find_sites(case.prepared.model, frozenset())[0]
    data = Ragged(case.data, lengths)
    settings = replace(SETTINGS, pre_activations=True, batch_size=3)
    many = case.replay(settings=settings, data=data)
    assert bool(many.one_by_one) == (first != 9)
    same(many, case.replay(ONE, settings, data), 2e-6)
    same(many, case.replay((), settings, data), 2e-6)


def test_equal_blocks_share_their_sessions(tmp_path):
    from nla.replay.streaming.cutting import cutting
    from nla.replay.streaming.work import opened

    case = gpt2(tmp_path)
    cut = cutting(case.prepared.model.graph, case.checkpoint.cuts)
    with opened(None, "") as work:
        streamed = splitting.Streamed(
            case.prepared.model, cut, case.checkpoint.external_files, {}, work, ("CPUExecutionProvider",)
        )
        streamed.replay_split("calibration", case.sites, case.data, SETTINGS, lambda *_: None)
    # embedding; a block; a block and the last that leaves nothing behind it; their second passes
    assert streamed.sessions.made <= 5


def test_progress_counts_stages_times_samples_and_never_goes_back(tmp_path):
    case = gpt2(tmp_path)
    seen = []
    with observing(case.checkpoint, case.prepared, ("CPUExecutionProvider",)) as observe:
        observe("calibration", case.sites, case.data, SETTINGS, lambda *told: seen.append(told))
    stages = made.LAYERS + 1
    assert {(phase, total) for phase, _, total in seen} == {("replaying", 40 * stages)}
    done = [count for _, count, _ in seen]
    assert done == sorted(done)
    assert done[-1] == 40 * stages


def test_a_disk_without_room_is_told_before_anything_is_run(tmp_path, monkeypatch):
    case = gpt2(tmp_path)
    monkeypatch.setattr(splitting, "check_room", lambda where, needed, there: _refuse(needed))
    with pytest.raises(OutputError, match=str(2 * 40 * made.TOKENS * made.WIDTH * 4)):
        case.replay()


def _refuse(needed: int) -> None:
    raise OutputError(f"{needed} bytes are needed")
