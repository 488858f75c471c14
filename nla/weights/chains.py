"""Sites that follow one another so plainly that eq. 4 bounds the gradient along them."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import onnx_ir as ir

from nla.graph import drafts, query
from nla.graph.weighted import Weighted
from nla.surgery.structure import Structure
from nla.surgery.weights.reads import goes_on
from nla.surgery.weights.way import Dark, Inward, Layer, Offset
from nla.surgery.weights.way import Factor as Factored
from nla.theory.gradient import log10_bounds
from nla.theory.slopes import largest_slope
from nla.theory.spectral import SpectralNorm, convolution_overlap
from nla.weights.judging import Judge
from nla.weights.results import Chain, Factor

_MOVING = frozenset(
    ("Identity", "Dropout", "Cast", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Pad")
)
_AVERAGING = frozenset(("AveragePool", "GlobalAveragePool", "GlobalMaxPool"))
"""Operators whose Jacobian has a norm of at most 1, whatever their windows, if these are whole."""
_ADDING = frozenset(("Add", "Sub", "Sum", "Mul", "Div", "Neg", "BatchNormalization"))
"""Constants on the way from a layer to z: in the slopes that the way knows."""
_LONGEST = 32


@dataclass(frozen=True)
class _Link:
    """From a site to the next, or to the layer that ends the chain."""

    factor: Factor
    to: str | None


def chains(judge: Judge) -> tuple[tuple[Chain, ...], dict[str, str]]:
    """The chains of a graph, longest first; and by site why eq. 4 does not lead on from it."""
    found, why = _Links(judge).all()
    followed = {link.to for link in found.values()}
    made = []
    for start in (name for name in found if name not in followed):
        links, name = [], start
        while name in found:
            links.append(found[name])
            name = found[name].to or ""
        factors = tuple(link.factor for link in links)
        stopped = why.get(name, "") if name else ""
        made.append(Chain(factors, log10_bounds([f.value for f in factors]), factors[-1].layer, stopped))
    return tuple(sorted(made, key=lambda chain: -len(chain.factors))), why


class Ends(Exception):  # noqa: N818 - no fault: the chain ends here
    """Why eq. 4 does not lead on from a site, a sentence."""


class _Links:
    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._structure: Structure = judge.structure
        self._ways = {name: judge.ways(name) for name in self._structure.drafts}
        self._makes: dict[ir.Node, list[str]] = {}
        for name, ways in self._ways.items():
            for way in () if isinstance(ways, str) else ways.ways:
                for step in way.steps:
                    if isinstance(step, Layer):
                        self._makes.setdefault(step.weighted.node, []).append(name)

    def all(self) -> tuple[dict[str, _Link], dict[str, str]]:
        """The links by the site that they lead from; and by site why there is none."""
        links: dict[str, _Link] = {}
        why: dict[str, str] = {}
        for name in self._structure.drafts:
            try:
                links[name] = self._link(name)
            except Ends as end:
                why[name] = str(end)
        return links, why

    def _link(self, name: str) -> _Link:
        draft = self._structure.drafts[name]
        slope = None
        if draft.what.found in (drafts.ACTIVATED, drafts.PROJECTED):
            slope = largest_slope(draft.what.activation)
        if slope is None:
            raise Ends("It is no function of one pre-activation: a product, a head, or a recurrent unit.")
        layer = self._reader(name)
        between = self._between(layer.data, draft.value)
        scale, to = self._arrives(layer)
        summed = self._judge.layers.summed_up(layer)
        if isinstance(summed, str):
            raise Ends(summed)
        if not np.isfinite(summed.operator_norm):
            raise Ends(f"The weights of {_named(layer.node)} hold NaN or infinities.")
        norm = SpectralNorm(summed.operator_norm, summed.operator_kind).times(
            scale * between, exact=scale == between == 1
        )
        return _Link(Factor(name, slope, query.node_name(layer.node), norm.value, norm.kind), to)

    def _reader(self, name: str) -> Weighted:
        """The only layer that reads the site."""
        draft = self._structure.drafts[name]
        found, complete, leak = self._structure.walk.flow.sources.readers(draft.source, draft.neurons)
        other = next((other for other, units in goes_on(self._structure, name) if units), None)
        if other is not None:
            raise Ends(
                f"Without a layer between it goes into '{other}' too: the chain branches (a residual)."
            )
        if leak is not None:
            raise Ends(f"It is read by {leak}.")
        readers = {use.weighted.node: use.weighted for use, _ in found}
        if len(readers) != 1 or not complete:
            raise Ends(
                f"{len(readers)} layers read it: the chain branches." if readers else "No layer reads it."
            )
        node, layer = next(iter(readers.items()))
        if node in self._structure.walk.cells:
            raise Ends(f"{_named(node)}, a recurrent layer, reads it.")
        return layer

    def _between(self, data: ir.Value, site: ir.Value) -> float:
        """A bound of what lies between the site and what its reader reads."""
        bound, value = 1.0, data
        for _ in range(_LONGEST):
            node = value.producer()
            if value is site:
                return bound
            if node is None:
                break
            bound *= factor_of_kept(node)
            value = node.inputs[0] or value
        raise Ends("What lies between it and the next layer is not followed.")

    def _arrives(self, layer: Weighted) -> tuple[float, str | None]:
        """(largest scale between the layer and the next z, that site); the layer itself where it feeds none."""
        names = self._makes.get(layer.node, [])
        if not names:
            return 1.0, None
        ways = self._ways[names[0]]
        if len(names) > 1 or not isinstance(ways, Inward) or ways.up is not None:
            raise Ends(f"{_named(layer.node)} feeds several sites, or a gated product: the chain branches.")
        other = [step for step in ways.z.steps if isinstance(step, Dark | Layer)]
        if len(other) != 1 or not ways.z.crossed <= _MOVING | _ADDING:
            raise Ends(
                f"'{names[0]}' is made of more than {_named(layer.node)}: the chain branches (a residual)."
            )
        if any(isinstance(step, Offset | Factored) and self._repeats(step.node) for step in ways.z.steps):
            raise Ends(f"What {_named(layer.node)} makes is repeated on the way to '{names[0]}'.")
        scale = float(np.max(np.abs(other[0].seen.slope), initial=0.0))
        if not np.isfinite(scale):
            raise Ends(f"What stands between {_named(layer.node)} and '{names[0]}' is not followed.")
        return scale, names[0]

    def _repeats(self, node: ir.Node) -> bool:
        """Whether a node spreads what it reads along axes of its constant, so that a number arrives several times."""
        flow = self._structure.walk.flow
        made = flow.shapes.dims(node.outputs[0])
        for value in query.operands(node):
            sizes = None if value in flow.constants else flow.shapes.dims(value)
            if sizes is not None and made is not None:
                ones = (1,) * (len(made) - len(sizes))
                if any(size == 1 != other for size, other in zip((*ones, *sizes), made, strict=True)):
                    return True
        return False


def factor_of_kept(node: ir.Node) -> float:
    """A bound of what an operator that only moves, averages or picks numbers multiplies norms with. Raises Ends."""
    kind = query.kind(node)
    if kind == "MaxPool" or (kind == "AveragePool" and _averages_less_at_borders(node)):
        return sqrt(_windows(node))
    repeats = kind == "Pad" and query.text(node, "mode", "constant") != "constant"
    if kind not in _MOVING | _AVERAGING or repeats:
        raise Ends(f"{_named(node)} stands between it and the next layer.")
    return 1.0


def _averages_less_at_borders(node: ir.Node) -> bool:
    """Whether some windows are cut off and divide by less: a number may then have a part of more than one in all."""
    padded = any(query.integers(node, "pads") or ()) or query.text(node, "auto_pad", "NOTSET") != "NOTSET"
    return (padded and not query.integer(node, "count_include_pad", 0)) or bool(
        query.integer(node, "ceil_mode", 0)
    )


def _windows(node: ir.Node) -> int:
    """How many windows of a pooling one position lies in at most."""
    kernel = query.integers(node, "kernel_shape") or ()
    ones = (1,) * len(kernel)
    strides = query.integers(node, "strides") or ones
    dilations = query.integers(node, "dilations") or ones
    fits = len(strides) == len(dilations) == len(kernel) and min((*strides, *dilations, 1)) >= 1
    if min((*kernel, 1)) < 1:
        raise Ends(f"{_named(node)} has windows of no size.")
    return convolution_overlap(kernel, strides if fits else ones, dilations if fits else ones)


def _named(node: ir.Node) -> str:
    return f"{query.kind(node)} '{query.node_name(node)}'"
