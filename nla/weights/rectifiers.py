"""What the child reads off a checkpoint for `nla theory trainability`: its ReLU layers and the ways through them.

No weight is read. For every tensor two things are followed through the graph: whether it can be negative, and of all
paths from the data to it the one whose ReLU layers are least in danger. Where data meet in a sum or side by side, one
living path is enough; where they are multiplied, all of them must live, but for factors that are never zero (Sigmoid).
That is not enough where several of the factors may be zero at single places: two rectified vectors that live at
different neurons have a product that is zero. And of a layer whose neurons are split, or of which some are taken, only
as many count as any one part has: a point that lives at the others alone does not arrive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.activations import Activation
from nla.architectures.opening import open_checkpoint
from nla.errors import ModelError, one_line
from nla.graph import drafts, query
from nla.graph.activations import recognise
from nla.graph.assemble import assemble
from nla.graph.channels import NOBODY, Channels
from nla.graph.coupling import Coupling
from nla.graph.drafts import Draft
from nla.graph.find import walked
from nla.graph.prepare import prepare
from nla.graph.weighted import Weighted
from nla.site import Site
from nla.surgery.structure import Structure
from nla.surgery.weights import way
from nla.surgery.weights.inward import inward
from nla.surgery.weights.way import Dark, Norm, Offset, layers
from nla.theory.layers import Layer
from nla.theory.trainability import Placed, Uncovered
from nla.weights.signs import NEVER_ZERO, Signs

Report = Callable[[dict[str, Any]], None]

_NO_DATA = query.UNREAD | {"Range"}
_BESIDE = frozenset(("Add", "Sub", "Sum", "Mean", "Max", "Concat"))
"""Operators whose output depends on the data while one operand does; Max where no operand is negative."""
_TAKING = frozenset(("Split", "Slice", "Gather"))
"""Operators that may hand on some channels only."""


@dataclass(frozen=True)
class _Path:
    """Of the paths from the data to a tensor, the least dangerous; or what all of several must pass."""

    danger: float
    """Σ -ln(1 - 2^-n) over its layers."""
    layers: int
    """A bit for each, by its place among the counted."""

    def __lt__(self, other: _Path) -> bool:
        return (self.danger, self.layers.bit_count()) < (other.danger, other.layers.bit_count())


def read(
    arguments: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], report: Report
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The rectifiers of a checkpoint in plain values: layers, uncovered, checkpoint, notes.

    Raises:
        ModelError, UsageError: the checkpoint cannot be used, or has no site.
    """
    report({"phase": "reading the model"})
    checkpoint = open_checkpoint(arguments["model"], **arguments["construction"])
    constants = {
        **arguments["constants"],
        **{name.removeprefix("constant/"): array for name, array in arrays.items()},
    }
    prepared = prepare(checkpoint, constants)
    report({"phase": "looking for sites"})
    walk = walked(prepared.model)
    coupling = Coupling(walk)
    sites = {site.name: site for site in assemble(walk, frozenset(), coupling, norms=False)}
    structure = Structure(walk, coupling, sites, _by_name(walk.drafts))
    found = [structure.sites[name] for name in structure.drafts if name in structure.sites]
    if not found:
        raise ModelError(
            f"{one_line(arguments['model'])}: no layer of neurons was found; `nla sites` lists what was not "
            "understood; for a network that is not yet built give --width and --depth, or --widths"
        )
    made = Rectifiers(structure, bool(arguments["non_negative"]), not arguments["no_bias"])
    placed, uncovered = made.all(found)
    plain = {
        "layers": [_plain(each) for each in placed],
        "uncovered": [each.to_dict() for each in uncovered],
        "checkpoint": {
            **checkpoint.describe(),
            "parameters": prepared.parameters,
            **arguments["construction"],
        },
        "notes": [
            *prepared.notes,
            *_notes([structure.sites[each.layer.name] for each in placed if _counts(each)]),
        ],
    }
    return plain, {}


def _counts(placed: Placed) -> bool:
    return placed.on_shortest or placed.on_every_path


def _notes(sites: Sequence[Site]) -> Iterator[str]:
    """What is taken otherwise than it is: ceilings."""
    if any(site.activation.name != "Relu" for site in sites):
        yield "a ReLU with a ceiling counts as alive above it too, where it has no gradient"


def _by_name(found: Sequence[Draft]) -> dict[str, Draft]:
    named: dict[str, Draft] = {}
    for draft in found:
        named.setdefault(query.name(draft.value), draft)
    return named


def _plain(placed: Placed) -> dict[str, Any]:
    return {
        "layer": asdict(placed.layer),
        "on_every_path": placed.on_every_path,
        "on_shortest": placed.on_shortest,
        "certain": placed.certain,
        "convolution": placed.convolution,
    }


