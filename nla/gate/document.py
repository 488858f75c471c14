"""A checked gate as the document that `--format json` writes: `schemas/check-1.schema.json`."""

from __future__ import annotations

from typing import Any

from nla.gate.results import Checked, RuleResult, synthetic
from nla.lifecycle.plain import plain
from nla.lifecycle.results import path_of
from nla.runs.run import Run

SCHEMA = "nla/check/1"


def document(checked: Checked) -> dict[str, Any]:
    """The result as a mapping for JSON: verdict first; a number that is not known is null."""
    whole = {
        "schema": SCHEMA,
        "held": checked.held,
        "summary": {
            "runs": len(checked.runs),
            "rules": len(checked.rules),
            "results": len(checked.results),
            "held": sum(result.held for result in checked.results),
            "failed": len(checked.failed),
            "warnings": len(checked.warned),
        },
        "by_default": checked.by_default,
        "runs": [
            {**_run(run), "held": not any(result.fails for result in checked.of(run))} for run in checked.runs
        ],
        "baseline": None if checked.baseline is None else _run(checked.baseline),
        "rules": [rule.to_dict() for rule in checked.rules],
        "results": [_result(result) for result in checked.results],
        "criteria": checked.runs[0].criteria,
        "notes": checked.notes,
    }
    return {key: plain(value) for key, value in whole.items()}


def _run(run: Run) -> dict[str, Any]:
    return {
        "label": run.label,
        "path": run.path,
        "step": run.step,
        "checkpoint": {"path": path_of(run.checkpoint), "digest": run.checkpoint.get("digest")},
        "data": {
            "path": path_of(run.data),
            "digest": run.data.get("digest"),
            "samples": run.data.get("samples"),
            "synthetic": synthetic(run),
        },
        "summary": run.summary,
    }


def _result(result: RuleResult) -> dict[str, Any]:
    return {
        "run": result.run,
        "rule": result.rule.name,
        "metric": result.metric.name,
        "severity": result.severity,
        "site": result.site,
        "held": result.held,
        "value": result.value,
        "count": result.count,
        "of": result.of,
        "limit": {"value": result.limit, "kind": _kind(result), "comparison": result.rule.comparison},
        "baseline": result.baseline,
        "sentence": result.sentence,
        "evidence": result.evidence,
        "message": result.rule.message,
        "todo": None if result.held else result.todo,
    }


def _kind(result: RuleResult) -> str:
    if result.rule.baseline:
        return "share" if result.metric.unit == "share" else "number"
    return result.rule.limit.kind
