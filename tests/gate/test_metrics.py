"""Metrics, worked out by hand on a run of two layers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from series import run, site

from nla.errors import RecordingError
from nla.gate.metric import Place
from nla.gate.metrics import METRICS

FIRST = site(
    "fc1",
    "ddcato",  # two dead, a constant, an active, a saturated, a dormant one
    flags={0: ("starved",), 3: ("linear", "nonfinite"), 4: ("near_dead",)},
    rates=[0, 0, 0.5, 1, 0.5, 0],
    parameters_dead=20,
    effective_rank=3.0,
    killed_samples=5,
    held_out={"samples": 30, "positions": 30, "dead_that_fired": 1},
)
SECOND = site(
    "fc2",
    "daau",
    samples=80,
    parameters_dead=10,
    effective_rank=1.0,
    effective_rank_rows=3,
    silent_samples=80,
    killed_samples=15,
    held_out={"samples": 20, "positions": 20, "dead_that_fired": 0},
)
RUN = replace(
    run("r", FIRST, SECOND),
    living={"network_dead": True},
    not_understood=({"name": "loop", "op_type": "Loop", "reason": "bodies"},),
)
RUN = replace(RUN, checkpoint={**RUN.checkpoint, "parameters": 120})


def measured(metric, *sites, of=RUN, before=()):
    return METRICS[metric].measure(Place(of, sites or of.sites, before))


SHARES = [
    ("dead", (3, 10), (2, 6)),
    ("constant", (1, 10), (1, 6)),
    ("saturated", (1, 10), (1, 6)),
    ("dormant", (1, 10), (1, 6)),
    ("unknown", (1, 10), (0, 6)),
    ("never_positive", (4, 10), (3, 6)),
    ("linear", (1, 10), (1, 6)),
    ("near_dead", (1, 10), (1, 6)),
    ("starved", (1, 10), (1, 6)),
    ("nonfinite", (1, 10), (1, 6)),
    ("held_out_woken", (1, 3), (1, 2)),
    ("killed_samples", (20, 100), (5, 100)),
    ("living_samples", (80, 100), None),
    ("parameters_dead", (30, 120), (20, 120)),
]
"""Metric, then count and total over the network, and of the first layer."""


@pytest.mark.parametrize(("metric", "network", "first"), SHARES)
def test_shares_are_counts_over_all_that_could_be(metric, network, first):
    for expected, sites in ((network, ()), (first, (FIRST,))):
        if expected is not None:
            found = measured(metric, *sites)
            assert (found.count, found.of) == expected
            assert found.value == expected[0] / expected[1]


def test_every_metric_is_measured_here_or_above():
    above = {metric for metric, *_ in SHARES}
    here = {"effective_rank", "effective_rank_absolute", "dead_rate_bound", "samples", "network_dead"}
    assert above | here | {"not_understood", "died"} == set(METRICS)


def test_effective_rank_is_of_one_layer_and_says_how_many_rows_it_rests_on():
    assert measured("effective_rank_absolute", FIRST).value == 3.0
    assert measured("effective_rank", FIRST).value == 0.5
    assert measured("effective_rank", FIRST).evidence == "rank 3 of 6 neurons, from a sample of 100 rows"
    assert measured("effective_rank", SECOND).evidence.endswith("a sample of 3 rows, which it cannot exceed")
    unmeasured = measured("effective_rank", replace(FIRST, effective_rank=math.nan))
    assert math.isnan(unmeasured.value)
    assert "not measured" in unmeasured.missing


def test_the_bound_on_the_dead_is_bonferroni_s_over_all_neurons_of_the_place():
    assert measured("dead_rate_bound").value == pytest.approx(1 - (0.05 / 10) ** (1 / 80))
    assert measured("dead_rate_bound", FIRST).value == pytest.approx(1 - (0.05 / 6) ** (1 / 100))
    assert measured("dead_rate_bound", site("x", "aa")).value == 0
    assert measured("dead_rate_bound", site("x", "d", samples=0)).value == 1


def test_the_evidence_of_the_dead_names_samples_bound_and_confidence():
    bound = 1 - (0.05 / 6) ** (1 / 100)
    assert measured("dead", FIRST).evidence == (
        f"0 of 100 samples fired these 2 neurons; with 95 % confidence none fires on more than {bound:.1%} of samples"
    ).replace("%", " %").replace("95  %", "95 %")
    assert "this neuron; with 95 % confidence it fires on no more than" in measured("dead", SECOND).evidence
    assert measured("dead", site("x", "aa")).evidence == ""


def test_numbers_and_flags():
    assert measured("samples").value == 80
    assert measured("not_understood").value == 1
    assert measured("network_dead").value == 1
    assert measured("network_dead").evidence == "silent for all 100 samples: fc2"
    assert measured("network_dead", of=replace(RUN, living={}, sites=(FIRST,))).value == 0


def test_what_was_not_measured_says_why():
    bare = site("x", "da", rows=False)
    for metric in ("never_positive", "held_out_woken"):
        found = measured(metric, bare)
        assert math.isnan(found.value)
        assert found.missing
    without = replace(RUN, checkpoint={})
    assert math.isnan(measured("parameters_dead", of=without).value)


def test_died_counts_neurons_that_are_dead_and_were_not():
    now, then = site("x", "ddda"), site("x", "daod")
    assert measured("died", now, before=(then,)).count == 2
    assert math.isnan(measured("died", now, before=(site("x", "daod", rows=False),)).value)


def test_held_out_without_any_dead_is_none_woken():
    alive = site("x", "aa", held_out={"samples": 3, "positions": 3, "dead_that_fired": 0})
    assert (measured("held_out_woken", alive).value, measured("held_out_woken", alive).of) == (0, 0)


@pytest.mark.parametrize(
    "criteria", [{}, {"confidence_alpha": {"value": 0}}, {"confidence_alpha": {"value": 7.0}}]
)
def test_a_document_whose_confidence_is_none_is_refused(criteria):
    with pytest.raises(RecordingError, match="confidence_alpha"):
        measured("dead", of=replace(RUN, criteria=criteria))
