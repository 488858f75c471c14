"""A difference as the document that `--json` writes: plain values, `schemas/difference-1.schema.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nla.lifecycle.plain import plain
from nla.lifecycle.results import STATES
from nla.runs.run import Run, RunSite
from nla.tracking.difference import Difference, Shift, SiteDifference
from nla.tracking.quantised import Quantisation, SiteQuantisation

SCHEMA = "nla/difference/1"


def document(difference: Difference) -> dict[str, Any]:
    """The difference as a mapping for JSON; a number that is not known is null."""
    seen = difference
    whole = {
        "schema": SCHEMA,
        "before": run_facts(seen.before),
        "after": run_facts(seen.after),
        "same_data": seen.same_data,
        "alpha": seen.alpha,
        "summary": seen.summary,
        "evidence": seen.evidence,
        "quantisation": None if seen.quantisation is None else _quantisation(seen.quantisation),
        "rows_of": list(seen.states),
        "sites": [_site(site, seen.states) for site in seen.sites],
        "criteria": seen.before.criteria,
        "notes": list(seen.notes),
    }
    return {key: plain(value) for key, value in whole.items()}


def run_facts(run: Run) -> dict[str, Any]:
    """Which run it is: its label, file, checkpoint and data."""
    return {
        "label": run.label,
        "path": run.path,
        "step": run.step,
        "checkpoint": dict(run.checkpoint),
        "data": dict(run.data),
    }


def _site(site: SiteDifference, states: tuple[str, ...]) -> dict[str, Any]:
    return {
        "name": site.before.name,
        "name_after": site.after.name,
        "role": site.before.role,
        "activation": site.before.activation,
        "activation_after": site.after.activation,
        "neurons": site.neurons,
        "before": _side(site.before),
        "after": _side(site.after),
        "summary": site.summary,
        "evidence": site.evidence,
        "transitions": {"states": list(STATES), "counts": site.transitions},
        "shifts": {name: _shift(shift) for name, shift in site.shifts.items()},
        "changes": site.changes(states),
    }


def _side(site: RunSite) -> dict[str, Any]:
    return {
        "counts": dict(site.counts),
        "samples": site.samples,
        "effective_rank": site.effective_rank,
        "effective_capacity": site.effective_capacity,
    }


def _shift(shift: Shift) -> dict[str, Any]:
    movers = [{"index": i, "before": one, "after": other} for i, one, other in shift.movers]
    return {"before": shift.before, "after": shift.after, "moved": shift.moved, "movers": movers}


def _quantisation(seen: Quantisation) -> dict[str, Any]:
    return {
        "kind": seen.kind,
        "seen_by": list(seen.seen_by),
        "summary": seen.summary,
        "sentence": seen.sentence,
        "sites": [_quantised_site(site) for site in seen.sites],
    }


def _quantised_site(site: SiteQuantisation) -> Mapping[str, Any]:
    grid = site.grid
    return {
        "name": site.name,
        "grid": None
        if grid is None
        else {"kind": grid.kind, "step": grid.step, "bottom": grid.bottom, "top": grid.top},
        "killed": site.killed,
        "below_resolution": site.below_resolution,
        "woken": site.woken,
        "made_constant": site.made_constant,
        "clipped": site.clipped,
        "overflowed": site.overflowed,
    }
