"""Typed results of an inspection. Built by `lifecycle.inspection.judge`, rendered by `report`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.criteria import Criteria
from nla.lifecycle.special import joint_upper_bound
from nla.site import NotUnderstood, Site
from nla.statistics.measurements import SiteMeasurements

if TYPE_CHECKING:
    import pandas
    import pyarrow

STATES = ("dead", "constant", "saturated", "dormant", "born", "specialised", "active", "unknown")
FLAGS = ("linear", "near_dead", "starved", "polysemantic", "nonfinite")


def totals(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Over sites that have these neurons in each state of STATES: `neurons`, then a count for each state."""
    each = list(counts)
    states = {state: sum(count[state] for count in each) for state in STATES}
    return {"neurons": sum(states.values()), **states}


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
    certificates: dict[str, Any] = field(default_factory=dict)
    """What proofs of silence speak of, see `nla.lifecycle.certified`; empty where none were sought."""

    def __getitem__(self, name: str) -> SiteResult:
        """The site of that name.

        Raises:
            KeyError: no site bears the name.
        """
        return {result.name: result for result in self.sites}[name]

    @property
    def summary(self) -> dict[str, int]:
        """Totals over all sites: neurons, then a count for each state."""
        return totals(result.counts for result in self.sites)

    @property
    def joint_rate_upper_bound(self) -> float:
        """As `SiteResult.joint_rate_upper_bound`, over the neurons of all sites; NaN where none is dead."""
        samples = [r.measurements.samples for r in self.sites if r.counts["dead"]]
        if not samples:
            return float("nan")
        return joint_upper_bound(self.summary["neurons"], min(samples), self.criteria.confidence_alpha)

    def to_dict(self, *, neurons: bool = False) -> dict[str, Any]:
        """The document that `--json` writes, of plain values; with `neurons`, a row for each neuron in it."""
        from nla.lifecycle.document import document

        return document(self, neurons=neurons)

    def to_pandas(self, per: Literal["neuron", "site"] = "neuron") -> pandas.DataFrame:
        """A row for each neuron, with the columns of `nla neurons`, or a row for each site.

        Raises:
            MissingExtraError: pandas is not installed; nla does not bring it.
        """
        from nla.lifecycle import frames

        return frames.to_pandas(frames.columns_of(self, per))

    def to_arrow(self, per: Literal["neuron", "site"] = "neuron") -> pyarrow.Table:
        """As `to_pandas`, for Arrow; digests and criteria are in the metadata of its schema.

        Raises:
            MissingExtraError: pyarrow, the extra `arrow`, is not installed.
        """
        from nla.lifecycle import frames

        return frames.to_arrow(frames.columns_of(self, per), frames.provenance(self, per))

    def _repr_html_(self) -> str:
        """What a notebook shows: totals, a row for each site, what was found."""
        from nla.lifecycle.notebook import inspection_html

        return inspection_html(self)


def path_of(described: Mapping[str, Any]) -> str:
    """The path in a description of a checkpoint or data; the first where shards differ, '' where none is."""
    path = described.get("path")
    return next((str(each) for each in (path if isinstance(path, list) else [path]) if each), "")
