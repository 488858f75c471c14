"""Eq. 4 along the chains of a graph, from the norms of its operators on the sizes that they have there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nla.errors import ModelError
from nla.graph import query
from nla.graph.backward.tape import Tape
from nla.graph.backward.windows import Windows, windows
from nla.graph.coupling import Coupling
from nla.graph.drafts import Draft
from nla.graph.walk import Walk
from nla.graph.weighted import Weighted
from nla.site import Site
from nla.surgery.structure import Structure
from nla.theory.gradient_flow import Bound
from nla.theory.operators import MOST_WORK, Convolution, convolution_norm
from nla.theory.spectral import SpectralNorm
from nla.weights.chains import chains
from nla.weights.judging import Judge
from nla.weights.reading import Layers
from nla.weights.results import Chain, LayerWeights

Step = Callable[[], None]
LARGEST_KERNEL = 1 << 12
"""Offsets of a kernel that are gone through one by one."""


def windows_of(walk: Walk, weighted: Weighted) -> Windows | None:
    """Where the windows of a Conv lie; None for what is none, or whose sizes are not known."""
    if query.kind(weighted.node) != "Conv":
        return None
    kernel = (walk.flow.constants.shape(weighted.weight) or ())[2:]
    tape = Tape(walk.graph, walk.flow.constants, walk.flow.shapes, frozenset())
    try:
        return windows(tape, weighted.node, kernel)
    except ModelError:
        return None


class SizedLayers(Layers):
    """Layers whose operator norm is that on the sizes of the graph, where these are known."""

    def __init__(self, walk: Walk, on_step: Step) -> None:
        super().__init__(walk.flow.constants, on_step)
        self._walk = walk
        self._step = on_step
        self._known: dict[Weighted, LayerWeights | str] = {}

    def summed_up(self, weighted: Weighted) -> LayerWeights | str:
        """The layer as `Layers` has it, but for the norm of a convolution."""
        if weighted not in self._known:
            found = super().summed_up(weighted)
            norm = None if isinstance(found, str) else self._norm(weighted)
            if norm is not None and not isinstance(found, str):
                found = replace(found, operator_norm=norm.value, operator_kind=norm.kind)
            self._known[weighted] = found
        return self._known[weighted]

    def _norm(self, weighted: Weighted) -> SpectralNorm | None:
        seen = windows_of(self._walk, weighted)
        sizes = (self._walk.flow.shapes.dims(weighted.data) or ())[2:]
        weight = None if seen is None else self.constants.weight(weighted.weight)
        if seen is None or weight is None or not sizes or not all(isinstance(size, int) for size in sizes):
            return None
        known = tuple(size for size in sizes if isinstance(size, int))
        real = np.asarray(weight, np.float64)
        if not 1 < query.product(seen.kernel) <= LARGEST_KERNEL or not np.isfinite(real).all():
            return None
        found = Convolution(
            real, known, seen.strides, seen.dilations, seen.begins, seen.ends, weighted.groups
        )
        return convolution_norm(found, self._step) if found.work <= MOST_WORK else None


@dataclass(frozen=True, eq=False)
class Placed:
    """A site in a chain."""

    chain: Chain
    at: int
    end: str
    """The tensor whose gradient the chain leads from."""
    named: str
    """The site that makes it, or the layer."""


def placed(
    walk: Walk, sites: Sequence[Site], layers: SizedLayers
) -> tuple[dict[str, Placed], dict[str, str]]:
    """By site, where it stands in a chain; and by site why eq. 4 does not lead on from it."""
    drafts: dict[str, Draft] = {}
    for draft in walk.drafts:
        drafts.setdefault(draft.value.name or "", draft)
    structure = Structure(walk, Coupling(walk), {site.name: site for site in sites}, drafts)
    found, why = chains(Judge(structure, layers, 0.0))
    places: dict[str, Placed] = {}
    for chain in found:
        end = _end(walk, sites, chain)
        for at, factor in enumerate(chain.factors):
            if end is not None:
                places[factor.site] = Placed(chain, at, *end)
    return places, why


def _end(walk: Walk, sites: Sequence[Site], chain: Chain) -> tuple[str, str] | None:
    """(tensor, name) of what a chain ends at: the pre-activations of a site, or what the last layer makes."""
    for site in sites:
        if site.pre is not None and [each.node for each in site.producers] == [chain.end]:
            return site.pre, site.name
    node = next((node for node in walk.layers if query.node_name(node) == chain.end), None)
    return None if node is None else (query.name(node.outputs[0]), chain.end)


def bound_of(place: Placed, mean: float, ends: Mapping[str, float]) -> Bound:
    """The bound at a layer of that mean ‖δ‖; `ends` has it by tensor."""
    factor = place.chain.factors[place.at]
    end = ends.get(place.end, np.nan)
    return Bound(
        slope=factor.slope,
        norm=factor.norm,
        kind=factor.kind,
        reader=factor.layer,
        log10=place.chain.log10_bounds[place.at],
        end=place.named,
        measured=float(mean / end) if end > 0 else float("nan"),
    )
