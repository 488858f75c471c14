"""Backward linear bounds: an upper bound of a linear function of one tensor, carried back to where sets are known.

Each operator replaces A·output by a linear function of its inputs that is never below it; at an input, or at a tensor
whose set is given (behind a LayerNorm), the set's closed form ends the walk. Zhang et al. 2018 (CROWN); the slopes of
the lines below ReLU-like activations can be chosen, all of them sound (α-CROWN, Xu et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nla.certificates import envelopes
from nla.certificates.interval import Ranges, settled
from nla.certificates.network import Network
from nla.certificates.ops.base import Bent, Context, rounding_cost
from nla.certificates.ops.elementwise import Activate
from nla.certificates.rounding import Floats, own
from nla.certificates.sets import Box

_MOST = 1 << 22
"""Coefficients of one tensor that are held at once, at most: rows x the largest tensor."""

Slopes = Mapping[str, Floats]
"""By the output of an activation, slopes of the lines below, [*shape]."""


def upper(network: Network, known: Ranges, tensor: str, A: Floats, slopes: Slopes | None = None) -> Floats:
    """[rows] upper bounds of Σ A·tensor, A [rows, *shape], over the domains behind `known`.

    Never below the true supremum, rounding of the model included; at most what the tensor's own box gives.
    """
    step = at_once(network, tensor)
    parts = [walk(network, known, tensor, A[k : k + step], slopes or {}) for k in range(0, len(A), step)]
    return np.concatenate(parts) if parts else np.zeros(0)


def at_once(network: Network, tensor: str) -> int:
    """Rows that are carried back together: as many as memory allows, and not more than gain anything."""
    names = {tensor} | {name for op in network.before([tensor]) for name in (*op.inputs, op.output)}
    widest = max(int(np.prod(network.shapes[name], dtype=np.int64)) for name in names)
    return int(np.clip(_MOST // max(widest, 1), 1, AT_ONCE))


def walk(
    network: Network,
    known: Ranges,
    tensor: str,
    A: Floats,
    slopes: Slopes,
    seen: dict[str, Floats] | None = None,
) -> Floats:
    """`upper` for all rows at once; `seen` is filled with the coefficients of every tensor on the way."""
    at_once = known.boxes[tensor].sup(A)
    coefficients = {tensor: A}
    total = np.zeros(len(A))
    for op in reversed(network.before([tensor])):
        if op.output not in coefficients or op.output in known.domains:
            continue
        held = coefficients.pop(op.output)
        if seen is not None:
            seen[op.output] = held
        context = Context(
            tuple(known.boxes[name] for name in op.inputs),
            known.boxes[op.output],
            known.errors[op.output],
            slopes.get(op.output),
        )
        back = op.back(held, context)
        if back is None:
            total = total + known.boxes[op.output].sup(held)
            continue
        total = total + back.constant
        for name, part in zip(op.inputs, back.parts, strict=True):
            before = coefficients.get(name)
            if before is not None:  # the sum of two coefficients is rounded
                both = np.where((before != 0) & (part != 0), np.abs(before) + np.abs(part), 0.0)
                total = total + rounding_cost(both, own(1) * known.boxes[name].largest)
            coefficients[name] = part if before is None else before + part
    for name, held in coefficients.items():
        if seen is not None:
            seen[name] = held
        total = total + known.domains[name].sup(held)
    return np.fmin(np.where(np.isnan(total), np.inf, total), at_once)


def tighten(
    network: Network,
    known: Ranges,
    tensors: Sequence[str],
    largest: int = 4096,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Ranges:
    """`known` with the boxes of these tensors (in graph order) met with their backward bounds, above and below.

    Boxes of what lies behind a tightened one are computed anew. Only elements whose range decides something are given
    backward bounds: not those of a ReLU that is on or off already, nor tensors whose interval bounds are exact. Tensors
    with more than `largest` of them keep their box.

    Args:
        network: lowered.
        known: interval bounds.
        tensors: inputs of activations, of products and of pooling.
        largest: elements of one tensor.
        stop: asked between pieces of work; what is not done keeps its box.
        report: told the tensors done of all.
    """
    boxes = dict(known.boxes)
    now = Ranges(boxes, known.errors, known.domains, known.lost)
    wanted, done = set(tensors), 0
    for op in network.ops:
        if op.output in known.domains or op.output in known.lost:
            continue
        if stop():
            break
        again, _ = op.interval(*(boxes[name] for name in op.inputs), unit=network.unit)
        boxes[op.output] = boxes[op.output].meet(again)
        if op.output not in wanted:
            continue
        report(done, len(wanted))
        done += 1
        if settled(network, known.domains, op.output):
            continue
        places = np.flatnonzero(_matters(network, boxes, op.output))
        if len(places) <= largest:
            _improve(network, now, op.output, places, stop)
    return now


def _matters(network: Network, boxes: Mapping[str, Box], tensor: str) -> np.ndarray:
    """[*shape] elements of which an operator behind it reads the range: those that are not straight there."""
    box = boxes[tensor]
    found = np.zeros(box.shape, bool)
    for op in network.ops:
        if tensor in op.inputs and isinstance(op, Activate):
            found |= envelopes.curved(op.activation, box)
        elif tensor in op.inputs and isinstance(op, Bent):
            found |= box.lo < box.hi
    return found


def _improve(
    network: Network, now: Ranges, tensor: str, places: np.ndarray, stop: Callable[[], bool]
) -> None:
    shape = network.shapes[tensor]
    places, step = nearby(places, shape), at_once(network, tensor)
    for start in range(0, len(places), step):
        if stop():
            return
        some = places[start : start + step]
        rows = units(some, shape)
        lo, hi = now.boxes[tensor].lo.copy(), now.boxes[tensor].hi.copy()
        found = Box(lo, hi)
        hi.ravel()[some] = upper(network, now, tensor, rows)
        lo.ravel()[some] = -upper(network, now, tensor, -rows)
        now.boxes[tensor] = now.boxes[tensor].meet(found)


AT_ONCE = 512
"""Rows that are carried back together, at most."""


def units(places: np.ndarray, shape: tuple[int, ...]) -> Floats:
    """[k, *shape] coefficients that read one element each, at these flat places."""
    rows = np.zeros((len(places), int(np.prod(shape, dtype=np.int64))))
    rows[np.arange(len(places)), places] = 1.0
    return rows.reshape(len(places), *shape)


def nearby(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The places, those of all channels at one pixel together: rows that share what they read are quicker."""
    if len(shape) < 3:
        return places
    pixels = int(np.prod(shape[1:]))
    return np.asarray(places[np.lexsort((places // pixels, places % pixels))])
