"""Dead-neuron propagation (lifecycle paper, eq. 12): which neurons died because their inputs had.

Eq. 12 as corrected: a dead neuron passes no gradient, but only the paths through it vanish; what lies before gets no
gradient at all where the whole layer is dead. What can be told from states: a neuron is starved where everything that
it reads comes from dead or constant neurons. It then has no say in whether it fires.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nla.tracking.trajectories import Trajectory

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class SitePropagation:
    """How far the deaths of one site go back to those before it; arrays [steps], 0 at the first step."""

    name: str
    upstream: tuple[str, ...]
    """Sites of these trajectories whose activations this one reads; empty: not known, or something else."""
    died: Counts
    """Neurons that were not dead at the step before."""
    starved: Counts
    """Of these, starved at the step."""
    dead_upstream: Counts
    """Of these, those whose site read at least one dead neuron at the step."""
    upstream_dead_share: NDArray[np.float64]
    """Dead neurons among those that the site reads, in [0, 1]; NaN without upstream."""
    starved_neurons: tuple[NDArray[np.int64], ...]
    """[steps] each the indices of the neurons counted in `starved`."""


def propagation(trajectories: Sequence[Trajectory]) -> tuple[SitePropagation, ...]:
    """For each site, in the same order."""
    by_name = {trajectory.name: trajectory for trajectory in trajectories}
    return tuple(_of(trajectory, by_name) for trajectory in trajectories)


def _of(trajectory: Trajectory, by_name: Mapping[str, Trajectory]) -> SitePropagation:
    died = trajectory.died
    starved = died & trajectory.starved
    before = [by_name[name].dead for name in trajectory.upstream if name in by_name]
    share = np.concatenate(before, axis=1).mean(axis=1) if before else np.full(len(died), np.nan)
    deaths = died.sum(axis=1)
    return SitePropagation(
        name=trajectory.name,
        upstream=tuple(name for name in trajectory.upstream if name in by_name),
        died=deaths,
        starved=starved.sum(axis=1),
        dead_upstream=np.where(share > 0, deaths, 0),
        upstream_dead_share=share,
        starved_neurons=tuple(np.flatnonzero(row) for row in starved),
    )
