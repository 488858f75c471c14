"""Interval bounds: every tensor's range from the ranges of those before it. Cheap, sound, loose with depth.

Exact for the first layer over a box. Gowal et al. 2018 (interval bound propagation).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from nla.certificates.network import Network
from nla.certificates.ops.base import Op
from nla.certificates.ops.linear import Gathering, Linear, Scale
from nla.certificates.ops.smooth import Smooth
from nla.certificates.ops.softmax import Softmax
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
    lost: frozenset[str] = frozenset()
    """Tensors behind weights that are not finite, or behind a function that is not defined on all that it reads: NaN
    lies in no box, and passes a sigmoid or a softmax, so that nothing is proved of them."""


def ranges(
    network: Network, domains: Mapping[str, Domain], stop: Callable[[], bool] = lambda: False
) -> Ranges:
    """The interval bounds of every tensor of the network.

    Args:
        network: lowered; tensors of `network.given` bring their own set.
        domains: a set for each input.
        stop: asked before each operator; of the outputs of those that are left then nothing is known.

    Raises:
        KeyError: an input without a domain.
    """
    start = {**{name: domains[name] for name in network.inputs}, **network.given}
    boxes = {name: domain.box for name, domain in start.items()}
    errors: dict[str, Floats | None] = dict.fromkeys(boxes)
    lost = {name for name, box in boxes.items() if np.isnan(box.lo).any() or np.isnan(box.hi).any()}
    for op in network.ops:
        if op.output in boxes:
            continue
        undefined = isinstance(op, Smooth | Softmax) and not op.defined(boxes[op.inputs[0]])
        if not lost.isdisjoint(op.inputs) or not _finite(op) or undefined:
            lost.add(op.output)
        if op.output in lost or stop():
            boxes[op.output], errors[op.output] = _unknown(network.shapes[op.output])
        else:
            box, errors[op.output] = op.interval(*(boxes[name] for name in op.inputs), unit=network.unit)
            boxes[op.output] = _without_nan(box)
    return Ranges(boxes, errors, start, frozenset(lost))


def _finite(op: Op) -> bool:
    """Whether all numbers of an operator are; what is added may be -∞, as the masks of attention are."""
    arrays = {each.name: getattr(op, each.name) for each in fields(op)}  # type: ignore[arg-type]
    return all(
        bool(np.isfinite(array).all())
        or (name == "bias" and isinstance(op, Scale) and bool((array < np.inf).all()))
        for name, array in arrays.items()
        if isinstance(array, np.ndarray) and array.dtype.kind == "f"
    )


def _unknown(shape: tuple[int, ...]) -> tuple[Box, Floats]:
    """A range, and rounding, that nobody bounded; they take no memory."""
    none = np.broadcast_to(np.inf, shape)
    return Box(np.broadcast_to(-np.inf, shape), none), none


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
