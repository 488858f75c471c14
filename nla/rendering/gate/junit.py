"""A checked gate as JUnit XML, which hosted CIs show as tests: a suite for each run, a case for each rule and site.

There is no one definition; what is written here is what Jenkins, GitLab and Azure have in common. A warning that does
not hold is a case that passes, and says so in its output: JUnit knows no warnings.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from nla.gate.results import Checked, RuleResult
from nla.rendering.gate.words import advice, file_of
from nla.rendering.words import whole
from nla.runs.run import Run

_Element = ElementTree.Element


def render(checked: Checked) -> str:
    """The document, in ASCII: what is not is a character reference."""
    suites = ElementTree.Element("testsuites", _totals("nla check", checked.results))
    for run in checked.runs:
        suites.append(_suite(checked, run))
    ElementTree.indent(suites)
    document: bytes = ElementTree.tostring(suites, "us-ascii", xml_declaration=True)
    return f"{document.decode('ascii')}\n"


def _suite(checked: Checked, run: Run) -> _Element:
    results = checked.of(run)
    suite = ElementTree.Element("testsuite", _totals(run.label, results))
    facts = {
        "model": run.checkpoint.get("path"),
        "model.sha256": run.checkpoint.get("digest"),
        "data.sha256": run.data.get("digest"),
        "samples": run.data.get("samples"),
        "neurons": run.summary["neurons"],
        "dead": run.summary["dead"],
    }
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in facts.items():
        if value is not None:
            ElementTree.SubElement(properties, "property", {"name": name, "value": whole(value)})
    for result in results:
        suite.append(_case(checked, result))
    if checked.notes:
        ElementTree.SubElement(suite, "system-out").text = "\n".join(map(whole, checked.notes))
    return suite


def _totals(name: str, results: Sequence[RuleResult]) -> dict[str, str]:
    failures = sum(result.fails for result in results)
    counts = {"tests": len(results), "failures": failures, "errors": 0, "skipped": 0, "time": 0}
    return {"name": whole(name), **{key: str(number) for key, number in counts.items()}}


def _case(checked: Checked, result: RuleResult) -> _Element:
    about = {
        "name": f"{whole(result.rule.name)}: {whole(result.where)}",
        "classname": f"nla.check.{result.metric.name}",
        "file": whole(file_of(checked, result)),
        "time": "0",
    }
    case = ElementTree.Element("testcase", {name: value for name, value in about.items() if value})
    said = "\n".join(advice(result))
    if result.fails:
        attributes = {"message": whole(result.sentence), "type": result.metric.name}
        ElementTree.SubElement(case, "failure", attributes).text = said
    else:
        told = f"{whole(result.sentence)}\n{whole(result.evidence)}." if result.held else f"WARNING: {said}"
        ElementTree.SubElement(case, "system-out").text = told
    return case
