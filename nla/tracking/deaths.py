"""When and where neurons die, who revives, and who stays dead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nla.tracking.trajectories import Trajectory

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class SiteDeaths:
    """The deaths and revivals of one site; arrays [steps] count neurons."""

    name: str
    neurons: int
    dead: Counts
    """Dead at the step."""
    first_dead: Counts
    """Seen dead for the first time; at the first step, those that are dead from the first."""
    died: Counts
    """Alive at the step before, and dead at this one; 0 at the first step."""
    revived: Counts
    """Dead at the step before, and alive at this one; 0 at the first step."""
    ever_dead: int
    permanent: int
    """Dead at some step and at all that follow."""
    just_died: int
    """Of these, dead at the last step only: nothing is known yet of what becomes of them."""
    revivals: Counts
    """Of so many neurons, by how often they revived: from 0 on, sums to `neurons`."""
    dead_for: Counts
    """Revivals by the number of consecutive steps, from 1 on, at which the neuron was seen dead before."""

    @property
    def dead_intervals(self) -> int:
        """Intervals at whose beginning a neuron was dead: each ends in a revival or not."""
        return int(self.dead[:-1].sum())

    @property
    def revival_rate(self) -> float:
        """Share of the dead that are not dead at the next step; NaN where none is dead."""
        return float(self.revived.sum() / self.dead_intervals) if self.dead_intervals else float("nan")


def deaths(trajectory: Trajectory) -> SiteDeaths:
    """The deaths of one site, of at least one step."""
    dead = trajectory.dead
    neurons = trajectory.neurons
    died, revived = trajectory.died, trajectory.revived
    ever = np.logical_or.accumulate(dead, axis=0)
    first = np.concatenate([ever[:1], ever[1:] & ~ever[:-1]])
    return SiteDeaths(
        name=trajectory.name,
        neurons=neurons,
        dead=dead.sum(axis=1),
        first_dead=first.sum(axis=1),
        died=died.sum(axis=1),
        revived=revived.sum(axis=1),
        ever_dead=int(ever[-1].sum()),
        permanent=int(dead[-1].sum()),
        just_died=int(died[-1].sum()),
        revivals=np.bincount(revived.sum(axis=0)),
        dead_for=_dead_for(dead, revived),
    )


def _dead_for(dead: NDArray[np.bool_], revived: NDArray[np.bool_]) -> Counts:
    """Revivals by how many steps the neuron was dead before, from 1 on."""
    steps, neurons = dead.shape
    lengths = np.zeros(neurons, np.int64)
    counts = np.zeros(steps + 1, np.int64)
    for now, woke in zip(dead, revived, strict=True):
        counts += np.bincount(lengths[woke], minlength=steps + 1)
        lengths = np.where(now, lengths + 1, 0)
    return np.trim_zeros(counts[1:], "b")
