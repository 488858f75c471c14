"""A series as the document that `--json` writes: plain values, strict JSON, `schemas/tracking-1.schema.json`.

A number that is not known, or not finite, is null; so is every cell of a row of the matrix without counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nla.lifecycle.plain import plain
from nla.lifecycle.results import STATES
from nla.theory.intervals import CONFIDENCE
from nla.tracking.assumptions import Assumptions, Verdict
from nla.tracking.deaths import SiteDeaths
from nla.tracking.propagation import SitePropagation
from nla.tracking.remarks import remarks
from nla.tracking.results import Step, StepSite, Tracking
from nla.tracking.transitions import Transitions

SCHEMA = "nla/tracking/1"
_OF_CHECKPOINT = ("path", "format", "digest", "bytes", "parameters")
_OF_DATA = ("path", "digest", "samples", "synthetic")


def document(tracking: Tracking, *, neurons: bool = False) -> dict[str, Any]:
    """The series as a mapping for JSON; with `neurons` also the states of each neuron at each step."""
    whole = {
        "schema": SCHEMA,
        "summary": _summary(tracking),
        "steps": [_step(step) for step in tracking.steps],
        "transitions": {
            "states": STATES,
            **_transitions(tracking.transitions),
            "confidence": CONFIDENCE,
            "by_site": [
                {"name": name, **_transitions(of_site)}
                for name, of_site in tracking.transitions_by_site.items()
            ],
            "assumptions": _assumptions(tracking.assumptions, tracking),
        },
        "survival": _survival(tracking),
        "deaths": [_deaths(site) for site in tracking.deaths],
        "propagation": [_propagation(site) for site in tracking.propagation],
        "trajectories": _trajectories(tracking) if neurons else None,
        "criteria": tracking.criteria,
        "notes": list(remarks(tracking)),
    }
    return {key: plain(value) for key, value in whole.items()}


def _summary(tracking: Tracking) -> dict[str, Any]:
    found = tracking.deaths
    return {
        "steps": len(tracking.steps),
        "sites": len(tracking.trajectories),
        "neurons": tracking.neurons,
        "first_is_initial": tracking.first_is_initial,
        "dead_at_first": tracking.steps[0].summary["dead"],
        "dead_at_last": tracking.steps[-1].summary["dead"],
        "died": sum(int(site.died.sum()) for site in found),
        "revived": sum(int(site.revived.sum()) for site in found),
        "ever_dead": sum(site.ever_dead for site in found),
        "starved": sum(int(site.starved.sum()) for site in tracking.propagation),
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "label": step.label,
        "step": step.step,
        "checkpoint": _only(step.checkpoint, _OF_CHECKPOINT),
        "data": _only(step.data, _OF_DATA),
        "summary": step.summary,
        "dead_share": step.dead_share,
        "sites": [_site(site) for site in step.sites],
    }


def _site(site: StepSite) -> dict[str, Any]:
    return {
        "name": site.name,
        "role": site.role,
        "activation": site.activation,
        "neurons": site.neurons,
        "counts": site.counts,
        "dead_share": site.dead_share,
        "never_positive": site.never_positive,
        "never_positive_share": site.never_positive_share,
        "effective_rank": site.effective_rank,
        "effective_capacity": site.effective_capacity,
    }


def _only(mapping: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: mapping[name] for name in names if name in mapping}


def _transitions(transitions: Transitions) -> dict[str, Any]:
    lower, upper = transitions.bounds()
    return {
        "counts": transitions.counts,
        "matrix": transitions.matrix,
        "lower": lower,
        "upper": upper,
    }


def _assumptions(found: Assumptions | None, tracking: Tracking) -> dict[str, Any] | None:
    if found is None:
        return None
    labels = [step.label for step in tracking.steps]
    halves = (
        (labels[0], labels[found.split], found.first),
        (labels[found.split], labels[-1], found.second),
    )
    return {
        "same_throughout": _tested(found.same_throughout),
        "memoryless": _tested(found.memoryless),
        "halves": [
            {"from": begin, "to": end, "counts": half.counts, "matrix": half.matrix}
            for begin, end, half in halves
        ],
    }


def _tested(test: Verdict) -> dict[str, Any]:
    return {"statistic": test.statistic, "degrees": test.degrees, "p_value": test.p_value}


def _survival(tracking: Tracking) -> dict[str, Any]:
    seen = tracking.survival
    return {
        "alive": seen.alive,
        "never_dead": seen.never_dead,
        "markov_alive": seen.markov,
        "markov_alive_from_active": seen.markov_from_active,
        "markov_never_dead": seen.absorbing,
        "markov_never_dead_from_active": seen.absorbing_from_active,
        "eq17_as_printed": seen.printed,
        "eq17_as_printed_absorbing": seen.printed_absorbing,
        "half_life": {
            "never_dead": seen.half_life,
            "never_dead_step": tracking.at(seen.half_life),
            "markov": seen.half_life_markov,
            "markov_step": tracking.at(seen.half_life_markov),
            "markov_from_active": seen.half_life_from_active,
        },
        "expected_intervals_until_death": seen.life,
        "assumed_to_stay": seen.staying,
    }


def _deaths(site: SiteDeaths) -> dict[str, Any]:
    return {
        "name": site.name,
        "neurons": site.neurons,
        "dead": site.dead,
        "first_dead": site.first_dead,
        "died": site.died,
        "revived": site.revived,
        "ever_dead": site.ever_dead,
        "permanent": site.permanent,
        "just_died": site.just_died,
        "dead_intervals": site.dead_intervals,
        "revival_rate": site.revival_rate,
        "revivals_per_neuron": site.revivals,
        "dead_steps_before_revival": site.dead_for,
    }


def _propagation(site: SitePropagation) -> dict[str, Any]:
    return {
        "name": site.name,
        "upstream": site.upstream,
        "died": site.died,
        "starved": site.starved,
        "died_with_dead_upstream": site.dead_upstream,
        "upstream_dead_share": site.upstream_dead_share,
        "starved_neurons": site.starved_neurons,
    }


def _trajectories(tracking: Tracking) -> dict[str, Any]:
    return {
        "states": STATES,
        "sites": [{"name": each.name, "states": each.states} for each in tracking.trajectories],
    }
