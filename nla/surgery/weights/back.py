"""The walk back from a pre-activation: what every channel on the way becomes, and who reads it."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.channels import NOBODY, Channels
from nla.surgery.structure import Structure
from nla.surgery.weights.matching import alike, is_per_channel, matched, spread
from nla.surgery.weights.patterns import patterns_of
from nla.surgery.weights.way import (
    LINEAR,
    SHIFTING,
    ZERO_KEEPING,
    Bools,
    Dark,
    Factor,
    Floats,
    Integers,
    Layer,
    Norm,
    Offset,
    Seen,
    Step,
    Way,
)

_MOST_STEPS = 256
_SELECTING = frozenset(("Split", "Slice", "Gather"))
_ELEMENTWISE = frozenset(
    ("Add", "Sub", "Sum", "Mul", "Div", "Neg", "BatchNormalization", "InstanceNormalization", "Gemm")
)


@dataclass(eq=False)
class _Reach:
    """What is known of a tensor before all of its readers are crossed."""

    unit: Integers
    slope: Floats
    covered: Bools
    conflict: bool = False


@dataclass(eq=False)
class Back:
    """One walk back from `start`, whose channels are `fact`; `readers` are the nodes of the activation.

    `hidden` is the activation where it adds a bias (operand 1) to `start` itself.
    """

    structure: Structure
    start: ir.Value
    fact: Channels
    readers: frozenset[ir.Node] | None
    hidden: ir.Node | None = None
    _reached: dict[ir.Value, _Reach] = field(default_factory=dict)
    _done: dict[ir.Value, Seen] = field(default_factory=dict)
    _crossed: dict[ir.Node, list[tuple[ir.Value, ir.Value, Integers]]] = field(default_factory=dict)
    """By node: (output, operand, place in the operand of each channel of the output or NOBODY)."""
    _steps: list[Step] = field(default_factory=list)
    _waiting: list[tuple[int, int, ir.Value]] = field(default_factory=list)

    def way(self) -> Way:
        """Walk."""
        size = self.fact.size
        self._stops = {draft.value for draft in self.structure.walk.drafts} - {self.start}
        self._stops.update(patterns_of(self.structure))
        self._push(self.start, _Reach(np.arange(size), np.ones(size), np.zeros(size, bool)))
        while self._waiting:
            value = heapq.heappop(self._waiting)[2]
            self._visit(self._see(value))
        kinds = frozenset(query.kind(node) for node in self._crossed)
        return Way(self.start, self.fact, tuple(self._steps), kinds, self.readers)

    def _push(self, value: ir.Value, reach: _Reach) -> None:
        self._reached[value] = reach
        heapq.heappush(self._waiting, (-self.structure.walk.place(value), len(self._reached), value))

    def _see(self, value: ir.Value) -> Seen:
        reach = self._reached[value]
        fact = self._fact(value)
        seen = Seen(value, fact, reach.unit, reach.slope, self._own(value, fact), reach.covered)
        self._done[value] = seen
        return seen

    def _fact(self, value: ir.Value) -> Channels:
        if value is self.start:
            return self.fact
        fact = self.structure.walk.flow.channels(value)
        assert fact is not None  # only such are pushed
        return fact

    # --- what a value is made of

    def _visit(self, seen: Seen) -> None:
        value, node = seen.value, seen.value.producer()
        if value is self.start and self.hidden is not None:
            self._steps.append(Offset(seen, self.hidden, 1))
        if self._reached[value].conflict or len(self._done) > _MOST_STEPS:
            self._dark(seen, "its channels are spread over several units'")
        elif node is None or (value is not self.start and value in self._stops):
            what = "the site" if node is not None else "the graph input"
            self._dark(seen, f"{what} '{query.name(value)}' has a part in it")
        elif node in self.structure.walk.layers:
            self._layer(seen, node)
        else:
            self._step(seen, node)

    def _dark(self, seen: Seen, reason: str) -> None:
        self._steps.append(Dark(seen, reason))

    def _layer(self, seen: Seen, node: ir.Node) -> None:
        weighted = self.structure.walk.layers[node]
        self._steps.append(Layer(seen, weighted))
        if weighted.added is not None:
            self._into(seen, node, weighted.added, seen.slope * query.real(node, "beta", 1.0))
        if query.kind(node) == "com.microsoft.FusedConv" and query.operand(node, 3) is not None:
            self._dark(seen, f"{_named(node)} adds a tensor to it")

    def _step(self, seen: Seen, node: ir.Node) -> None:
        kind = query.kind(node)
        if kind in ("Add", "Sub", "Sum"):
            self._sum(seen, node)
        elif kind in ("Mul", "Div"):
            self._product(seen, node)
        elif kind in ("BatchNormalization", "InstanceNormalization", "LayerNormalization"):
            self._norm(seen, node)
        elif kind == "Neg":
            self._into(seen, node, node.inputs[0], -seen.slope)
        elif kind == "Concat":
            for operand in query.operands(node):
                if self.structure.walk.flow.channels(operand) is not None:
                    self._into(seen, node, operand, seen.slope)
        elif kind in LINEAR or kind in SHIFTING or kind in ZERO_KEEPING:
            known = kind not in ZERO_KEEPING and not query.integer(node, "count_include_pad")
            self._into(seen, node, node.inputs[0], seen.slope if known else np.full(len(seen.slope), np.nan))
        else:
            self._dark(seen, f"{_named(node)} has a part in it")

    def _sum(self, seen: Seen, node: ir.Node) -> None:
        flow = self.structure.walk.flow
        for at, operand in enumerate(node.inputs):
            if operand is None or not operand.name:
                continue
            sign = -1.0 if at and query.kind(node) == "Sub" else 1.0
            if operand in flow.constants:
                self._steps.append(Offset(seen, node, at, sign))
            elif alike(flow.channels(operand), seen.fact):
                self._into(seen, node, operand, sign * seen.slope)
            else:
                self._dark(seen, f"{_named(node)} adds '{query.name(operand)}' to it")

    def _product(self, seen: Seen, node: ir.Node) -> None:
        flow = self.structure.walk.flow
        branches = [v for v in query.operands(node) if alike(flow.channels(v), seen.fact)]
        if len(branches) != 1 or len(query.operands(node)) != 2 or node.inputs[0] in self._of_division(node):
            self._dark(seen, f"{_named(node)} multiplies it")
            return
        value = branches[0]
        other = query.other(node, value)
        divides = query.kind(node) == "Div"
        slope, covered = np.full(len(seen.slope), np.nan), seen.covered
        factor = self._per_channel(seen, other) if other in flow.constants else None
        if factor is not None and other is not None:
            with np.errstate(all="ignore"):
                slope = seen.slope / factor if divides else seen.slope * factor
            shape = flow.constants.shape(other) or ()
            if not divides and is_per_channel(shape, seen.fact):
                covered = covered | seen.own
            if is_per_channel(shape, seen.fact):
                self._steps.append(Factor(seen, node, 1 - list(node.inputs).index(value), divides))
        self._into(seen, node, value, slope, covered)

    def _of_division(self, node: ir.Node) -> tuple[ir.Value | None, ...]:
        """The dividend where it is constant: c / x is not linear in x."""
        constant = query.kind(node) == "Div" and node.inputs[0] in self.structure.walk.flow.constants
        return (node.inputs[0],) if constant else ()

    def _norm(self, seen: Seen, node: ir.Node) -> None:
        kind, fact = query.kind(node), seen.fact
        last = kind == "LayerNormalization"
        scale = self._vector(node, 1, fact.size)
        rank = fact.rank if fact.rank is not None else self.structure.walk.flow.rank(node.inputs[0])
        placed = (
            len(fact.axes) == 1
            and rank is not None
            and (fact.axes == (-1,) if last else fact.axes[0] + rank == 1)
        )
        if scale is None or not placed or query.integer(node, "training_mode"):
            self._dark(seen, f"{_named(node)} has a part in it")
            return
        self._steps.append(Norm(seen, node))
        covered = seen.covered | seen.own
        if last:  # every channel has a part in it, the scale alone is the unit's
            self._dark(
                Seen(seen.value, fact, seen.unit, seen.slope, seen.own, covered),
                f"{_named(node)} mixes channels",
            )
            return
        slope = np.full(fact.size, np.nan)
        variance = self._vector(node, 4, fact.size) if kind == "BatchNormalization" else None
        if variance is not None:
            with np.errstate(all="ignore"):
                slope = seen.slope * scale / np.sqrt(variance + query.real(node, "epsilon", 1e-5))
        self._into(seen, node, node.inputs[0], slope, covered)

    def _vector(self, node: ir.Node, at: int, size: int) -> Floats | None:
        value = query.operand(node, at)
        array = None if value is None else self.structure.walk.flow.constants.weight(value)
        return None if array is None or array.shape != (size,) else np.asarray(array, np.float64)

    def _per_channel(self, seen: Seen, value: ir.Value | None) -> Floats | None:
        """The constant's number for every channel; None where it has several for one."""
        array = None if value is None else self.structure.walk.flow.constants.weight(value)
        if array is None or array.dtype.kind in "OSU":
            return None
        return spread(np.asarray(array, np.float64), seen.fact)

    # --- going back

    def _into(
        self, seen: Seen, node: ir.Node, operand: ir.Value | None, slope: Floats, covered: Bools | None = None
    ) -> None:
        """Go on with an operand: its channels are matched with those of the output."""
        fact = self.structure.walk.flow.channels(operand)
        places = None if fact is None else matched(seen.fact, fact, by_place=query.kind(node) in _ELEMENTWISE)
        if operand is None or fact is None or places is None:
            self._dark(seen, f"{_named(node)} takes its channels from where they are not followed")
            return
        self._crossed.setdefault(node, []).append((seen.value, operand, places))
        reach = self._reached.get(operand)
        if reach is None:
            reach = _Reach(np.full(fact.size, NOBODY), np.zeros(fact.size), np.ones(fact.size, bool))
            self._push(operand, reach)
        here = np.flatnonzero((places != NOBODY) & (seen.unit != NOBODY))
        there, unit = places[here], seen.unit[here]
        before = reach.unit[there]
        reach.conflict |= bool(((before != NOBODY) & (before != unit)).any())
        reach.unit[there] = unit
        reach.slope[there] += slope[here]
        reach.covered[there] &= (seen.covered if covered is None else covered)[here]

    def _own(self, value: ir.Value, fact: Channels) -> Bools:
        """Which channels of the value are read on the way to the site alone."""
        if value is self.start and self.readers is None:
            return np.ones(fact.size, bool)
        own = np.full(fact.size, not value.is_graph_output())
        for node in {use.node for use in value.uses()}:
            if value is self.start and self.readers is not None and node in self.readers:
                continue
            if query.kind(node) in ("Shape", "Size") or not any(map(_is_read, node.outputs)):
                continue
            own &= self._read_by(value, fact, node)
        return own

    def _read_by(self, value: ir.Value, fact: Channels, node: ir.Node) -> Bools:
        own = np.ones(fact.size, bool)
        maps = [(out, places) for out, operand, places in self._crossed.get(node, ()) if operand is value]
        if not maps and query.kind(node) not in _SELECTING:
            return np.zeros(fact.size, bool)
        for out in filter(_is_read, node.outputs):
            crossed = [places for made, places in maps if made is out]
            for places in crossed:
                here = np.flatnonzero(places != NOBODY)
                np.logical_and.at(own, places[here], self._done[out].own[here])
            if not crossed:
                own &= ~self._carries(out, fact)
        return own

    def _carries(self, out: ir.Value, fact: Channels) -> Bools:
        """Which channels of the fact are among those of another output."""
        other = self.structure.walk.flow.channels(out)
        places = None if other is None else matched(other, fact)
        carried = np.full(fact.size, places is None)
        if places is not None:
            carried[places[places != NOBODY]] = True
        return carried


def _is_read(value: ir.Value) -> bool:
    return bool(value.name) and (value.is_graph_output() or bool(value.uses()))


def _named(node: ir.Node) -> str:
    return f"{query.kind(node)} '{query.node_name(node)}'"
