"""Where a series begins with the checkpoint before training, neurons that still have its weights are born."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from inspections import inspection, site_result
from onnx import numpy_helper

import nla
from nla import recording
from nla.runs import born
from nla.runs.of_inspection import of
from nla.runs.run import Run
from nla.verbs.recordings import judged
from nla.verbs.runs import open_runs

TEXT = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[n,3] x) => (float[n,2] y)
<float[4,3] w0, float[4] b0, float[4,4] w1, float[4] b1, float[2,4] w2>
{
  z0 = Gemm <transB = 1> (x, w0, b0)
  a = Relu (z0)
  z1 = Gemm <transB = 1> (a, w1, b1)
  b = Relu (z1)
  y = Gemm <transB = 1> (b, w2)
}
"""


def trained(path: Path, step: int) -> Path:
    """Layer a is frozen but for neuron 1; of layer b only the outgoing weights move; neuron 0 of a is dead."""
    rng = np.random.default_rng(0)
    shapes = {"w0": (4, 3), "b0": (4,), "w1": (4, 4), "b1": (4,), "w2": (2, 4)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    weights["b0"][0], weights["b1"][:] = -100, 3
    weights["w0"][1] += np.float32(0.01 * step)
    weights["w2"] += np.float32(step)
    proto = onnx.parser.parse_model(TEXT)
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    onnx.save(proto, path)
    return path


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """Recordings of steps 0, 1 and 2."""
    folder = tmp_path_factory.mktemp("series")
    x = np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32)
    recordings = []
    for step in range(3):
        recordings.append(folder / f"step{step}.h5")
        model = trained(folder / f"step{step}.onnx", step)
        nla.inspect(model, x, output=recordings[-1], in_process=True)
    return recordings


def states(run: Run, site: str) -> list[str]:
    rows = run[site].rows
    assert rows is not None
    return rows.states.tolist()


def test_frozen_neurons_are_born_and_dead_ones_stay_dead(series):
    first, second, third = open_runs(series, rows=True, born_first=True, in_process=True)
    assert states(first, "a") == ["dead", "born", "born", "born"]
    for later in (second, third):
        assert states(later, "a")[0] == "dead"
        assert states(later, "a")[1] != "born"
        assert states(later, "a")[2:] == ["born", "born"]
        assert states(later, "b") == ["born"] * 4
        assert later["a"].counts["born"] == 2
        assert later.summary["born"] == 6


def test_without_a_word_nothing_is_born(series):
    assert all(run.summary["born"] == 0 for run in open_runs(series, rows=True, in_process=True))


def test_it_is_what_a_judgement_with_the_weights_themselves_says(series, tmp_path):
    _, _, last = open_runs(series, rows=True, born_first=True, in_process=True)
    seen = recording.read(series[2])
    initial = nla.inspect(
        series[2].with_suffix(".onnx"),
        np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32),
        initial=series[0].with_suffix(".onnx"),
        in_process=True,
    )
    for site in initial.sites:
        assert states(last, site.name) == site.states.tolist()
        rows = last[site.name].rows
        assert rows is not None
        assert rows.columns["decided_by"].tolist() == site.columns["decided_by"].tolist()
        assert last[site.name].counts == site.counts
    assert judged(seen, nla.Criteria()).summary["born"] == 0


def test_runs_without_digests_are_born_at_the_beginning_only():
    seen = inspection([site_result("relu", {"dead": 1, "dormant": 1, "specialised": 1, "active": 2})])
    runs = born.from_first([of(seen, "first"), of(seen, "second")])
    assert states(runs[0], "relu") == ["dead", "dormant", "born", "born", "born"]
    assert states(runs[1], "relu") == ["dead", "dormant", "specialised", "active", "active"]
    assert runs[1].summary["born"] == 0


def test_counts_alone_suffice_for_the_first_run():
    run = of(inspection([site_result("relu", {"dead": 1, "specialised": 1, "active": 2})]), "first")
    bare = replace(run, sites=tuple(replace(site, rows=None) for site in run.sites))
    (first,) = born.from_first([bare])
    assert first["relu"].counts == {**dict.fromkeys(run["relu"].counts, 0), "dead": 1, "born": 3}
    assert born.from_first([]) == ()


def test_sites_of_other_names_or_widths_stay_as_they_are():
    seen = inspection([site_result("relu", {"active": 2})])
    digests = {"relu": np.array([1, 2], np.uint64)}
    first = of(seen, "first", weights=digests)
    other = of(inspection([site_result("tanh", {"active": 2})]), "x", weights={"tanh": digests["relu"]})
    wide = of(
        inspection([site_result("relu", {"active": 3})]), "x", weights={"relu": np.arange(3, dtype=np.uint64)}
    )
    for later in (other, wide):
        assert born.from_first([first, later])[1].summary["born"] == 0
    assert born.from_first([first, first])[1].summary["born"] == 2


def test_recordings_keep_the_digests_through_files_and_merges(tmp_path):
    model = trained(tmp_path / "m.onnx", 0)
    x = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    for k in (1, 2):
        nla.inspect(model, x, shard=(k, 2), output=tmp_path / f"{k}.h5", in_process=True)
    parts = [recording.read(tmp_path / f"{k}.h5") for k in (1, 2)]
    assert [values.shape for values in parts[0].weights if values is not None] == [(4,), (4,)]
    for one in (parts[0], replace(parts[0], weights=()), replace(parts[0], weights=(None, None))):
        merged = recording.merge([one, parts[1]])
        np.testing.assert_array_equal(merged.weights, parts[0].weights)


def test_recordings_without_digests_are_read_and_stay_as_they_are(series, tmp_path):
    old = tmp_path / "step1.h5"
    recording.write(replace(recording.read(series[1]), weights=()), old)
    assert recording.read(old).weights == (None, None)
    first, second = open_runs([series[0], old], rows=True, born_first=True, in_process=True)
    assert first.summary["born"] > 0
    assert second.summary["born"] == 0
