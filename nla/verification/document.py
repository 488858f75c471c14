"""A verification as the document that `--json` writes: plain values, `schemas/verification-1.schema.json`."""

from __future__ import annotations

from typing import Any

from nla.lifecycle.plain import plain
from nla.verification.results import (
    OutputResult,
    Promise,
    SiteChange,
    Size,
    SplitComparison,
    Verification,
)

SCHEMA = "nla/verification/1"


def document(verification: Verification) -> dict[str, Any]:
    """The verification as a mapping for JSON; a number that is not finite is null."""
    whole = {
        "schema": SCHEMA,
        "holds": verification.holds,
        "before": dict(verification.before),
        "after": dict(verification.after),
        "data": dict(verification.data),
        "manifest": None if verification.manifest is None else dict(verification.manifest),
        "tolerance": verification.tolerance,
        "splits": {name: _split(split) for name, split in verification.splits.items()},
        "promises": [_promise(promise) for promise in verification.promises],
        "states": [_site(change) for change in verification.states],
        "sizes": {"before": _size(verification.size_before), "after": _size(verification.size_after)},
        "latencies": [dict(vars(latency)) for latency in verification.latencies],
        "criteria": dict(verification.criteria),
        "notes": list(verification.notes),
    }
    return {key: plain(value) for key, value in whole.items()}


def _split(split: SplitComparison) -> dict[str, Any]:
    return {
        "samples": split.samples,
        "left_out": split.left_out,
        "unchanged": split.unchanged,
        "outputs": [_output(output) for output in split.outputs],
        "accuracy": None if split.accuracy is None else dict(vars(split.accuracy)),
    }


def _output(output: OutputResult) -> dict[str, Any]:
    return {
        **vars(output),
        "largest_relative": output.largest_relative,
        "within_share": output.within_share,
    }


def _promise(promise: Promise) -> dict[str, Any]:
    return {**vars(promise), "measured": dict(promise.measured)}


def _site(change: SiteChange) -> dict[str, Any]:
    return {**vars(change), "matched": change.matched}


def _size(size: Size) -> dict[str, Any]:
    return dict(vars(size))
