"""The state of every neuron over training: a raster a site, neurons of one history beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from nla.figures.figure import Figure, Table
from nla.figures.names import short_names
from nla.figures.over_time import STEP, Steps
from nla.figures.parts import across, data, down, layered, many, named, of_runs, sites_of, tip
from nla.figures.states import state_colour
from nla.lifecycle.results import STATES
from nla.runs.run import Run
from nla.tracking.trajectories import DEAD, Trajectory
from nla.tracking.trajectories import trajectories as trajectories_of

TITLE = "What became of every neuron"
MOST_ROWS = 300
"""Of a site."""
_ALL_CELLS = 16_000
_FEWEST_ROWS = 24
_GAP = 0.04
"""Of a site's height, on either side of it."""
_ORDER = ("dead", "constant", "saturated", "dormant", "born", "specialised", "active", "unknown")


def draw(runs: Sequence[Run]) -> Figure:
    """The figure. Raises UsageError where the runs are of different architectures, or lack rows for neurons."""
    sites_of(runs[0])
    found, steps = trajectories_of(runs)[0], Steps.of(runs)
    names = short_names([each.name for each in found])
    most = max(min(MOST_ROWS, _ALL_CELLS // (len(found) * len(runs))), _FEWEST_ROWS)
    cells, thinned = [], False
    for place, (each, name) in enumerate(zip(found, names, strict=True)):
        if not each.neurons:
            continue
        histories, numbers, firsts = grouped(each.states)
        kept = thin(numbers, most)
        thinned |= len(kept) < len(numbers)
        cells += _cells(each.name, name, place, histories[kept[:, 0]], kept, firsts)
    present = [
        state for code, state in enumerate(STATES) if any((each.states == code).any() for each in found)
    ]
    caption = (
        "A row of a block is a neuron, from left to right its state at each step; equal histories stand "
    )
    caption += "together, the longest dead on top."
    if thinned:
        caption += f" Sites of more than {most} different histories are thinned: one of neighbours is shown."
    return Figure(
        kind="trajectories",
        title=TITLE,
        subtitle=of_runs(runs),
        caption=caption,
        alternative=f"{TITLE}, {many(sum(each.neurons for each in found), 'neuron')}. {_alternative(found, names)}",
        several=True,
        chart=_chart(names, steps, present),
        datasets={"cells": cells, "sites": [{"at": name, "step": _ticks(steps)[0]} for name in names]},
        table=_table(found),
        height=min(max(380, 130 + 96 * len(found)), 1400),
    )


def grouped(states: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.int64], NDArray[np.int64]]:
    """The different histories of int8 [steps, neurons], in the order in which they are drawn.

    int8 [histories, steps]; int64 [histories] neurons of each; int64 [histories] the first of them. The longest dead
    come first; then what the last state is decides, then the one before.
    """
    histories, firsts, counts = np.unique(states.T, axis=0, return_index=True, return_counts=True)
    rank = np.array([_ORDER.index(state) for state in STATES])
    keys = [rank[histories[:, step]] for step in range(histories.shape[1])]  # the last key is compared first
    order = np.lexsort((*keys, -(histories == DEAD).sum(axis=1)))
    return histories[order], counts[order].astype(np.int64), firsts[order].astype(np.int64)


def thin(numbers: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Which histories are drawn, and how many neurons each stands for: int64 [rows, 2], at most `most` rows.

    Where there are more histories, neurons at even ranks are taken, each with as many as it stands for.

    >>> thin(np.array([3, 1, 1, 1]), 2).tolist()
    [[0, 3], [2, 3]]
    """
    if len(numbers) <= most:
        return np.stack([np.arange(len(numbers)), numbers], axis=1)
    total = int(numbers.sum())
    cuts = np.linspace(0, total, most + 1).round().astype(np.int64)
    middles = (cuts[:-1] + cuts[1:]) // 2
    chosen = np.searchsorted(np.cumsum(numbers), middles, side="right")
    rows, places = np.unique(chosen, return_inverse=True)
    return np.stack([rows, np.bincount(places, weights=np.diff(cuts)).astype(np.int64)], axis=1)


def _cells(
    site: str,
    name: str,
    place: int,
    histories: NDArray[np.int8],
    kept: NDArray[np.int64],
    firsts: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """A mapping for each stretch of neighbours in one state, step by step."""
    counts = kept[:, 1]
    ends = np.concatenate([[0.0], np.cumsum(counts) / max(int(counts.sum()), 1)])
    heights = place + _GAP + (1 - 2 * _GAP) * ends
    cells = []
    for step in range(histories.shape[1]):
        column = histories[:, step]
        starts = np.flatnonzero(np.diff(column, prepend=-1)).tolist()
        for start, end in zip(starts, [*starts[1:], len(column)], strict=True):
            cells.append(
                {
                    **named(site, name),
                    "state": STATES[int(column[start])],
                    "neuron": int(firsts[kept[start, 0]]),
                    "count": int(counts[start:end].sum()),
                    "x": step,
                    "x2": step + 1,
                    "y": float(heights[start]),
                    "y2": float(heights[end]),
                }
            )
    return cells


def _chart(names: list[str], steps: Steps, present: list[str]) -> alt.LayerChart:
    """Blocks on axes of their own that are not shown; the names of sites and steps stand on a layer without marks."""
    labels = _ticks(steps)
    frame = (
        alt.Chart(data("sites"))
        .mark_rect(opacity=0, aria=False)
        .encode(
            x=across(labels, "step", STEP if steps.numbers else "run, in the order given"),
            y=down(names, padding=0),
        )
    )
    # Each overlaps what is drawn after it by a hair, or the seams between them show in pixels.
    last = f"floor(datum.y) + {1 - _GAP}"
    cells = (
        alt.Chart(data("cells"))
        .transform_calculate(
            right=f"min(datum.x2 + 0.01, {len(steps.labels)})", bottom=f"min(datum.y2 + 0.01, {last})"
        )
        .mark_rect(aria=False, strokeWidth=0)
        .encode(
            x=alt.X("x:Q", scale=alt.Scale(domain=[0, len(steps.labels)], nice=False), axis=None),
            x2="right:Q",
            y=alt.Y("y:Q", scale=alt.Scale(domain=[0, len(names)], nice=False, reverse=True), axis=None),
            y2="bottom:Q",
            color=state_colour(present),
            tooltip=tip(
                ("called:N", "site"),
                ("state:N", "state"),
                ("count:Q", "neurons", ","),
                ("neuron:Q", "the first is", "d"),
            ),
        )
    )
    drawn: alt.LayerChart = layered(frame, cells).resolve_scale(x="independent", y="independent")
    return drawn


def _ticks(steps: Steps) -> list[str]:
    return list(steps.labels) if steps.numbers is None else [f"{number:,}" for number in steps.numbers]


def _alternative(found: Sequence[Trajectory], names: list[str]) -> str:
    said = []
    for each, name in zip(found, names, strict=True):
        dead = each.dead
        always, ever = int(dead.all(axis=0).sum()), int(dead.any(axis=0).sum())
        woke = int((dead[:-1] & ~dead[1:]).any(axis=0).sum())
        said.append(f"{name}: {always:,} always dead, {ever:,} dead at some step, {woke:,} of these revive")
    return (
        "; ".join(said if len(said) <= 12 else [*said[:6], f"{len(said) - 8} more sites", *said[-2:]]) + "."
    )


def _table(found: Sequence[Trajectory]) -> Table:
    rows = []
    for each in found:
        dead = each.dead
        changes = (each.states[:-1] != each.states[1:]).sum()
        rows.append(
            (
                each.name,
                each.neurons,
                len(np.unique(each.states.T, axis=0)),
                int(dead.all(axis=0).sum()),
                int(dead.any(axis=0).sum()),
                int((dead[:-1] & ~dead[1:]).any(axis=0).sum()),
                int(changes),
            )
        )
    columns = (
        "site",
        "neurons",
        "different histories",
        "always dead",
        "ever dead",
        "revived",
        "changes of state",
    )
    return Table(columns, tuple(rows))
