"""The states of every neuron at every step, site by site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nla.errors import UsageError, printable
from nla.lifecycle.results import STATES
from nla.runs.run import Rows, Run, RunSite
from nla.tracking.matching import match

States = NDArray[np.int8]
CODES = {state: np.int8(code) for code, state in enumerate(STATES)}
"""A state's place in STATES, by which trajectories hold it."""
DEAD = CODES["dead"]


@dataclass(frozen=True)
class Trajectory:
    """One site over all steps."""

    name: str
    """As the first step's run has it."""
    role: str
    activation: str
    neurons: int
    upstream: tuple[str, ...]
    """Sites whose activations this one reads, by their names here; empty where something else feeds it, or it is
    not known."""
    states: States
    """int8 [steps, neurons], each a place in STATES."""
    starved: NDArray[np.bool_]
    """bool [steps, neurons], True where all inputs came from dead or constant neurons."""
    sites: tuple[RunSite, ...]
    """What each step's run says of the site."""

    @property
    def dead(self) -> NDArray[np.bool_]:
        """bool [steps, neurons]"""
        return np.asarray(self.states == DEAD)

    @property
    def died(self) -> NDArray[np.bool_]:
        """bool [steps, neurons]: dead, and alive at the step before; a neuron without a verdict is neither."""
        return self._turned(self.alive, self.dead)

    @property
    def revived(self) -> NDArray[np.bool_]:
        """bool [steps, neurons]: alive, and dead at the step before."""
        return self._turned(self.dead, self.alive)

    @property
    def alive(self) -> NDArray[np.bool_]:
        """bool [steps, neurons]: known not to be dead."""
        return np.asarray((self.states != DEAD) & (self.states != CODES["unknown"]))

    def _turned(self, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.concatenate([np.zeros((1, self.neurons), bool), before[:-1] & after[1:]])


def trajectories(runs: Sequence[Run]) -> tuple[tuple[Trajectory, ...], tuple[str, ...]]:
    """The trajectories of all sites, in the graph order of the first run, and notes on how sites were matched.

    Raises:
        UsageError: two runs are of different architectures, or a run has no row for each of its neurons.
    """
    for run in runs:
        rows_of(run)
    columns: dict[str, list[RunSite]] = {site.name: [site] for site in runs[0].sites}
    notes: dict[str, None] = {}
    for run in runs[1:]:
        matching = match(runs[0], run)
        notes.update(dict.fromkeys(matching.notes))
        for ours, theirs in matching.pairs:
            columns[ours.name].append(theirs)
    return tuple(_trajectory(sites) for sites in columns.values()), tuple(notes)


def rows_of(run: Run) -> list[Rows]:
    """The rows of each site. Raises UsageError where a site has none."""
    rows = [site.rows for site in run.sites if site.rows is not None]
    if len(rows) < len(run.sites):
        raise UsageError(
            f"{printable(run.label)} says nothing of single neurons: give the recording, or a document that "
            "nla inspect --json FILE --neurons wrote"
        )
    return rows


def codes(states: NDArray[np.str_]) -> States:
    """int8, of the shape of `states`: the place of each in STATES.

    >>> codes(np.array(["dead", "active"])).tolist()
    [0, 6]
    """
    names, places = np.unique(states, return_inverse=True)
    return np.array([CODES[str(name)] for name in names], np.int8)[places.reshape(np.shape(states))]


def _trajectory(sites: Sequence[RunSite]) -> Trajectory:
    first = sites[0]
    rows = [site.rows for site in sites if site.rows is not None]
    starved = np.zeros((len(sites), first.neurons), bool)
    for step, site in enumerate(sites):
        if site.flags.get("starved"):
            starved[step] = ["starved" in flags for flags in rows[step].flags]
    return Trajectory(
        name=first.name,
        role=first.role,
        activation=first.activation,
        neurons=first.neurons,
        upstream=tuple(dict.fromkeys(first.upstream)),
        states=np.stack([codes(row.states) for row in rows]),
        starved=starved,
        sites=tuple(sites),
    )
