"""What quantisation did to a network: the neurons that it killed, clipped or made constant.

That the second run is a quantised twin is read off what runs hold: activations on a grid (the extremes of all neurons
are multiples of one step, or halves exactly), names that quantisers give, parameters of fewer bytes. Where the graph
is observed before it is quantised (a Relu whose result a QuantizeLinear reads), no grid is seen: what died or became
constant is known all the same, what was clipped is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nla.runs.run import Run, RunSite
from nla.tracking.grids import Grid, grid_of
from nla.tracking.matching import bare

if TYPE_CHECKING:
    from nla.tracking.difference import SiteDifference

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

_WHOLE = 3.9
"""Bytes of the file for each parameter, below which they are not all float32."""
_HALVED = 1.9


@dataclass(frozen=True)
class SiteQuantisation:
    """What quantisation did at one site: indices of neurons, int64, ascending."""

    name: str
    grid: Grid | None
    """Where the quantised activations lie; None where that cannot be seen."""
    killed: Indices
    """Not dead in float, dead quantised."""
    below_resolution: Indices
    """Of the killed: the largest activation in float is below half a step, and is rounded to zero."""
    woken: Indices
    """Dead in float, not quantised."""
    made_constant: Indices
    """Constant, and not in float."""
    clipped: Indices | None
    """Their largest (or smallest) activation in float lies beyond what the quantised site can hold, by more than half
    a step, and quantised they stand at that end; None where no grid is seen."""
    overflowed: Indices
    """NaN or infinite quantised, and not in float."""


@dataclass(frozen=True)
class Quantisation:
    """What quantisation did."""

    kind: str
    """integer, float16, bfloat16, or unknown (only asked for)."""
    seen_by: tuple[str, ...]
    """What shows that the second run is quantised; empty where it was only said."""
    neurons: int
    sites: tuple[SiteQuantisation, ...]

    @property
    def summary(self) -> dict[str, int | None]:
        """How many neurons it killed, woke, …; `clipped` is None where no site shows its grid."""
        known = [len(site.clipped) for site in self.sites if site.clipped is not None]
        return {
            "killed": sum(len(site.killed) for site in self.sites),
            "below_resolution": sum(len(site.below_resolution) for site in self.sites),
            "woken": sum(len(site.woken) for site in self.sites),
            "made_constant": sum(len(site.made_constant) for site in self.sites),
            "clipped": sum(known) if known else None,
            "overflowed": sum(len(site.overflowed) for site in self.sites),
        }

    @property
    def sentence(self) -> str:
        """All of it in one sentence."""
        n = self.summary
        lost = n["below_resolution"]
        which = "" if lost == n["killed"] else f"{lost} of them "
        low = f" ({which}for lack of resolution)" if lost else ""
        blind = sum(site.clipped is None for site in self.sites)
        unseen = f" at the {len(self.sites) - blind} of {len(self.sites)} sites that show their grid"
        clipped = (
            "what it clipped cannot be seen, for the graph is observed before it is quantised"
            if n["clipped"] is None
            else f"clipped {n['clipped'] or 'none'}{unseen if blind else ''}"
        )
        kind = {"integer": " to integers", "unknown": ""}.get(self.kind, f" to {self.kind}")
        said = [f"killed {n['killed'] or 'none'} of {self.neurons:,} neurons{low}"]
        said += [f"made {n['made_constant'] or 'none'} constant", f"woke {n['woken'] or 'none'}"]
        said += [f"made {n['overflowed']} overflow"] if n["overflowed"] else []
        if n["clipped"] is None:
            return f"Quantisation{kind} {', '.join(said[:-1])} and {said[-1]}; {clipped}."
        return f"Quantisation{kind} {', '.join(said)} and {clipped}."


def quantisation(
    before: Run, after: Run, sites: Sequence[SiteDifference], *, assumed: bool = False
) -> Quantisation | None:
    """What quantisation did between `before` and its twin `after`; None where `after` does not look quantised.

    `assumed`: it is a quantised twin, whether or not that can be seen.
    """
    found = [_site(site) for site in sites]
    kinds = [site.grid.kind for site in found if site.grid is not None]
    seen_by = tuple(_signs(before, after, sites, found))
    if not seen_by and not assumed:
        return None
    kind = kinds[0] if kinds else _kind_by_size(after) if seen_by else "unknown"
    return Quantisation(kind, seen_by, sum(site.neurons for site in sites), tuple(found))


def _signs(
    before: Run, after: Run, sites: Sequence[SiteDifference], found: Sequence[SiteQuantisation]
) -> Iterator[str]:
    """What shows that `after` is quantised and `before` is not."""
    on_grid = [site for site in found if site.grid is not None]
    if on_grid:
        first = on_grid[0].grid
        assert first is not None
        several = "" if len(on_grid) == 1 or first.kind != "integer" else ", or one of their own"
        yield f"the activations of {len(on_grid)} of {len(found)} sites lie on {first.words}{several}"
    renamed = [s for s in sites if bare(s.after.name) == s.before.name != s.after.name]
    if renamed:
        yield f"{len(renamed)} of {len(sites)} sites bear names of dequantised tensors"
    one, other = _bytes_per_parameter(before), _bytes_per_parameter(after)
    if one >= _WHOLE > 3 > other:
        yield f"{other:.1f} bytes for each parameter, and {one:.1f} before"


def _bytes_per_parameter(run: Run) -> float:
    """Of the file; NaN where it is not known."""
    size, parameters = run.checkpoint.get("bytes"), run.checkpoint.get("parameters")
    if isinstance(size, int) and isinstance(parameters, int) and parameters > 0:
        return size / parameters
    return float("nan")


def _kind_by_size(run: Run) -> str:
    size = _bytes_per_parameter(run)
    return "float16" if _HALVED <= size < _WHOLE else "integer"


def _site(site: SiteDifference) -> SiteQuantisation:
    after, before = _extremes(site.after), _extremes(site.before)
    grid = None if grid_of(*before) is not None else grid_of(*after)
    killed = np.flatnonzero(site.events["died"])
    largest = np.maximum(np.abs(before[0]), np.abs(before[1]))[killed]
    coarse = grid is not None and grid.kind == "integer"
    lost = _nonfinite(site.after) & ~_nonfinite(site.before)
    return SiteQuantisation(
        name=site.name,
        grid=grid,
        killed=killed,
        below_resolution=killed[largest < grid.step / 2] if grid is not None and coarse else killed[:0],
        woken=np.flatnonzero(site.events["revived"]),
        made_constant=np.flatnonzero(site.events["became_constant"]),
        clipped=None if grid is None else _clipped(grid, before, after),
        overflowed=np.flatnonzero(lost),
    )


def _clipped(grid: Grid, before: tuple[Floats, Floats], after: tuple[Floats, Floats]) -> Indices:
    """Neurons that were beyond an end of the grid in float and stand at that end quantised.

    An end counts where it is known to be one: the levels that are reached are as many as a type has; or several
    neurons that lay beyond it stand at it. One alone may have been moved there by what was rounded before.
    """
    if grid.kind != "integer":
        return np.empty(0, np.int64)
    half = grid.step / 2
    high = (before[1] > grid.top + half) & (after[1] > grid.top - half)
    low = (before[0] < grid.bottom - half) & (after[0] < grid.bottom + half)
    held = np.zeros(len(high), bool)
    for where, known in ((high, grid.top_is_end), (low, grid.bottom_is_end)):
        if known or where.sum() > 1:
            held |= where
    return np.flatnonzero(held)


def _extremes(site: RunSite) -> tuple[Floats, Floats]:
    """(min, max) of the activation, [neurons]; NaN where it is not known."""
    columns: Any = {} if site.rows is None else site.rows.columns
    nothing = np.full(site.neurons, np.nan)
    return (
        np.asarray(columns.get("min", nothing), np.float64),
        np.asarray(columns.get("max", nothing), np.float64),
    )


def _nonfinite(site: RunSite) -> NDArray[np.bool_]:
    columns: Any = {} if site.rows is None else site.rows.columns
    values = np.asarray(columns.get("nonfinite", np.zeros(site.neurons)), np.float64)
    return np.asarray(np.nan_to_num(values) > 0)
