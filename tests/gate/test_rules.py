"""Rules from tables, options and files: what they mean, and that each fault is named."""

from __future__ import annotations

import pytest

from nla.errors import UsageError
from nla.gate import rules
from nla.gate.metrics import METRICS
from nla.gate.rules import from_mapping, from_options, of_baseline, unique
from nla.gate.rules_file import read


def test_a_rule_without_a_place_is_about_the_network_and_one_with_is_about_each_layer():
    assert from_mapping({"metric": "dead", "max": "5%"}, "").scope == "network"
    assert from_mapping({"metric": "dead", "max": "5%", "site": "a*"}, "").scope == "layer"
    assert from_mapping({"metric": "dead", "max": "5%", "role": "conv"}, "").scope == "layer"
    assert (
        from_mapping({"metric": "dead", "max": "5%", "role": "conv", "scope": "network"}, "").scope
        == "network"
    )
    assert from_mapping({"metric": "effective_rank", "min": 0.3}, "").scope == "layer"
    assert from_mapping({"metric": "network_dead", "max": 0}, "").scope == "network"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"metric": "dead", "max": "5%"}, "dead, network: at most 5 %"),
        ({"metric": "dead", "max": 12, "scope": "layer"}, "dead, each layer: at most 12 neurons"),
        ({"metric": "dead", "max": 0.2, "site": "*fc*"}, "dead, each layer matching *fc*: at most 20 %"),
        (
            {"metric": "dead", "max": 0.2, "role": "conv", "scope": "network"},
            "dead, layers of role conv, together: at most 20 %",
        ),
        ({"metric": "samples", "min": 1000}, "samples, network: at least 1,000"),
        ({"metric": "network_dead", "max": 0}, "network_dead, network: no"),
        ({"metric": "dead", "baseline": True}, "dead, network: no worse than the baseline"),
        (
            {"metric": "effective_rank", "baseline": True, "slack": "2%"},
            "effective_rank, each layer: at most 2 % worse than the baseline",
        ),
    ],
)
def test_a_rule_says_itself_in_words(given, words):
    assert from_mapping(given, "").to_dict()["words"] == words


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "metric is missing"),
        ({"metric": "ded", "max": 1}, "metric = 'ded' is unknown; did you mean died or dead?"),
        ({"metric": "dead"}, "no limit for dead; expected one of max and min"),
        ({"metric": "dead", "max": 1, "min": 0}, "max and min for dead"),
        ({"metric": "dead", "max": "many"}, "max: 'many' is no limit"),
        ({"metric": "dead", "maximum": 1}, "no key 'maximum'; did you mean max?"),
        ({"metric": "dead", "max": 1, "role": "dens"}, "role = 'dens' is unknown; did you mean dense"),
        ({"metric": "dead", "max": 1, "scope": "layers"}, "scope = 'layers' is unknown; did you mean layer?"),
        ({"metric": "dead", "max": 1, "severity": "fatal"}, "severity = 'fatal' is unknown"),
        ({"metric": "dead", "max": 1, "site": ""}, "site = ''; expected text"),
        ({"metric": "dead", "max": 1, "site": 3}, "site = 3; expected text"),
        ({"metric": "dead", "max": 1, "message": "x" * 301}, "expected text of 1 to 300 characters"),
        ({"metric": "dead", "max": 1, "optional": 1}, "optional = 1; expected true or false"),
        ({"metric": "dead", "max": 1, "baseline": True}, "max and baseline = true exclude each other"),
        ({"metric": "dead", "max": 1, "slack": "1%"}, "slack is for rules with baseline"),
        ({"metric": "died", "baseline": True}, "died compares with the baseline by itself"),
        ({"metric": "effective_rank", "min": 0.3, "scope": "network"}, "makes no sense of effective_rank"),
        (
            {"metric": "network_dead", "max": 0, "site": "*", "scope": "layer"},
            "makes no sense of network_dead",
        ),
        ({"metric": ["dead"], "max": 1}, "metric = "),
    ],
)
def test_a_rule_that_is_none_is_refused_and_the_key_is_named(given, said):
    with pytest.raises(UsageError) as raised:
        from_mapping(given, "rules.toml: rule 3")
    assert str(raised.value).startswith("rules.toml: rule 3")
    assert said in str(raised.value)


