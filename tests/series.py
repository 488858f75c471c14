"""Series of runs made by hand from the states of their neurons, for tests of what follows a network over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.criteria import Criteria
from nla.lifecycle.results import FLAGS, STATES
from nla.runs.run import Rows, Run, RunSite

LETTERS = {state[0]: state for state in ("dead", "constant", "born", "unknown", "active")}
LETTERS |= {"t": "saturated", "o": "dormant", "s": "specialised"}
"""d dead, c constant, t saturated, o dormant, b born, s specialised, a active, u unknown."""


def site(
    name: str,
    states: Sequence[str],
    *,
    flags: Mapping[int, tuple[str, ...]] | None = None,
    rates: Any = None,
    rows: bool = True,
    **settings: Any,
) -> RunSite:
    """A site with these states, words or the letters of LETTERS; `rates` are activation rates."""
    words = np.array([LETTERS.get(state, state) for state in states])
    raised = tuple((flags or {}).get(k, ()) for k in range(len(words)))
    columns: dict[str, NDArray[Any]] = {
        "activation_rate": np.where(words == "dead", 0.0, 0.5) if rates is None else np.asarray(rates, float)
    }
    given: dict[str, Any] = {
        "role": "dense",
        "activation": "Relu",
        "samples": 100,
        "positions": 100,
        "parameters_dead": 0,
        "effective_rank": 4.0,
        "effective_rank_rows": 100,
        "effective_rank_exact": False,
        "silent_samples": 0,
        "killed_samples": 0,
        **settings,
    }
    return RunSite(
        name=name,
        neurons=len(words),
        counts={state: int((words == state).sum()) for state in STATES},
        flags={flag: sum(flag in each for each in raised) for flag in FLAGS},
        rows=Rows(words, raised, columns) if rows else None,
        **given,
    )


def run(label: str, *sites: RunSite, step: int | None = None, digest: str | None = None, **data: Any) -> Run:
    """A run of these sites on 100 samples; its checkpoint's digest is its label unless given."""
    return Run(
        label=label,
        sites=tuple(sites),
        checkpoint={"path": f"{label}.onnx", "format": "onnx", "digest": digest or label, "bytes": 1},
        data={"path": "x.npz", "digest": "1" * 64, "samples": 100, "synthetic": False, **data},
        criteria=Criteria().describe(),
        step=step,
    )


def series(*states: Mapping[str, str], first: int = 0, every: int = 1, **settings: Any) -> tuple[Run, ...]:
    """A run for each mapping from a site's name to the letters of its neurons' states."""
    return tuple(
        run(
            f"epoch{first + every * k:02}",
            *(site(name, letters, **settings) for name, letters in each.items()),
            step=first + every * k,
        )
        for k, each in enumerate(states)
    )
