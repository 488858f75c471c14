"""Which tensors are looked at: pre-activations, and what reads and makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from nla.graph import query
from nla.graph.producers import after_bias
from nla.graph.walk import Walk
from nla.graph.weighted import Weighted
from nla.site import Site

_MOST_WEIGHTS = 1 << 24
"""Weights of a layer whose gradient is summed up: each takes eight bytes, and as many in each run that waits."""


@dataclass(frozen=True, eq=False)
class Maker:
    """The layer that makes a site's pre-activations, where the gradient of its weights can be had."""

    weighted: Weighted
    offset: int
    """Its first output channel that is the site's."""
    has_bias: bool

    @property
    def made(self) -> str:
        """The tensor that it makes."""
        return query.name(self.weighted.node.outputs[0])

    @property
    def read(self) -> str:
        """The tensor that it multiplies."""
        return query.name(self.weighted.data)


@dataclass(frozen=True, eq=False)
class Measured:
    """One layer that is measured."""

    site: Site
    tensor: str
    """Its pre-activations."""
    maker: Maker | None
    skipped: str
    """Why there is no maker, a sentence."""


def layers_of(walk: Walk, sites: Sequence[Site]) -> tuple[list[Measured], dict[str, str]]:
    """The sites whose pre-activations are tensors of their own; and by name why others are not measured."""
    by_name = {query.node_name(node): weighted for node, weighted in walk.layers.items()}
    found: list[Measured] = []
    why: dict[str, str] = {}
    for site in sites:
        if site.pre is None or site.unit_size != 1:
            why[site.name] = (
                "Its pre-activations are no tensor of their own: a product, a head, or a fused operator."
            )
            continue
        maker = _maker(walk, site, by_name)
        if isinstance(maker, str):
            found.append(Measured(site, site.pre, None, maker))
        else:
            found.append(Measured(site, site.pre, maker, ""))
    return found, why


def _maker(walk: Walk, site: Site, by_name: dict[str, Weighted]) -> Maker | str:
    """The site's producer; or why the gradient of its weights is not had, a sentence."""
    if len(site.producers) != 1:
        return f"It is made by {len(site.producers)} layers."
    producer = site.producers[0]
    weighted = by_name.get(producer.node)
    if weighted is None or query.kind(weighted.node) not in ("Conv", "Gemm", "MatMul"):
        return f"The gradient of weights is had for Conv, Gemm and MatMul only, not for {producer.op_type}."
    node = weighted.node
    plain = weighted.spread is None and weighted.added is None
    plain = plain and (weighted.spatial or (weighted.in_axis, weighted.out_axis) == (-1, -1))
    plain = plain and not query.integer(node, "transA")
    if not plain or producer.channel_offset + site.neurons > weighted.outputs:
        return "Its layer's channels lie in a way that is not followed."
    if weighted.outputs * (weighted.parameters or 1) > _MOST_WEIGHTS:
        return f"Its layer has more than {_MOST_WEIGHTS:,} weights."
    if _reads(weighted.weight) > 1:
        return f"Its weights are read {_reads(weighted.weight)} times: the gradient by way of one reader is not theirs."
    has_bias = producer.bias is not None or _adds_a_bias(walk, weighted)
    return Maker(weighted, producer.channel_offset, has_bias)


def _reads(weight: ir.Value) -> int:
    """How often a weight is read, or what it is made of where it is turned, cast or dequantised before."""
    most, node = len(weight.uses()), weight.producer()
    while node is not None and node.inputs and node.inputs[0] is not None:
        most = max(most, len(node.inputs[0].uses()))
        node = node.inputs[0].producer()
    return most


def _adds_a_bias(walk: Walk, weighted: Weighted) -> bool:
    """Whether an Add of its own behind the layer adds a constant to each of its channels."""
    made = weighted.node.outputs[0]
    node = after_bias(made, walk.flow.constants).producer()
    if node is None or node is weighted.node or query.kind(node) != "Add" or made not in node.inputs:
        return False
    shape = walk.flow.constants.shape(query.other(node, made)) or ()
    return len(shape) >= -weighted.out_axis and shape[weighted.out_axis] == weighted.outputs
