"""A checked gate as SARIF 2.1.0 (OASIS), as GitHub's code scanning and other viewers take it.

Only what does not hold is a result, for each becomes an alert; what held is counted in the run's properties. The place
of a result is the model file, and in it, as a logical location, the site.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any
from urllib.parse import quote

from nla import __version__
from nla.gate.results import Checked, RuleResult
from nla.gate.rules import Rule
from nla.rendering.gate.words import advice, file_of
from nla.rendering.strict_json import json_text
from nla.rendering.words import whole

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
"""Named for editors; nothing is fetched."""


def render(checked: Checked) -> str:
    """The log, with one run of the tool for all that was checked."""
    places = {rule.name: index for index, rule in enumerate(checked.rules)}
    found = [*checked.failed, *checked.warned]
    run = {
        "tool": {
            "driver": {
                "name": "nla check",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_rule(rule) for rule in checked.rules],
            }
        },
        "invocations": [{"executionSuccessful": True, "exitCode": 0 if checked.held else 1}],
        "columnKind": "unicodeCodePoints",
        "results": [_result(checked, result, places[result.rule.name]) for result in found],
        "properties": {
            "checks": len(checked.results),
            "held": checked.held,
            "notes": [*map(whole, checked.notes)],
        },
    }
    return json_text({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(rule: Rule) -> dict[str, Any]:
    metric = rule.measure
    wanted = f"{metric.name}, {rule.where}: {rule.wanted}"
    return {
        "id": whole(rule.name),
        "name": _camel(metric.name),
        "shortDescription": {"text": wanted},
        "fullDescription": {"text": f"{metric.meaning}."},
        "help": {"text": " ".join(filter(None, (whole(rule.message), f"To do: {metric.todo}.")))},
        "defaultConfiguration": {"level": rule.severity},
        "properties": {"tags": ["neurons", metric.name]},
    }


def _result(checked: Checked, result: RuleResult, index: int) -> dict[str, Any]:
    logical = {"name": whole(result.where), "kind": "module"}
    return {
        "ruleId": whole(result.rule.name),
        "ruleIndex": index,
        "level": result.severity,
        "kind": "fail",
        "message": {"text": f"{whole(result.run)}: {' '.join(advice(result))}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(file_of(checked, result))},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [logical],
            }
        ],
        "partialFingerprints": {"nlaRuleAndSite/v1": _fingerprint(checked, result)},
        "properties": {"value": result.value, "limit": result.limit, "baseline": result.baseline},
    }


def _uri(path: str) -> str:
    """A path as a URI reference: relative where it is, and every character that is not plain escaped."""
    quoted = quote(
        os.fsencode(path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")) or b"model"
    )
    return f"file://{quoted}" if path.startswith("/") else quoted.replace(":", "%3A")


def _fingerprint(checked: Checked, result: RuleResult) -> str:
    """The same for the same rule at the same place of the same file, so that an alert is known when it comes again."""
    parts = (file_of(checked, result), result.rule.name, result.where)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
