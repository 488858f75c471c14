"""Runs made by hand from the states and the evidence of their neurons, for tests of what compares runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nla.lifecycle.criteria import Criteria
from nla.lifecycle.results import FLAGS, STATES
from nla.runs.run import Rows, Run, RunSite


def site(
    name: str,
    states: Sequence[str],
    *,
    role: str = "dense",
    activation: str = "Relu",
    samples: int = 100,
    rank: float = 2.0,
    rows: bool = True,
    **columns: Any,
) -> RunSite:
    """A site with these states; `columns` is its evidence by name, [neurons] each."""
    words = np.array(list(states), np.str_)
    known = {key: np.asarray(value) for key, value in columns.items()}
    return RunSite(
        name=name,
        role=role,
        activation=activation,
        neurons=len(words),
        samples=samples,
        positions=samples,
        counts={state: int((words == state).sum()) for state in STATES},
        flags=dict.fromkeys(FLAGS, 0),
        parameters_dead=0,
        effective_rank=rank,
        effective_rank_rows=samples,
        effective_rank_exact=False,
        silent_samples=0,
        killed_samples=0,
        rows=Rows(words, ((),) * len(words), known) if rows else None,
    )


def run(label: str, *sites: RunSite, digest: str = "d" * 64, samples: int = 100, **settings: Any) -> Run:
    """A run of these sites; `settings` are further fields of Run."""
    data: Mapping[str, Any] = {"digest": digest, "samples": samples, "limit": None, "held_out": 0.0}
    given = {"checkpoint": {}, "data": data, "criteria": Criteria().describe(), **settings}
    return Run(label, sites, **given)
