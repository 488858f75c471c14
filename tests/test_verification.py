"""The comparison of outputs, states and promises, against what can be worked out by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from inspections import inspection, site_result

from nla.manifest.document import Action, Manifest
from nla.rendering.strict_json import json_text
from nla.verification import (
    Latency,
    OutputDifferences,
    Seen,
    Size,
    SplitComparison,
    Units,
    Verification,
    default_tolerance,
    judge,
    site_changes,
)
from nla.verification.differences import class_indices
from nla.verification.document import document
from nla.verification.results import OutputResult, plain_split, split_from_plain

SCHEMA = json.loads((Path(__file__).parents[1] / "schemas/verification-1.schema.json").read_text())


def compared(before, after, *, tolerance: float = 1e-5, batch: int | None = None) -> OutputResult:
    """The result over batches of so many samples, or over one of all."""
    before, after = np.asarray(before), np.asarray(after)
    differences = OutputDifferences("y", tolerance)
    step = batch or len(before)
    for start in range(0, len(before), step):
        part = slice(start, start + step)
        differences.update(before[part], after[part], len(before[part]))
    return differences.result()


def scores(samples: int = 12, classes: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(samples, classes)).astype(np.float32)


def test_equal_outputs_are_the_same_bits():
    result = compared(scores(), scores())
    assert (result.largest_absolute, result.largest_relative, result.within_share) == (0, 0, 1)
    assert result.unchanged
    assert (result.samples_changed, result.top1) == (0, 1.0)


def test_the_largest_difference_is_found_and_is_relative_to_the_largest_value():
    before = np.array([[1.0, -4.0], [2.0, 3.0]], np.float32)
    after = before + np.array([[0, 0.5], [0, 0]], np.float32)
    result = compared(before, after)
    assert result.largest_absolute == 0.5
    assert result.largest_relative == 0.5 / 4
    assert (result.samples_changed, result.within) == (1, 3)
    assert not result.unchanged


@pytest.mark.parametrize("batch", [1, 5, 12])
def test_batches_add_up_to_the_whole(batch):
    before = scores()
    after = before + np.where(np.arange(12)[:, None] == 7, 0.25, 0).astype(np.float32)
    assert compared(before, after, batch=batch) == compared(before, after)


def test_the_tolerance_grows_with_the_output_s_largest_value():
    before = np.array([[1000.0, 1.0]], np.float64)
    assert compared(before, before + 0.009).unchanged
    assert not compared(before, before + 0.011).unchanged
    assert not compared(before / 1000, before / 1000 + 2e-5).unchanged


def test_nan_and_infinity_agree_only_where_both_have_them():
    before = np.array([[math.nan, math.inf, -math.inf, 1.0]])
    assert compared(before, before).largest_absolute == 0
    for place in range(3):
        after = before.copy()
        after[0, place] = 0.0
        assert compared(before, after).largest_absolute == math.inf
    assert compared(before, -before).largest_absolute == math.inf


def test_another_shape_is_no_small_difference():
    result = compared(scores(4, 5), scores(4, 6))
    assert result.largest_absolute == math.inf
    assert (result.unchanged, result.samples_changed, result.within) == (False, 4, 0)


def test_whole_numbers_and_texts_are_equal_or_not():
    numbers = np.array([[100000], [5]], np.int64)
    assert compared(numbers, numbers).unchanged
    one_more = numbers + np.array([[0], [1]])
    assert compared(numbers, one_more).samples_changed == 1
    assert not compared(numbers, one_more).unchanged
    texts = np.array(["cat", "dog"], object)
    assert compared(texts, texts).unchanged
    assert compared(texts, np.array(["cat", "cow"], object)).samples_changed == 1


def test_samples_are_not_told_apart_where_no_axis_counts_them():
    differences = OutputDifferences("y", 1e-5)
    differences.update(np.zeros((3, 2)), np.ones((3, 2)), samples=4)
    assert differences.result().samples_changed is None


@pytest.mark.parametrize(
    ("shape", "classes"),
    [
        ((4, 10), True),
        ((4, 1), False),
        ((4,), False),
        ((4, 7, 4), False),
        ((4, 7, 500), True),
        ((4, 3, 8, 8), False),
    ],
)
def test_a_last_axis_is_taken_for_classes_where_it_looks_like_them(shape, classes):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert (compared(values, values).top1 is not None) == classes


def test_a_distribution_has_classes_whatever_its_rank():
    values = np.exp(np.random.default_rng(0).normal(size=(4, 7, 3)))
    values /= values.sum(-1, keepdims=True)
    after = values.copy()
    after[0, 0] = after[0, 0][np.argsort(after[0, 0])[[2, 0, 1]]]  # its largest entry moves
    moved = np.argmax(values, -1) != np.argmax(after, -1)
    assert compared(values, after).top1 == 1 - moved.sum() / 28


def test_labels_name_their_class_where_they_are_whole_numbers():
    codes = np.array([0, 1, 1])
    assert class_indices(codes, ("2", "5"), 10).tolist() == [2, 5, 5]
    assert class_indices(codes, ("cat", "dog"), 2).tolist() == [0, 1, 1]
    assert class_indices(codes, ("cat", "dog"), 3) is None


def test_narrower_types_get_more_room():
    assert default_tolerance(["float32", "float64"]) == 1e-5
    assert default_tolerance(["float16"]) < default_tolerance(["bfloat16"])


def split(before: np.ndarray, after: np.ndarray) -> SplitComparison:
    return SplitComparison(len(before), 0, (compared(before, after),))


SAME = {"calibration": split(scores(), scores())}
OTHER = {"calibration": split(scores(), scores() + 0.5)}


def sites(*dead: int, neurons: int = 4):
    """An inspection of one site with these units dead."""
    states = np.array(["dead" if k in dead else "active" for k in range(neurons)])
    counts = {"dead": len(dead), "active": neurons - len(dead)}
    result = site_result("relu", counts)
    result.states[:] = states
    result.measurements.fired_samples[:] = np.where(states == "dead", 0, 50)
    return inspection([result])


def action(kind: str, *units: int, exact: bool | None = None, **parameters: object) -> Action:
    effect = {} if exact is None else {"exact": exact}
    return Action("a1", kind, "relu", units, dict(parameters), effect=effect)


def judged(manifest_action: Action | None, before, after, splits=SAME, stayed=None, removed=()):
    units = Units(before, after, {"relu": removed})
    given = None if manifest_action is None else Manifest({"digest": "0" * 64}, actions=(manifest_action,))
    return judge(given, Seen(units, splits, stayed or {}))


def test_without_a_manifest_the_promise_is_that_no_output_changes():
    assert [p.kept for p in judged(None, sites(), sites())] == [True]
    assert [p.kept for p in judged(None, sites(), sites(), OTHER)] == [False]


def test_an_exact_action_is_judged_by_the_outputs():
    after = sites(neurons=3)
    assert judged(action("remove", 1), sites(1), after, removed=[1])[0].kept is True
    assert judged(action("remove", 1), sites(1), after, OTHER, removed=[1])[0].kept is False


def test_what_moves_on_held_out_data_is_told_and_breaks_no_promise():
    (promise,) = judged(
        action("remove", 1),
        sites(1),
        sites(neurons=3),
        {**SAME, "held_out": OTHER["calibration"]},
        removed=[1],
    )
    assert promise.kept is True
    assert "0.5 on held-out data" in promise.happened


def test_exact_actions_beside_repairs_cannot_be_blamed_for_the_outputs():
    units = Units(sites(1, 2), sites(1), {})
    manifest = Manifest(
        {"digest": "0" * 64}, actions=(action("remove"), action("mask", 1), action("shift", 2))
    )
    kept = [p.kept for p in judge(manifest, Seen(units, OTHER, {}))]
    assert kept == [True, None, True]


def test_a_masked_unit_that_fires_breaks_the_promise():
    assert judged(action("mask", 1), sites(1), sites(1))[0].kept is True
    assert judged(action("mask", 1), sites(1), sites())[0].kept is False


@pytest.mark.parametrize("kind", ["reset", "shift"])
def test_units_that_were_to_be_woken_fire(kind):
    assert [p.kept for p in judged(action(kind, 0, 1), sites(0, 1), sites(), OTHER)] == [True]
    (broken,) = judged(action(kind, 0, 1), sites(0, 1), sites(1), OTHER)
    assert (broken.kept, broken.happened) == (False, "1 of 2 fire, 0 did")


def test_a_repair_that_is_said_to_be_exact_is_judged_by_the_outputs_too():
    promises = judged(action("reset", 0, exact=True), sites(0), sites(), OTHER)
    assert [(p.promised.startswith("outputs"), p.kept) for p in promises] == [(True, False), (False, True)]


def test_stripping_may_not_silence_units():
    assert judged(action("strip", 0, 1), sites(0, 1), sites(0, 1), OTHER)[0].kept is True
    assert judged(action("strip", 0, 1), sites(0), sites(0, 1), OTHER)[0].kept is False


def test_an_activation_that_was_exchanged_is_told_and_not_judged():
    (told,) = judged(action("swap", 0, 1, 2, 3, to="Gelu"), sites(0, 1), sites(), OTHER)
    assert (told.kept, told.happened) == (None, "2 dead before, 0 now")


def test_units_that_stayed_are_not_counted():
    (promise,) = judged(
        action("remove", 1, 2), sites(1, 2), sites(1, neurons=3), stayed={"a1": [1]}, removed=[2]
    )
    assert (promise.units, promise.kept) == (1, True)


def test_units_are_matched_across_a_cut():
    before, after = (
        sites(0, 2),
        sites(1, neurons=3),
    )  # unit 2 left; unit 0 woke; unit 1, now at 1, died … or not
    (change,) = site_changes(Units(before, after, {"relu": {2}}))
    assert (change.neurons_before, change.neurons_after, change.removed) == (4, 3, 1)
    assert (change.revived, change.died) == (1, 1)


def test_without_a_manifest_units_of_another_width_are_not_matched():
    (change,) = site_changes(Units(sites(0), sites(neurons=3), {}))
    assert (change.matched, change.removed, change.revived) == (False, None, None)


def test_a_site_that_is_gone_has_no_neurons():
    (change,) = site_changes(Units(sites(0), inspection([]), {}))
    assert (change.neurons_before, change.neurons_after, change.matched) == (4, 0, False)


def verification(splits=SAME, **given: object) -> Verification:
    units = Units(sites(1), sites(neurons=3), {"relu": [1]})
    about = {"path": "m.onnx", "format": "onnx", "digest": "0" * 64, "bytes": 10}
    values = {
        "before": about,
        "after": about,
        "data": {"digest": "1" * 64, "samples": 12},
        "manifest": None,
        "tolerance": 1e-5,
        "splits": splits,
        "states": site_changes(units),
        "promises": judged(None, sites(), sites(), splits),
        "size_before": Size(20, 80, 16),
        "size_after": Size(15, 60, None),
        "latencies": (Latency(1, 9, 2.0, 1.0, 0.5),),
    }
    return Verification(**{**values, **given})


def test_the_document_keeps_to_its_schema():
    for splits in (SAME, OTHER, {**SAME, "held_out": OTHER["calibration"]}):
        made = json.loads(json_text(document(verification(splits))))
        jsonschema.validate(made, SCHEMA)
        assert made["holds"] == verification(splits).holds


def test_what_is_not_finite_is_null_in_the_document():
    splits = {"calibration": split(scores(4, 5), scores(4, 6))}
    made = json.loads(json_text(document(verification(splits))))
    jsonschema.validate(made, SCHEMA)
    assert made["splits"]["calibration"]["outputs"][0]["largest_absolute"] is None


def test_a_split_survives_the_way_between_processes():
    part = OTHER["calibration"]
    assert split_from_plain(json.loads(json.dumps(plain_split(part)))) == part
