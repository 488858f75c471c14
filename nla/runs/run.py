"""A run: one inspection as the verbs that read, compare and draw runs need it, whatever file it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.results import Finding, totals
from nla.statistics.measurements import Histogram


@dataclass(frozen=True)
class Rows:
    """What is known of each neuron of a site."""

    states: NDArray[np.str_]
    """[neurons] one of STATES."""
    flags: tuple[tuple[str, ...], ...]
    """[neurons]"""
    columns: Mapping[str, NDArray[Any]]
    """The evidence by the names of `nla neurons`'s columns, each [neurons]; NaN: not known."""


@dataclass(frozen=True)
class RunSite:
    """One site of a run."""

    name: str
    role: str
    activation: str
    neurons: int
    samples: int
    positions: int
    counts: Mapping[str, int]
    """Neurons by state, every state of STATES; sums to `neurons`."""
    flags: Mapping[str, int]
    """Neurons by flag."""
    parameters_dead: int
    effective_rank: float
    """NaN where it was not measured."""
    effective_rank_rows: int
    effective_rank_exact: bool
    silent_samples: int
    killed_samples: int
    histogram: Histogram | None = None
    """Of a; None where it was not kept."""
    pre_histogram: Histogram | None = None
    """Of z."""
    held_out: Mapping[str, int] | None = None
    """samples, positions, dead_that_fired."""
    dead_rate_bound: float = float("nan")
    """No neuron dead here fires on more than this share of samples (evidence of count); NaN: none is dead."""
    upstream: tuple[str, ...] = ()
    """Names of the sites whose activations this one reads."""
    bottleneck: bool = False
    rows: Rows | None = None
    """None in an inspection document that was written without a row for each neuron."""
    weights: NDArray[np.uint64] | None = None
    """[neurons] a digest of each neuron's incoming weights and bias; None where it is not known."""

    @property
    def dead_share(self) -> float:
        """Dead neurons among all of the site's, in [0, 1]; 0 for a site without neurons."""
        return self.counts["dead"] / self.neurons if self.neurons else 0.0

    @property
    def effective_capacity(self) -> float:
        """Eq. 18 as printed, (1 - d) r_eff: it charges the dead twice."""
        return (1 - self.dead_share) * self.effective_rank


@dataclass(frozen=True)
class Run:
    """One checkpoint on one set of data, judged."""

    label: str
    """What the run is called beside others: its file's name without suffix, made unique."""
    sites: tuple[RunSite, ...]
    """In graph order."""
    checkpoint: Mapping[str, Any]
    """path, format, digest, bytes, parameters, …, as in the inspection document."""
    data: Mapping[str, Any]
    criteria: Mapping[str, Any]
    """Every threshold by name with value, unit and source: `Criteria.describe()`."""
    replay: Mapping[str, Any] = field(default_factory=dict)
    living: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    not_understood: tuple[Mapping[str, Any], ...] = ()
    labels: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    path: str = ""
    """The file that it was read from; '' where there was none."""
    step: int | None = None
    """The training step or epoch, where it is known."""

    @property
    def summary(self) -> dict[str, int]:
        """Totals over all sites: neurons, then a count for each state."""
        return totals(site.counts for site in self.sites)

    @property
    def has_rows(self) -> bool:
        """Whether every site has a row for each of its neurons."""
        return all(site.rows is not None for site in self.sites)

    def __getitem__(self, name: str) -> RunSite:
        """The site of that name. Raises KeyError."""
        return {site.name: site for site in self.sites}[name]
