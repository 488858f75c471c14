"""Hostile runs: what compares runs opens recordings and documents that a stranger made, together."""

from __future__ import annotations

import json

import numpy as np
import pytest
from run_cases import rich, written

import nla
from nla import recording
from nla.errors import RecordingError, printable
from nla.recording_file import to_bytes
from nla.runs.run import Run
from nla.verbs.runs import open_runs


@pytest.fixture(scope="module")
def plain(tmp_path_factory, sample):
    """A recording's document and arrays."""
    path = tmp_path_factory.mktemp("plain") / "run.h5"
    nla.inspect(
        sample / "model.onnx", sample / "data.npz", limit=20, held_out=0.2, output=path, in_process=True
    )
    return recording.to_plain(recording.read(path))


def opened(path) -> Run | str:
    """The run, or what was said."""
    try:
        return open_runs([path], rows=True, born_first=True, in_process=True)[0]
    except RecordingError as error:
        return str(error)


WELL_FORMED = {
    "counts near the end of int64": ("firing.fired", lambda values: values + 2**62),
    "counts that overflow together": ("firing.positive", lambda values: values + (2**63 - 1 - values.max())),
    "no samples": ("firing.samples", lambda values: values * 0),
    "moments that are nan": ("moments.mean", lambda values: values * np.nan),
    "extremes that are infinite": ("moments.max", lambda values: values + np.inf),
    "extremes the wrong way round": ("moments.min", lambda values: values + 1e300),
}


@pytest.mark.parametrize("name", WELL_FORMED)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_strange_numbers_in_a_recording_make_a_run_or_one_line_that_names_it(name, plain, tmp_path):
    document, arrays = plain
    array, change = WELL_FORMED[name]
    place = f"sites/0000/calibration/{array}"
    path = tmp_path / "run.h5"
    path.write_bytes(to_bytes(recording.SCHEMA, document, {**arrays, place: change(arrays[place])}, {}))
    run = opened(path)
    assert isinstance(run, Run) or (run.startswith(f"{path}: ") and run.isprintable()), run


def test_more_silent_samples_than_samples_are_refused_by_the_recordings_name(plain, tmp_path):
    document, arrays = plain
    place = "splits/calibration/liveness.silent"
    path = tmp_path / "run.h5"
    path.write_bytes(to_bytes(recording.SCHEMA, document, {**arrays, place: arrays[place] + 1000}, {}))
    said = opened(path)
    assert isinstance(said, str)
    assert said.startswith(f"{path}: sites[0].silent_samples is 10")


def test_a_document_that_repeats_a_site_is_refused_by_its_name(tmp_path):
    document = written(rich())
    document["sites"] *= 100
    path = tmp_path / "\x1b[31mrun.json"
    path.write_text(json.dumps(document))
    said = opened(path)
    assert said == f"{printable(path)}: two of its sites bear one name"
