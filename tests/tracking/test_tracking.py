"""A whole series: against the reference of the dying-ReLU study, its document, and what a reader is told of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from series import run, series, site

from nla.lifecycle.results import STATES
from nla.tracking.document import document
from nla.tracking.remarks import remarks
from nla.tracking.results import Tracking, tracked

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas/tracking-1.schema.json").read_text("utf-8"))


def rich() -> Tracking:
    """Two sites over four uneven steps with all that a document can hold: unknown states, starvation, NaN."""
    starved = {0: ("starved",)}
    return tracked(
        [
            run("e0", site("a", "bbb"), site("b", "bb", upstream=("a",)), step=0),
            run("e1", site("a", "dda"), site("b", "da", upstream=("a",)), step=1),
            run("e2", site("a", "ddc"), site("b", "ad", upstream=("a",), flags=starved), step=2),
            run(
                "e9",
                site("a", "oud", effective_rank=float("nan")),
                site("b", "dt", upstream=("a",), flags=starved, rates=[0.0, np.nan]),
                step=9,
            ),
        ],
        True,
        ("a note",),
    )


def two() -> Tracking:
    """The least: two steps without a number, nothing dead."""
    return tracked([run("x", site("a", "a")), run("y", site("a", "s"))], False)


@pytest.mark.parametrize("make", [rich, two])
@pytest.mark.parametrize("neurons", [False, True])
def test_a_document_is_valid_and_strict_json(make: Any, neurons: bool) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    plain = make().to_dict(neurons=neurons)
    Draft202012Validator(SCHEMA).validate(plain)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert (plain["trajectories"] is None) is not neurons


def test_the_document_says_what_was_worked_out_by_hand() -> None:
    plain = document(rich(), neurons=True)
    assert plain["summary"] == {
        "steps": 4,
        "sites": 2,
        "neurons": 5,
        "first_is_initial": True,
        "dead_at_first": 0,
        "dead_at_last": 2,
        "died": 6,
        "revived": 3,
        "ever_dead": 5,
        "starved": 1,
    }
    counts = np.array(plain["transitions"]["counts"])
    place = plain["transitions"]["states"].index
    assert counts.sum() == 3 * 5
    assert counts[place("born")].tolist() == [3, 0, 0, 0, 0, 0, 2, 0]
    assert counts[place("dead"), place("dead")] == 2
    assert plain["transitions"]["matrix"][place("saturated")] == [None] * 8
    assert plain["steps"][3]["sites"][0]["effective_rank"] is None
    assert plain["steps"][3]["sites"][1]["never_positive"] == 1
    assert [site["starved_neurons"] for site in plain["propagation"]] == [[[], [], [], []], [[], [], [], [0]]]
    assert plain["trajectories"]["sites"][1]["states"][1] == [place("dead"), place("active")]
    by_site = [np.array(each["counts"]) for each in plain["transitions"]["by_site"]]
    assert np.array_equal(sum(by_site), counts)


def test_never_positive_counts_what_the_study_counts_where_nothing_is_ever_zero() -> None:
    leaky = [site("leaky", "aas", activation="LeakyRelu", rates=[0, 0.5, 0]) for _ in range(2)]
    tracking = tracked([run("x", leaky[0]), run("y", leaky[1])], False)
    found = tracking.steps[0].sites[0]
    assert (found.counts["dead"], found.never_positive, found.never_positive_share) == (0, 2, 2 / 3)


def test_a_reader_is_told_of_what_the_numbers_rest_on() -> None:
    told = list(remarks(rich()))
    assert told[0] == "a note"
    assert any("no finite value" in note for note in told)
    assert any("1 to 7 training steps apart" in note for note in told)
    assert any(note.startswith("saturated, dormant and unknown are seen at the last step") for note in told)
    assert "not independent" in told[-1]
    even = list(remarks(tracked(series({"a": "ad"}, {"a": "aa"}, {"a": "da"}), False)))
    assert len(even) == 1


def test_training_steps_are_read_between_those_that_are_known() -> None:
    tracking = rich()
    assert tracking.at(2.5) == 5.5
    assert math.isnan(tracking.at(3.5))
    assert math.isnan(two().at(0.5))
    assert math.isnan(tracking.at(math.nan))


def test_sites_are_found_by_name() -> None:
    assert rich()["b"].neurons == 2
    with pytest.raises(KeyError):
        rich()["c"]


@pytest.fixture(scope="module")
def reference(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "acceptance/reference/dying_relu_epoch12_t10k.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def study(reference: dict[str, np.ndarray]) -> Tracking:
    """The study's own states, by its own rules, as a series."""
    words = np.array(["born", "active", "specialised", "dormant", "dead"])[reference["states_by_epoch"]]
    return tracked(
        [
            run(f"epoch{epoch:02}", *(site(f"relu{k}", row) for k, row in enumerate(rows)), step=epoch)
            for epoch, rows in enumerate(words)
        ],
        True,
    )


@pytest.mark.shared
def test_the_transitions_of_the_study_are_those_of_the_reference(
    study: Tracking, reference: dict[str, np.ndarray]
) -> None:
    order = [STATES.index(name) for name in ("born", "active", "specialised", "dormant", "dead")]
    pick = np.ix_(order, order)
    assert np.array_equal(study.transitions.counts[pick], reference["transition_counts"])
    assert study.transitions.counts.sum() == 12 * 1280
    assert np.allclose(study.transitions.matrix[pick], reference["transition_P"], atol=1e-12)
    by_layer = np.stack([each.counts[pick] for each in study.transitions_by_site.values()])
    assert np.array_equal(by_layer, reference["transition_counts_by_layer"])


@pytest.mark.shared
def test_the_survival_of_the_study_is_that_of_the_reference(
    study: Tracking, reference: dict[str, np.ndarray]
) -> None:
    seen = study.survival
    for found, key in (
        (seen.alive, "alive_fraction_by_epoch"),
        (seen.never_dead, "never_dead_by_epoch"),
        (seen.markov, "markov_alive_from_born_P"),
        (seen.markov_from_active, "markov_alive_from_active_P"),
        (seen.absorbing_from_active, "markov_alive_from_active_absorbing"),
        (seen.printed, "eq17_as_printed_P"),
        (seen.printed_absorbing, "eq17_as_printed_absorbing"),
    ):
        assert np.allclose(found, reference[key], atol=1e-12), key
    assert [round(float(x), 3) for x in (seen.alive[-1], seen.never_dead[-1])] == [0.677, 0.511]
    assert math.isnan(seen.half_life)


@pytest.mark.shared
def test_death_is_most_final_in_the_first_layer(study: Tracking, reference: dict[str, np.ndarray]) -> None:
    dead = reference["rho_by_epoch"] == 0
    dead[0] = False  # the study calls them born
    for k, layer in enumerate(study.deaths):
        assert layer.dead.tolist() == dead[:, k].sum(axis=1).tolist()
        assert layer.revived.sum() == (dead[:-1, k] & ~dead[1:, k]).sum()
    rates = [layer.revival_rate for layer in study.deaths]
    assert min(rates) == rates[0] < 0.02
