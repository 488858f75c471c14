"""From what a walk found to sites: producers, consumers, roles, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nla.activations import Activation
from nla.graph import drafts, query
from nla.graph.channels import NOBODY, Channels
from nla.graph.coupling import Coupling
from nla.graph.drafts import Draft, What
from nla.graph.norms import Norms
from nla.graph.origins import Origins
from nla.graph.producers import after_bias
from nla.graph.shielding import shielded
from nla.graph.sources import AttentionSource, WeightedSource
from nla.graph.topology import bottlenecks
from nla.graph.walk import Walk
from nla.graph.weighted import Weighted
from nla.site import Consumer, Site

_IDENTITY = Activation.named("Identity")


def assemble(
    walk: Walk, include: frozenset[str], coupling: Coupling | None = None, *, norms: bool = True
) -> tuple[Site, ...]:
    """The sites of a finished walk, in graph order; `coupling` is the walk's, where the caller has it.

    Without `norms` no weight is read, and `out_norm` is None.
    """
    return _Assembly(walk, include, coupling or Coupling(walk), norms).sites()


@dataclass(frozen=True)
class _Read:
    """Who reads a site, as `Site` wants it."""

    consumers: tuple[Consumer, ...]
    norm: np.ndarray | None
    makers: tuple[int, ...]
    """Sources of the readers' own outputs."""


def regular(number: np.ndarray, neurons: int) -> tuple[int, int, int, int] | None:
    """(first, stride, count, step) of the places that bear each neuron's number, where they are so regular.

    >>> regular(np.array([-1, 0, 0, 1, 1]), 2), regular(np.array([0, 1, 0, 1]), 2), regular(np.array([1, 0]), 2)
    ((1, 2, 2, 1), (0, 1, 2, 2), (1, -1, 1, 1))
    """
    places = np.argsort(number, kind="stable")[np.count_nonzero(number == NOBODY) :]
    if not len(places) or len(places) % neurons:
        return None
    each = places.reshape(neurons, -1)
    stride = int(each[1, 0] - each[0, 0]) if neurons > 1 else 1
    step = int(each[0, 1] - each[0, 0]) if each.shape[1] > 1 else 1
    first = int(each[0, 0])
    straight = first + stride * np.arange(neurons)[:, None] + step * np.arange(each.shape[1])
    same = np.array_equal(each, straight) and np.array_equal(
        number[places], np.repeat(np.arange(neurons), each.shape[1])
    )
    return (first, stride, each.shape[1], step) if same else None


