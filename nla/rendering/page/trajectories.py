"""The state of every neuron of the last run in each of the runs, for the table's column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nla.errors import UsageError
from nla.lifecycle.results import STATES
from nla.runs.run import Run
from nla.tracking.matching import match

NOT_KNOWN = 255


def trajectories(runs: Sequence[Run]) -> NDArray[np.uint8] | None:
    """uint8 [neurons of the last run, runs]: places in STATES, 255 where a run has no such neuron.

    None where the runs are of different networks, whose neurons cannot be matched, or hold no rows.
    """
    last = runs[-1]
    if not all(run.has_rows for run in runs):
        return None
    starts = dict(zip([site.name for site in last.sites], _starts(last), strict=True))
    table = np.full((last.summary["neurons"], len(runs)), NOT_KNOWN, np.uint8)
    for step, run in enumerate(runs):
        try:
            pairs = match(run, last).pairs
        except UsageError:
            return None
        for was, now in pairs:
            assert was.rows is not None
            start = starts[now.name]
            table[start : start + now.neurons, step] = _places(was.rows.states)
    return table


def _starts(run: Run) -> list[int]:
    return [0, *np.cumsum([site.neurons for site in run.sites]).tolist()][: len(run.sites)]


def _places(states: NDArray[np.str_]) -> NDArray[np.uint8]:
    places = np.full(len(states), NOT_KNOWN, np.uint8)
    for place, state in enumerate(STATES):
        places[states == state] = place
    return places
