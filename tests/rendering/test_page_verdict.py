"""The verdict: sentences from the numbers of runs made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from report_runs import DYING, run, site

from nla.lifecycle.results import STATES, Finding
from nla.rendering.page.verdict import change, verdict

WELL = Finding("no sign of trouble", "", "none", "", "", "", severity=0.0)


def counted(name: str, **counts: int):
    made = site(name, sum(counts.values()), rows=False, killed_samples=0)
    return replace(made, counts={state: counts.get(state, 0) for state in STATES})


def said(*sites, **settings) -> str:
    return " ".join(verdict(run(sites, **settings)).sentences)


def test_the_dead_are_counted_and_the_worst_layer_is_named():
    text = said(counted("a", dead=10, active=90), counted("b", dead=30, active=20))
    assert "The network has 150 neurons in 2 layers; 40 of them (27 %) are dead, most at site b" in text
    assert "where 30 of 50 (60 %) are." in text


def test_one_layer_that_holds_all_the_dead_is_named_so():
    text = said(counted("a", active=90), counted("b", dead=1, active=9))
    assert "1 of them (1 %) is dead, all at site b (10 % of it)." in text


def test_the_evidence_is_the_joint_bound_over_all_neurons():
    text = said(counted("a", dead=10, active=90))
    bound = 1 - (0.05 / 100) ** (1 / 1000)
    assert f"fires on more than {100 * bound:.2f} % of such samples, which is firm evidence" in text
    assert "silent on all 1,000 samples, so that with 95 % confidence" in text


def test_few_samples_are_weak_evidence():
    few = replace(counted("a", dead=10, active=90), samples=20)
    assert "which is weak evidence: more may fire on more data" in said(few)


@pytest.mark.parametrize(
    ("held_out", "words"),
    [
        (None, "They were not tested on held-out samples."),
        (
            {"samples": 200, "positions": 200, "dead_that_fired": 0},
            "On 200 held-out samples they stayed silent, too.",
        ),
        (
            {"samples": 200, "positions": 200, "dead_that_fired": 3},
            "On 200 held-out samples 3 of them fired after all.",
        ),
    ],
)
def test_held_out_data_have_a_say(held_out, words):
    assert words in said(replace(counted("a", dead=10, active=90), held_out=held_out))


def test_what_is_idle_is_told_with_the_first_thing_to_do():
    found = verdict(run([counted("a", dead=10, constant=5, dormant=5, active=80)]))
    assert found.level == "ill"
    assert found.heading == "Not healthy"
    text = " ".join(found.sentences)
    assert "20 % of all neurons do nothing or next to nothing (dead, constant or dormant)." in text
    assert text.endswith("First thing to do (a large share of dead neurons): remove the dead.")


def test_the_most_urgent_finding_comes_first():
    mild = replace(DYING, symptom="mild", intervention="wait", severity=0.3)
    found = verdict(run([counted("a", active=9)], findings=(mild, DYING)))
    assert "First thing to do (a large share of dead neurons)" in found.sentences[-1]
    assert verdict(run([counted("a", active=9)], findings=(mild,))).level == "worn"


def test_a_healthy_network_needs_nothing():
    found = verdict(run([counted("a", active=9)], findings=(WELL,)))
    assert found.level == "healthy"
    assert found.sentences == (
        "The network has 9 neurons in 1 layer, and none of them is dead.",
        "The network is healthy by these criteria.",
        "Nothing needs doing.",
    )


def test_a_dead_network_is_called_dead():
    found = verdict(run([counted("a", dead=9)], living={"network_dead": True}))
    assert found.level == "dead"
    assert "The network is dead: its output does not depend on the input." in found.sentences


def test_silenced_samples_and_random_data_are_told():
    killing = replace(counted("a", dead=1, active=9), killed_samples=7)
    assert "7 samples are silenced by a layer on every path" in said(killing)
    random = verdict(run([killing], data={"synthetic": True}))
    assert random.heading == "Not judged"
    assert random.sentences[0].startswith("The data were random numbers")
    assert random.sentences[-1] == "First thing to do: replay real data."


def test_without_a_site_nothing_is_judged():
    assert verdict(run([])).level == "unknown"


@pytest.mark.parametrize(
    ("was", "now", "words"),
    [
        (1, 3, "rose from 10 % to 30 %"),
        (3, 1, "fell from 30 % to 10 %"),
        (2, 2, "stayed at 20 %"),
    ],
)
def test_the_change_over_the_runs_is_one_sentence(was, now, words):
    first, last = (run([counted("a", dead=n, active=10 - n)], f"e{n}{k}") for k, n in enumerate((was, now)))
    text = change(first, last)
    assert (
        f"From e{was}0 to e{now}1 the share of dead neurons {words} ({was} of 10, then {now} of 10)." == text
    )


def test_the_levels_follow_the_numbers_whatever_they_are():
    for seed in range(5):
        made = run([site("a", 50, seed), site("b", 30, seed + 1)])
        text = " ".join(verdict(made).sentences)
        assert f"{int(np.sum([each.counts['dead'] for each in made.sites]))} of them" in text
