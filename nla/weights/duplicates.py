"""Neurons that repeat one another: equal incoming weights and bias, up to a positive factor where φ lets one through.

Every unit has a few random projections of its incoming weights. Units whose projections agree are candidates, and
only these are read again, row by row, so that memory stays bounded and nothing is claimed on a projection's word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nla.activations import Activation
from nla.weights.units import Incoming

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

TOLERANCE = 1e-6
"""Norm of the difference of two rows, over their norm, up to which they repeat one another."""
_MOST_READ = 1 << 18
"""Rows of a site that are read again at most: many that are nearly equal could ask for all pairs."""
_REACH = 8.0
"""By how much a projection of such a difference may exceed it: a standard normal is never so large."""


@dataclass(frozen=True, eq=False)
class Duplicates:
    """For every unit, the first of those that it repeats."""

    of: Integers
    """[units] -1 where it repeats none."""
    exact: Bools
    compared: int


@np.errstate(all="ignore")  # what overflows repeats nothing
def duplicates(ways: tuple[Incoming, ...], candidates: Bools, activation: Activation | None) -> Duplicates:
    """Which of the candidates repeat one another; `ways` are those into one site, `activation` None for a product."""
    scaled = activation is not None and homogeneous(activation)
    units = np.flatnonzero(candidates)
    of, exact = np.full(len(candidates), -1, np.int64), np.zeros(len(candidates), bool)
    bias = np.random.default_rng(1).standard_normal(ways[0].projections.shape[1])
    directions, norms = [], np.zeros(len(candidates))
    for way in ways:
        directions.append(way.projections + way.constant[:, None] * bias)
        norms += way.squares + way.constant**2
    norm = np.sqrt(norms)
    units = units[norm[units] > 0]
    signature = np.concatenate(directions, 1)[units] / norm[units, None]
    kin = np.stack([way.kin for way in ways], 1)[units]
    compared, left = len(units), _MOST_READ
    for cluster in _clusters(signature, kin):
        done, read = _settle(units[cluster], ways, norm, scaled, of, exact, left)
        compared -= len(cluster) - done
        left -= read
    return Duplicates(of, exact, compared)


def homogeneous(activation: Activation) -> bool:
    """True where φ(c·z) = c·φ(z) for every c > 0: such units are scaled copies of each other."""
    if activation.name == "Clip":
        bounds = dict(activation.parameters)
        return bounds["min"] in (0.0, -np.inf) and bounds["max"] in (0.0, np.inf)
    return activation.name in ("Relu", "LeakyRelu", "Identity")


def _clusters(signature: Floats, kin: Integers) -> Iterator[Integers]:
    """Places whose signatures agree, and which the same layers make; two or more each."""
    pending = [np.arange(len(signature))]
    for column in kin.T:
        pending = [part for each in pending for part in _runs(each, column[each], 0)]
    for values in signature.T:
        pending = [part for each in pending for part in _runs(each, values[each], _REACH * TOLERANCE)]
    yield from (np.sort(each) for each in pending)


def _runs(places: Integers, values: NDArray[np.generic], gap: float) -> Iterator[Integers]:
    """The places, split where their sorted values jump by more than `gap`; those that stand alone left out."""
    order = np.argsort(values, kind="stable")
    jumps = np.flatnonzero(np.diff(values[order]) > gap) + 1
    for part in np.split(places[order], jumps):
        if len(part) > 1:
            yield part


def _settle(
    units: Integers,
    ways: tuple[Incoming, ...],
    norm: Floats,
    scaled: bool,
    of: Integers,
    exact: Bools,
    most: int,
) -> tuple[int, int]:
    """Compare the rows of a cluster with those of its first units; (units compared with all, rows read)."""
    left, read = list(units), 0
    while len(left) > 1 and read + len(left) <= most:
        read += len(left)
        first, rest = int(left[0]), []
        row = _row(ways, first)
        for unit in left[1:]:
            other = _row(ways, int(unit))
            factor = norm[unit] / norm[first] if scaled else 1.0
            if len(other) == len(row) and np.linalg.norm(other - factor * row) <= TOLERANCE * norm[unit]:
                of[unit], exact[unit] = first, bool(np.array_equal(other, row))
            else:
                rest.append(unit)
        left = rest
    return len(units) - (len(left) if len(left) > 1 else 0), read


def _row(ways: tuple[Incoming, ...], unit: int) -> Floats:
    return np.concatenate([way.row(unit) for way in ways])
