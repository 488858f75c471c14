"""Every format holds what was found, is read by strict readers, and survives any name."""

from __future__ import annotations

import io
import json
import re
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
from series import run, site

from nla.gate.judging import judge
from nla.gate.metrics import METRICS
from nla.gate.rules import defaults, from_mapping, from_options, of_baseline
from nla.rendering.gate import FORMATS, render
from nla.rendering.gate.text import print_checked, print_metrics
from nla.rendering.terminal import console

HOSTILE = '::error::x\n\x00\x1b[31m<b>&"\\ \u202e\ufffe,%0A:]]>\udcff'
WORST = run(
    HOSTILE,
    site(f"{HOSTILE}1", "dda"),
    site(f"{HOSTILE}2", "aaa", effective_rank=float("nan")),
    digest="0" * 64,
)
TWO = (
    run("well", site("net/fc1", "a" * 10, effective_rank=8.0)),
    run("ill", site("net/fc1", "d" * 9 + "a", effective_rank=1.0)),
)


def rule(metric, **settings):
    return from_mapping({"metric": metric, **settings}, "rule")


def hostile():
    return judge(
        [WORST],
        [
            rule("dead", max=0, scope="layer", message=HOSTILE, name=HOSTILE),
            rule("samples", min=1000, severity="warning"),
            rule("dead", max=3),
        ],
    )


def two():
    return judge(TWO, [*from_options("5%", None, 0.3), rule("samples", min=1000, severity="warning")])


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_result_gives_the_same_text_which_utf_8_can_hold(name):
    text = render(hostile(), name)
    assert text == render(hostile(), name)
    assert text.encode()
    assert text.endswith("\n")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e\ufffe]", text)


def table(checked, width=100):
    target = io.StringIO()
    print_checked(checked, console(target, width))
    return target.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100])
def test_text_fits_the_terminal_and_no_line_begins_with_a_stranger_s_name(width):
    long = run(
        "r" * 90, *(site(f"/model/layers.{k}/mlp/act_fn/Mul_output_0", "d" * 99 + "a") for k in range(30))
    )
    checked = judge([long], [*defaults(), *from_options(0.01, 0.2, 0.3), *of_baseline()], long)
    assert max(map(len, table(checked, width).splitlines())) <= width
    assert not re.search(r"^\s*::", table(hostile(), width), flags=re.M)


def test_text_shows_the_verdict_first_then_each_rule_with_its_value_and_why():
    lines = table(two()).splitlines()
    assert lines[0] == "verdict  DOES NOT HOLD: 2 of 6 checks failed in 1 of 2 runs, 2 warnings"
    rows = [line.split() for line in lines]
    assert ["FAILS", "max-dead", "network", "9", "of", "10", "(90", "%)", "≤", "5", "%"] in rows
    assert ["FAILS", "min-effective-rank", "net/fc1", "10", "%", "≥", "30", "%"] in rows
    assert ["holds", "max-dead", "network", "0", "of", "10", "(0", "%)", "≤", "5", "%"] in rows
    assert ["warns", "min-samples", "network", "100", "≥", "1,000"] in rows
    told = " ".join(" ".join(lines).split())
    assert (
        "0 of 100 samples fired these 9 neurons; with 95 % confidence none fires on more than 5.2 %" in told
    )
    assert "rank 1 of 10 neurons" in told


def test_the_verdict_counts_what_failed_passed_and_warned():
    warning = rule("samples", min=1000, severity="warning")
    last = [
        render(judge(TWO[:1], rules), "github").splitlines()[-1] for rules in ([warning], from_options("5%"))
    ]
    assert last == [
        "nla check: holds: 0 of 1 check passed, 1 warning",
        "nla check: holds: 1 of 1 check passed",
    ]


def test_text_shows_many_layers_in_few_lines():
    many = run("r", *(site(f"s{k}", "d" * k + "a" * (40 - k)) for k in range(1, 40)))
    lines = table(judge([many], from_options(None, "50%"))).splitlines()
    assert sum("FAILS" in line for line in lines) == 12
    assert any("+7, worst: s27" in line for line in lines)
    assert any("worst of 20: s20" in line and line.startswith("holds") for line in lines)
    assert len(lines) < 30


