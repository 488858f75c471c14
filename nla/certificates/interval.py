"""Interval bounds: every tensor's range from the ranges of those before it. Cheap, sound, loose with depth.

Exact for the first layer over a box. Gowal et al. 2018 (interval bound propagation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nla.certificates.network import Network
from nla.certificates.ops.linear import Gathering, Linear, Scale
from nla.certificates.rounding import Floats
from nla.certificates.sets import Box, Domain


@dataclass
class Ranges:
    """What is known of every tensor: boxes, tightened as sharper methods find more, and the sets they came from."""

    boxes: dict[str, Box]
    errors: dict[str, Floats | None]
    """How far rounding may move each tensor from its operator's exact value; of the widest boxes."""
    domains: Mapping[str, Domain] = field(default_factory=dict)
    """Of the inputs and of the tensors given."""


def ranges(network: Network, domains: Mapping[str, Domain]) -> Ranges:
    """The interval bounds of every tensor of the network.

    Args:
        network: lowered; tensors of `network.given` bring their own set.
        domains: a set for each input.

    Raises:
        KeyError: an input without a domain.
    """
    start = {**{name: domains[name] for name in network.inputs}, **network.given}
    boxes = {name: domain.box for name, domain in start.items()}
    errors: dict[str, Floats | None] = dict.fromkeys(boxes)
    for op in network.ops:
        if op.output not in boxes:
            box, errors[op.output] = op.interval(*(boxes[name] for name in op.inputs), unit=network.unit)
            boxes[op.output] = _without_nan(box)
    return Ranges(boxes, errors, start)


def _without_nan(box: Box) -> Box:
    """Weights that are not finite leave ends that are NaN: of these elements nothing is known."""
    lost = np.isnan(box.lo) | np.isnan(box.hi)
    return Box(np.where(lost, -np.inf, box.lo), np.where(lost, np.inf, box.hi)) if lost.any() else box


def settled(network: Network, domains: Mapping[str, Domain], tensor: str) -> bool:
    """Whether the interval bounds of a tensor are its exact range, so that no method can better them.

    They are over boxes, behind operators of one input that move and scale values, and one that sums them at most.
    """
    sums = 0
    for op in network.before([tensor]):
        if not isinstance(op, Linear) or (isinstance(op, Gathering) and op.merges):
            return False
        sums += not isinstance(op, Gathering | Scale)
    read = {name for op in network.before([tensor]) for name in op.inputs} | {tensor}
    return sums <= 1 and all(isinstance(domains[name], Box) for name in read if name in domains)
