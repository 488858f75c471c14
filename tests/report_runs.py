"""Runs made by hand for the tests of the report: every state, flags, unknown numbers, histograms, findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nla.lifecycle.criteria import Criteria
from nla.lifecycle.results import FLAGS, STATES, Finding
from nla.runs.run import Rows, Run, RunSite
from nla.statistics.measurements import Histogram

SAMPLES = 1000
EDGES = np.array([-np.inf, -1.0, -0.01, -1e-6, 1e-6, 0.01, 1.0, np.inf])
DYING = Finding(
    symptom="a large share of dead neurons",
    diagnosis="dying ReLU",
    intervention="remove the dead",
    expected="fewer parameters",
    evidence="dead: some",
    command="nla neurons RUN.h5 --state dead",
    severity=0.6,
)


def site(name: str, neurons: int, seed: int = 0, *, rows: bool = True, **settings: Any) -> RunSite:
    """A site whose neurons' states are drawn with `seed`; the numbers fit the states."""
    draw = np.random.default_rng(seed)
    states = draw.choice(STATES, neurons, p=[0.3, 0.05, 0.05, 0.15, 0.0, 0.2, 0.24, 0.01])
    counts = {state: int((states == state).sum()) for state in STATES}
    rate = np.where(states == "dead", 0.0, draw.random(neurons))
    rate[states == "unknown"] = np.nan
    flags = tuple(
        tuple(flag for flag, up in zip(FLAGS, row, strict=True) if up)
        for row in draw.random((neurons, len(FLAGS))) < 0.05
    )
    columns = {
        "activation_rate": rate,
        "firing_frequency": rate * 0.9,
        "mean": rate * 2,
        "mean_abs": rate * 2,
        "std": rate + 0.5,
        "min": np.zeros(neurons),
        "max": rate * 10,
        "dormancy_score": rate * 2,
        "contribution_score": np.where(draw.random(neurons) < 0.1, np.nan, rate),
        "samples": np.full(neurons, SAMPLES),
        "positions": np.full(neurons, SAMPLES),
        "fired_samples": np.nan_to_num(rate * SAMPLES).astype(np.int64),
        "rate_upper_bound": np.minimum(1.0, rate + 0.003),
        "margin": np.where(states == "dead", draw.random(neurons) * 3, -draw.random(neurons) * 3),
        "decided_by": np.where(states == "specialised", "sparseness", ""),
    }
    given: dict[str, Any] = {
        "role": "dense",
        "activation": "Relu",
        "samples": SAMPLES,
        "positions": SAMPLES,
        "flags": {flag: sum(flag in each for each in flags) for flag in FLAGS},
        "parameters_dead": 10 * counts["dead"],
        "effective_rank": 0.4 * neurons,
        "effective_rank_rows": SAMPLES,
        "effective_rank_exact": False,
        "silent_samples": 30,
        "killed_samples": 20,
        "histogram": Histogram(EDGES, np.array([0, 0, 0, 500, 100, 300, 100]), 1000, True),
        "pre_histogram": Histogram(EDGES, np.array([100, 300, 100, 0, 100, 300, 100]), 1000, True),
        "dead_rate_bound": 0.01 if counts["dead"] else float("nan"),
        "bottleneck": True,
        **settings,
    }
    return RunSite(
        name=name,
        neurons=neurons,
        counts=counts,
        rows=Rows(states, flags, columns) if rows else None,
        **given,
    )


def run(sites: Sequence[RunSite], label: str = "run", **settings: Any) -> Run:
    """A run of these sites."""
    given: dict[str, Any] = {
        "checkpoint": {
            "path": f"{label}.onnx",
            "format": "onnx",
            "digest": label.ljust(64, "0")[:64],
            "parameters": 1234,
        },
        "data": {"path": "x.npz", "digest": "1" * 64, "samples": SAMPLES},
        "criteria": Criteria().describe(),
        "findings": (DYING,),
        "path": f"{label}.h5",
        **settings,
    }
    return Run(label=label, sites=tuple(sites), **given)
