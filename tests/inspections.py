"""Inspections made by hand, for tests of what renders or carries them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nla.activations import Activation
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.results import STATES, Inspection, SiteResult
from nla.lifecycle.table import EVIDENCE
from nla.site import Site
from nla.statistics.measurements import SiteMeasurements


def measurements(neurons: int, samples: int = 100, nonfinite: int = 0) -> SiteMeasurements:
    """Plain measurements of `neurons` neurons; `nonfinite` values of the first one were not finite."""
    counts = np.zeros(neurons, np.int64)
    floats = np.zeros(neurons)
    bad = counts.copy()
    bad[0] = nonfinite
    return SiteMeasurements(
        samples=samples,
        positions=samples,
        counted=counts + samples - bad,
        nonfinite=bad,
        positive=counts,
        fired=counts,
        fired_samples=counts,
        mean=floats,
        mean_abs=floats,
        std=floats,
        min=floats,
        max=floats,
        low=None,
        high=None,
        lifetime_sparseness=floats,
        pre_max=floats,
        pre_mean=floats,
        pre_std=floats,
        effective_rank=1.0,
        effective_rank_rows=samples,
        effective_rank_exact=False,
        histogram=None,
        pre_histogram=None,
        silent_samples=0,
        killed_samples=0,
    )


def site_result(
    name: str,
    counts: Mapping[str, int],
    *,
    role: str = "dense",
    activation: str = "Relu",
    samples: int = 100,
    flags: Mapping[int, tuple[str, ...]] | None = None,
    columns: Mapping[str, Any] | None = None,
    **settings: Any,
) -> SiteResult:
    """A site with so many neurons in each state, in the order given; `flags` by the neuron's index."""
    neurons = sum(counts.values())
    states = np.array([state for state, number in counts.items() for _ in range(number)])
    site = Site(name, role, Activation.named(activation), neurons, rank=2, parameters_in=10)
    values: dict[str, Any] = {column: np.full(neurons, np.nan) for column in EVIDENCE}
    values["samples"] = np.full(neurons, samples)
    values["positions"] = np.full(neurons, samples)
    values["fired_samples"] = np.where(states == "dead", 0, samples // 2)
    values["activation_rate"] = values["fired_samples"] / samples
    values.update(columns or {})
    given: dict[str, Any] = {
        "effective_rank": 12.5,
        "effective_capacity": 10.0,
        "dead_share": counts.get("dead", 0) / neurons,
        "joint_rate_upper_bound": 0.05,
        "parameters_dead": 20 * counts.get("dead", 0),
        **settings,
    }
    return SiteResult(
        site=site,
        measurements=measurements(neurons, samples, given.pop("nonfinite", 0)),
        held_out=None,
        states=states,
        flags=tuple((flags or {}).get(i, ()) for i in range(neurons)),
        columns=values,
        counts={state: counts.get(state, 0) for state in STATES},
        **given,
    )


def inspection(sites: Sequence[SiteResult], **settings: Any) -> Inspection:
    """An inspection of these sites, of 100 samples in `calibration.npz` unless `settings` say otherwise."""
    given: dict[str, Any] = {
        "not_understood": (),
        "findings": (),
        "criteria": Criteria(),
        "checkpoint": {
            "path": "model.onnx",
            "format": "onnx",
            "digest": "0" * 64,
            "bytes": 1867392,
            "parameters": 466698,
        },
        "data": {"path": "calibration.npz", "digest": "1" * 64, "samples": 100, "synthetic": False},
        "replay": {},
    }
    return Inspection(sites=tuple(sites), **{**given, **settings})
