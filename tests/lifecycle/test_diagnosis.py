"""The diagnosis: each rule set off by the smallest net that shows its symptom, and by nothing else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from measured import FILES, measure, network, site

from nla.lifecycle import triggers
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.diagnosis import HEALTHY, RULES, Rule
from nla.lifecycle.inspection import judge
from nla.lifecycle.results import Inspection
from nla.site import Producer

RANDOM = np.random.default_rng(5)
SAMPLES = 2000


def lively(neurons: int, samples: int = SAMPLES) -> Any:
    """ReLU activations of Gaussian z, no neuron like another."""
    return np.maximum(RANDOM.normal(size=(samples, neurons)), 0)


def half_dead(neurons: int, samples: int = SAMPLES) -> Any:
    a = lively(neurons, samples)
    a[:, : neurons // 2] = 0
    return a


def with_nan() -> Inspection:
    a = lively(4)
    a[0, 0] = np.nan
    return network((site("relu", 4), a))


def deep() -> Inspection:
    layers = [lively(10), lively(10), half_dead(10), half_dead(10)]
    return network(*((site(f"relu{k}", 10), a) for k, a in enumerate(layers)))


def killing() -> Inspection:
    a = lively(10)
    a[:500] = 0
    return network((site("relu", 10, bottleneck=True), a))


def starving() -> Inspection:
    producer = Producer("fc", "Gemm", "w")
    second = site("second", 4, producers=(producer,), upstream=("first",))
    return network((site("first", 4), np.zeros((SAMPLES, 4))), (second, lively(4)))


def waking() -> Inspection:
    where = site("relu", 10)
    first, second = half_dead(10), lively(10, 100)
    held_out = {"relu": measure(second, where.activation)}
    return judge([where], {"relu": measure(first, where.activation)}, held_out, Criteria(), **FILES)


def saturating() -> Inspection:
    return network((site("tanh", 4, "Tanh"), np.sign(RANDOM.normal(size=(SAMPLES, 4)))))


def thin() -> Inspection:
    where = site("relu", 64)
    measurements = {"relu": measure(lively(64), where.activation, effective_rank=2.5)}
    return judge([where], measurements, None, Criteria(), **FILES)


def bordering() -> Inspection:
    where = site("relu", 4)
    z = RANDOM.normal(size=(SAMPLES, 4))
    z[:, 0] -= z[:, 0].max() + 0.1
    measurements = {"relu": measure(np.maximum(z, 0), where.activation, z)}
    return judge([where], measurements, None, Criteria(), **FILES)


CASES: dict[str, Callable[[], Inspection]] = {
    "network_dead": lambda: network((site("relu", 4, bottleneck=True), np.zeros((SAMPLES, 4)))),
    "nonfinite": with_nan,
    "killed_samples": killing,
    "starved": starving,
    "dying_relu": lambda: network((site("relu", 10), half_dead(10))),
    "silent_elsewhere": lambda: network((site("product", 10, "SwiGLU"), half_dead(10))),
    "dead_in_first_layer": lambda: network((site("relu", 10), half_dead(10)), (site("b", 10), lively(10))),
    "death_rises_with_depth": deep,
    "held_out_wakes": waking,
    "weak_evidence": lambda: network((site("relu", 10), half_dead(10, samples=50))),
    "saturated": saturating,
    "dormant": lambda: network((site("relu", 4), lively(4) * [1, 1, 1, 1e-3])),
    "thin_representation": thin,
    "constant": lambda: network((site("relu", 4), lively(4) * [1, 1, 1, 0] + [0, 0, 0, 1])),
    "linear": lambda: network((site("relu", 4), lively(4) + 0.1)),
    "near_dead": bordering,
}


def named(rule: Rule) -> str:
    return rule.when.__name__


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_every_rule_is_set_off_by_its_symptom_with_numbers(rule: Rule) -> None:
    inspection = CASES[named(rule)]()
    (finding,) = [finding for finding in inspection.findings if finding.symptom == rule.symptom]
    assert re.search(r"\d", finding.evidence)
    assert 0 < finding.severity <= 1
    assert finding.sites
    assert set(finding.sites) <= {result.name for result in inspection.sites}


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_no_rule_is_set_off_by_a_healthy_network(rule: Rule) -> None:
    healthy = network((site("a", 20), lively(20)), (site("b", 20, "Gelu"), RANDOM.normal(size=(SAMPLES, 20))))
    assert rule.when(healthy) is None
    (finding,) = healthy.findings
    assert finding.symptom == HEALTHY.symptom
    assert finding.severity == 0
    assert "0 dead" in finding.evidence


def test_findings_come_most_urgent_first() -> None:
    severities = [finding.severity for finding in deep().findings]
    assert len(severities) > 1
    assert severities == sorted(severities, reverse=True)


def test_a_dead_network_is_not_also_told_that_some_samples_are_silenced() -> None:
    assert triggers.killed_samples(CASES["network_dead"]()) is None


def test_dying_relu_counts_the_dead_and_what_they_hold() -> None:
    where = [site("a", 10, parameters_in=5), site("b", 4)]
    found = network((where[0], half_dead(10)), (where[1], lively(4))).findings
    (finding,) = [f for f in found if f.symptom == "a large share of dead neurons"]
    assert finding.evidence == "dead: 5 of 10 at a; these 5 dead neurons hold 25 parameters"
    assert finding.sites == ("a",)


def test_weak_evidence_says_how_many_samples_would_do() -> None:
    """ln(0.05 / 10) / ln(1 - 0.01) = 527.2, so 528 samples."""
    (finding,) = [f for f in CASES["weak_evidence"]().findings if f.symptom == "too few samples to rely on"]
    assert "50 samples: with 95 % confidence" in finding.evidence
    assert "10.1 % of samples" in finding.evidence  # 1 - (0.05 / 10)^(1 / 50)
    assert "528 samples would bring that to 1 %" in finding.evidence


def test_waking_counts_both_splits() -> None:
    (finding,) = [f for f in waking().findings if "held-out" in f.symptom]
    assert finding.evidence == "5 of 5 dead fire on 100 held-out samples: 5 of 5 at relu"


def test_near_dead_tells_both_sides_apart() -> None:
    (finding,) = [f for f in bordering().findings if f.symptom == "neurons at the border of death"]
    assert finding.evidence == "within 0.25 sd of z = 0: 1 dead that nearly wake, 0 living that nearly died"


@pytest.mark.parametrize("rule", [*RULES, HEALTHY], ids=named)
def test_rules_name_only_commands_that_exist(rule: Rule) -> None:
    words = shlex.split(rule.command)
    assert words[0] == "nla"
    assert words[1] in ("inspect", "neurons", "sites", "merge")
    prose = " ".join([rule.symptom, rule.diagnosis, rule.intervention, rule.expected])
    assert not re.search(r"nla (plan|apply|repair|prune|track|check)", prose)


def test_commands_quote_paths_and_sites_for_the_shell() -> None:
    files = {**FILES, "checkpoint": {"path": "my model; rm -rf.onnx"}}
    where = site("a b", 10)
    inspection = judge([where], {"a b": measure(half_dead(10), where.activation)}, None, Criteria(), **files)
    commands = [shlex.split(finding.command) for finding in inspection.findings]
    assert {words[2] for words in commands} == {"RUN.h5", "my model; rm -rf.onnx"}
    assert {words[words.index("--site") + 1] for words in commands if "--site" in words} == {"a b"}


def test_every_trigger_has_its_rule() -> None:
    """A function of `triggers` that no rule calls would be a diagnosis that nobody gets."""
    public = {name for name, f in vars(triggers).items() if callable(f) and f.__module__ == triggers.__name__}
    called = {named(rule) for rule in (*RULES, HEALTHY)}
    assert {name for name in public if not name.startswith("_")} - {"Trigger"} == called