def test_text_names_default_rules_baseline_and_random_numbers():
    seen = run("r", site("x", "aaaa"), synthetic=True)
    told = table(judge([seen], defaults(), by_default=True))
    assert "none was given: the default rules" in told
    assert told.count("SYNTHETIC DATA") == 2
    checked = judge([TWO[1]], of_baseline(), TWO[0])
    told = table(checked)
    assert re.search(r"^baseline well", told, flags=re.M)
    assert re.search(r"FAILS +baseline-dead +network +9 of 10 \(90 %\) +≤ 1 % +0 %$", told, flags=re.M)


def test_the_list_names_every_metric():
    target = io.StringIO()
    print_metrics(console(target, 100))
    assert [
        line.split()[0] for line in target.getvalue().splitlines()[2:] if not line.startswith(" ")
    ] == list(METRICS)


def test_json_is_the_document():
    assert json.loads(render(two(), "json")) == two().to_dict()
    assert json.loads(render(hostile(), "json"))["results"][0]["site"] == f"{HOSTILE}1"


def test_junit_has_a_suite_for_each_run_and_a_case_for_each_rule_and_site():
    root = ElementTree.fromstring(render(two(), "junit"))
    assert root.tag == "testsuites"
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("6", "2", "0")
    well, ill = root.findall("testsuite")
    assert (well.get("name"), well.get("failures"), ill.get("failures")) == ("well", "0", "2")
    assert [case.get("name") for case in ill.findall("testcase")] == [
        "max-dead: network",
        "min-effective-rank: net/fc1",
        "min-samples: network",
    ]
    failure = ill.find("testcase/failure")
    assert failure.get("message") == "network: dead 9 of 10 (90 %), expected at most 5 %"
    assert failure.get("type") == "dead"
    assert "To do: remove them" in failure.text
    assert ill.findall("testcase")[2].find("system-out").text.startswith("WARNING: network: samples 100")
    properties = {p.get("name"): p.get("value") for p in ill.findall("properties/property")}
    assert (properties["dead"], properties["model"]) == ("9", "ill.onnx")


def test_junit_is_xml_whatever_the_names():
    text = render(hostile(), "junit")
    root = ElementTree.fromstring(text)
    assert "<b>" in root.find("testsuite").get("name")
    assert text.isascii()
    assert len({case.get("name") for case in root.iter("testcase")}) == 4


def test_junit_is_read_by_a_reader_of_others(tmp_path):
    junitparser = pytest.importorskip("junitparser")
    (tmp_path / "x.xml").write_text(render(two(), "junit"))
    read = junitparser.JUnitXml.fromfile(str(tmp_path / "x.xml"))
    assert (read.tests, read.failures) == (6, 2)
    assert [case.result[0].type for suite in read for case in suite if case.result] == [
        "dead",
        "effective_rank",
    ]


def check_sarif(log):
    """What code scanning asks for: the version, and of each result a known rule, a message, a place in a file."""
    assert (log["version"], type(log["$schema"])) == ("2.1.0", str)
    (ran,) = log["runs"]
    driver = ran["tool"]["driver"]
    ids = [each["id"] for each in driver["rules"]]
    assert driver["name"] == "nla check"
    assert len(set(ids)) == len(ids)
    for each in driver["rules"]:
        assert each["defaultConfiguration"]["level"] in ("error", "warning", "note", "none")
        for text in ("shortDescription", "fullDescription", "help"):
            assert each[text]["text"]
    for each in ran["results"]:
        assert ids[each["ruleIndex"]] == each["ruleId"]
        assert each["level"] in ("error", "warning")
        assert each["message"]["text"]
        place = each["locations"][0]["physicalLocation"]
        assert re.fullmatch(r"[\w.~!$&'()*+,;=@/%:-]+", place["artifactLocation"]["uri"], flags=re.ASCII)
        assert place["region"]["startLine"] == 1
        assert all(isinstance(value, str) for value in each["partialFingerprints"].values())
    assert len({json.dumps(each["partialFingerprints"]) for each in ran["results"]}) == len(ran["results"])
    return ran


