"""Where z is linear in the inputs, silence on data is silence on their convex hull, and on a margin around it.

A neuron whose z = w·x + b stays at or below its threshold t on data stays there wherever every element is moved by at
most (t - max z) / ‖w‖₁ away from the hull of the data: the L∞ radius.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nla.certificates import backward
from nla.certificates.gradients import by_inputs
from nla.certificates.interval import Ranges, ranges
from nla.certificates.network import Network, Target
from nla.certificates.ops.joining import Concat, Sum
from nla.certificates.ops.linear import Linear
from nla.certificates.proving import places
from nla.certificates.rounding import Floats, own
from nla.certificates.sets import Hull, anywhere

_AT_ONCE = 512


def is_linear(network: Network, target: Target) -> bool:
    """Whether the site's z is a linear function of the inputs."""
    before = network.before([target.pre])
    made = {op.output for op in before}
    ends = {name for op in before for name in op.inputs if name not in made} or {target.pre}
    if (made | ends | {target.pre}) & set(network.given):
        return False
    return all(isinstance(op, Linear | Sum | Concat) for op in before) and ends <= set(network.inputs)


def radii(
    network: Network, target: Target, neurons: NDArray[np.int64], points: Mapping[str, Floats]
) -> Floats | None:
    """[k] the L∞ radius around the hull of the points within which each neuron is silent; negative: not even on them.

    Rounding of the model is taken off, so that the radius is a certificate; infinite where z does not read the inputs.

    Args:
        network: lowered.
        target: the site; None is returned where its z is not linear in the inputs.
        neurons: [k] indices.
        points: [points, *shape] by input: data, as the model reads them.
    """
    if not is_linear(network, target):
        return None
    rows = places(network, target, neurons)
    norms = _norms(network, target, rows.ravel()).reshape(rows.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        guess = (target.threshold - _above(network, target, rows, points, 0.0)) / norms
    reach = float(np.max(guess, where=np.isfinite(guess), initial=0.0))
    room = target.threshold - _above(network, target, rows, points, reach)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(norms > 0, room / (norms * (1 + 2.0**-40)), np.where(room >= 0, np.inf, -np.inf))
    least = each.min(axis=1)
    return np.asarray(np.where(np.isfinite(least), np.minimum(least, reach), least))


def _norms(network: Network, target: Target, at: NDArray[np.int64]) -> Floats:
    """[rows] ‖w‖₁ of z at each of these flat places, over all inputs."""
    found = np.zeros(len(at))
    zero = {name: np.zeros((1, *shape)) for name, shape in network.inputs.items()}
    for start in range(0, len(at), _AT_ONCE):
        A = _units(network, target, at[start : start + _AT_ONCE])
        parts = by_inputs(network, zero, target.pre, A)
        for part in parts.values():
            rows = np.abs(part).reshape(len(A), -1)
            found[start : start + _AT_ONCE] += rows.sum(axis=1) * (1 + own(rows.shape[1]))
    return found


def _above(
    network: Network, target: Target, rows: NDArray[np.int64], points: Mapping[str, Floats], reach: float
) -> Floats:
    """[neurons, positions] z at most over the points (so over their hull), as the model computes it up to `reach`
    away from them."""
    given = {name: np.asarray(points[name], np.float64) for name in network.inputs if name in points}
    one = {name: Hull(value[:1]) for name, value in given.items()}
    wide = ranges(
        network,
        {
            name: Hull(given[name], reach) if name in given else anywhere(shape)
            for name, shape in network.inputs.items()
        },
    )
    known = Ranges(
        wide.boxes, wide.errors, {**wide.domains, **one}
    )  # rounding as of the wide box, at one point
    rounded = np.empty(rows.size)
    for start in range(0, rows.size, _AT_ONCE):
        A = _units(network, target, rows.ravel()[start : start + _AT_ONCE])
        rounded[start : start + _AT_ONCE] = backward.upper(network, known, target.pre, A)
    largest, first = _largest(network, target, rows, given)
    return largest + (rounded.reshape(rows.shape) - first)


def _largest(
    network: Network, target: Target, rows: NDArray[np.int64], points: Mapping[str, Floats]
) -> tuple[Floats, Floats]:
    """[neurons, positions] the largest exact z over the points, and z at the first point."""
    count = min(len(value) for value in points.values())
    best = np.full(rows.shape, -np.inf)
    first = best
    for start in range(0, count, _AT_ONCE):
        some = {name: value[start : start + _AT_ONCE] for name, value in points.items()}
        z = network.forward(some, [target.pre])[target.pre]
        flat = z.reshape(len(z), -1)[:, rows.ravel()].reshape(len(z), *rows.shape)
        first = flat[0] if start == 0 else first
        best = np.maximum(best, flat.max(axis=0))
    return best, first


def _units(network: Network, target: Target, at: NDArray[np.int64]) -> Floats:
    """[rows, *shape of z] one coefficient of one in each row."""
    shape = network.shapes[target.pre]
    A = np.zeros((len(at), int(np.prod(shape))))
    A[np.arange(len(at)), at] = 1.0
    return A.reshape(len(at), *shape)
