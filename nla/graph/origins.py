"""What feeds a site: its producers, their parameters, and the sites before them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from nla.graph import drafts, query
from nla.graph.channels import NOBODY, Channels, Fact, Numbers
from nla.graph.drafts import Draft
from nla.graph.flow import Flow
from nla.graph.sources import AttentionSource, SiteSource, WeightedSource
from nla.graph.weighted import Weighted
from nla.site import Producer

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)
_INTEGER_LAYERS = ("MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "com.microsoft.QGemm")


@dataclass(frozen=True)
class Origin:
    """What `Site` says of where its neurons come from."""

    producers: tuple[Producer, ...]
    parameters: int
    upstream: tuple[str, ...] | None


class Origins:
    """Answers for the sites of one graph; joins are opened once for each."""

    def __init__(self, flow: Flow, found: list[Draft]) -> None:
        self._flow = flow
        self._drafts = found
        self._opened: dict[Channels, list[tuple[int, Numbers, Channels]] | None] = {}
        self._spatial: dict[int, bool] = {}

    def sources(self, draft: Draft) -> tuple[int, ...]:
        """Ids of the weighted nodes that feed the site."""
        entries = self._flow.sources.entries
        return tuple(
            source for source, _, _ in self._of(draft) if isinstance(entries[source], WeightedSource)
        )

    def spatial(self, draft: Draft) -> bool:
        """True where a convolution feeds the site, or a site that a convolution feeds."""
        if draft.source not in self._spatial:
            self._spatial[draft.source] = any(self._is_spatial(source) for source, _, _ in self._of(draft))
        return self._spatial[draft.source]

    def _is_spatial(self, source: int) -> bool:
        entry = self._flow.sources.entries[source]
        if isinstance(entry, WeightedSource):
            return entry.weighted.spatial
        # sites come before those they feed, and were asked in that order: no recursion runs deep
        return isinstance(entry, SiteSource) and self._spatial.get(source, False)

    def of(self, draft: Draft) -> Origin:
        """Where the site's neurons come from."""
        if draft.recurrent is not None:
            upstream = self._sites(self._flow.fact(draft.recurrent.data))
            return Origin((self._producer(draft.recurrent, 0),), draft.recurrent.parameters, upstream)
        if draft.what.found == drafts.HEAD:
            return Origin((), self._head_parameters(draft), None)
        found = self._of(draft)
        complete = self._opened.get(draft.fact) is not None
        return Origin(
            tuple(self._producers(found)) if complete else (),
            self._parameters(draft.fact, found),
            self._upstream(draft.fact, found) if complete else None,
        )

    def _head_parameters(self, draft: Draft) -> int:
        """Parameters of the value projection that one head owns; queries and keys are not followed."""
        entry = None if draft.fact.single is None else self._flow.sources.entries[draft.fact.single]
        values = entry.values if isinstance(entry, AttentionSource) else None
        if not isinstance(values, Channels):
            return 0
        found = self._flow.sources.origins(values)
        return 0 if found is None else draft.unit_size * self._parameters(values, list(found))

    def _of(self, draft: Draft) -> list[tuple[int, Numbers, Channels]]:
        if draft.recurrent is not None or draft.what.found == drafts.HEAD:
            return []
        if draft.fact not in self._opened:
            origins = self._flow.sources.origins(draft.fact)
            self._opened[draft.fact] = None if origins is None else list(origins)
        return self._opened[draft.fact] or []

    def _producers(self, found: list[tuple[int, Numbers, Channels]]) -> Iterator[Producer]:
        made = []
        for source, index, _ in found:
            layer = self._layer(source)
            if layer is None:
                continue
            if layer.spread is not None and len(layer.out_axes) > 1:
                return  # its neurons lie on several axes of the weight
            channels = index[index != NOBODY]
            if not np.array_equal(channels, np.arange(channels[0], channels[0] + len(channels))):
                return  # shuffled channels: no offset says which are the site's
            made.append(self._producer(layer, int(channels[0])))
        yield from made

    def _layer(self, source: int) -> Weighted | None:
        """The weighted or recurrent node that the source is; None for other sites."""
        entry = self._flow.sources.entries[source]
        if isinstance(entry, WeightedSource):
            return entry.weighted
        return self._drafts[entry.site].recurrent if isinstance(entry, SiteSource) else None

    def _producer(self, layer: Weighted, offset: int) -> Producer:
        root, axes = self._flow.constants.root(layer.weight)
        axis = layer.weight_out_axis
        return Producer(
            node=query.node_name(layer.node),
            op_type=query.kind(layer.node),
            weight=query.name(root),
            bias=None if layer.bias is None else query.name(layer.bias),
            weight_axis=axes[axis] if axis < len(axes) else axis,
            groups=layer.groups,
            channel_offset=offset,
            shape=self._flow.constants.shape(root),
            data=query.name(layer.data) if _holds_floats(layer) else None,
            data_axis=layer.in_axes[0],
            inputs=layer.inputs if len(layer.in_axes) == 1 else 0,
        )

    def _parameters(self, fact: Channels, found: list[tuple[int, Numbers, Channels]]) -> int:
        """Mean over the site's neurons: branches of a concatenation may differ."""
        total = 0
        for source, index, part in found:
            layer = self._layer(source)
            own = 0 if layer is None else layer.parameters
            between = 0 if part is fact else part.extra
            total += int((index != NOBODY).sum()) * (own + between)
        return round(total / fact.size) + fact.extra

    def _upstream(self, fact: Channels, found: list[tuple[int, Numbers, Channels]]) -> tuple[str, ...] | None:
        if fact.others or not found:
            return None
        names: list[str] = []
        for source, _, part in found:
            entry = self._flow.sources.entries[source]
            before = (
                self._sites(entry.data) if isinstance(entry, WeightedSource) and not part.others else None
            )
            if before is None:
                return None
            names.extend(name for name in before if name not in names)
        return tuple(names)

    def _sites(self, fact: Fact) -> tuple[str, ...] | None:
        """The sites that all channels of the fact are, in their order; None where something else is among."""
        if not isinstance(fact, Channels) or fact.mixed or fact.others:
            return None
        sources, _ = fact.flat()
        names = []
        for source in sources[np.sort(np.unique(sources, return_index=True)[1])]:
            entry = self._flow.sources.entries[source] if source != NOBODY else None
            if not isinstance(entry, SiteSource):
                return None
            names.append(query.name(self._drafts[entry.site].value))
        return tuple(names)


def _holds_floats(layer: Weighted) -> bool:
    """True unless the node multiplies quantised numbers: the mean of these is not that of what they stand for."""
    known = layer.data.dtype
    return known in _FLOATS if known is not None else query.kind(layer.node) not in _INTEGER_LAYERS
