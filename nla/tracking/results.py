"""Typed results of `nla.track`: a series of checkpoints of one network, step by step and neuron by neuron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.results import totals
from nla.runs.run import Run, RunSite
from nla.tracking import transitions as counting
from nla.tracking.assumptions import Assumptions, assumptions
from nla.tracking.deaths import SiteDeaths, deaths
from nla.tracking.propagation import SitePropagation, propagation
from nla.tracking.survival import Survival, survival
from nla.tracking.trajectories import States, Trajectory, trajectories
from nla.tracking.transitions import Transitions


@dataclass(frozen=True)
class StepSite:
    """One site at one step."""

    name: str
    """As the first step's run has it."""
    role: str
    activation: str
    neurons: int
    counts: Mapping[str, int]
    """Neurons by state, every state of STATES."""
    never_positive: int
    """Neurons with z > 0 at no position (activation rate 0): what the dying-ReLU study counts as dead, also where φ
    is not 0 there (LeakyReLU, ELU). Neurons without a finite value are not among them."""
    effective_rank: float
    """NaN where it was not measured."""
    effective_capacity: float

    @property
    def dead_share(self) -> float:
        """Dead neurons among all, in [0, 1]."""
        return self.counts["dead"] / max(self.neurons, 1)

    @property
    def never_positive_share(self) -> float:
        """In [0, 1], at least about the dead share."""
        return self.never_positive / max(self.neurons, 1)


@dataclass(frozen=True)
class Step:
    """One checkpoint of the series."""

    label: str
    step: int | None
    """Of training, where it is known."""
    checkpoint: Mapping[str, Any]
    data: Mapping[str, Any]
    sites: tuple[StepSite, ...]
    """In the graph order of the first step's run."""

    @property
    def summary(self) -> dict[str, int]:
        """Totals over all sites: neurons, then a count for each state."""
        return totals(site.counts for site in self.sites)

    @property
    def dead_share(self) -> float:
        """Dead neurons among all, in [0, 1]."""
        totals = self.summary
        return totals["dead"] / max(totals["neurons"], 1)


@dataclass(frozen=True)
class Tracking:
    """The health of a network over its training: what `nla.track` gives back."""

    steps: tuple[Step, ...]
    """In training order, at least two."""
    trajectories: tuple[Trajectory, ...]
    """One for each site, in the graph order of the first step's run."""
    criteria: Mapping[str, Any]
    """Every threshold with value, unit and source: the same for all steps."""
    first_is_initial: bool
    """Whether the first step is the checkpoint before training: its neurons are then `born`."""
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Trajectory:
        """The trajectory of the site of that name. Raises KeyError."""
        return {trajectory.name: trajectory for trajectory in self.trajectories}[name]

    @property
    def neurons(self) -> int:
        """Neurons of all sites."""
        return sum(trajectory.neurons for trajectory in self.trajectories)

    @property
    def states(self) -> list[States]:
        """By site int8 [steps, neurons], places in STATES."""
        return [trajectory.states for trajectory in self.trajectories]

    @cached_property
    def transitions(self) -> Transitions:
        """Counted over all sites."""
        return counting.count(self.states)

    @cached_property
    def transitions_by_site(self) -> dict[str, Transitions]:
        """Counted for each site, by its name."""
        return {each.name: counting.count([each.states]) for each in self.trajectories}

    @cached_property
    def assumptions(self) -> Assumptions | None:
        """Whether one matrix describes the series; None with two steps."""
        return assumptions(self.states)

    @cached_property
    def survival(self) -> Survival:
        """Of all neurons."""
        return survival(self.states, self.transitions)

    @cached_property
    def deaths(self) -> tuple[SiteDeaths, ...]:
        """For each site."""
        return tuple(deaths(trajectory) for trajectory in self.trajectories)

    @cached_property
    def propagation(self) -> tuple[SitePropagation, ...]:
        """For each site."""
        return propagation(self.trajectories)

    @property
    def numbers(self) -> NDArray[np.float64] | None:
        """float64 [steps] the training step of each, rising; None where one is not known, or they do not rise."""
        known = [step.step for step in self.steps if step.step is not None]
        if len(known) < len(self.steps) or any(b <= a for a, b in pairwise(known)):
            return None
        return np.array(known, np.float64)

    def at(self, intervals: float) -> float:
        """The training step so many intervals after the first step, between two by a straight line; NaN where that is
        beyond the last, or steps are not known."""
        if self.numbers is None or not 0 <= intervals <= len(self.steps) - 1:
            return float("nan")
        return float(np.interp(intervals, np.arange(len(self.steps)), self.numbers))

    def to_dict(self, neurons: bool = False) -> dict[str, Any]:
        """The document, plain values for JSON; with `neurons` also the states of each neuron at each step."""
        from nla.tracking.document import document

        return document(self, neurons=neurons)


def tracked(runs: Sequence[Run], first_is_initial: bool, notes: Sequence[str] = ()) -> Tracking:
    """The series that the runs are: of one architecture, judged by the same criteria, in training order.

    Raises:
        UsageError: two runs are of different architectures, or a run has no row for each of its neurons.
    """
    found, matched = trajectories(runs)
    steps = tuple(
        Step(
            label=run.label,
            step=run.step,
            checkpoint=run.checkpoint,
            data=run.data,
            sites=tuple(_step_site(each, each.sites[place]) for each in found),
        )
        for place, run in enumerate(runs)
    )
    return Tracking(steps, found, runs[0].criteria, first_is_initial, (*notes, *matched))


def _step_site(trajectory: Trajectory, site: RunSite) -> StepSite:
    rates = None if site.rows is None else site.rows.columns["activation_rate"]
    return StepSite(
        name=trajectory.name,
        role=site.role,
        activation=site.activation,
        neurons=site.neurons,
        counts=dict(site.counts),
        never_positive=0 if rates is None else int((np.asarray(rates) == 0).sum()),
        effective_rank=site.effective_rank,
        effective_capacity=site.effective_capacity,
    )
