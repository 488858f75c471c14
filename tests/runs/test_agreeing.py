"""Runs are compared only where the same criteria judged them; recordings are judged by those of the documents."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_cases import rich, written

import nla
from nla import recording
from nla.errors import RecordingError, UsageError
from nla.lifecycle.criteria import Criteria
from nla.runs.of_inspection import of
from nla.verbs.runs import open_runs

SAMPLE = Path(__file__).resolve().parents[2] / "sample_models" / "constant_units"
STRICT = Criteria(dormancy_threshold=0.9)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A recording."""
    path = tmp_path_factory.mktemp("recorded") / "run.h5"
    nla.inspect(SAMPLE / "model.onnx", SAMPLE / "data.npz", limit=50, output=path, in_process=True)
    return path


def document_of(criteria: Criteria, path: Path, **changes: float) -> Path:
    document = written(rich(criteria))
    for name, value in changes.items():
        document["criteria"][name] = {**document["criteria"]["weak_bound"], "value": value}
    path.write_text(json.dumps(document))
    return path


def opened(*given, **options):
    return open_runs(given, rows=True, in_process=True, **options)


def test_recordings_are_judged_by_what_is_asked_for(recorded):
    lax, strict = opened(recorded)[0], opened(recorded, criteria=STRICT)[0]
    assert strict.criteria["dormancy_threshold"]["value"] == 0.9
    assert strict.summary["dormant"] > lax.summary["dormant"]
    assert opened(recorded, criteria={"dormancy_threshold": 0.9})[0].summary == strict.summary


def test_beside_a_document_recordings_are_judged_by_its_criteria(recorded, tmp_path):
    run, _ = opened(recorded, document_of(STRICT, tmp_path / "a.json"))
    assert run.summary == opened(recorded, criteria=STRICT)[0].summary


def test_so_it_is_beside_an_inspection(recorded):
    run, _ = opened(recorded, rich(STRICT))
    assert run.summary == opened(recorded, criteria=STRICT)[0].summary


def test_documents_of_other_criteria_than_asked_for_are_refused(tmp_path):
    path = document_of(Criteria(), tmp_path / "a.json")
    with pytest.raises(
        RecordingError, match=r"a.json was judged by dormancy_threshold = 0.025, not by dorm.* = 0.9"
    ):
        opened(path, criteria=STRICT)
    assert opened(path, criteria=Criteria())


def test_documents_of_different_criteria_are_refused(tmp_path):
    paths = document_of(Criteria(), tmp_path / "a.json"), document_of(STRICT, tmp_path / "b.json")
    with pytest.raises(
        RecordingError, match=r"a.json and .*b.json were judged by different criteria: dormancy_thr"
    ):
        opened(*paths)


def test_thresholds_that_the_replay_fixed_must_agree(recorded, tmp_path):
    path = document_of(Criteria(firing_threshold=0.5), tmp_path / "a.json")
    with pytest.raises(
        RecordingError, match=r"firing_threshold = 0.5 and firing_threshold = 0.001; the replay fixes it"
    ):
        opened(path, recorded)
    other = tmp_path / "other.h5"
    seen = recording.read(recorded)
    recording.write(replace(seen, settings={**seen.settings, "flat_derivative": 0.02}), other)
    with pytest.raises(RecordingError, match=r"flat_derivative = 0.01 and flat_derivative = 0.02"):
        opened(recorded, other)


def test_criteria_of_another_version_are_refused_beside_recordings_and_taken_alone(recorded, tmp_path):
    path = document_of(Criteria(), tmp_path / "a.json", tiredness=1)
    assert opened(path)[0].criteria["tiredness"]["value"] == 1
    with pytest.raises(RecordingError, match=r"no criterion 'tiredness'.* made by another version of nla"):
        opened(path, recorded)


def test_nothing_to_open_is_refused():
    with pytest.raises(UsageError, match="no run: give at least one"):
        opened()


def test_one_run_may_be_given_by_itself(recorded):
    assert len(open_runs(recorded, rows=True, in_process=True)) == 1


def test_a_manifest_of_steps_names_runs_labels_and_steps(recorded, tmp_path):
    document_of(Criteria(), tmp_path / "b.json")
    (tmp_path / "steps.csv").write_text(f"path,step,label\nb.json,20,\n{recorded},3,first\n")
    runs = open_runs((), steps=tmp_path / "steps.csv", rows=True, in_process=True)
    assert [(run.label, run.step) for run in runs] == [("first", 3), ("b", 20)]
    with pytest.raises(UsageError, match="runs are named twice"):
        open_runs([recorded], steps=tmp_path / "steps.csv", rows=True)
    (tmp_path / "steps.csv").write_text(f"path,step,label\nb.json,20,\n{recorded},3,b\n")
    with pytest.raises(UsageError, match="two rows would be called b: give both a label"):
        open_runs((), steps=tmp_path / "steps.csv", rows=True)


def test_progress_counts_the_runs(recorded):
    told = []
    opened(recorded, rich(), progress=told.append)
    assert [(each["done"], each["total"]) for each in told] == [(0, 2), (1, 2), (2, 2)]


def test_without_ranks_they_are_not_known(recorded):
    assert np.isnan(opened(recorded, ranks=False)[0].sites[0].effective_rank)
    assert opened(recorded)[0].sites[0].effective_rank > 0


def test_an_inspection_has_its_label_from_its_checkpoint():
    assert of(rich(), "x").label == "x"
    assert [run.label for run in opened(rich(), rich())] == ["net", "net (2)"]
