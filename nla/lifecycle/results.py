"""Typed results of an inspection. Built by `lifecycle.inspection.judge`, rendered by `report`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.criteria import Criteria
from nla.lifecycle.special import joint_upper_bound
from nla.site import NotUnderstood, Site
from nla.statistics.measurements import SiteMeasurements

STATES = ("dead", "constant", "saturated", "dormant", "born", "specialised", "active", "unknown")
FLAGS = ("linear", "near_dead", "starved", "polysemantic", "nonfinite")


@dataclass(frozen=True)
class SiteResult:
    """The verdict on one site: a state and its evidence for every neuron."""

    site: Site
    measurements: SiteMeasurements
    held_out: SiteMeasurements | None
    states: NDArray[np.str_]
    """[neurons] one of STATES."""
    flags: tuple[tuple[str, ...], ...]
    """[neurons] of FLAGS, in that order."""
    columns: dict[str, NDArray[Any]]
    """The evidence by the names of `nla neurons`'s columns after `flags`, each [neurons]; NaN: not known."""
    counts: dict[str, int]
    """Neurons in each state of STATES; sums to the site's neurons."""
    effective_rank: float
    effective_capacity: float
    """Eq. 18 as printed, (1 - d) r_eff: it charges the dead twice, so both factors stand beside it."""
    dead_share: float
    joint_rate_upper_bound: float
    """With confidence 1 - α no neuron that is dead here fires on more than this share of samples; NaN where
    none is dead. Bonferroni over all the site's neurons, for which of them are dead was read off the same
    data."""
    parameters_dead: int
    """Parameters held by the site's dead neurons: incoming, and outgoing to neurons that are not dead."""

    @property
    def name(self) -> str:
        """The site's name: its activation's output tensor."""
        return self.site.name


@dataclass(frozen=True)
class Finding:
    """One row of the decision matrix (lifecycle paper, Table 3) that the numbers triggered."""

    symptom: str
    diagnosis: str
    intervention: str
    expected: str
    evidence: str
    """The numbers that triggered it."""
    command: str
    """How to act with nla."""
    sites: tuple[str, ...] = ()
    severity: float = 0.0
    """Larger is more urgent, in [0, 1]."""


@dataclass(frozen=True)
class Inspection:
    """The result of `nla.inspect`: states and evidence for every neuron of a checkpoint."""

    sites: tuple[SiteResult, ...]
    not_understood: tuple[NotUnderstood, ...]
    findings: tuple[Finding, ...]
    criteria: Criteria
    checkpoint: dict[str, Any]
    """path, format, digest, bytes, parameters, …"""
    data: dict[str, Any]
    """path, digest, samples, synthetic, account of casts and reshapes, left-out samples, labels, …"""
    replay: dict[str, Any]
    """batch size, workers, kernel, whether one by one, seconds, …: how the numbers were gathered."""
    living: dict[str, Any] = field(default_factory=dict)
    """Living data (trainability paper): killed samples by site, dead layers, whether the network is dead."""
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> SiteResult:
        """The site of that name.

        Raises:
            KeyError: no site bears the name.
        """
        for result in self.sites:
            if result.name == name:
                return result
        raise KeyError(name)

    @property
    def summary(self) -> dict[str, int]:
        """Totals over all sites: neurons, then a count for each state."""
        totals = {state: sum(r.counts[state] for r in self.sites) for state in STATES}
        return {"neurons": sum(r.site.neurons for r in self.sites), **totals}

    @property
    def joint_rate_upper_bound(self) -> float:
        """As `SiteResult.joint_rate_upper_bound`, over the neurons of all sites; NaN where none is dead."""
        samples = [r.measurements.samples for r in self.sites if r.counts["dead"]]
        if not samples:
            return float("nan")
        return joint_upper_bound(self.summary["neurons"], min(samples), self.criteria.confidence_alpha)


def path_of(described: Mapping[str, Any]) -> str:
    """The path in a description of a checkpoint or data; the first where shards differ, '' where none is."""
    path = described.get("path")
    return next((str(each) for each in (path if isinstance(path, list) else [path]) if each), "")
