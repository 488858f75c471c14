"""A comparison as the document that `--json` writes: plain values, `schemas/comparison-1.schema.json`."""

from __future__ import annotations

from typing import Any

from nla.lifecycle.plain import plain
from nla.lifecycle.results import STATES
from nla.tracking.comparison import Comparison, Experiment, layer_row
from nla.tracking.difference_document import run_facts

SCHEMA = "nla/comparison/1"


def document(comparison: Comparison) -> dict[str, Any]:
    """The comparison as a mapping for JSON; a number that is not known is null."""
    first = comparison.experiments[0].run if comparison.experiments else None
    whole = {
        "schema": SCHEMA,
        "columns": list(comparison.columns),
        "runs": [_experiment(each) for each in comparison.experiments],
        "criteria": {} if first is None else dict(first.criteria),
        "notes": list(comparison.notes),
    }
    return {key: plain(value) for key, value in whole.items()}


def summary(each: Experiment) -> dict[str, Any]:
    """A run's totals over its layers, and means in which each layer counts once; NaN where one is not known."""
    return {
        "layers": len(each.layers),
        "neurons": each.neurons,
        **{state: each.total(state) for state in STATES},
        "never_positive": each.never_positive,
        "mean_dead_share": each.mean_dead_share,
        "mean_never_positive_share": each.mean_never_positive_share,
        "mean_effective_rank": each.mean_effective_rank,
        "mean_effective_capacity": each.mean_effective_capacity,
    }


def _experiment(each: Experiment) -> dict[str, Any]:
    return {
        **run_facts(each.run),
        "activations": list(each.activations),
        "columns": dict(each.columns),
        "summary": summary(each),
        "layers": [layer_row(layer) for layer in each.layers],
    }
