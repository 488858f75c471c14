"""The manifest as a whole: deterministic, complete, and fit for its schema and its masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from jsonschema import Draft202012Validator
from measured import network, site
from onnx import numpy_helper

import nla
from nla.errors import UsageError
from nla.manifest.document import Action, Manifest, Weight, loads, read
from nla.manifest.masks import weight_masks
from nla.manifest.planning import plan
from nla.manifest.policies.base import Options

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "schemas/manifest-1.schema.json").read_text())
MODEL, DATA = ROOT / "sample_models/dying_relu/model.onnx", ROOT / "sample_models/dying_relu/data.npz"
POLICIES = ("prune", "repair", "mask", "strip", "strip-contribution", "reset", "shift", "flip")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run.h5"
    nla.inspect(MODEL, DATA, output=path, held_out=0.2, pre_activations=True, in_process=True)
    return path


@pytest.mark.parametrize("policy", POLICIES)
def test_planning_twice_gives_the_same_bytes_which_fit_the_schema(run, policy, tmp_path):
    first = nla.plan(run, policy, output=tmp_path / "m.json", in_process=True)
    again = nla.plan(run, policy, in_process=True)
    assert (tmp_path / "m.json").read_bytes() == again.dumps().encode() == first.dumps().encode()
    Draft202012Validator(SCHEMA).validate(json.loads(again.dumps()))
    assert read(tmp_path / "m.json").dumps() == again.dumps()


def test_the_manifest_names_all_that_it_rests_on(run):
    planned = nla.plan(run, "prune", require=["held-out"], in_process=True)
    inspection = nla.load(run, in_process=True)
    assert planned.checkpoint["path"] == "model.onnx"
    assert planned.checkpoint["digest"] == inspection.checkpoint["digest"]
    assert planned.data["digest"] == inspection.data["digest"]
    assert len(planned.recording["digest"]) == 64
    assert planned.criteria["dead_tolerance_abs"]["value"] == 1e-3
    assert planned.policy == {"name": "prune", "options": {"require": ["held-out"]}}
    assert planned.worth["held_out"]["fired"] == 0


def test_every_dead_unit_is_planned_or_declined(run):
    inspection, planned = nla.load(run, in_process=True), nla.plan(run, "prune", in_process=True)
    for result in inspection.sites:
        dead = set(np.flatnonzero(result.states == "dead").tolist())
        told = [*planned.actions, *planned.declined]
        assert dead == {
            u for entry in told if entry.site == result.name and entry.kind == "remove" for u in entry.units
        }


def test_other_criteria_give_another_plan(run):
    strict = nla.plan(run, "reset", state=["dormant"], criteria={"dormancy_threshold": 0.5}, in_process=True)
    usual = nla.plan(run, "reset", state=["dormant"], in_process=True)
    assert strict.units() > usual.units()
    assert strict.criteria["dormancy_threshold"]["value"] == 0.5


def test_the_recording_is_never_written_over(run):
    before = run.read_bytes()
    with pytest.raises(nla.OutputError):
        nla.plan(run, "prune", output=run, in_process=True)
    assert run.read_bytes() == before


def test_a_layer_that_goes_whole_is_told(run):
    seen = network((site(neurons=2), np.zeros((9, 2))))
    assert any("no layer goes to width zero" in note for note in plan(seen, "remove").notes)


def test_actions_stand_in_graph_order_with_ids_of_their_own():
    a = np.zeros((9, 3))
    a[:, 1] = 0.5
    seen = network((site("z"), a), (site("a"), a))
    planned = plan(seen, "fold,remove")
    assert [(x.id, x.site, x.kind) for x in planned.actions] == [
        ("a1", "z", "fold"),
        ("a2", "z", "remove"),
        ("a3", "a", "fold"),
        ("a4", "a", "remove"),
    ]


def test_a_windows_path_leaves_its_folder_behind():
    where = {"path": "C:\\models\\net.onnx", "digest": "0" * 64}
    seen = network((site(neurons=1), np.zeros((9, 1))))
    seen.checkpoint.update(where)
    assert plan(seen, "remove").checkpoint["path"] == "net.onnx"


def test_masks_of_the_silent_leave_every_output_as_it_was(run):
    masks = weight_masks(nla.plan(run, "remove", in_process=True)).masks
    model = onnx.load(MODEL)
    x = np.load(DATA)["x"]
    for tensor in model.graph.initializer:
        if tensor.name in masks:
            values = numpy_helper.to_array(tensor)
            assert masks[tensor.name].shape == values.shape
            tensor.CopyFrom(numpy_helper.from_array(values * masks[tensor.name], tensor.name))
    sessions = [
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
        for m in (onnx.load(MODEL), model)
    ]
    calibrated, _ = nla_split(run, len(x))
    before, after = (s.run(None, {s.get_inputs()[0].name: x[calibrated]})[0] for s in sessions)
    assert np.abs(before - after).max() <= 1e-5
    assert any((~mask).any() for mask in masks.values())


def nla_split(run: Path, samples: int) -> tuple[np.ndarray, int]:
    """Indices of the samples of the calibration split."""
    from nla.recording import read as read_recording

    ranges = read_recording(run).splits["calibration"].samples
    return np.concatenate([np.arange(start, end) for start, end in ranges]), samples


def masked(*weights: Weight, kind: str = "remove", units: tuple[int, ...] = (1,)) -> Manifest:
    parameters = {"values": [1.0] * len(units)} if kind == "fold" else {}
    return Manifest(
        {"digest": "0" * 64}, actions=(Action("a1", kind, "relu", units, parameters, weights=weights),)
    )


def test_places_of_units_follow_first_stride_count_and_step():
    flattened = Weight("w", (2, 9), 1, True, 1, 4, 2, 1)  # one channel before, then units of four columns
    found = weight_masks(masked(flattened, units=(0, 1))).masks["w"]
    assert (~found[0]).nonzero()[0].tolist() == [1, 2, 5, 6]
    interleaved = Weight("w", (6,), 0, True, 0, 1, 3, 2)
    assert (~weight_masks(masked(interleaved)).masks["w"]).nonzero()[0].tolist() == [1, 3, 5]


def test_what_no_mask_can_say_is_left_out_with_the_reason():
    found = weight_masks(masked(Weight("w", (3, 2), 0, True), kind="fold"))
    assert not found.masks
    assert "no mask can say" in found.left_out[0].reason
    unknown = weight_masks(masked(Weight("w", None, 0, True)))
    assert "does not say where" in unknown.left_out[0].reason


@pytest.mark.parametrize(
    "weight",
    [
        Weight("w", (3, 2), 2, True),
        Weight("w", (1 << 40, 1 << 40), 0, True),
        Weight("w", (1, 2), 0, True),
        Weight("w", (3, 2), 0, True, 0, -5),
    ],
)
def test_weights_that_cannot_be_are_refused(weight):
    with pytest.raises(UsageError, match="a1"):
        weight_masks(masked(weight))


def test_a_manifest_read_back_gives_the_same_masks(run):
    planned = nla.plan(run, "mask", in_process=True)
    ours, theirs = weight_masks(planned).masks, weight_masks(loads(planned.dumps())).masks
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_swap_fits_the_schema_too(run):
    planned = plan(nla.load(run, in_process=True), "swap", options=Options(to="silu"))
    Draft202012Validator(SCHEMA).validate(json.loads(planned.dumps()))
    assert "recording" in planned.to_dict()
