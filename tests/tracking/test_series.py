"""The verb: checkpoints replayed, recordings kept and used again, orders, manifests, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nla
from nla.lifecycle.results import STATES
from nla.verbs import series

SAMPLES = Path(__file__).parents[2] / "sample_models"
FOLDER = SAMPLES / "dying_series"
DATA = FOLDER / "data.npz"
EXPECTED = json.loads((SAMPLES / "expected/series/dying_series.json").read_text())
MODELS = [FOLDER / f"epoch{epoch:02}.onnx" for epoch in range(4)]


def track(runs: Any, data: Any = None, **options: Any) -> nla.Tracking:
    return nla.track(runs, data, in_process=True, **options)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recordings of the first four checkpoints."""
    folder = tmp_path_factory.mktemp("series") / "recordings"
    track(list(reversed(MODELS)), DATA, recordings=folder)
    return folder


@pytest.fixture(scope="module")
def recordings(kept: Path) -> list[Path]:
    return sorted(kept.glob("*.h5"))


@pytest.fixture(scope="module")
def tracking(recordings: list[Path]) -> nla.Tracking:
    return track(recordings)


def dead(tracking: nla.Tracking) -> list[list[int]]:
    return [[site.counts["dead"] for site in step.sites] for step in tracking.steps]


def test_dead_neurons_are_those_of_the_oracle_at_every_step(tracking: nla.Tracking) -> None:
    assert dead(tracking) == [
        [site["counts"]["dead"] for site in each["sites"]] for each in EXPECTED["checkpoints"][:4]
    ]
    assert [step.step for step in tracking.steps] == [0, 1, 2, 3]
    for trajectory, k in zip(tracking.trajectories, range(3), strict=True):
        for step, each in enumerate(EXPECTED["checkpoints"][:4]):
            assert np.flatnonzero(trajectory.dead[step]).tolist() == each["sites"][k]["units"]["dead"]


def test_the_first_checkpoint_at_step_0_is_taken_for_the_initial_one_and_that_is_said(
    tracking: nla.Tracking, recordings: list[Path]
) -> None:
    assert tracking.first_is_initial
    assert tracking.steps[0].summary["born"] > 0
    assert any("epoch00 is taken for the checkpoint before training" in note for note in tracking.notes)
    trained = track(recordings, first_is_initial=False)
    assert trained.steps[0].summary["born"] == 0
    assert dead(trained) == dead(tracking)
    later = track(recordings[1:])
    assert not later.first_is_initial
    told = track(recordings[1:], first_is_initial=True)
    assert told.first_is_initial
    assert any("was given as the checkpoint before training" in note for note in told.notes)


