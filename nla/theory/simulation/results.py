"""What a simulation found: for every scheme, width and depth a probability with its error and its bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.theory.bounds import bounds
from nla.theory.intervals import mean_interval, wilson
from nla.theory.layers import alike
from nla.theory.living import guaranteed
from nla.theory.simulation.networks import RESIDUAL, Counts, Task
from nla.theory.simulation.settings import FIGURES, PATHS, Settings
from nla.theory.widths import width_for

Floats = NDArray[np.float64]
SCHEMA = "nla/simulation/1"
_QUARTILES = (25.0, 50.0, 75.0)


@dataclass(frozen=True, eq=False)
class Series:
    """The networks of one scheme and width; every array has an entry for each depth from 1."""

    task: Task
    alive: Counts
    """Networks with a living point."""
    living: Counts
    """Living points, of all networks together."""
    squares: Counts
    """Σ over networks of their living points, squared."""
    silent: Counts
    """Living networks whose layer here is ≤ 0 on every point that lived before it."""
    variances: NDArray[np.float32]
    """[networks, sampled depths], normalised variances; no columns where they were not asked for."""

    @property
    def depths(self) -> range:
        """1, 2, …"""
        return range(1, self.task.depth + 1)

    @property
    def probability(self) -> Floats:
        """Share of the networks that live."""
        return self.alive / self.task.networks

    @cached_property
    def interval(self) -> tuple[Floats, Floats]:
        """Wilson's 95 % interval of the probability."""
        return wilson(self.alive, self.task.networks)

    @property
    def share(self) -> Floats:
        """Mean share of points that live."""
        return self.living / (self.task.networks * self.task.points)

    @cached_property
    def share_interval(self) -> tuple[Floats, Floats]:
        """The 95 % interval of that mean, over networks."""
        points = float(self.task.points)
        return mean_interval(self.living / points, self.squares / points**2, self.task.networks)

    @cached_property
    def bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper bound of the probability under independent initialisation."""
        task = self.task
        if task.scheme == RESIDUAL:  # there is a way round every layer
            return np.ones(task.depth), np.ones(task.depth)
        found = [
            bounds(alike(task.width, depth, bias=task.bias), non_negative=task.non_negative)
            for depth in self.depths
        ]
        upper = [1.0 if each.upper is None else each.upper.alive for each in found]
        return np.array([each.lower.alive for each in found]), np.array(upper)

    @property
    def guaranteed_share(self) -> Floats | None:
        """Share of points that must live, where signs are flipped."""
        if self.task.scheme != "flipped":
            return None
        points = self.task.points
        return np.array([guaranteed(points, depth) / points for depth in self.depths])

    @property
    def silent_share(self) -> Floats | None:
        """Of residual networks, the share of the layers up to here that are silent on all data."""
        if self.task.scheme != RESIDUAL:
            return None
        return np.cumsum(self.silent) / (self.task.networks * np.arange(1, self.task.depth + 1))

    @cached_property
    def quartiles(self) -> dict[int, tuple[float, ...] | None]:
        """By sampled depth the quartiles of the normalised variance over living networks; None where none lives."""
        found: dict[int, tuple[float, ...] | None] = {}
        for at, depth in enumerate(self.task.sampled):
            known = self.variances[:, at][np.isfinite(self.variances[:, at])]
            found[depth] = tuple(np.percentile(known, _QUARTILES).tolist()) if len(known) else None
        return found

    def row(self, depth: int) -> dict[str, Any]:
        """One depth in plain values."""
        at = depth - 1
        low, high = self.interval
        share_low, share_high = self.share_interval
        lower, upper = self.bounds
        least = self.guaranteed_share
        silent = self.silent_share
        quartiles = self.quartiles.get(depth)
        return {
            "scheme": self.task.scheme,
            "width": self.task.width,
            "depth": depth,
            "networks": self.task.networks,
            "alive": int(self.alive[at]),
            "probability": float(self.probability[at]),
            "low": float(low[at]),
            "high": float(high[at]),
            "lower_bound": float(lower[at]),
            "upper_bound": float(upper[at]),
            "living_share": float(self.share[at]),
            "share_low": float(share_low[at]),
            "share_high": float(share_high[at]),
            "guaranteed_share": None if least is None else float(least[at]),
            "silent_share": None if silent is None else float(silent[at]),
            "variance_quartiles": None if quartiles is None else list(quartiles),
        }

    def to_dict(self) -> dict[str, Any]:
        """The counts as they are, and the rows at every depth as columns."""
        rows = [self.row(depth) for depth in self.depths]
        names = [name for name in rows[0] if name not in ("scheme", "width", "networks")]
        return {
            "scheme": self.task.scheme,
            "width": self.task.width,
            "networks": self.task.networks,
            **{name: [row[name] for row in rows] for name in names},
        }


@dataclass(frozen=True, eq=False)
class Simulation:
    """The networks of one figure."""

    settings: Settings
    series: tuple[Series, ...]

    @property
    def schemes(self) -> tuple[str, ...]:
        """In the order in which they were simulated."""
        return tuple(dict.fromkeys(each.task.scheme for each in self.series))

    def of(self, scheme: str) -> tuple[Series, ...]:
        """The series of one scheme, by width."""
        return tuple(each for each in self.series if each.task.scheme == scheme)

    def paths(self) -> dict[float, list[dict[str, Any]]]:
        """Figure 4: by p the rows along n(k), up to the largest width; empty for other figures."""
        by_width = {each.task.width: each for each in self.series}
        found: dict[float, list[dict[str, Any]]] = {}
        for probability in PATHS if self.settings.figure == 4 else ():
            found[probability] = []
            for depth in range(1, self.settings.depth + 1):
                series = by_width.get(width_for(probability, depth).enough)
                if series is None:
                    break
                found[probability].append({"path": probability, **series.row(depth)})
        return found

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every depth of every series, or of every path, in plain values."""
        if self.settings.figure == 4:
            for rows in self.paths().values():
                yield from rows
            return
        for series in self.series:
            for depth in series.depths:
                yield {"path": None, **series.row(depth)}

    def to_dict(self) -> dict[str, Any]:
        """The document, plain values."""
        made: dict[str, Any] = {
            "schema": SCHEMA,
            "about": FIGURES[self.settings.figure],
            "settings": self.settings.to_dict(),
        }
        if self.settings.figure == 4:
            made["paths"] = [
                {"probability": probability, "rows": rows} for probability, rows in self.paths().items()
            ]
        made["series"] = [each.to_dict() for each in self.series]
        return made
