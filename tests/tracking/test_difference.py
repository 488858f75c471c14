"""What became of each neuron between two runs: against loops, and SciPy's exact tests."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from compared_runs import run, site
from jsonschema import Draft202012Validator
from scipy import stats

from nla.errors import UsageError
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.results import STATES
from nla.tracking.difference import difference
from nla.tracking.events import EVENTS, events, meaning
from nla.tracking.firmness import p_values

SCHEMA = Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "schemas/difference-1.schema.json").read_text())
)
AWAKE = ("active", "specialised", "saturated", "born")


def expected_events(a: str, b: str) -> set[str]:
    """By the definitions, a pair of states at a time."""
    if "unknown" in (a, b):
        return {"unjudged"}
    if a == b:
        return set()
    found = {"changed"}
    for state, came, left in (
        ("dead", "died", "revived"),
        ("saturated", "saturated", "desaturated"),
        ("constant", "became_constant", "left_constant"),
        ("specialised", "specialised", None),
        ("born", None, "left_born"),
    ):
        found |= {came} if b == state and came else set()
        found |= {left} if a == state and left else set()
    found |= {"woke"} if a == "dormant" and b in AWAKE else set()
    found |= {"fell_dormant"} if a in AWAKE and b == "dormant" else set()
    found |= {"generalised"} if (a, b) == ("specialised", "active") else set()
    return found


def test_every_pair_of_states_has_the_events_of_the_definitions():
    pairs = [(a, b) for a in STATES for b in STATES]
    found = events(np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]))
    for k, (a, b) in enumerate(pairs):
        assert {name for name, where in found.items() if where[k]} == expected_events(a, b), (a, b)
    assert all(meaning(event) for event in EVENTS)


def test_counts_and_transitions_equal_a_count_by_hand():
    rng = np.random.default_rng(3)
    before = {name: rng.choice(STATES, 60) for name in ("p", "q")}
    after = {name: rng.choice(STATES, 60) for name in ("p", "q")}
    seen = difference(
        run("a", *(site(name, each) for name, each in before.items())),
        run("b", *(site(name, each) for name, each in after.items())),
    )
    every = [(name, i, before[name][i], after[name][i]) for name in before for i in range(60)]
    for event in ("changed", *EVENTS, "unjudged"):
        assert seen.summary[event] == sum(event in expected_events(a, b) for _, _, a, b in every)
    assert seen.summary["neurons"] == 120
    for each in seen.sites:
        pairs = [(a, b) for name, _, a, b in every if name == each.name]
        assert each.transitions.tolist() == [[pairs.count((a, b)) for b in STATES] for a in STATES]
        listed = [(row["index"], row["from"], row["to"]) for row in each.changes()]
        assert listed == [
            (i, a, b) for name, i, a, b in every if name == each.name and "changed" in expected_events(a, b)
        ]
        dead = each.changes(["dead"])
        assert [row["index"] for row in dead] == [i for i, a, b in listed if "dead" in (a, b)]
    SCHEMA.validate(seen.to_dict())


FIRED = [1, 2, 5, 6, 40, 100]


@pytest.mark.parametrize("died", [True, False], ids=["died", "revived"])
def test_on_the_same_samples_a_death_is_tested_as_mcnemar_does(died):
    alive = site("p", ["active"] * 6, fired_samples=FIRED)
    dead = site("p", ["dead"] * 6, fired_samples=[0] * 6)
    p = p_values(*((alive, dead) if died else (dead, alive)), True)
    expected = [min(1.0, stats.binomtest(0, k, 0.5).pvalue) for k in FIRED]
    np.testing.assert_allclose(p, expected, rtol=1e-12)


@pytest.mark.parametrize("others", [50, 100, 1000])
def test_on_other_samples_a_death_is_tested_as_fisher_does(others):
    alive = site("p", ["active"] * 6, fired_samples=FIRED, samples=100)
    dead = site("p", ["dead"] * 6, fired_samples=[0] * 6, samples=others)
    one_sided = [stats.fisher_exact([[k, 100 - k], [0, others]], alternative="greater").pvalue for k in FIRED]
    np.testing.assert_allclose(
        p_values(alive, dead, False), np.minimum(1, 2 * np.array(one_sided)), rtol=1e-9
    )


def test_a_share_of_flat_positions_is_compared_as_agresti_and_caffo_do():
    before = site("p", ["active"], saturated_share=[0.7], samples=50)
    after = site("p", ["saturated"], saturated_share=[0.995], samples=200)
    one, other = (0.7 * 50 + 1) / 52, (0.995 * 200 + 1) / 202
    z = (one - other) / math.sqrt(one * (1 - one) / 52 + other * (1 - other) / 202)
    np.testing.assert_allclose(p_values(before, after, True), [2 * stats.norm.sf(abs(z))], rtol=1e-9)


def test_dormancy_is_compared_by_its_standard_error():
    rng = np.random.default_rng(0)
    values = [rng.gamma(1, (1, 0.5, 0.004), (400, 3)), rng.gamma(1, (1, 0.5, 0.2), (300, 3))]
    sides = []
    for a in values:
        size = np.abs(a).mean(0)
        columns = {"mean": a.mean(0), "mean_abs": size, "std": a.std(0), "dormancy_score": size / size.mean()}
        sides.append((len(a), columns))
    words = (["active", "active", "dormant"], ["active", "active", "active"])
    sites = [site("p", w, samples=n, **columns) for w, (n, columns) in zip(words, sides, strict=True)]
    error = [a[:, 2].std() / math.sqrt(len(a)) / np.abs(a).mean() for a in values]
    scores = [columns["dormancy_score"][2] for _, columns in sides]
    expected = 2 * stats.norm.sf(abs(scores[0] - scores[1]) / math.hypot(*error))
    found = p_values(*sites, True)
    assert np.isnan(found[:2]).all()
    np.testing.assert_allclose(found[2], expected, rtol=1e-6)


def test_one_sample_of_ten_thousand_is_no_news_and_a_thousand_are():
    before = site("p", ["active"] * 3, samples=10_000, fired_samples=[1, 1000, 0])
    after = site("p", ["dead"] * 3, samples=10_000, fired_samples=[0, 0, 0])
    seen = difference(run("a", before, samples=10_000), run("b", after, samples=10_000))
    assert [row["firm"] for row in seen["p"].changes()] == [False, True, None]
    assert seen.evidence["died"] == {"firm": 1, "weak": 1, "untested": 1}
    assert seen.summary["died"] == 3


def test_the_foremost_changes_are_those_that_chance_explains_least():
    before = site(
        "p", ["active"] * 5, fired_samples=[3, 90, 50, 90, 0], activation_rate=[0.03, 0.5, 0.5, 0.9, 0.1]
    )
    after = site("p", ["dead"] * 4 + ["constant"], fired_samples=[0] * 5, activation_rate=[0.0] * 4 + [0.3])
    seen = difference(run("a", before), run("b", after))["p"]
    assert [row["index"] for row in seen.foremost(5)] == [3, 1, 2, 0, 4]
    assert [row["index"] for row in seen.foremost(1)] == [3]
    assert [row["index"] for row in seen.foremost(9, ["constant"])] == [4]


def test_the_confidence_is_that_of_the_criteria_or_the_default():
    before = site("p", ["active"], fired_samples=[6])  # p = 1/32
    after = site("p", ["dead"], fired_samples=[0])
    for criteria, firm in (
        ({}, True),
        (Criteria().describe(), True),
        (Criteria(confidence_alpha=0.01).describe(), False),
    ):
        runs = run("a", before, criteria=criteria), run("b", after, criteria=criteria)
        assert difference(*runs)["p"].changes()[0]["firm"] is firm


def test_states_decided_by_a_range_or_by_selectivity_have_no_p_value():
    pairs = [("active", "constant"), ("specialised", "active"), ("born", "active"), ("unknown", "dead")]
    before, after = (site("p", each, fired_samples=[50] * 4) for each in zip(*pairs, strict=True))
    assert np.isnan(p_values(before, after, True)).all()


def test_shifts_are_means_over_the_neurons_and_name_those_that_moved_most():
    one = np.array([0.5, 0.1, np.nan, 0.2, 0.9, 0.3, 0.3, 0.3])
    other = np.array([0.1, 0.1, 0.5, 0.9, 0.8, 0.2, 0.5, 0.25])
    states = ["active"] * 8
    seen = difference(
        run("a", site("p", states, activation_rate=one)), run("b", site("p", states, activation_rate=other))
    )
    shift, known = seen["p"].shifts["activation_rate"], [0, 1, 3, 4, 5, 6, 7]
    assert shift.before == pytest.approx(sum(one[i] for i in known) / 7)
    assert shift.after == pytest.approx(sum(other[i] for i in known) / 7)
    assert shift.moved == pytest.approx(sum(abs(other[i] - one[i]) for i in known) / 7)
    assert [mover[0] for mover in shift.movers] == [3, 0, 6, 4, 5]
    assert math.isnan(seen["p"].shifts["mean"].moved)
    SCHEMA.validate(seen.to_dict())


def test_other_data_are_refused_or_noted():
    runs = run("a", site("p", ["dead"])), run("b", site("p", ["dead"]), digest="e" * 64)
    with pytest.raises(UsageError, match=r"b saw other data .* --different-data"):
        difference(*runs)
    seen = difference(*runs, different_data=True)
    assert not seen.same_data
    assert "b saw other data" in seen.notes[0]


def test_fewer_samples_of_the_same_file_are_other_data():
    with pytest.raises(UsageError, match="100 samples"):
        difference(run("a", site("p", ["dead"])), run("b", site("p", ["dead"]), samples=50))


def test_a_site_or_state_that_is_none_is_refused_with_those_there_are():
    runs = run("a", site("p", ["dead"])), run("b", site("p", ["dead"]))
    with pytest.raises(UsageError, match=r"no site 'x'; there are p"):
        difference(*runs, site=["x"])
    with pytest.raises(UsageError, match=r"no state 'asleep'; there are dead"):
        difference(*runs, state=["asleep"])


def test_a_document_without_rows_is_refused():
    runs = run("a", site("p", ["dead"], rows=False)), run("b", site("p", ["dead"]))
    with pytest.raises(UsageError, match="site p has no row for each neuron"):
        difference(*runs)


def test_sites_and_rows_can_be_chosen():
    before = run("a", site("p", ["dead", "active"]), site("q", ["dead"]))
    after = run("b", site("p", ["active", "constant"]), site("q", ["active"]))
    seen = difference(before, after, site=["p"], state=["constant"])
    assert [each.name for each in seen.sites] == ["p"]
    document = seen.to_dict()
    assert [row["index"] for row in document["sites"][0]["changes"]] == [1]
    assert document["summary"]["revived"] == 1  # counts are of all the neurons
    SCHEMA.validate(document)


def test_effective_ranks_stand_beside_each_other():
    seen = difference(
        run("a", site("p", ["dead", "active"], rank=2.0)),
        run("b", site("p", ["dead", "active"], rank=math.nan)),
    )
    (about,) = seen.to_dict()["sites"]
    assert about["before"]["effective_rank"] == 2.0
    assert about["after"]["effective_rank"] is None
    assert about["before"]["effective_capacity"] == 1.0


@pytest.mark.shared
def test_the_dying_network_lost_and_regained_what_the_oracle_counts(shared):
    oracle = np.load(shared / "acceptance/reference/dying_relu_epoch12_t10k.npz")["rho_by_epoch"]
    sites = [
        [
            site(
                f"l{k}",
                np.where(rate == 0, "dead", "active"),
                samples=10_000,
                fired_samples=np.rint(rate * 10_000),
            )
            for k, rate in enumerate(rates)
        ]
        for rates in (oracle[1], oracle[12])
    ]
    seen = difference(run("e1", *sites[0]), run("e12", *sites[1]))
    before, after = (np.rint(rates * 10_000) for rates in (oracle[1], oracle[12]))
    assert seen.summary["died"] == ((before > 0) & (after == 0)).sum()
    assert seen.summary["revived"] == ((before == 0) & (after > 0)).sum()
    few = sum(
        stats.binomtest(0, int(k), 0.5).pvalue >= 0.05 for k in before[(before > 0) & (after == 0)].ravel()
    )
    assert seen.evidence["died"]["weak"] == few
