"""Experiments side by side: the health of each layer of several runs, beside what the user knows of them.

No architecture needs to match. Layers are set beside each other by their number, counted from the input in graph
order; `depth` says where a layer stands between the first (0) and the last (1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nla.errors import UsageError, printable
from nla.lifecycle.results import STATES
from nla.runs.run import Run, RunSite
from nla.tracking.columns import Columns, Value
from nla.tracking.same_data import same_data


@dataclass(frozen=True)
class Layer:
    """One site of one run."""

    number: int
    """Counted from 1 at the input, in graph order."""
    depth: float
    """In [0, 1]; 0 for the only layer of a run."""
    site: str
    role: str
    activation: str
    neurons: int
    samples: int
    counts: Mapping[str, int]
    """Neurons by state, every state of STATES."""
    never_positive: int | None
    """Neurons whose activation rate is 0: z > 0 at no position, which is what the study of dying rectifiers counts
    for activations that never die. None where the rates are not known."""
    effective_rank: float
    """Eq. 6; NaN where it was not measured."""
    effective_capacity: float
    """Eq. 18 as printed, (1 - d) r_eff: it charges the dead twice."""

    @property
    def dead(self) -> int:
        """How many neurons are dead."""
        return self.counts["dead"]

    def share(self, number: int | None) -> float:
        """`number` among the layer's neurons, in [0, 1]; NaN where it is not known."""
        return number / self.neurons if number is not None and self.neurons else float("nan")


@dataclass(frozen=True)
class Experiment:
    """One run of a comparison."""

    run: Run
    layers: tuple[Layer, ...]
    columns: Mapping[str, Value]
    """What the user gave."""

    @property
    def label(self) -> str:
        """What the run is called."""
        return self.run.label

    @property
    def neurons(self) -> int:
        """Over all layers."""
        return sum(layer.neurons for layer in self.layers)

    @property
    def activations(self) -> tuple[str, ...]:
        """The activation functions, in the order in which they first come."""
        return tuple(dict.fromkeys(layer.activation for layer in self.layers))

    def total(self, state: str) -> int:
        """Neurons in a state, over all layers."""
        return sum(layer.counts[state] for layer in self.layers)

    @property
    def never_positive(self) -> int | None:
        """Over the layers whose rates are known; None where none are."""
        known = [layer.never_positive for layer in self.layers if layer.never_positive is not None]
        return sum(known) if known else None

    @property
    def neurons_with_rates(self) -> int:
        """Neurons of the layers whose rates are known."""
        return sum(layer.neurons for layer in self.layers if layer.never_positive is not None)

    @property
    def mean_effective_rank(self) -> float:
        """Mean over the layers where it was measured; NaN where none were."""
        return _mean([layer.effective_rank for layer in self.layers])

    @property
    def mean_effective_capacity(self) -> float:
        """Likewise."""
        return _mean([layer.effective_capacity for layer in self.layers])

    @property
    def mean_dead_share(self) -> float:
        """Mean of the layers' dead shares, each layer counting once; NaN without layers."""
        return _mean([layer.share(layer.dead) for layer in self.layers])

    @property
    def mean_never_positive_share(self) -> float:
        """Mean of the layers' shares, over those whose rates are known."""
        return _mean([layer.share(layer.never_positive) for layer in self.layers])


@dataclass(frozen=True)
class Comparison:
    """The result of `nla.compare`."""

    experiments: tuple[Experiment, ...]
    columns: tuple[str, ...]
    """Names of the user's columns."""
    notes: tuple[str, ...] = ()

    @property
    def depth(self) -> int:
        """Layers of the deepest run."""
        return max((len(each.layers) for each in self.experiments), default=0)

    def __getitem__(self, label: str) -> Experiment:
        """The run of that name. Raises KeyError."""
        return {each.label: each for each in self.experiments}[label]

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each layer of each run: what it is, its numbers, the user's columns; None: not known."""
        for each in self.experiments:
            for layer in each.layers:
                yield {"run": each.label, **layer_row(layer), **each.columns}

    def to_dict(self) -> dict[str, Any]:
        """The document that `--json` writes: `schemas/comparison-1.schema.json`."""
        from nla.tracking.comparison_document import document

        return document(self)


def comparison(
    runs: Sequence[Run],
    *,
    name: Sequence[str] = (),
    columns: Columns | None = None,
    notes: Sequence[str] = (),
) -> Comparison:
    """The runs side by side, in their order.

    Args:
        runs: any; with rows where the share of neurons that are never positive is wanted.
        name: what the runs are called; as they are labelled where empty.
        columns: by name a value for each run.
        notes: what is to be said besides.

    Raises:
        UsageError: not one name for each run, or one name twice.
    """
    named = renamed(runs, name)
    given = columns or {}
    experiments = tuple(
        Experiment(run, layers(run), {column: values[k] for column, values in given.items()})
        for k, run in enumerate(named)
    )
    return Comparison(experiments, tuple(given), (*notes, *_notes(named)))


def renamed(runs: Sequence[Run], name: Sequence[str]) -> tuple[Run, ...]:
    """The runs under other names; as they are where there are none. Raises UsageError."""
    if not name:
        return tuple(runs)
    if len(name) != len(runs):
        raise UsageError(f"{len(name)} names for {len(runs)} runs: give one for each, in their order")
    twice = next((each for k, each in enumerate(name) if each in name[:k]), None)
    if twice is not None:
        raise UsageError(f"two runs are to be called {printable(twice)!r}: names tell runs apart")
    return tuple(replace(run, label=each) for run, each in zip(runs, name, strict=True))


def layers(run: Run) -> tuple[Layer, ...]:
    """The sites of a run, numbered from the input."""
    last = max(len(run.sites) - 1, 1)
    return tuple(_layer(site, k + 1, k / last) for k, site in enumerate(run.sites))


def layer_row(layer: Layer) -> dict[str, Any]:
    """The layer's numbers by name, in the order of the columns of the CSV; None where one is not known."""
    known = layer.never_positive is not None
    return {
        "layer": layer.number,
        "depth": layer.depth,
        "site": layer.site,
        "role": layer.role,
        "activation": layer.activation,
        "neurons": layer.neurons,
        "samples": layer.samples,
        **{state: layer.counts[state] for state in STATES},
        "never_positive": layer.never_positive,
        "dead_share": _known(layer.share(layer.dead)),
        "never_positive_share": _known(layer.share(layer.never_positive)) if known else None,
        "effective_rank": _known(layer.effective_rank),
        "effective_capacity": _known(layer.effective_capacity),
    }


def _layer(site: RunSite, number: int, depth: float) -> Layer:
    return Layer(
        number,
        depth,
        site.name,
        site.role,
        site.activation,
        site.neurons,
        site.samples,
        site.counts,
        never_positive(site),
        site.effective_rank,
        site.effective_capacity,
    )


def never_positive(site: RunSite) -> int | None:
    """Neurons whose activation rate is 0; None where the rates are not known."""
    rates = None if site.rows is None else site.rows.columns.get("activation_rate")
    if rates is None:
        return None
    values = np.asarray(rates, np.float64)
    return int((values == 0).sum()) if np.isfinite(values).any() else None


def _notes(runs: Sequence[Run]) -> Iterator[str]:
    other = [run.label for run in runs[1:] if not same_data(runs[0], run)]
    if other:
        listed = ", ".join(other[:3]) + (f" and {len(other) - 3} more" if len(other) > 3 else "")
        yield f"{listed} saw other data than {runs[0].label}: their numbers may differ for that alone"
    if any(run.data.get("synthetic") for run in runs):
        yield "random numbers were replayed: nothing here is true of real inputs"


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