class _Assembly:
    def __init__(self, walk: Walk, include: frozenset[str], coupling: Coupling, norms: bool) -> None:
        self._walk = walk
        self._coupling = coupling
        self._flow = walk.flow
        self._norms = Norms(walk.flow.constants) if norms else None
        self._origins = Origins(walk.flow, walk.drafts)
        self._drafts = list(walk.drafts)
        if "linear" in include:
            self._drafts.extend(self._linear())
        self._crossed = bottlenecks(walk.graph, walk.nodes, walk.flow.constants)
        self._attention = any(isinstance(entry, AttentionSource) for entry in walk.flow.sources.entries)
        self._pre = "mlp_pre" in include
        projected = [draft for draft in walk.drafts if draft.what.found == drafts.PROJECTED]
        self._stream = {walk.flow.sources.group(draft.source) for draft in projected}

    def sites(self) -> tuple[Site, ...]:
        """All sites, those asked for besides included."""
        made_by = self._makers()
        coupled = self._coupling.sharing([query.name(draft.value) for draft in self._in_order()])
        placed: list[tuple[int, Site]] = []
        taken: set[str] = set()
        for draft in self._in_order():
            site = self._site(draft, made_by, coupled)
            before = self._before(draft, site) if self._pre and site.role == "mlp_post" else None
            for extra in (before, (draft.order, site)):
                if extra is not None and extra[1].name not in taken:
                    taken.add(extra[1].name)
                    placed.append(extra)
        return tuple(site for _, site in sorted(placed, key=lambda entry: entry[0]))

    def _site(self, draft: Draft, made_by: dict[int, str], coupled: dict[str, tuple[str, ...]]) -> Site:
        origin = self._origins.of(draft)
        reads = self._reads(draft, made_by)
        name = query.name(draft.value)
        node = draft.value.producer()
        return Site(
            name=name,
            role=self._role(draft, reads),
            activation=draft.what.activation,
            neurons=draft.neurons,
            channel_axes=draft.fact.axes,
            rank=self._rank(draft),
            unit_size=draft.unit_size,
            pre=self._pre_name(draft),
            producers=origin.producers,
            consumers=reads.consumers,
            gate=None if draft.what.gate is None else query.name(draft.what.gate),
            up=None if draft.what.up is None else query.name(draft.what.up),
            upstream=origin.upstream,
            coupled=coupled[name],
            shielded_by=self._shields(draft, coupled[name]),
            bottleneck=node in self._crossed,
            parameters_in=origin.parameters,
            out_norm=reads.norm,
            groups=None if draft.what.found == drafts.LINEAR else self._coupling.groups(name),
            kept=None if draft.what.found == drafts.LINEAR else self._coupling.kept(name),
        )

    def _shields(self, draft: Draft, coupled: Sequence[str]) -> tuple[str, ...]:
        others = {query.name(other.value): other for other in self._walk.drafts} if coupled else {}
        return tuple(name for name in coupled if name in others and shielded(self._walk, draft, others[name]))

    def _rank(self, draft: Draft) -> int | None:
        known = self._flow.shapes.rank(draft.value)
        return draft.fact.rank if known is None else known

    def _pre_name(self, draft: Draft) -> str | None:
        """z's name, where z lies in the layout of a."""
        if draft.what.pre is None or draft.what.found != drafts.ACTIVATED:
            return None
        fact = self._flow.channels(draft.what.pre)
        alike = (
            fact is not None and fact.axes == draft.fact.axes and fact.index.shape == draft.fact.index.shape
        )
        return query.name(draft.what.pre) if alike else None

    # --- roles

    def _role(self, draft: Draft, reads: _Read) -> str:
        simple = {
            drafts.HEAD: "head",
            drafts.PROJECTED: "attn_out",
            drafts.RECURRENT: "recurrent",
            drafts.LINEAR: "linear",
        }
        if draft.what.found in simple:
            return simple[draft.what.found]
        if self._origins.spatial(draft):
            return "conv"
        if draft.what.found == drafts.GATED:
            return "mlp_post"
        return "mlp_post" if any(self._in_stream(maker) for maker in reads.makers) else "dense"

    def _in_stream(self, source: int) -> bool:
        """True where a weighted node's output is added to the residual stream of a transformer.

        That is the stream to which attention's output is added; where no output projection was recognised,
        any sum.
        """
        sources = self._flow.sources
        if self._stream:
            return sources.group(source) in self._stream
        return self._attention and source in sources.residual

    # --- neighbours

    def _makers(self) -> dict[int, str]:
        """The first site that each weighted source feeds, by source id."""
        made: dict[int, str] = {}
        for draft in self._in_order():
            for source in (draft.source, *self._origins.sources(draft)):
                made.setdefault(source, query.name(draft.value))
        return made

    def _in_order(self) -> list[Draft]:
        return sorted(self._drafts, key=lambda draft: draft.order)

    def _reads(self, draft: Draft, made_by: dict[int, str]) -> _Read:
        found, complete, leak = self._flow.sources.readers(draft.source, draft.neurons)
        consumers: dict[Weighted, Consumer] = {}
        makers: list[int] = []
        total: np.ndarray | None = np.zeros(draft.neurons) if found and complete and leak is None else None
        for use, number in found:
            mine = number != NOBODY
            layer = use.weighted
            if not mine.any() or layer in consumers:
                continue
            makers.append(use.maker)
            columns = int(mine.sum()) // draft.neurons
            root, axes = self._flow.constants.root(layer.weight)
            shape = self._flow.constants.shape(root)
            axis = axes[layer.weight_in_axis] if layer.weight_in_axis < len(axes) else layer.weight_in_axis
            whole = shape is not None and -len(shape) <= axis < len(shape) and shape[axis] == len(number)
            consumers[layer] = Consumer(
                node=query.node_name(layer.node),
                op_type=query.kind(layer.node),
                weight=query.name(root),
                weight_axis=axis,
                site=made_by.get(use.maker),
                parameters_per_neuron=layer.parameters_per_input * max(1, columns),
                shape=shape,
                places=regular(number, draft.neurons) if whole else None,
            )
            squared = None if total is None or self._norms is None else self._norms.squared(layer)
            if total is None or squared is None:
                total = None
            else:
                np.add.at(total, number[mine], squared[mine])
        return _Read(tuple(consumers.values()), None if total is None else np.sqrt(total), tuple(makers))

    # --- sites on request

    def _linear(self) -> list[Draft]:
        """Weighted outputs that feed no activation."""
        fed = {source for draft in self._drafts for source in self._origins.sources(draft)}
        found = []
        for at, entry in enumerate(self._flow.sources.entries):
            if not isinstance(entry, WeightedSource) or at in fed:
                continue
            value = after_bias(entry.weighted.node.outputs[0], self._flow.constants)
            fact = self._flow.channels(value)
            if fact is None or fact.single != at or fact.noisy or not fact.distinct():
                continue
            order = self._walk.place(value)
            found.append(Draft(value, What(drafts.LINEAR, _IDENTITY), fact, at, order, fact.size))
        return found

    def _before(self, draft: Draft, site: Site) -> tuple[int, Site] | None:
        """The pre-activation of an MLP site as a site of its own."""
        fact = None if draft.what.pre is None else self._flow.channels(draft.what.pre)
        if draft.what.pre is None or not isinstance(fact, Channels) or fact.size != site.neurons:
            return None
        order = self._walk.place(draft.what.pre)
        origin = self._origins.of(replace(draft, fact=fact, what=What(drafts.BEFORE, _IDENTITY)))
        rank = self._flow.shapes.rank(draft.what.pre)
        return order, Site(
            name=query.name(draft.what.pre),
            role="mlp_pre",
            activation=_IDENTITY,
            neurons=site.neurons,
            channel_axes=fact.axes,
            rank=fact.rank if rank is None else rank,
            producers=origin.producers,
            upstream=origin.upstream,
            coupled=(site.name,),
            bottleneck=draft.what.pre.producer() in self._crossed,
            parameters_in=origin.parameters,
        )
