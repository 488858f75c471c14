"""Runs made by hand for the figures: states, rates and histograms drawn with a seed, and consistent with each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nla.lifecycle.criteria import Criteria
from nla.lifecycle.results import STATES
from nla.runs.run import Rows, Run, RunSite
from nla.statistics.histogram import EDGES, bin_counts
from nla.statistics.measurements import Histogram

SHARES = {"dead": 0.3, "dormant": 0.1, "specialised": 0.2, "active": 0.4}
SAMPLES = 500


def histogram(values: np.ndarray) -> Histogram:
    """The histogram of some values, in the bins of recordings."""
    return Histogram(EDGES, bin_counts(values), values.size, True)


def site(
    name: str,
    neurons: int,
    *,
    seed: int = 0,
    shares: dict[str, float] | None = None,
    rows: bool = True,
    killed: int = 0,
    rank: float | None = None,
) -> RunSite:
    """A site of neurons whose states are drawn with these shares."""
    rng = np.random.default_rng([seed, neurons])
    shares = SHARES if shares is None else shares
    states = rng.choice(list(shares), neurons, p=list(shares.values())).astype(np.str_)
    dead = states == "dead"
    z = rng.normal(0, 3, (SAMPLES, neurons)) - 20 * dead
    a = np.maximum(z, 0)
    mean_abs = a.mean(0)
    columns = {
        "activation_rate": (z > 0).mean(0),
        "firing_frequency": (a > 1e-3).mean(0),
        "dormancy_score": mean_abs / max(mean_abs.mean(), 1e-12),
        "margin": -z.max(0) / z.std(0),
    }
    return RunSite(
        name=name,
        role="dense",
        activation="Relu",
        neurons=neurons,
        samples=SAMPLES,
        positions=SAMPLES,
        counts={state: int((states == state).sum()) for state in STATES},
        flags={},
        parameters_dead=0,
        effective_rank=max(neurons / 3, 1.0) if rank is None else rank,
        effective_rank_rows=SAMPLES,
        effective_rank_exact=False,
        silent_samples=killed,
        killed_samples=killed,
        histogram=histogram(a),
        pre_histogram=histogram(z),
        dead_rate_bound=0.01 if dead.any() else float("nan"),
        rows=Rows(states, ((),) * neurons, columns) if rows else None,
    )


def run(
    label: str = "epoch12",
    names: Sequence[str] = ("/net/relu1/Relu", "/net/relu2/Relu", "/net/relu3/Relu"),
    neurons: Sequence[int] = (16, 40, 300),
    *,
    step: int | None = None,
    seed: int = 0,
    rows: bool = True,
    killed: Sequence[int] = (0, 3, 20),
) -> Run:
    """A run with a site for each name."""
    sites = tuple(
        site(name, width, seed=seed * 100 + k, rows=rows, killed=gone)
        for k, (name, width, gone) in enumerate(zip(names, neurons, killed, strict=True))
    )
    return Run(label, sites, {}, {}, Criteria().describe(), path=f"{label}.h5", step=step)


def series(steps: int = 4, **given: object) -> tuple[Run, ...]:
    """Runs of one network, whose neurons change at random from one to the next."""
    return tuple(run(f"epoch{3 * k:02d}", step=3 * k, seed=k, **given) for k in range(steps))  # type: ignore[arg-type]