class Rectifiers:
    """The ReLU layers of one graph."""

    def __init__(self, structure: Structure, non_negative: bool, bias: bool) -> None:
        self._structure = structure
        self._bias = bias
        walk = structure.walk
        self._patterns = recognise(walk.nodes, walk.flow.constants)
        self._signs = Signs(walk, self._patterns, non_negative)
        self._parts = self._smallest_parts()
        self._silencers = dict(self._find_silencers())

    def all(self, sites: list[Site]) -> tuple[list[Placed], list[Uncovered]]:
        """(layers that the bounds count, those of which they say nothing), both in graph order."""
        counted: dict[str, Placed] = {}
        uncovered: dict[str, Uncovered] = {}
        drawn: dict[
            str, tuple[str, str]
        ] = {}  # by weight the node that reads it, and the first site that it makes
        for site in sites:
            found = self._judged(site)
            again = (drawn[each.weight] for each in site.producers if each.weight in drawn)
            nodes = {each.node for each in site.producers}
            shared = next((first for node, first in again if node not in nodes), None)
            if shared is not None and not isinstance(found, str):
                found = f"It has weights of '{shared}', and the bounds are of weights that are drawn apart."
            if isinstance(found, str):
                uncovered[site.name] = Uncovered(site.name, site.activation.name, site.neurons, found)
            else:
                counted[site.name] = found
                for each in site.producers:
                    drawn.setdefault(each.weight, (each.node, site.name))
        others = {
            query.name(value): Uncovered(query.name(value), kind, 0, reason)
            for value, (kind, reason) in self._silencers.items()
        }
        shortest = self._shortest(
            {
                **dict.fromkeys(others, math.inf),
                **{name: danger(placed.layer) for name, placed in counted.items()},
                **{name: math.inf for name in uncovered if self._may_silence(self._structure.sites[name])},
            }
        )
        uncovered = {**others, **uncovered}
        return (
            [replace(placed, on_shortest=name in shortest) for name, placed in counted.items()],
            [replace(each, in_the_way=name in shortest) for name, each in uncovered.items()],
        )

    # --- one site

    def _judged(self, site: Site) -> Placed | str:
        """The site as a layer of the bounds; or why it is none, a sentence."""
        why = self._why_no_layer(site)
        ways = why or inward(self._structure, site.name)
        if isinstance(ways, str):
            return ways
        steps = ways.z.steps
        parts: dict[Weighted, set[int]] = {}
        seen: dict[Weighted, list[NDArray[np.int64]]] = {}
        for layer in layers(ways.z):
            parts.setdefault(layer.weighted, set()).update(_units(layer))
            seen.setdefault(layer.weighted, []).append(layer.seen.unit)
        made = list(parts)
        if not made:
            return "No weighted layer makes it."
        if self._reads_itself(parts):
            return "Its pre-activations are a sum, of which one part is made of another: their signs hang together."
        dark = [step for step in steps if isinstance(step, Dark)]
        if not all(self._adds_no_negative(step) for step in dark):
            return (
                "What is added to its pre-activations may be negative: the bounds do not hold for such a sum."
            )
        biased = {unit for step in steps if isinstance(step, Offset) for unit in _units(step)}
        biased.update(unit for each, units in parts.items() if each.bias is not None for unit in units)
        weights = sum(len(units) * _weights_of_one(each) for each, units in parts.items())
        groups = max(each.groups for each in made)
        groups = groups if site.neurons % groups == 0 else 1
        biased = biased if self._bias else set()
        reached = min(_reached(each, units, biased) for each, units in seen.items())
        reached = min(reached, self._parts.get(self._structure.drafts[site.name].source, reached))
        if not reached:
            return "What lives may be read by none of its neurons."
        return Placed(
            Layer(
                site.neurons,
                max(1, -(-weights // site.neurons)),
                bool(biased),
                groups,
                name=site.name,
                reached=reached,
            ),
            site.bottleneck,
            certain=self._why_uncertain(made, bool(dark), any(isinstance(step, Norm) for step in steps)),
            convolution=any(each.spatial for each in made),
        )

    def _reads_itself(self, parts: Mapping[Weighted, set[int]]) -> bool:
        """Whether units are sums of several layers, one of which reads what another makes: z + W·ReLU(z).

        With one unit that lives in 0.42 of draws, and not in half of them, for turning the signs of a unit's weights
        turns what it is a function of.
        """
        if sum(map(len, parts.values())) == len(set().union(*parts.values())):
            return False
        nodes = {each.node for each in parts}
        seen: set[ir.Node] = set()
        open_ = [each.data for each in parts]
        while open_:
            node = open_.pop().producer()
            if node in nodes:
                return True
            if node is not None and node not in seen:
                seen.add(node)
                open_.extend(query.captured(node) if query.is_control_flow(node) else query.operands(node))
        return False

    def _may_silence(self, site: Site) -> bool:
        """Whether a site of which the bounds say nothing can silence all data; what only passes data on cannot."""
        if not site.activation.reaches_zero:
            return False
        ways = inward(self._structure, site.name)
        if isinstance(ways, str) or ways.up is not None:
            return True
        passes = all(isinstance(step, Dark) and self._adds_no_negative(step) for step in ways.z.steps)
        return not (rectifies(site.activation) and ways.z.steps and passes)

    def _adds_no_negative(self, step: Dark) -> bool:
        """Whether what has a part in the pre-activations, beside weights of their own, is added and never negative."""
        value, node = step.seen.value, step.seen.value.producer()
        if not (step.seen.slope >= 0).all():
            return False
        if value in self._signs.never_negative:
            return True
        flow = self._structure.walk.flow  # a sum: of its operands those without channels were not followed
        return (
            node is not None
            and query.kind(node) in ("Add", "Sum")
            and all(
                operand in self._signs.never_negative
                for operand in query.operands(node)
                if operand not in flow.constants and flow.channels(operand) is None
            )
        )

    def _why_no_layer(self, site: Site) -> str:
        """Why the bounds do not speak of such a site at all, a sentence; "" where they may."""
        if site.role == "recurrent":
            return "Recurrent units read their own outputs."
        if not rectifies(site.activation):
            return "Its activation is not a ReLU."
        gated = self._structure.drafts[site.name].what.found == drafts.GATED
        return "It is a gated product." if gated else ""

    def _why_uncertain(self, made: list[Weighted], skip: bool, norm: bool) -> str:
        """Why negative parameters would not kill the layer for sure, a phrase; "" where they would."""
        if norm:
            return "a normalisation centres its pre-activations"
        if skip:
            return "a skip connection is added to its pre-activations"
        for each in made:
            if each.data not in self._signs.never_negative:
                data = each.data.is_graph_input()
                return "it reads data of both signs" if data else "it reads values of both signs"
        return ""

    # --- what may silence without being a layer

    def _smallest_parts(self) -> dict[int, int]:
        """By source of channels, how many of its neurons the smallest part has that is split off or taken."""
        found: dict[int, int] = {}
        for node in self._structure.walk.nodes:
            for value in node.outputs if query.kind(node) in _TAKING else ():
                fact = self._structure.walk.flow.channels(value)
                if not isinstance(fact, Channels):
                    continue
                source, index = fact.flat()
                for each in fact.sources():
                    many = len(np.unique(index[source == each]))
                    found[each] = min(found.get(each, many), many)
        return found

    def _find_silencers(self) -> Iterator[tuple[ir.Value, tuple[str, str]]]:
        """What is no site and may be zero while all that it reads lives: (tensor, (its kind, why))."""
        walk = self._structure.walk
        patterns = self._patterns
        inside = {node for pattern in patterns.values() for node in pattern.nodes}
        sites = {draft.value: draft.what.activation for draft in walk.drafts}
        known = {*sites, *(draft.what.gate for draft in walk.drafts)} - {None}
        holed: set[ir.Value] = set()  # may be zero at single places though it lives
        for node in walk.nodes:
            kind = query.kind(node)
            read = query.captured(node) if query.is_control_flow(node) else query.operands(node)
            data = [value for value in dict.fromkeys(read) if value not in walk.flow.constants]
            holes = [value for value in data if value in holed and value not in self._signs.never_zero]
            for value in node.outputs:
                pattern, activation = patterns.get(value), sites.get(value)
                if pattern is not None and not pattern.tentative:
                    activation = activation or pattern.activation
                    if known.isdisjoint((value, pattern.tensor)) and self._rectified(pattern.z, activation):
                        yield value, (kind, "An activation whose neurons are not known may silence all data.")
                elif node not in inside and self._meets_holes(node, holes) and value not in known:
                    yield value, (kind, "What it joins may be zero at other neurons each.")
                zero = activation.reaches_zero if activation else self._keeps_holes(node, read, data, holes)
                if zero:
                    holed.add(value)

    def _rectified(self, z: ir.Value, activation: Activation | None) -> bool:
        """Whether an activation may make zeros of what lives."""
        if activation is None:
            return True
        return activation.reaches_zero and not (rectifies(activation) and z in self._signs.never_negative)

    def _meets_holes(self, node: ir.Node, holes: Sequence[ir.Value]) -> bool:
        """Whether operands meet so that all must live at one place, several of which may be zero at some."""
        kind = query.kind(node)
        return len(holes) > 1 and kind != "Div" and not self._beside(node)

    def _keeps_holes(
        self, node: ir.Node, read: Sequence[ir.Value], data: Sequence[ir.Value], holes: Sequence[ir.Value]
    ) -> bool:
        """Whether the result of a node may be zero at single places, for its operands `holes` may be."""
        kind, walk = query.kind(node), self._structure.walk
        if kind in _NO_DATA or kind in NEVER_ZERO:
            return False
        if node in walk.layers:
            return bool(holes) and (walk.layers[node].groups > 1 or walk.layers[node].spatial)
        if kind in ("Add", "Sub", "Sum", "Mean"):
            constants = [walk.flow.constants.array(value) for value in read if value not in data]
            moved = any(array is not None and array.size and array.all() for array in constants)
            return len(holes) == len(data) > 0 and not moved
        return bool(holes)

    def _beside(self, node: ir.Node) -> bool:
        """Whether one living operand is enough."""
        kind = query.kind(node)
        return kind in _BESIDE and (
            kind != "Max" or all(map(self._signs.is_never_negative, query.operands(node)))
        )

    # --- paths

    def _shortest(self, dangers: Mapping[str, float]) -> set[str]:
        """Of layers with these dangers, those on the least dangerous path to an output."""
        walk, names = self._structure.walk, {name: at for at, name in enumerate(dangers)}
        bits = {
            draft.value: names[query.name(draft.value)]
            for draft in walk.drafts
            if query.name(draft.value) in names
        }
        bits |= {value: names[query.name(value)] for value in self._silencers}
        each = list(dangers.values())
        free = _Path(0.0, 0)
        paths: dict[ir.Value, _Path] = {
            value: free for value in walk.graph.inputs if value not in walk.flow.constants
        }
        for node in walk.nodes:
            if query.kind(node) in _NO_DATA:
                continue
            met = [paths[value] for value in self._must_live(node) if value in paths]
            if not met:
                continue
            path = min(met) if self._beside(node) else _joined(met, each)
            for value in node.outputs:
                at = bits.get(value)
                paths[value] = path if at is None else _joined([path, _Path(each[at], 1 << at)], each)
        ends = [paths[value] for value in walk.graph.outputs if value in paths]
        layers = min(ends).layers if ends else 0
        return {name for name, at in names.items() if layers >> at & 1}

    def _must_live(self, node: ir.Node) -> Sequence[ir.Value]:
        """What a node reads, but for factors that are never zero where another factor has data."""
        if query.is_control_flow(node):
            return query.captured(node)
        read = query.operands(node)
        if query.kind(node) == "Div" and read[0] not in self._structure.walk.flow.constants:
            return read[:1]  # a divisor that is zero makes no zero
        factors = [value for value in read if value not in self._signs.never_zero]
        data = [value for value in factors if value not in self._structure.walk.flow.constants]
        return factors if query.kind(node) in ("Mul", "Div") and data else read


def _units(step: way.Layer | Offset) -> set[int]:
    """The units that a step has a part in."""
    return set(np.unique(step.seen.unit).tolist()) - {NOBODY}


def _reached(weighted: Weighted, seen: Sequence[NDArray[np.int64]], biased: set[int]) -> int:
    """How many of a layer's units, and of those with a bias, a living point that the layer reads moves at least.

    `seen` are the units that its channels become, [channels] each; a point that lives in one group is seen by its
    channels alone.
    """
    groups = weighted.groups if all(units.size % weighted.groups == 0 for units in seen) else 1
    if groups != weighted.groups:
        return len(biased)
    parts = [
        np.concatenate(rows) for rows in zip(*(units.reshape(groups, -1) for units in seen), strict=True)
    ]
    return min(len((set(part.tolist()) - {NOBODY}) | biased) for part in parts)


def _weights_of_one(weighted: Weighted) -> int:
    """Weights of one output channel, its bias left out."""
    return max(1, weighted.parameters - (weighted.bias is not None))


def _joined(paths: list[_Path], dangers: list[float]) -> _Path:
    """What must live where all of the paths must."""
    together = 0
    for path in paths:
        together |= path.layers
    if len(paths) == 1:
        return paths[0]
    return _Path(math.fsum(d for at, d in enumerate(dangers) if together >> at & 1), together)


def danger(layer: Layer) -> float:
    """-ln(1 - 2^-n): what the layer adds to -ln of the lower bound."""
    return -math.log1p(-(2.0**layer.log2_death_at_most))


def rectifies(activation: Activation) -> bool:
    """True for ReLU and for ReLU with a ceiling: 0 for every z ≤ 0, and above 0 for every other."""
    return activation.name == "Relu" or (
        activation.name == "Clip" and dict(activation.parameters)["min"] == 0.0
    )