def test_recordings_that_are_kept_are_used_again(
    kept: Path, tracking: nla.Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replayed(*_: object, **__: object) -> None:
        raise AssertionError("a checkpoint was replayed again")

    monkeypatch.setattr(series, "recorded", replayed)
    again = track(MODELS, DATA, recordings=kept)
    assert again.to_dict(neurons=True) == tracking.to_dict(neurons=True)


def test_a_recording_of_anything_else_is_neither_used_nor_written_over(kept: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    shutil.copytree(kept, folder)
    with pytest.raises(nla.RecordingError, match=r"epoch00\.h5 is there already, a recording on other data"):
        track(MODELS[:2], DATA, recordings=folder, limit=50)
    with pytest.raises(nla.RecordingError, match="made with another firing_threshold"):
        track(MODELS[:2], DATA, recordings=folder, criteria={"firing_threshold": 0.1})
    shutil.copy(folder / "epoch01.h5", folder / "epoch00.h5")
    with pytest.raises(nla.RecordingError, match="a recording of another checkpoint"):
        track(MODELS[:2], DATA, recordings=folder)


def test_an_interrupt_says_where_the_recordings_are(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(kept, tmp_path / "kept")
    (tmp_path / "kept/epoch02.h5").unlink()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(series, "recorded", interrupted)
    with pytest.raises(nla.Interrupted, match=r"3 of 4 checkpoints are recorded in .*kept: the same command"):
        track(MODELS, DATA, recordings=tmp_path / "kept")


def test_recordings_and_checkpoints_make_one_series(recordings: list[Path], tracking: nla.Tracking) -> None:
    mixed = track([recordings[0], MODELS[1], recordings[2]], DATA)
    assert dead(mixed) == dead(tracking)[:3]


def test_progress_counts_the_checkpoints(kept: Path) -> None:
    told: list[dict[str, Any]] = []
    track(MODELS[:2], DATA, recordings=kept, progress=told.append)
    assert [each["done"] for each in told if each["phase"] == "checkpoints"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("order", "expected"),
    [("auto", [0, 1, 2]), ("natural", [0, 1, 2]), ("given", [2, 0, 1])],
)
def test_runs_stand_in_the_order_that_is_asked_for(
    recordings: list[Path], order: str, expected: list[int]
) -> None:
    shuffled = [recordings[2], recordings[0], recordings[1]]
    assert [step.step for step in track(shuffled, order=order).steps] == expected


def test_a_manifest_gives_steps_labels_and_order(recordings: list[Path], tmp_path: Path) -> None:
    rows = [f"{recordings[1]},500,late", f"{recordings[0]},7,early"]
    (tmp_path / "steps.csv").write_text("\n".join(["path,step,label", *rows]) + "\n")
    for given in ((), recordings[:2]):
        found = track(given, steps=tmp_path / "steps.csv")
        assert [(step.label, step.step) for step in found.steps] == [("early", 7), ("late", 500)]
        assert not found.first_is_initial
    three = track(recordings[:3], steps=tmp_path / "steps.csv")
    assert [step.label for step in three.steps] == ["early", "late", "epoch02"]
    assert any("epoch02 is not in the manifest of steps, and comes last" in note for note in three.notes)


def test_a_manifest_that_agrees_with_the_names_leaves_the_others_their_numbers(
    recordings: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "steps.csv").write_text(f"path,step\n{recordings[1]},1\n{recordings[3]},3\n")
    found = track(recordings, steps=tmp_path / "steps.csv")
    assert [step.step for step in found.steps] == [0, 1, 2, 3]
    assert any(
        "epoch02 is not in the manifest of steps, and has the step of its name" in n for n in found.notes
    )


def test_a_copy_under_another_name_is_left_out(recordings: list[Path], tmp_path: Path) -> None:
    shutil.copy(recordings[1], tmp_path / "epoch.h5")
    found = track([*recordings[:2], tmp_path / "epoch.h5"])
    assert [step.label for step in found.steps] == ["epoch00", "epoch01"]
    assert any("epoch is left out: the same checkpoint as epoch01" in note for note in found.notes)
    assert not any("comes last" in note for note in found.notes)


def test_inspections_and_documents_with_rows_serve_as_well(recordings: list[Path], tmp_path: Path) -> None:
    from nla.lifecycle.document import document

    inspections = [nla.load(path, in_process=True) for path in recordings[:2]]
    (tmp_path / "epoch00.json").write_text(json.dumps(document(inspections[0], neurons=True)))
    found = track([tmp_path / "epoch00.json", inspections[1]])
    assert [step.label for step in found.steps] == ["epoch00", "epoch01"]
    assert sum(found.transitions.counts.ravel()) == found.neurons
    (tmp_path / "epoch00.json").write_text(json.dumps(document(inspections[0])))
    with pytest.raises(nla.RecordingError, match="row"):
        track([tmp_path / "epoch00.json", inspections[1]])


def test_other_criteria_judge_recordings_anew(recordings: list[Path]) -> None:
    plain, strict = track(recordings[:2]), track(recordings[:2], criteria={"dormancy_threshold": 0.5})
    assert strict.steps[1].summary["dormant"] > plain.steps[1].summary["dormant"]
    assert strict.criteria["dormancy_threshold"]["value"] == 0.5


def test_states_on_other_data_are_refused_unless_that_is_asked_for(
    recordings: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / "epoch01.h5"
    nla.inspect(MODELS[1], DATA, output=other, limit=100, in_process=True)
    with pytest.raises(nla.UsageError, match="--different-data"):
        track([recordings[0], other])
    found = track([recordings[0], other], different_data=True)
    assert any("saw other data" in note for note in found.notes)


def test_other_networks_are_refused_by_name_or_left_out(recordings: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "lstm.h5"
    nla.inspect(SAMPLES / "lstm/model.onnx", SAMPLES / "lstm/data.npz", output=other, in_process=True)
    with pytest.raises(
        nla.UsageError, match=r"1 of 3 runs are of another architecture than epoch00 \(lstm\)"
    ):
        track([*recordings[:2], other])
    found = track([*recordings[:2], other], skip_unlike=True)
    assert [step.label for step in found.steps] == ["epoch00", "epoch01"]
    assert any(note.startswith("lstm is left out: ") for note in found.notes)


@pytest.mark.parametrize(
    ("runs", "options", "message"),
    [
        ([], {}, "no run: give two or more"),
        ([MODELS[0]], {"data": DATA}, "one checkpoint is no series"),
        ([MODELS[0], MODELS[0]], {"data": DATA, "limit": 20}, "the same checkpoint"),
        (MODELS[:2], {}, "is a checkpoint, whose states are not known before data is replayed"),
        ([FOLDER, MODELS[0]], {}, "is a checkpoint"),
        ([MODELS[0], Path("missing.onnx")], {"data": DATA}, r"missing\.onnx"),
        ([Path("missing.h5"), Path("gone.h5")], {}, r"missing\.h5"),
        ([DATA, DATA], {}, "neither HDF5 nor JSON"),
        (MODELS[:2], {"data": DATA, "order": "alphabetical"}, "expected auto, given, natural"),
        (MODELS[:2], {"data": DATA, "steps": Path("none.csv")}, r"none\.csv"),
        (MODELS[:2], {"data": DATA, "recordings": DATA}, "cannot make the folder"),
    ],
)
def test_what_is_no_series_is_refused(runs: list[Path], options: dict[str, Any], message: str) -> None:
    with pytest.raises(nla.NlaError, match=message):
        track(runs, **options)


@pytest.mark.parametrize("option", [{"data": DATA}, {"synthetic": 5}, {"limit": 3}, {"recordings": "x"}])
def test_options_of_a_replay_are_refused_where_nothing_is_replayed(
    recordings: list[Path], option: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(nla.UsageError, match="is for checkpoints"):
        track(recordings, **option)


def test_a_manifest_of_other_runs_is_refused(recordings: list[Path], tmp_path: Path) -> None:
    (tmp_path / "steps.csv").write_text("path,step\nother.h5,1\n")
    with pytest.raises(nla.UsageError, match="names none of the runs"):
        track(recordings, steps=tmp_path / "steps.csv")
    (tmp_path / "steps.csv").write_text(f"path,step,label\n{recordings[0]},1,epoch01\n")
    with pytest.raises(nla.UsageError, match="two runs would be called epoch01"):
        track(recordings[:2], steps=tmp_path / "steps.csv")


def test_two_checkpoints_that_would_share_a_recording_are_refused(tmp_path: Path) -> None:
    for name in ("a-b/c", "a/b-c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
    with pytest.raises(nla.UsageError, match="rename one"):
        series.Series(DATA, tmp_path / "kept", {}).replay([MODELS[0], MODELS[1]], ["a-b/c", "a/b-c"])


def test_every_state_has_its_place_in_the_matrix(tracking: nla.Tracking) -> None:
    assert tracking.transitions.counts.shape == (len(STATES), len(STATES))
    assert tracking.transitions.counts.sum() == 3 * tracking.neurons
