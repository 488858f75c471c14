"""A run is the same from an inspection, its document and its recording; its values are worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_cases import FILES, check_equal, rich, written

import nla
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.results import FLAGS, STATES
from nla.runs.of_document import from_document
from nla.runs.of_inspection import of
from nla.verbs.runs import open_runs

SAMPLE = Path(__file__).resolve().parents[2] / "sample_models" / "constant_units"


def test_the_document_and_the_inspection_give_the_same_run():
    check_equal(from_document(written(rich()), "r", "r.json", 3), of(rich(), "r", "r.json", 3))


def test_a_document_without_rows_gives_the_same_but_for_the_rows():
    run = of(rich(), "r")
    assert run.has_rows
    bare = from_document(written(rich(), neurons=False), "r")
    assert not bare.has_rows
    check_equal(bare, replace(run, sites=tuple(replace(site, rows=None) for site in run.sites)))


def test_every_field_is_what_was_worked_out_by_hand():
    run = from_document(written(rich()), "epoch3", "runs/epoch3.json", 3)
    assert (run.label, run.path, run.step) == ("epoch3", "runs/epoch3.json", 3)
    assert (run.checkpoint, run.data, run.replay) == tuple(
        FILES[name] for name in ("checkpoint", "data", "replay")
    )
    assert run.criteria == Criteria().describe()
    assert run.labels == {"names": ["0", "1"], "samples": [2, 2]}
    assert run.notes[0] == "a note"
    assert run.not_understood == (
        {"name": "/Scan", "op_type": "Scan", "reason": "bodies of loops are left alone"},
    )
    assert run.summary == {"neurons": 5, **dict.fromkeys(STATES, 0), "dead": 1, "active": 2, "constant": 2}
    assert "nonfinite" in " ".join(finding.command for finding in run.findings)
    assert run.living["killed_samples"] == {}


def test_every_field_of_a_site_is_what_was_worked_out_by_hand():
    relu, clip = from_document(written(rich()), "r").sites
    assert (relu.name, relu.role, relu.activation, relu.neurons) == ("relu", "dense", "Relu", 3)
    assert (relu.samples, relu.positions, relu.bottleneck, relu.upstream) == (4, 4, True, ())
    assert relu.counts == {**dict.fromkeys(STATES, 0), "dead": 1, "active": 2}
    assert relu.flags == {**dict.fromkeys(FLAGS, 0), "linear": 2, "nonfinite": 1}
    assert (relu.dead_share, relu.parameters_dead) == (1 / 3, 5)
    assert (relu.effective_rank_rows, relu.effective_rank_exact) == (4, True)
    assert relu.effective_capacity == pytest.approx(2 / 3 * relu.effective_rank)
    assert relu.held_out == {"samples": 1, "positions": 1, "dead_that_fired": 1}
    assert relu.dead_rate_bound == pytest.approx(1 - (0.05 / 3) ** (1 / 4), rel=1e-12)
    assert relu.histogram is not None
    assert relu.histogram.edges.tolist() == [-np.inf, 0, 1, np.inf]
    assert (relu.histogram.counts.tolist(), relu.histogram.values, relu.histogram.exact) == (
        [4, 3, 4],
        11,
        True,
    )
    assert relu.pre_histogram is None
    assert (clip.upstream, clip.held_out, clip.histogram) == (("relu",), None, None)
    assert np.isnan([clip.effective_rank, clip.dead_rate_bound]).all()


def test_rows_hold_states_flags_and_columns_as_arrays():
    rows = from_document(written(rich()), "r")["relu"].rows
    assert rows is not None
    assert rows.states.tolist() == ["dead", "active", "active"]
    assert rows.flags == ((), ("linear",), ("linear", "nonfinite"))
    assert rows.columns["nonfinite"].tolist() == [0, 0, 1]
    assert rows.columns["nonfinite"].dtype == np.int64
    assert rows.columns["decided_by"].tolist() == ["", "", ""]
    assert rows.columns["max"].tolist() == [0, 3, 4]
    margin = rows.columns["margin"]  # of a z that never varies: not known
    assert margin.dtype == np.float64
    assert np.isnan(margin[0])
    assert margin[1] == pytest.approx(-3 / np.std([1, 3, 2, 2]))


def test_the_run_of_a_site_is_found_by_name():
    assert of(rich(), "r")["clip"].role == "conv"
    with pytest.raises(KeyError):
        of(rich(), "r")["tanh"]


def test_a_recording_its_document_and_its_inspection_are_one_run(tmp_path):
    seen = nla.inspect(
        SAMPLE / "model.onnx", SAMPLE / "data.npz", held_out=0.2, output=tmp_path / "run.h5", in_process=True
    )
    (tmp_path / "run.json").write_text(json.dumps(written(seen)))
    runs = open_runs([tmp_path / "run.h5", tmp_path / "run.json", seen], rows=True, in_process=True)
    assert [run.label for run in runs] == ["run.h5", "run.json", "model"]
    recorded, *others = runs
    for site in recorded.sites:
        assert site.weights is not None
        assert (site.weights.dtype, site.weights.shape) == (np.uint64, (site.neurons,))
    plain = replace(recorded, sites=tuple(replace(site, weights=None) for site in recorded.sites))
    for other in others:
        check_equal(replace(other, label="", path=""), replace(plain, label="", path=""))
