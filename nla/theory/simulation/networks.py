"""One block of random networks from the data to the last depth, all depths in one pass.

He-normal weights (any symmetric scale gives the same deaths without biases), square layers on as many features as they
are wide, standard normal data, new for every network. With biases, to which the size of the data matters, data have
every size (multivariate Cauchy): as near as a sample comes to the whole space that the upper bound speaks of.

Without biases outputs scale with inputs, and so does a normalised network: values are divided by their largest now and
then, so that nothing under- or overflows in float32. A point dies at the first layer whose pre-activations are all ≤ 0,
and stays dead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nla.theory.simulation.schemes import SCHEMES

Counts = NDArray[np.int64]
Values = NDArray[np.float32]
Living = NDArray[np.bool_]

RESIDUAL = "residual"
"""The scheme of layers x + ReLU(Wx): what a layer silences goes round it, so that no point dies."""

BLOCK = 16
"""Networks that are computed together: at width 15 and 1,024 points they fit the cache of a core."""
_RESCALED = 8
"""Layers between two rescalings: eight of width 1 change a value by 1e±15 in one network of 1e12."""

_LEAST = np.float32(1e-6)


@dataclass(frozen=True)
class Task:
    """Networks of one width under one scheme."""

    scheme: str
    width: int
    depth: int
    networks: int
    points: int
    seed: int
    bias: bool = False
    """Biases drawn like the weights, and data of every size; else there are none, and data are standard normal."""
    non_negative: bool = False
    """Data folded to their absolute values."""
    variance: bool = False
    """Whether the normalised variance is measured, at the depths that are powers of 2."""

    @property
    def blocks(self) -> int:
        """In how many blocks they are computed."""
        return -(-self.networks // BLOCK)

    @property
    def sampled(self) -> tuple[int, ...]:
        """The depths at which the variance is measured."""
        return tuple(2**k for k in range(self.depth.bit_length())) if self.variance else ()

    @property
    def cost(self) -> int:
        """Multiplications of one block, about: for a progress bar."""
        return self.width * (self.width + 8) * self.depth * min(BLOCK, self.networks) * self.points


@dataclass(frozen=True)
class Tally:
    """Sums over networks, an entry for each depth from 1."""

    alive: Counts
    """Networks with a living point."""
    living: Counts
    """Living points of all networks."""
    squares: Counts
    """Of each network's living points, squared."""
    silent: Counts
    """Living networks whose layer here is ≤ 0 on all the points that lived before it."""
    variances: Values
    """[networks, sampled depths]: Σ variance over the living points, over the squared norm of their mean; NaN: none."""


def counted(task: Task, block: int) -> Tally:
    """The tally of one block of a task. It depends on (seed, width, block) and the task alone."""
    rng = np.random.default_rng([task.seed, task.width, block])
    networks = min(BLOCK, task.networks - block * BLOCK)
    tally = _Tallying(task, networks)
    n, scale = task.width, np.float32(math.sqrt(2 / task.width))
    values, spare = np.ones(
        (2, networks, n + 1, task.points), np.float32
    )  # the last row carries what is added
    values[:, :n] = rng.standard_normal((networks, n, task.points), np.float32)
    if task.bias:
        sizes = np.abs(rng.standard_normal((networks, 1, task.points), np.float32))
        values[:, :n] /= np.maximum(sizes, _LEAST)
    if task.non_negative:
        np.abs(values, out=values)
    living = np.ones((networks, task.points), bool)
    which = np.arange(networks)
    residual = task.scheme == RESIDUAL
    scheme = SCHEMES["independent" if residual else task.scheme]()
    for layer in range(task.depth):
        weights = rng.standard_normal((networks, n, n), np.float32)[which] * scale
        biases = rng.standard_normal((networks, n, 1), np.float32)[which] * scale if task.bias else None
        x, z = values[:, :n], spare[:, :n]
        centred = scheme.begin(weights, x, living)  # after which biases make no difference
        if centred is not None:
            biases, values[:, n] = centred
        if biases is None:
            np.matmul(weights, x, out=z)
        else:
            np.matmul(np.concatenate([weights, biases], axis=2), values, out=z)
        awake = (scheme.top(z, living) > 0) & living
        tally.silent(layer, awake)
        np.maximum(z, 0, out=z)
        if residual:
            z += x
        else:
            living = awake
        values, spare = spare, values
        kept = tally.count(layer, which, z, living)
        if not kept.all():
            which, living = which[kept], living[kept]
            values, spare = values[kept], spare[kept]
            scheme.keep(kept)
        if not len(which):
            break
        if layer % _RESCALED == _RESCALED - 1 and biases is None:
            x = values[:, :n]
            x /= np.abs(x).max(axis=1, keepdims=True) if residual else x.max((1, 2), keepdims=True)
    return tally.made


class _Tallying:
    def __init__(self, task: Task, networks: int) -> None:
        self._at = {depth - 1: number for number, depth in enumerate(task.sampled)}
        alive, living, squares, silent = np.zeros((4, task.depth), np.int64)
        variances = np.full((networks, len(task.sampled)), np.nan, np.float32)
        self.made = Tally(alive, living, squares, silent, variances)

    def silent(self, layer: int, awake: Living) -> None:
        """Add one layer's silent networks; `awake`: points that lived before it and that it does not kill."""
        self.made.silent[layer] = np.count_nonzero(~awake.any(axis=1))

    def count(self, layer: int, which: NDArray[np.intp], values: Values, living: Living) -> Living:
        """Add one layer's; which networks live."""
        points = np.count_nonzero(living, axis=1)
        self.made.alive[layer] = np.count_nonzero(points)
        self.made.living[layer] = points.sum()
        self.made.squares[layer] = (points * points).sum()
        if layer in self._at:
            self.made.variances[which, self._at[layer]] = normalised_variance(values, living)
        return np.asarray(points > 0)


def normalised_variance(values: Values, living: Living) -> Values:
    """Σ_neurons variance / ‖mean‖² over the living points of each network; NaN where none lives. float32 [networks]."""
    weights = living.astype(np.float64)
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.einsum("bnm,bm->bn", values, weights) / total[:, None]
        square = np.einsum("bnm,bnm,bm->b", values, values, weights, optimize=True) / total
        length = np.einsum("bn,bn->b", mean, mean)
        return np.asarray(np.maximum(square / length - 1, 0), np.float32)
