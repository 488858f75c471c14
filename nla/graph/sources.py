"""Where channels come from, which weighted nodes read them, and which must be cut together.

A source is a weighted node, a site, the output of attention, or a join: several tensors added or multiplied
channel by channel, whose channels are therefore one channel to whoever reads the sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from nla.graph.channels import NOBODY, Channels, Fact, Numbers
from nla.graph.weighted import Weighted

_MOST_JOINS = 512
"""Joins that one question follows before it gives up: residual streams are long, hostile graphs longer."""


@dataclass(frozen=True, eq=False)
class WeightedSource:
    """The output channels of a weighted node."""

    weighted: Weighted
    data: Fact
    """What the node reads."""


@dataclass(frozen=True, eq=False)
class SiteSource:
    """The neurons of a site, by its place in the list of sites found."""

    site: int
    neurons: int
    activated: bool = True
    """False for sites without φ (heads, projections) and recurrent ones: an activation may follow them."""


@dataclass(frozen=True, eq=False)
class AttentionSource:
    """The channels of an attention's weighted mean of values, before heads are told apart."""

    value: ir.Value
    size: int
    """Channels of one head."""
    heads: int | None
    """None where heads lie on an axis of their own that they share with the batch."""
    values: Fact = None
    """What is weighed."""


@dataclass(frozen=True, eq=False)
class Join:
    """Channels that several tensors feed together."""

    node: ir.Node
    members: tuple[Channels, ...]


Source = WeightedSource | SiteSource | AttentionSource | Join


@dataclass(frozen=True, eq=False)
class Use:
    """A weighted node that reads channels; `fact` numbers its inputs along the contracted axis."""

    weighted: Weighted
    fact: Channels
    maker: int
    """Source id of the reader's own output."""


@dataclass(eq=False)
class Sources:
    """All sources of a graph and what became of them."""

    entries: list[Source] = field(default_factory=list)
    uses: dict[int, list[Use]] = field(default_factory=dict)
    leaks: dict[int, str] = field(default_factory=dict)
    """Sources that something other than a weighted node reads, and what."""
    joins: dict[int, list[int]] = field(default_factory=dict)
    """The joins that a source is a member of."""
    residual: set[int] = field(default_factory=set)
    """Sources that are added to something else."""
    _parent: list[int] = field(default_factory=list)

    def add(self, source: Source) -> int:
        """Register a source; its id."""
        self.entries.append(source)
        at = len(self.entries) - 1
        self._parent.append(at)
        if isinstance(source, Join):
            for member in source.members:
                for part in member.sources():
                    self.joins.setdefault(part, []).append(at)
                    self.couple(at, part)
        return at

    def size(self, source: int) -> int:
        """Number of the source's channels."""
        entry = self.entries[source]
        if isinstance(entry, WeightedSource):
            return entry.weighted.outputs
        if isinstance(entry, SiteSource):
            return entry.neurons
        return entry.members[0].size if isinstance(entry, Join) else entry.size * (entry.heads or 1)

    def use(self, use: Use) -> None:
        """Register a weighted reader."""
        for source in use.fact.sources():
            self.uses.setdefault(source, []).append(use)

    def leak(self, fact: Fact, where: str) -> None:
        """Register that the channels go where they are not followed."""
        if isinstance(fact, Channels):
            for source in fact.sources():
                self.leaks.setdefault(source, where)

    def couple(self, one: int, other: int) -> None:
        """Register that the channels of two sources must be cut together."""
        self._parent[self.group(one)] = self.group(other)

    def group(self, source: int) -> int:
        """The representative of all that is coupled with the source."""
        while self._parent[source] != source:
            self._parent[source] = self._parent[self._parent[source]]
            source = self._parent[source]
        return source

    def origins(self, fact: Channels) -> Iterator[tuple[int, Numbers, Channels]] | None:
        """(source, number of every channel in it or NOBODY, fact) for all that feed them, joins opened.

        Every member of a join gives an item of its own. None where there are more joins than one follows.
        """
        found: list[tuple[int, Numbers, Channels]] = []
        seen: set[tuple[int, int, int]] = set()
        pending: list[tuple[Channels, Numbers]] = [(fact, np.arange(fact.size, dtype=np.int32))]
        steps = 0
        while pending:
            part, chosen = pending.pop(0)
            sources, indices = part.flat()
            inside = chosen != NOBODY
            safe = np.where(inside, chosen, 0)
            source = np.where(inside, sources[safe], NOBODY)
            for one in np.unique(source[source != NOBODY]):
                index = np.where(source == one, indices[safe], NOBODY).astype(np.int32)
                key = (int(one), int(index.max()), int(index.min()))
                if key in seen:
                    continue
                seen.add(key)
                steps += 1
                if steps > _MOST_JOINS:
                    return None
                entry = self.entries[int(one)]
                if isinstance(entry, Join):
                    pending.extend((member, index) for member in entry.members)
                else:
                    found.append((int(one), index, part))
        return iter(found)

    def readers(self, source: int, size: int) -> tuple[list[tuple[Use, Numbers]], bool, str | None]:
        """(uses with the source's number of each input or NOBODY, whether that is all, a leak if any)."""
        found: list[tuple[Use, Numbers]] = []
        leak = self.leaks.get(source)
        seen = {source}
        pending = [(source, np.arange(size, dtype=np.int32))]
        while pending:
            current, back = pending.pop(0)
            leak = leak or self.leaks.get(current)
            found.extend((use, _back(use.fact, current, back)) for use in self.uses.get(current, ()))
            if leak is not None:
                break  # the list cannot be complete: residual streams are not followed to their end for nothing
            for join in self.joins.get(current, ()):
                if join not in seen and len(seen) <= _MOST_JOINS:
                    seen.add(join)
                    entry = self.entries[join]
                    assert isinstance(entry, Join)
                    member = next(m for m in entry.members if current in m.sources())
                    pending.append((join, _back(member, current, back)))
        return found, len(seen) <= _MOST_JOINS, leak


def _back(fact: Channels, source: int, back: Numbers) -> Numbers:
    """For every channel of the fact, the number `back` gives its neuron of `source`, else NOBODY."""
    sources, indices = fact.flat()
    safe = np.where(sources == source, indices, 0)
    return np.where(sources == source, back[safe], NOBODY).astype(np.int32)
