"""The verbs in Python: what their options do, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import nla
from nla.statistics import effective_rank

SAMPLES = Path(__file__).parents[1] / "sample_models"
MODEL, DATA = SAMPLES / "dying_relu/model.onnx", SAMPLES / "dying_relu/data.npz"


def changed(tmp_path: Path, units: list[int]) -> Path:
    """The dying-ReLU sample with the incoming weights of these units of its first layer moved a little."""
    model = onnx.load(MODEL)
    weight = next(t for t in model.graph.initializer if t.name == "fc1.weight")
    values = numpy_helper.to_array(weight).copy()
    rows = values if values.shape[0] == 128 else values.T
    rows[units] += 1e-3
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    path = tmp_path / "initial.onnx"
    onnx.save(model, path)
    return path


def inspect(**options: object) -> nla.Inspection:
    return nla.inspect(MODEL, DATA, in_process=True, **options)  # type: ignore[arg-type]


def test_a_neuron_that_training_left_alone_is_born_unless_it_is_dead(tmp_path: Path) -> None:
    plain, born = inspect(), inspect(initial=changed(tmp_path, list(range(64))))
    before, after = plain["/fc1/Relu"].states, born["/fc1/Relu"].states
    lively = np.isin(before, ("specialised", "active"))
    unchanged = np.arange(128) >= 64
    assert (after[lively & unchanged] == "born").all()
    assert (lively & unchanged).any()
    assert np.array_equal(after[~(lively & unchanged)], before[~(lively & unchanged)])
    assert born.summary["dead"] == plain.summary["dead"]


def test_an_initial_checkpoint_of_another_network_is_refused() -> None:
    with pytest.raises(nla.ModelError, match="shares no weight with the model"):
        inspect(initial=SAMPLES / "lstm/model.onnx")


def test_z_is_observed_everywhere_when_asked_for() -> None:
    healthy = SAMPLES / "healthy"
    plain = nla.inspect(
        SAMPLES / "saturated_tanh/model.onnx", SAMPLES / "saturated_tanh/data.npz", in_process=True
    )
    assert np.isnan(plain.sites[0].measurements.pre_max).all()
    seen = nla.inspect(healthy / "model.onnx", healthy / "data.npz", pre_activations=True, in_process=True)
    for site in seen.sites:
        assert np.isfinite(site.measurements.pre_max).all()
        alive = site.measurements.positive > 0
        assert np.allclose(site.measurements.pre_max[alive], site.measurements.max[alive], rtol=1e-5)


def test_the_histogram_of_z_and_a_is_there_for_every_site_and_exact_on_request() -> None:
    inspection = inspect(histogram="exact")
    for site in inspection.sites:
        m = site.measurements
        assert m.histogram is not None
        assert m.histogram.exact
        assert m.histogram.values == m.positions * site.site.neurons
        assert m.histogram.counts[m.histogram.edges[:-1] >= 1e-6].sum() <= m.positive.sum()
        assert m.pre_histogram is not None
        assert m.pre_histogram.values > 0


def test_a_child_process_changes_no_number() -> None:
    here, there = inspect(), nla.inspect(MODEL, DATA)
    for a, b in zip(here.sites, there.sites, strict=True):
        assert np.array_equal(a.states, b.states)
        for name, column in a.columns.items():
            assert np.array_equal(column, b.columns[name], equal_nan=column.dtype.kind == "f"), name


def test_the_number_of_threads_changes_no_number() -> None:
    one, three = inspect(threads=1, batch_size=50), inspect(threads=3, batch_size=50)
    for a, b in zip(one.sites, three.sites, strict=True):
        for name, column in a.columns.items():
            assert np.array_equal(column, b.columns[name], equal_nan=column.dtype.kind == "f"), name


def test_an_array_stands_for_the_only_input() -> None:
    x = np.load(DATA)["x"]
    assert nla.inspect(MODEL, x, in_process=True).summary["dead"] == inspect().summary["dead"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch size 0"),
        ({"batch_size": "many"}, "batch size many"),
        ({"effective_rank": "rough"}, "expected sample or exact"),
        ({"kernel": "cobol"}, "no kernel cobol"),
        ({"providers": ["QuantumExecutionProvider"]}, "no provider QuantumExecutionProvider"),
        ({"constants": {"state": 0}}, "no such input"),
        ({"criteria": {"dormancy": 1}}, "dormancy"),
        ({"shard": (3, 2)}, "shard"),
        ({"held_out": 1.0}, "held-out"),
        ({"threads": 0}, "threads"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(nla.NlaError, match=message):
        inspect(**options)


def test_random_data_is_never_replayed_unless_asked_for_and_then_named() -> None:
    assert isinstance(nla.inspect(MODEL, in_process=True), nla.WeightInspection)  # which saw no activation
    seen = nla.inspect(MODEL, synthetic=20, in_process=True)
    assert seen.data["synthetic"] is True
    assert any("random" in note for note in [*seen.notes, *seen.data["account"]])


def test_one_sample_works_and_its_bound_says_what_it_is_worth() -> None:
    seen = inspect(limit=1)
    bounds = seen.sites[0].columns["rate_upper_bound"][seen.sites[0].states == "dead"]
    assert np.allclose(bounds, 0.95)


def test_a_recording_is_judged_anew_by_other_criteria(tmp_path: Path) -> None:
    run = tmp_path / "run.h5"
    first = inspect(output=run)
    again = nla.load(run)
    assert again.summary == first.summary
    strict = nla.load(run, {"dormancy_threshold": 0.5})
    assert strict.summary["dormant"] > first.summary["dormant"]
    table = nla.neurons(run, state=["dead"])
    assert len(table) == first.summary["dead"]


def test_a_row_for_each_neuron_needs_no_effective_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.h5"
    seen = inspect(output=path)

    def computed(rows: object) -> tuple[float, int]:
        raise AssertionError("an effective rank was computed")

    monkeypatch.setattr(effective_rank, "rank_of_rows", computed)
    table = nla.neurons(path, in_process=True)
    assert table.columns["state"].tolist() == [state for site in seen.sites for state in site.states]
    with pytest.raises(AssertionError, match="was computed"):
        nla.load(path, in_process=True)


def test_a_recording_is_read_within_limits(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    inspect(output=path)
    assert nla.load(path, memory_limit=4 << 30, time_limit=60.0).summary["neurons"] == 384
    with pytest.raises(nla.LimitError, match="time-limit"):
        nla.load(path, time_limit=1e-3)
    with pytest.raises(nla.LimitError, match="time-limit"):
        nla.neurons(path, time_limit=1e-3)
    with pytest.raises(nla.LimitError, match="time-limit"):
        nla.merge([path], time_limit=1e-3)


def test_progress_counts_the_samples() -> None:
    told: list[dict[str, object]] = []
    inspect(progress=told.append)
    assert {"phase": "replaying", "done": 1788, "total": 1788} in told


def test_the_layers_of_a_plain_network_are_words_or_one_text(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    generator = np.random.default_rng(0)
    shapes = {"a.weight": (6, 4), "a.bias": (6,), "b.weight": (3, 6), "b.bias": (3,)}
    path = tmp_path / "mlp.safetensors"
    save_file(
        {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}, path
    )
    said = {"activation": "relu", "in_process": True}
    words, text, inferred = (nla.sites(path, layers=given, **said) for given in (["a", "b"], "a, b", None))
    assert [site.name for site in words.sites] == [site.name for site in text.sites] == ["a.act"]
    assert [site.neurons for site in inferred.sites] == [6]
    assert words.checkpoint["layers"] == ["a", "b"]
    assert "layers" not in inferred.checkpoint
    with pytest.raises(nla.UsageError, match="not both"):
        nla.sites(path, graph=MODEL, layers="a,b", **said)


def test_an_onnx_file_takes_nothing_that_stands_for_a_graph(tmp_path: Path) -> None:
    with pytest.raises(nla.UsageError, match="is for safetensors checkpoints"):
        inspect(activation="relu")
    with pytest.raises(nla.UsageError, match="not a safetensors checkpoint"):
        nla.export(MODEL, tmp_path / "out.onnx", in_process=True)


def test_a_manifest_of_strange_layers_is_refused(tmp_path: Path) -> None:
    manifest = nla.plan(recorded(tmp_path), "prune")
    strange = {
        **manifest.to_dict(),
        "checkpoint": {**manifest.checkpoint, "layers": [{"graph": "/etc/passwd"}]},
    }
    with pytest.raises(nla.UsageError, match=r"checkpoint\.layers"):
        nla.apply(nla.Manifest.from_dict(strange), MODEL, tmp_path / "out.onnx", in_process=True)


def recorded(tmp_path: Path) -> Path:
    """A recording of the dying-ReLU sample."""
    inspect(output=tmp_path / "run.h5")
    return tmp_path / "run.h5"
