"""What a site's neurons are made of: weights and biases of its producers, constants on the way to the activation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from nla.graph import query
from nla.site import Site

_STEPS = 64
"""Nodes between producer and activation that are looked at."""


@dataclass(frozen=True)
class Part:
    """A constant of which every neuron of a site holds a slice."""

    name: str
    axis: int
    """Of the neurons."""
    first: int = 0
    """Place of the first neuron on it."""


def parts(model: ir.Model, sites: Sequence[Site]) -> dict[str, tuple[Part, ...]]:
    """By site, the weights and biases of its producers, then vectors of its width that are added or multiplied before
    the activation: a MatMul's bias, the statistics and parameters of a BatchNormalization."""
    makers = {query.name(value): node for node in model.graph for value in node.outputs}
    return {
        site.name: (*_producers(site), *_on_the_way(makers, site))
        for site in sites
        if site.producers and site.unit_size == 1
    }


def _producers(site: Site) -> Iterator[Part]:
    for producer in site.producers:
        yield Part(producer.weight, producer.weight_axis, producer.channel_offset)
        if producer.bias is not None:
            yield Part(producer.bias, -1, producer.channel_offset)


def _on_the_way(makers: dict[str, ir.Node], site: Site) -> Iterator[Part]:
    producers = {producer.node for producer in site.producers}
    pending, seen = [site.name], {part.name for part in _producers(site)}
    for _ in range(_STEPS):
        if not pending:
            return
        node = makers.get(pending.pop())
        if node is None or query.node_name(node) in producers:
            continue
        for value in query.operands(node):
            name = query.name(value)
            if name in seen:
                continue
            seen.add(name)
            sizes = _vector(makers, value)
            if sizes is None:
                pending.append(name)
            elif sum(size != 1 for size in sizes) == 1 and site.neurons in sizes and site.neurons > 1:
                yield Part(name, sizes.index(site.neurons))


def _vector(makers: dict[str, ir.Node], value: ir.Value) -> tuple[int, ...] | None:
    """The sizes of a constant; None for what is computed."""
    if value.const_value is not None:
        return tuple(value.const_value.shape.numpy())
    node = makers.get(query.name(value))
    if node is None or query.kind(node) != "Constant":
        return None if node is not None else ()
    tensor = query.tensor_attribute(node, "value")
    return () if tensor is None else tuple(tensor.shape.numpy())
