"""Where a site's units lie in the checkpoint's weights, as far as the recording knows: what masks are made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace

from nla.manifest.document import Weight
from nla.site import Consumer, Producer, Site

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def shared(sites: Iterable[Site]) -> frozenset[str]:
    """Tensors that several nodes read: what is one unit's for one of them is another's for the next."""
    nodes: dict[str, set[str]] = defaultdict(set)
    for site in sites:
        for producer in site.producers:
            for name in filter(None, (producer.weight, producer.bias)):
                nodes[name].add(producer.node)
        for consumer in site.consumers:
            nodes[consumer.weight].add(consumer.node)
    return frozenset(name for name, readers in nodes.items() if len(readers) > 1)


def weights(site: Site, shared: Collection[str] = ()) -> tuple[Weight, ...]:
    """Every weight and bias that makes or reads the units, each once.

    `first` is None where the recording leaves open which indices are the units', and in tensors that are shared.
    """
    found = [made for producer in site.producers for made in _incoming(site, producer)]
    found += [_outgoing(consumer) for consumer in site.consumers]
    found = [replace(each, first=None) if each.name in shared else each for each in found]
    return tuple({(weight.name, weight.incoming): weight for weight in reversed(found)}.values())[::-1]


def _incoming(site: Site, producer: Producer) -> list[Weight]:
    shape, axis, size = producer.shape, producer.weight_axis, site.unit_size
    gates = _GATES.get(producer.op_type)
    if gates is not None:
        whole = shape is not None and len(shape) > 1 and shape[0] == 1 and shape[1] == gates * site.neurons
        return [Weight(producer.weight, shape, 1, True, 0 if whole else None, 1, gates, site.neurons)]
    width = site.neurons * size
    known = shape is None or (axis < len(shape) and producer.channel_offset + width <= shape[axis])
    first = producer.channel_offset if known else None
    made = [Weight(producer.weight, shape, axis, True, first, size, size)]
    if producer.bias is not None:
        flat = None if shape is None or axis >= len(shape) else (shape[axis],)
        made.append(Weight(producer.bias, flat, 0, True, first, size, size))
    return made


def _outgoing(consumer: Consumer) -> Weight:
    first, stride, count, step = consumer.places or (None, 1, 1, 1)
    return Weight(consumer.weight, consumer.shape, consumer.weight_axis, False, first, stride, count, step)
