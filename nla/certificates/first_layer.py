"""Where z is linear in the inputs, silence on data is silence on their convex hull, and on a margin around it.

A neuron whose z = w·x + b stays at or below its threshold t on data stays there wherever every element is moved by at
most (t - max z) / ‖w‖₁ away from the hull of the data: the L∞ radius.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nla.certificates import backward
from nla.certificates.backward import units
from nla.certificates.gradients import by_inputs
from nla.certificates.interval import Ranges, ranges
from nla.certificates.network import Network, Target
from nla.certificates.ops.joining import Concat, Sum
from nla.certificates.ops.linear import Linear
from nla.certificates.proving import places
from nla.certificates.rounding import Floats, own
from nla.certificates.sets import Hull, anywhere

_MOST_VALUES = 1 << 22
"""Of z that are held at once."""
Stop = Callable[[], bool]


def is_linear(network: Network, target: Target) -> bool:
    """Whether the site's z is a linear function of the inputs."""
    before = network.before([target.pre])
    made = {op.output for op in before}
    ends = {name for op in before for name in op.inputs if name not in made} or {target.pre}
    if (made | ends | {target.pre}) & set(network.given):
        return False
    return all(isinstance(op, Linear | Sum | Concat) for op in before) and ends <= set(network.inputs)


def radii(
    network: Network,
    target: Target,
    neurons: NDArray[np.int64],
    points: Mapping[str, Floats],
    stop: Stop = lambda: False,
) -> Floats | None:
    """[k] the L∞ radius around the hull of the points within which each neuron is silent; negative: not even on them.

    Of several inputs each is anywhere in its own hull.

    Rounding of the model is taken off, so that the radius is a certificate; infinite where z does not read the inputs.

    Args:
        network: lowered.
        target: the site; None is returned where its z is not linear in them.
        neurons: [k] indices.
        points: [points, *shape] by input that z reads: data, as the model reads them.
        stop: asked now and then whether to give up; None is returned then.
    """
    if not is_linear(network, target):
        return None
    near = replace(network, ops=network.before([target.pre]))
    rows = places(near, target, neurons)
    reads = {name for op in near.ops for name in op.inputs} & set(near.inputs)
    if not reads <= set(points):
        return None
    given = {name: np.asarray(points[name], np.float64) for name in sorted(reads)}
    norms = _norms(near, target, rows, stop)
    largest = None if norms is None else _largest(near, target, rows, given, stop)
    if norms is None or largest is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        guess = (target.threshold - largest) / norms
    reach = float(np.max(guess, where=np.isfinite(guess), initial=0.0))
    rounding = _rounding(near, target, rows, given, reach, stop)
    if rounding is None:
        return None
    room = target.threshold - (largest + rounding)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(norms > 0, room / (norms * (1 + 2.0**-40)), np.where(room >= 0, np.inf, -np.inf))
    least = each.min(axis=1)
    return np.asarray(np.where(np.isfinite(least), np.minimum(least, reach), least))


def _norms(network: Network, target: Target, rows: NDArray[np.int64], stop: Stop) -> Floats | None:
    """[neurons, positions] ‖w‖₁ of z, over all inputs."""
    found = np.zeros(rows.size)
    zero = {name: np.zeros((1, *shape)) for name, shape in network.inputs.items()}
    for some in _blocks(network, target, rows.size):
        if stop():
            return None
        A = units(rows.ravel()[some], network.shapes[target.pre])
        for part in by_inputs(network, zero, target.pre, A).values():
            flat = np.abs(part).reshape(len(A), -1)
            found[some] += flat.sum(axis=1) * (1 + own(flat.shape[1]))
    return found.reshape(rows.shape)


def _rounding(
    network: Network,
    target: Target,
    rows: NDArray[np.int64],
    points: Mapping[str, Floats],
    reach: float,
    stop: Stop,
) -> Floats | None:
    """[neurons, positions] by how much the model's z may be above the exact one, up to `reach` away from the points.

    The bound of z at the first point, with the rounding of the whole wide box, less the exact z there.
    """
    one = {name: Hull(value[:1]) for name, value in points.items()}
    wide = ranges(
        network,
        {
            name: Hull(points[name], reach) if name in points else anywhere(shape)
            for name, shape in network.inputs.items()
        },
    )
    known = Ranges(wide.boxes, wide.errors, {**wide.domains, **one})
    found = np.empty(rows.size)
    for some in _blocks(network, target, rows.size):
        if stop():
            return None
        A = units(rows.ravel()[some], network.shapes[target.pre])
        found[some] = backward.upper(network, known, target.pre, A)
    first = network.forward({name: value[:1] for name, value in points.items()}, [target.pre])[target.pre]
    return found.reshape(rows.shape) - first.ravel()[rows]


def _largest(
    network: Network, target: Target, rows: NDArray[np.int64], points: Mapping[str, Floats], stop: Stop
) -> Floats | None:
    """[neurons, positions] the largest exact z over the points of each input, in every combination.

    z is a sum of what each input adds to it, so that each is moved alone, from the first point.
    """
    one = {name: value[:1] for name, value in points.items()}
    first = network.forward(one, [target.pre])[target.pre].ravel()[rows]
    found = first.copy()
    for name, value in points.items():
        best = np.full(rows.shape, -np.inf)
        for some in _blocks(network, target, len(value)):
            if stop():
                return None
            moved = {
                **{other: _repeated(held, value[some]) for other, held in one.items()},
                name: value[some],
            }
            z = network.forward(moved, [target.pre])[target.pre]
            best = np.maximum(best, z.reshape(len(z), -1)[:, rows].max(axis=0))
        found += best - first
    return found


def _repeated(one: Floats, like: Floats) -> Floats:
    return np.broadcast_to(one, (len(like), *one.shape[1:]))


def _blocks(network: Network, target: Target, count: int) -> Iterator[slice]:
    """Parts of `count` rows whose z, or whose coefficients of z, are not too many at once."""
    step = max(1, min(512, _MOST_VALUES // int(np.prod(network.shapes[target.pre]))))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))
