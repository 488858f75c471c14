"""The state `born`, assigned where a series of runs begins with the checkpoint before training.

A neuron is born where it would be specialised or active and its incoming weights and bias are those of the initial
checkpoint: no other state gives way, dead before born. So the counts of a run tell all that is needed of its first
run; of later ones the digests of weights do, which recordings hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nla.runs.run import Rows, Run, RunSite

_GIVE_WAY = ("specialised", "active")


def from_first(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The runs, where the first is the initial checkpoint: its neurons are born, and later ones that equal them.

    Weights are compared by the names of sites. A later run whose digests are not known stays as it is.
    """
    if not runs:
        return ()
    initial = {site.name: site for site in runs[0].sites}
    first = replace(runs[0], sites=tuple(_all_born(site) for site in runs[0].sites))
    return (first, *(_later(run, initial) for run in runs[1:]))


def _later(run: Run, initial: dict[str, RunSite]) -> Run:
    return replace(run, sites=tuple(_since(site, initial.get(site.name)) for site in run.sites))


def _all_born(site: RunSite) -> RunSite:
    if site.rows is not None:
        return _born(site, site.rows, np.ones(site.neurons, np.bool_))
    moved = sum(site.counts[state] for state in _GIVE_WAY)
    counts = {**site.counts, **dict.fromkeys(_GIVE_WAY, 0), "born": site.counts["born"] + moved}
    return replace(site, counts=counts)


def _since(site: RunSite, before: RunSite | None) -> RunSite:
    if before is None or before.weights is None or site.weights is None or site.rows is None:
        return site
    if before.weights.shape != site.weights.shape:
        return site
    return _born(site, site.rows, before.weights == site.weights)


def _born(site: RunSite, rows: Rows, unchanged: NDArray[np.bool_]) -> RunSite:
    born = unchanged & np.isin(rows.states, _GIVE_WAY)
    if not born.any():
        return site
    states = np.where(born, "born", rows.states)
    columns = dict(rows.columns)
    if "decided_by" in columns:
        columns["decided_by"] = np.where(born, "", columns["decided_by"])
    counts = {state: int((states == state).sum()) for state in site.counts}
    return replace(site, counts=counts, rows=replace(rows, states=states, columns=columns))
