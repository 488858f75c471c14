"""Which channels leave a graph together, and which cannot leave: what surgery may cut, channel by channel.

The elements are the channels of every source that a walk found. Two are one *group* where cutting one without
the other would leave a graph that does not fit: a site's neurons and what they are made of, the partners of a
sum or product, in and out of a depthwise convolution, the channels of a tensor with several channel axes that
only a whole slice can leave, all of a head of attention. A group is locked where one of its channels must stay
(`graph.keeping`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.graph import drafts, query
from nla.graph.channels import NOBODY, Channels
from nla.graph.components import Integers, components, joined
from nla.graph.drafts import Draft
from nla.graph.heads import Heads, told_apart
from nla.graph.keeping import Keeping, depthwise
from nla.graph.sources import Join
from nla.graph.walk import Walk
from nla.site import MOST_GROUPS

LOCKED = -1
"""Group of a channel that never leaves."""

_TOO_MANY = f"the graph, which has more than {MOST_GROUPS} channels"
_FREE = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Placed:
    """Where the channels of a tensor lie, and the group of each."""

    axes: tuple[int, ...]
    """Negative, ascending, as those of `Channels`."""
    groups: NDArray[np.int64]
    """Group of every channel, in the shape of the axes; LOCKED for one that never leaves."""


class Coupling:
    """The channel groups of a graph, 0, 1, 2, … in graph order; locked ones have the last numbers."""

    def __init__(self, walk: Walk) -> None:
        self._flow = walk.flow
        self._drafts: dict[str, Draft] = {}
        for draft in walk.drafts:
            self._drafts.setdefault(query.name(draft.value), draft)
        self._values = {value.name: value for node in walk.nodes for value in node.outputs if value.name}
        self._placed: dict[Channels, Placed] = {}
        self._elements = _Elements(walk)
        told = {node: told_apart(walk.flow, node) for node in walk.nodes if node in walk.attention}
        self._heads = [heads for heads in told.values() if isinstance(heads, Heads)]
        self._found = _grouped(walk, self._elements, told)
        self._views = {value: fact for heads in self._heads for value, fact in heads.views.items()}
        self._scores = {value: heads for heads in self._heads for value in heads.scores}

    def placed(self, value: ir.Value) -> Placed | None:
        """Where the value's channels lie; None where none are followed (constants included)."""
        fact = self._flow.channels(value) or self._views.get(value)
        if fact is None:
            return self._placed_scores(value)
        if fact not in self._placed:
            numbers = self._numbers(self._elements.of(fact)).reshape(fact.index.shape)
            self._placed[fact] = Placed(fact.axes, self._found.open(numbers))
            self._placed[fact].groups.setflags(write=False)
        return self._placed[fact]

    @property
    def products(self) -> frozenset[ir.Node]:
        """The nodes of attention that compute with heads on both sides: nothing in them is to be cut."""
        return frozenset(node for heads in self._heads for node in heads.nodes)

    def _placed_scores(self, value: ir.Value) -> Placed | None:
        """Scores have no channels, but an axis of heads."""
        heads = self._scores.get(value)
        if heads is None:
            return None
        fact, axis = heads.members[0]
        numbers = self._numbers(self._elements.of(fact)).reshape(fact.index.shape)
        first = _slices(numbers, fact.axes.index(axis))[:, 0]
        return Placed((heads.scores[value],), self._found.open(first))

    def groups(self, name: str) -> NDArray[np.int64]:
        """int64 [neurons], the group of every neuron of the site `name`; LOCKED for those that never leave.

        Raises:
            KeyError: no tensor of that name has neurons.
        """
        return self._found.open(self.everyone(name))

    def everyone(self, name: str) -> NDArray[np.int64]:
        """As `groups`, with the numbers of locked groups too: `lock` tells what keeps them."""
        draft = self._drafts.get(name)
        if draft is not None:
            return self._numbers(self._elements.among(draft.source, np.arange(draft.neurons)))
        fact = self._flow.channels(self._values[name])
        if fact is None:
            raise KeyError(name)
        return self._numbers(self._elements.of(fact))

    def lock(self, group: int) -> str | None:
        """What keeps the group in the graph, a noun phrase that goes on from 'kept by'; None: it can leave."""
        return self._found.lock(group)

    def kept(self, name: str) -> str | None:
        """What keeps the first neuron of the site that cannot leave; None where all can."""
        numbers = self.everyone(name)
        held = numbers[self._found.open(numbers) == LOCKED]
        return self.lock(int(held[0])) if len(held) else None

    def sharing(self, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """For each of the sites those others, in the order given, that have a channel in one of its groups."""
        shared: list[set[int]] = [set() for _ in names]
        if self._elements.too_many:
            return dict.fromkeys(names, ())
        own = [np.unique(self.everyone(name)) for name in names]
        groups = np.concatenate([np.zeros(0, np.int64), *own])
        at = np.repeat(np.arange(len(own)), [len(numbers) for numbers in own])
        order = np.argsort(groups, kind="stable")  # within a group the sites stay in order
        starts = np.flatnonzero(np.diff(groups[order], prepend=LOCKED - 1))
        ends = np.append(starts[1:], len(order))
        several = ends - starts > 1
        together = {at[order[a:b]].tobytes() for a, b in zip(starts[several], ends[several], strict=True)}
        for each in together:
            sites = np.frombuffer(each, np.int64).tolist()
            for site in sites:
                shared[site].update(sites)
        return {
            name: tuple(names[other] for other in sorted(shared[k] - {k})) for k, name in enumerate(names)
        }

    def _numbers(self, elements: Integers) -> Integers:
        numbers = np.full(len(elements), LOCKED, np.int64)
        own = elements != NOBODY
        numbers[own] = self._found.number[elements[own]]
        return numbers


@dataclass(frozen=True, eq=False)
class _Groups:
    """What was found: for every element its group, and for locked groups what keeps them."""

    number: Integers
    free: int
    """Groups that can leave: their numbers are below."""
    why: Integers
    """For each locked group the place of its reason."""
    reasons: tuple[str, ...]

    def open(self, numbers: Integers) -> Integers:
        """The numbers, LOCKED for locked groups."""
        return np.where(numbers < self.free, numbers, LOCKED)

    def lock(self, group: int) -> str | None:
        if group < 0:
            return _STRANGER
        return None if group < self.free else self.reasons[self.why[group - self.free]]


_STRANGER = "channels that are no neurons'"


class _Elements:
    """Numbers for the channels of all sources, one after another."""

    def __init__(self, walk: Walk) -> None:
        sources = walk.flow.sources
        sizes = [sources.size(source) for source in range(len(sources.entries))]
        self.count = sum(sizes)
        self.too_many = self.count > MOST_GROUPS
        self._starts = np.cumsum([0, *sizes], dtype=np.int64)

    def of(self, fact: Channels) -> Integers:
        """The element of every channel, flat; NOBODY for a channel of no source."""
        sources, indices = fact.flat()
        return np.where(sources == NOBODY, NOBODY, self.among(np.maximum(sources, 0), indices))

    def among(self, source: int | NDArray[np.int32], index: NDArray[np.integer]) -> Integers:
        """The elements of channels that are given by their source and their place in it."""
        found: Integers = np.zeros_like(index, np.int64) if self.too_many else self._starts[source] + index
        return found


@dataclass
class _Edges:
    """Pairs of elements that are one channel, gathered; what meets a stranger is held."""

    elements: _Elements
    pairs: list[tuple[Integers, Integers]] = field(default_factory=list)
    held: list[tuple[Integers, str]] = field(default_factory=list)

    def add(self, left: Integers, right: Integers, where: str) -> None:
        """Pair them one by one."""
        strange = (left == NOBODY) | (right == NOBODY)
        if strange.any():
            beside = np.maximum(left, right)[strange]
            self.held.append((beside, f"{where}, where they meet {_STRANGER}"))
            left, right = left[~strange], right[~strange]
        self.pairs.append((left, right))

    def taken(self) -> tuple[Integers, Integers]:
        """All pairs so far; they are forgotten."""
        none = np.zeros(0, np.int64)
        left, right = (np.concatenate([none, *(pair[side] for pair in self.pairs)]) for side in (0, 1))
        self.pairs.clear()
        return left, right


def _grouped(walk: Walk, elements: _Elements, told: dict[ir.Node, Heads | str]) -> _Groups:
    if elements.too_many:
        none = np.zeros(1, np.int64)
        return _Groups(none, 0, none, (_TOO_MANY,))
    edges = _Edges(elements)
    for draft in walk.drafts:
        _tie_site(edges, draft)
    for source, entry in enumerate(walk.flow.sources.entries):
        if isinstance(entry, Join):
            _tie_join(edges, source, entry)
    _tie_depthwise(edges, walk)
    for node, heads in told.items():
        if isinstance(heads, Heads):
            _tie_heads(edges, node, heads)
    label = components(elements.count, *edges.taken())
    _tie_rectangles(edges, walk, label)
    label = joined(label, *edges.taken())
    attention = {node: heads for node, heads in told.items() if isinstance(heads, str)}
    attention |= {node: "" for heads in told.values() if isinstance(heads, Heads) for node in heads.nodes}
    keeping = Keeping(walk, attention, lambda fact: _along(fact, label[elements.of(fact)]))
    own = ((elements.of(fact), reason) for fact, reason in keeping.all())
    return _numbered(label, [*own, *edges.held])


def _tie_site(edges: _Edges, draft: Draft) -> None:
    """A site's neurons are the channels under its activation; a head is several channels of attention's."""
    if draft.recurrent is not None:
        return  # its units are made by the node itself
    under = edges.elements.of(draft.fact)
    units = np.arange(len(under)) // (draft.unit_size if draft.what.found == drafts.HEAD else 1)
    edges.add(edges.elements.among(draft.source, units), under, f"'{query.name(draft.value)}'")


def _tie_join(edges: _Edges, source: int, join: Join) -> None:
    whole = edges.elements.among(source, np.arange(join.members[0].size))
    where = f"{query.kind(join.node)} '{query.node_name(join.node)}'"
    for member in join.members:
        edges.add(whole, edges.elements.of(member), where)


def _tie_depthwise(edges: _Edges, walk: Walk) -> None:
    for layer in walk.layers.values():
        data, made = walk.flow.channels(layer.data), walk.made.get(layer.node)
        if made is None or not depthwise(layer) or data is None:
            continue
        if data.axes != layer.in_axes or data.index.shape != layer.in_shape:
            continue
        outputs = np.arange(layer.outputs)
        under = edges.elements.of(data)[outputs // (layer.outputs // layer.inputs)]
        where = f"{query.kind(layer.node)} '{query.node_name(layer.node)}'"
        edges.add(edges.elements.among(made, outputs), under, where)


def _tie_heads(edges: _Edges, node: ir.Node, heads: Heads) -> None:
    """All that a head is made of, and all that it makes, is one group."""
    whole: Integers | None = None
    for fact, axis in heads.members:
        slices = _slices(edges.elements.of(fact).reshape(fact.index.shape), fact.axes.index(axis))
        whole = slices[:, :1] if whole is None else whole
        first = np.broadcast_to(whole, slices.shape)
        edges.add(first.reshape(-1), slices.reshape(-1), f"{query.kind(node)} '{query.node_name(node)}'")


def _tie_rectangles(edges: _Edges, walk: Walk, label: Integers) -> None:
    """On several axes only whole slices can leave; they are taken along the longest axis, the smallest slices.

    Nothing is tied where the groups are slices already, along whatever axis.
    """
    seen = set()
    for node in walk.nodes:
        for value in node.outputs:
            fact = walk.flow.channels(value)
            if fact is None or len(fact.axes) < 2 or fact in seen:
                continue
            seen.add(fact)
            elements = edges.elements.of(fact).reshape(fact.index.shape)
            groups = np.where(elements == NOBODY, NOBODY, label[elements])
            if any(_sliced(groups, at) for at in range(groups.ndim)):
                continue
            slices = _slices(elements, int(np.argmax(elements.shape)))
            first = np.broadcast_to(slices[:, :1], slices.shape)
            where = f"{query.kind(node)} '{query.node_name(node)}'"
            edges.add(first[:, 1:].reshape(-1), slices[:, 1:].reshape(-1), where)


def _slices(elements: Integers, axis: int) -> Integers:
    """[places on the axis, elements at each]."""
    return np.moveaxis(elements, axis, 0).reshape(elements.shape[axis], -1)


def _along(fact: Channels, label: Integers) -> tuple[int, ...]:
    """The axes along which the groups of a tensor's channels differ."""
    groups = label.reshape(fact.index.shape)
    if groups.ndim == 1:
        return fact.axes
    differ = [bool((groups != groups.take([0], at)).any()) for at in range(groups.ndim)]
    return tuple(axis for axis, apart in zip(fact.axes, differ, strict=True) if apart) or fact.axes


def _sliced(groups: Integers, axis: int) -> bool:
    """True where all channels at one place of the axis are one group."""
    others = tuple(at for at in range(groups.ndim) if at != axis)
    return bool((groups.max(others) == groups.min(others)).all())


def _numbered(label: Integers, held: Iterable[tuple[Integers, str]]) -> _Groups:
    """Groups numbered by their first channel, those that can leave before those that cannot."""
    reasons: dict[str, int] = {}
    first = np.full(len(label), _FREE, np.int64)
    for elements, reason in held:
        own = label[elements[elements != NOBODY]]
        first[own] = np.minimum(first[own], reasons.setdefault(reason, len(reasons)))
    roots = np.flatnonzero(label == np.arange(len(label)))
    free = first[roots] == _FREE
    number = np.zeros(len(label), np.int64)
    number[roots[free]] = np.arange(free.sum())
    number[roots[~free]] = free.sum() + np.arange((~free).sum())
    return _Groups(number[label], int(free.sum()), first[roots[~free]], tuple(reasons))