def test_options_make_the_rules_of_their_names():
    made = from_options("5%", 12, 0.3)
    assert [(r.name, r.metric, r.scope, r.comparison, str(r.limit)) for r in made] == [
        ("max-dead", "dead", "network", "max", "5 %"),
        ("max-dead-layer", "dead", "layer", "max", "12"),
        ("min-effective-rank", "effective_rank", "layer", "min", "30 %"),
    ]
    assert from_options() == []


def test_rules_of_one_name_are_numbered():
    rule = from_options("5%")[0]
    named = from_mapping({"metric": "dead", "max": 1, "name": "max-dead (2)"}, "")
    assert [r.name for r in unique([rule, rule, rule])] == ["max-dead", "max-dead (2)", "max-dead (3)"]
    assert len({r.name for r in unique([rule, rule, named])}) == 3


def test_the_default_rules_and_those_of_a_baseline_are_rules():
    assert [r.name for r in rules.defaults()] == [
        *("max-network-dead", "max-nonfinite", "max-dead", "max-dead-layer", "max-dead-rate-bound")
    ]
    assert all(rule.needs_baseline for rule in of_baseline())
    assert {str(rule.limit) for rule in of_baseline("2.5%")} == {"2.5 %"}
    with pytest.raises(UsageError, match="baseline-slack: 12 is no share"):
        of_baseline(12)
    with pytest.raises(UsageError, match="baseline-slack: 'lots' is no limit"):
        of_baseline("lots")


def test_every_metric_explains_itself_and_takes_a_rule():
    for metric in METRICS.values():
        assert metric.meaning[0].isupper()
        assert metric.todo
        assert metric.unit in ("share", "number", "flag")
        given = {"metric": metric.name, "max" if metric.better == "low" else "min": 0}
        assert from_mapping(given, "").scope == metric.scopes[0]


def written(tmp_path, text):
    path = tmp_path / "rules.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_gives_its_rules_in_order(tmp_path):
    text = """
    [[rule]]
    metric = "dead"
    max = "20%"
    site = "*fc*"
    severity = "warning"
    message = "φ of the first layers"

    [[rule]]
    name = "enough data"
    metric = "samples"
    min = 1_000
    """
    first, second = read(written(tmp_path, text))
    assert (first.name, first.severity, first.message) == (
        "max-dead-layer:*fc*",
        "warning",
        "φ of the first layers",
    )
    assert (second.name, str(second.limit), second.comparison) == ("enough data", "1,000", "min")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rule; expected [[rule]]"),
        ("rule = 3", "rule is no list of tables"),
        ("rule = [3]", "rule is no list of tables"),
        ("[rule]\nmetric = 'dead'", "rule is no list of tables"),
        ("[[rules]]\nmetric = 'dead'", "no table 'rules'; did you mean rule?"),
        (
            "[[rule]]\nmetric = 'dead'\nmax = 0.1\n[[rule]]\nmetric = 'dead'\nmax = 'x'",
            "rule 2: max: 'x' is no limit",
        ),
        ("[[rule]]\nmetric = 'dead'\nmax = nan", "rule 1: max: nan is no limit"),
        ("[[rule]]\nmetric = 'dead'\nmax = 1979-05-27", "rule 1: max: "),
        ("[[rule]]\nmetric = ", "not TOML"),
        (b"\xff\xfe", "not TOML"),
        ("x = " + "[" * 5000, "not TOML"),
        ("# " + "x" * 20_000, "over 16,384 bytes"),
        (
            "[[rule]]\nname='a'\nmetric='dead'\nmax=1\n[[rule]]\nname='a'\nmetric='dead'\nmax=2",
            "rule 2: name = 'a' is that of rule 1",
        ),
    ],
)
def test_a_file_that_holds_no_rules_is_refused_and_named(tmp_path, text, said):
    with pytest.raises(UsageError) as raised:
        read(written(tmp_path, text))
    assert str(raised.value).startswith(f"{tmp_path / 'rules.toml'}: ")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "absent.toml")
    with pytest.raises(UsageError, match="not a regular file"):
        read(tmp_path)