def test_sarif_has_a_result_for_what_does_not_hold_only():
    ran = check_sarif(json.loads(render(two(), "sarif")))
    assert [(each["ruleId"], each["level"]) for each in ran["results"]] == [
        *(("max-dead", "error"), ("min-effective-rank", "error")),
        *(("min-samples", "warning"), ("min-samples", "warning")),
    ]
    first = ran["results"][0]
    assert first["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "ill.onnx"
    assert first["message"]["text"].startswith("ill: network: dead 9 of 10 (90 %), expected at most 5 %.")
    assert ran["invocations"] == [{"executionSuccessful": True, "exitCode": 1}]
    check_sarif(json.loads(render(hostile(), "sarif")))


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("models/my net.onnx", "models/my%20net.onnx"),
        ("/data/ü.onnx", "file:///data/%C3%BC.onnx"),
        ("c:x#1?.onnx", "c%3Ax%231%3F.onnx"),
        ("", "model"),
    ],
)
def test_a_path_is_a_uri(path, uri):
    seen = run("r", site("x", "d"))
    seen.checkpoint["path"] = path
    place = json.loads(render(judge([seen], from_options(0)), "sarif"))["runs"][0]["results"][0]["locations"][
        0
    ]
    found = place["physicalLocation"]["artifactLocation"]["uri"]
    assert found == uri
    assert unquote(urlsplit(found).path) == (path or "model")


def test_sarif_is_read_by_a_reader_of_others():
    sarif = pytest.importorskip("sarif_pydantic")
    for checked in (two(), hostile()):
        assert (
            sarif.Sarif.model_validate_json(render(checked, "sarif")).runs[0].tool.driver.name == "nla check"
        )


def test_github_gets_an_annotation_for_each_rule_that_does_not_hold():
    lines = render(two(), "github").splitlines()
    assert lines[0].startswith(
        "::error file=ill.onnx,title=nla check%3A max-dead::ill: network: dead 9 of 10 (90 %25), expected at most 5"
    )
    assert [line.split(" ")[0] for line in lines[:-1]] == ["::error", "::error", "::warning", "::warning"]
    assert lines[-1].startswith("nla check: DOES NOT HOLD")


def test_github_s_commands_stay_one_line_with_two_properties_whatever_the_names():
    lines = render(hostile(), "github").splitlines()
    assert len(lines) == 3
    for line in lines[:-1]:
        found = re.fullmatch(r"::(?:error|warning) file=([^:,]*),title=([^:,]*)::(.*)", line)
        assert found is not None
        assert not re.search(r"%(?!25|0D|0A|3A|2C)", line)


LINE = re.compile(r'(nla_\w+)\{((?:\w+="(?:[^"\\\n]|\\[\\"n])*",?)*)\} ([0-9.e+-]+)')


def exposition(text):
    """The samples by name and labels, by a strict reading of the format."""
    families, seen = set(), {}
    family = kind = None
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            family = line.split()[2]
            assert family not in families
            families.add(family)
        elif line.startswith("# TYPE "):
            kind = line.split()[2:]
            assert kind == [family, "gauge"]
        else:
            found = LINE.fullmatch(line)
            assert found is not None, line
            assert found[1] == family
            pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2])
            key = (found[1], tuple(value for _, value in pairs))
            assert key not in seen
            seen[key] = float(found[3])
    return seen


def test_prometheus_has_every_site_and_every_rule():
    seen = exposition(render(two(), "prometheus"))
    assert seen["nla_dead_share", ("ill", "net/fc1")] == 0.9
    assert seen["nla_network_dead_share", ("well",)] == 0
    assert (seen["nla_check_held", ("well",)], seen["nla_check_held", ("ill",)]) == (1, 0)
    assert seen["nla_effective_rank", ("well", "net/fc1")] == 8
    assert seen["nla_check_rule_held", ("ill", "max-dead", "dead", "", "error")] == 0
    assert (
        seen["nla_check_rule_held", ("well", "min-effective-rank", "effective_rank", "net/fc1", "error")] == 1
    )
    assert seen["nla_check_rule_value", ("ill", "max-dead", "dead", "", "error")] == 0.9
    assert seen["nla_check_rule_limit", ("ill", "max-dead", "dead", "", "error")] == 0.05


def test_prometheus_escapes_names_and_leaves_out_what_is_not_known():
    text = render(hostile(), "prometheus")
    seen = exposition(text)
    assert sum(name == "nla_effective_rank" for name, _ in seen) == 1
    assert sum(name == "nla_dead_share" for name, _ in seen) == 2


def test_prometheus_is_read_by_its_own_client():
    parser = pytest.importorskip("prometheus_client.parser")
    for checked in (two(), hostile()):
        text = render(checked, "prometheus")
        families = list(parser.text_string_to_metric_families(text))
        assert {family.type for family in families} == {"gauge"}
        assert sum(len(family.samples) for family in families) == len(exposition(text))
