"""What a weighted node does to channels: it reads those of its input, and makes its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from nla.graph import query
from nla.graph.channels import Channels, Fact, Lost, fresh
from nla.graph.constants import Constants
from nla.graph.flow import Flow
from nla.graph.sources import Join, Use, WeightedSource
from nla.graph.weighted import Weighted

_BIAS_STEPS = 3


def produce(flow: Flow, weighted: Weighted) -> tuple[Channels, int]:
    """The fact of the node's output, and the id of its source; the node's reading is registered."""
    data = flow.fact(weighted.data)
    source = flow.sources.add(WeightedSource(weighted, data))
    read(flow, weighted, source)
    rank = weighted.rank if weighted.rank is not None else flow.rank(weighted.data)
    noisy = isinstance(data, Channels | Lost) and data.noisy
    fact = replace(fresh(source, weighted.out_shape, weighted.out_axes, rank), noisy=noisy)
    return (fact if weighted.added is None else _with_added(flow, weighted, fact)), source


def read(flow: Flow, weighted: Weighted, maker: int) -> None:
    """Register that the node reads its input's channels, or that they end here."""
    data = flow.fact(weighted.data)
    if not isinstance(data, Channels):
        return
    where = f"{query.kind(weighted.node)} '{query.node_name(weighted.node)}'"
    if data.mixed:
        flow.sources.leak(data, f"a normalisation over channels before {where}")
    elif data.axes != weighted.in_axes or data.index.shape != weighted.in_shape:
        flow.sources.leak(data, f"{where}, which reads along another axis than the channels'")
    else:
        flow.sources.use(Use(weighted, data, maker))
        if weighted.groups == weighted.inputs > 1:  # depthwise: an output channel goes with its input channel
            for source in data.sources():
                if covers(flow, data, source):
                    flow.sources.couple(source, maker)


def covers(flow: Flow, fact: Channels, source: int) -> bool:
    """True where the fact holds every channel of the source."""
    sources, index = fact.flat()
    return len(np.unique(index[sources == source])) == flow.sources.size(source)


def _with_added(flow: Flow, weighted: Weighted, fact: Channels) -> Channels:
    added: Fact = flow.fact(weighted.added)
    if isinstance(added, Channels) and added.axes == fact.axes and added.size == fact.size:
        flow.sources.residual.update((*fact.sources(), *added.sources()))
        source = flow.sources.add(Join(weighted.node, (fact, added)))
        return replace(fact, source=source, noisy=fact.noisy or added.noisy)
    flow.sources.leak(added, f"{query.kind(weighted.node)} '{query.node_name(weighted.node)}'")
    return replace(fact, others=True) if added is not None else fact


def after_bias(value: ir.Value, constants: Constants) -> ir.Value:
    """The value once its bias is added: where a MatMul's sole reader adds a constant vector, what that makes.

    An integer product is followed to the float that it stands for.
    """
    maker = value.producer()
    integer = maker is not None and query.kind(maker) in ("MatMulInteger", "ConvInteger")
    current = best = value
    for _ in range(_BIAS_STEPS):
        node = query.sole_reader(current)
        made = None if node is None else query.output(node)
        if node is None or made is None:
            break
        partner = query.other(node, current)
        if query.kind(node) == "Add" and _is_vector(partner, constants):
            return made
        scaled = query.kind(node) == "Mul" and (integer or constants.scalar(partner) is not None)
        if not scaled and query.kind(node) not in ("Reshape", "Cast"):
            break
        best = made if integer else best
        current = made
    return best


def observable(value: ir.Value) -> ir.Value:
    """The float tensor that a quantised one stands for; the value itself where it is not quantised."""
    node = value.producer()
    if node is not None and query.kind(node) in ("DynamicQuantizeLinear", "QuantizeLinear"):
        return query.operands(node)[0]
    return value


def _is_vector(value: ir.Value | None, constants: Constants) -> bool:
    shape = constants.shape(value)
    return shape is not None and sum(size != 1 for size in shape) <= 1
