"""Which rules hold: at the limit, beyond it, at which places, against a baseline, and what cannot be judged."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from series import run, site

from nla.errors import UsageError
from nla.gate.judging import judge
from nla.gate.rules import defaults, from_mapping, from_options, of_baseline

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas/check-1.schema.json").read_text())
TWO = run("two", site("net/fc1", "d" * 3 + "a" * 7), site("net/conv", "d" + "a" * 9, role="conv"))


def rule(metric, **settings):
    return from_mapping({"metric": metric, **settings}, "rule")


def held(checked):
    return [(result.site, result.held) for result in checked.results]


@given(st.integers(0, 60), st.integers(1, 60), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_a_share_is_compared_exactly(dead, alive, thousandths):
    seen = run("r", site("x", "d" * dead + "a" * alive, rows=False))
    text = f"{thousandths / 10:.1f}%"
    (result,) = judge([seen], from_options(text)).results
    assert result.held == (Fraction(dead, dead + alive) <= Fraction(thousandths, 1000))


@pytest.mark.parametrize(("dead", "holds"), [(64, True), (65, False)])
@pytest.mark.parametrize("limit", ["5%", 0.05, 64, "64"])
def test_five_percent_of_1280_neurons_is_64(dead, holds, limit):
    checked = judge([run("r", site("x", "d" * dead + "a" * (1280 - dead)))], from_options(limit))
    assert checked.held is holds
    assert checked.results[0].count == dead


def test_min_holds_from_the_limit_on():
    seen = run("r", site("x", "a" * 10, effective_rank=3.0))
    assert judge([seen], from_options(None, None, "30%")).held
    assert not judge([seen], from_options(None, None, "30.1%")).held
    assert judge([seen], [rule("effective_rank_absolute", min=3)]).held
    assert not judge([seen], [rule("living_samples", min=101)]).held


@pytest.mark.parametrize(
    "metric", ["dead", "constant", "saturated", "dormant", "never_positive", "dead_rate_bound"]
)
def test_where_no_neuron_has_a_verdict_no_rule_on_states_holds(metric):
    masked = run("r", site("x", "uuuu"), site("y", "aaad"))
    with pytest.raises(UsageError, match="cannot be judged at x: no verdict was possible"):
        judge([masked], [rule(metric, max=1.0, scope="layer")])


def test_a_rule_that_fails_tells_even_where_another_cannot_be_judged():
    broken = run("r", site("x", "uu", flags={0: ("nonfinite",), 1: ("nonfinite",)}))
    checked = judge([broken], [rule("nonfinite", max=0), rule("dead", max="5%")])
    assert held(checked) == [(None, False)]
    assert [note.partition(":")[2].split(" ")[1] for note in checked.notes] == ["rule", "2"]


def test_neurons_without_a_verdict_are_noted():
    checked = judge([run("r", site("x", "uaad"))], [rule("dead", max="50%")])
    assert checked.held
    assert checked.notes[0].startswith("r: 1 of 4 neurons could not be judged")


def test_a_rule_looks_at_the_network_at_each_layer_or_at_those_that_match():
    assert held(judge([TWO], [rule("dead", max="20%")])) == [(None, True)]
    assert held(judge([TWO], [rule("dead", max="20%", scope="layer")])) == [
        ("net/fc1", False),
        ("net/conv", True),
    ]
    assert held(judge([TWO], [rule("dead", max="20%", site="*/fc?")])) == [("net/fc1", False)]
    assert held(judge([TWO], [rule("dead", max="20%", role="conv")])) == [("net/conv", True)]
    together = judge([TWO], [rule("dead", max="20%", site="*fc*", scope="network")])
    assert (together.results[0].of, together.held) == (10, False)


def test_a_name_with_the_characters_of_a_pattern_is_first_a_name():
    odd = run("r", site("layers[0]/x", "da"), site("layers0/x", "aa"))
    assert held(judge([odd], [rule("dead", max=0, site="layers[0]/x")])) == [
        ("layers[0]/x", False),
        ("layers0/x", True),
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"site": "net/fc2"}, "did you mean net/fc1"),
        ({"site": "zzz"}, "known are net/fc1, net/conv"),
        ({"role": "head"}, "its sites are of role conv, dense"),
        ({"site": "*fc*", "role": "conv"}, "role = 'conv'"),
    ],
)
def test_a_rule_that_meets_no_site_is_refused_unless_it_is_optional(given, said):
    with pytest.raises(UsageError, match="meets no site") as raised:
        judge([TWO], [rule("dead", max=0, **given)])
    assert said in str(raised.value)
    also = rule("dead", max="50%")
    assert len(judge([TWO], [rule("dead", max=0, optional=True, **given), also]).results) == 1


def test_a_gate_that_checks_nothing_does_not_hold():
    with pytest.raises(UsageError, match="none of the 1 rules could be judged"):
        judge([TWO], [rule("dead", max=0, site="zzz", optional=True)])
    with pytest.raises(UsageError, match="the run has none"):
        judge([run("empty")], defaults())


def test_what_was_not_measured_is_refused_or_noted():
    bare = run("r", site("x", "da", effective_rank=math.nan))
    with pytest.raises(
        UsageError, match=r"^r: rule min-effective-rank cannot be judged at x: .*not measured"
    ):
        judge([bare], from_options(None, None, 0.3))
    also = rule("dead", max="50%")
    checked = judge([bare], [rule("effective_rank", min=0.3, optional=True), also])
    assert len(checked.results) == 1
    assert "cannot be judged at x" in checked.notes[0]


def test_a_warning_is_shown_and_never_fails_the_gate():
    checked = judge([TWO], [rule("dead", max=0, severity="warning"), rule("dead", max=4)])
    assert checked.held
    assert len(checked.warned) == 1
    assert not checked.failed


def test_every_run_is_held_to_every_rule():
    well = run("well", site("x", "aaaa"))
    ill = run("ill", site("x", "ddaa"))
    checked = judge([well, ill], from_options("25%", 1))
    assert [(r.run, r.rule.name, r.held) for r in checked.results] == [
        ("well", "max-dead", True),
        ("well", "max-dead-layer", True),
        ("ill", "max-dead", False),
        ("ill", "max-dead-layer", False),
    ]
    assert not checked.held
    assert checked.of(ill) == checked.results[2:]


def test_random_numbers_are_named_as_such():
    assert "SYNTHETIC DATA" in judge([run("r", site("x", "aa"), synthetic=True)], defaults()).notes[0]


THEN = run("then", site("a", "d" * 1 + "a" * 9, effective_rank=5.0), site("b", "a" * 10, effective_rank=4.0))


def against(now, *rules, slack="1%"):
    return judge([now], rules or of_baseline(slack), THEN)


def test_the_baseline_itself_is_no_worse_than_itself():
    checked = against(replace(THEN, label="now"), slack="0%")
    assert checked.held
    assert not checked.warned
    assert [r.baseline for r in checked.results] == [0.05, 0.1, 0.0, 0.5, 0.4, None]


def test_worse_than_the_baseline_by_more_than_the_slack_does_not_hold():
    now = run(
        "now", site("a", "d" * 1 + "a" * 9, effective_rank=4.0), site("b", "d" + "a" * 9, effective_rank=4.0)
    )
    checked = against(now, slack="10%")
    assert [(r.rule.name, r.site, r.held) for r in checked.results] == [
        ("baseline-dead", None, True),
        ("baseline-dead-layer", "a", True),
        ("baseline-dead-layer", "b", True),
        ("baseline-effective-rank", "a", True),
        ("baseline-effective-rank", "b", True),
        ("max-died", None, True),
    ]
    tight = against(now, slack="9.9%")
    assert [(r.rule.name, r.site) for r in tight.failed] == [
        ("baseline-dead-layer", "b"),
        ("baseline-effective-rank", "a"),
    ]
    assert (tight.failed[0].baseline, tight.failed[0].limit) == (0.0, 0.099)


def test_better_than_the_baseline_holds_whatever_the_slack():
    now = run("now", site("a", "a" * 10, effective_rank=9.0), site("b", "a" * 10, effective_rank=9.0))
    assert against(now, slack="0%").held


def test_other_neurons_dead_than_before_are_a_warning():
    now = run("now", site("a", "a" * 9 + "d", effective_rank=5.0), site("b", "a" * 10, effective_rank=4.0))
    checked = against(now)
    assert checked.held
    assert [(r.metric.name, r.count) for r in checked.warned] == [("died", 1)]


def test_no_slack_at_all_may_be_written_as_a_plain_0():
    assert against(replace(THEN, label="now"), *of_baseline("0")).held
    assert {rule.wanted for rule in of_baseline(0) if rule.baseline} == {"no worse than the baseline"}


def test_a_slack_may_count_neurons():
    now = run("now", site("a", "d" * 3 + "a" * 7), site("b", "a" * 10))
    assert against(now, rule("dead", baseline=True, slack=2)).held
    assert not against(now, rule("dead", baseline=True, slack=1)).held


def test_sites_of_other_names_are_matched_by_their_order():
    now = run("now", site("p", "d" * 9 + "a"), site("q", "a" * 10))
    checked = against(now, rule("dead", baseline=True, scope="layer"))
    assert held(checked) == [("p", False), ("q", True)]
    assert "matched by their order" in checked.notes[0]


def test_other_data_than_the_baseline_s_are_noted():
    now = replace(THEN, label="now", data={**THEN.data, "digest": "2" * 64})
    assert "other data than the baseline then" in against(now).notes[0]


@pytest.mark.parametrize(
    "now",
    [
        run("now", site("a", "a" * 9), site("b", "a" * 10)),
        run("now", site("a", "a" * 10)),
        run("now", site("a", "a" * 10), site("b", "a" * 10), site("c", "a" * 10)),
        run("now", site("z", "a" * 3)),
    ],
    ids=["width", "fewer", "more", "nothing alike"],
)
def test_a_baseline_of_another_architecture_is_refused(now):
    with pytest.raises(UsageError, match="architecture") as raised:
        against(now)
    assert "\n" not in str(raised.value)


def test_a_rule_that_compares_needs_a_baseline():
    for given_rule in (rule("dead", baseline=True), rule("died", max=0)):
        with pytest.raises(UsageError, match="give one with --baseline RUN"):
            judge([TWO], [given_rule])


def checks():
    now = run("now", site("a", "d" * 5 + "a" * 5), site("b", "a" * 10))
    every = [*defaults(), rule("samples", min=1000, severity="warning", message="more, please")]
    yield judge([TWO, run("well", site("x", "aaaa"))], every, by_default=True)
    yield judge([now], [*of_baseline(), rule("dead", max=3, scope="layer")], THEN)
    yield judge([run("r", site("x", "da"), synthetic=True)], [rule("not_understood", max=0)])


@pytest.mark.parametrize("checked", list(checks()), ids=["default", "baseline", "synthetic"])
def test_the_document_is_what_its_schema_says(checked):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    document = checked.to_dict()
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(document, allow_nan=False)))
    assert document["held"] is checked.held
    summary = document["summary"]
    assert summary["results"] == len(document["results"])
    assert summary["failed"] == sum(not r["held"] and r["severity"] == "error" for r in document["results"])
    assert all(rule["name"] in {r["name"] for r in document["rules"]} for rule in document["rules"])


def test_a_result_tells_value_limit_and_what_to_do():
    result = judge([TWO], [rule("dead", max=2, scope="layer")]).failed[0]
    assert result.sentence == "net/fc1: dead 3 of 10 (30 %), expected at most 2 neurons"
    assert (result.compared, result.excess) == (3.0, 1.0)
    assert "0 of 100 samples fired these 3 neurons" in result.evidence
    assert "nla prune" in result.todo
