"""Where a search for witnesses may move: within a box, or within a hull of points; float32 values throughout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nla.certificates.rounding import Floats
from nla.certificates.sets import Domain, Hull

Singles = NDArray[Any]
"""float32"""
_SHAKEN = 0.2
_REACH = 16.0
"""Where an end of a box is open: so far beyond the data, and beyond 1, at first."""


class Room(Protocol):
    """The points that a search may try for one input, [rows, *shape] float32."""

    def points(self, count: int, rng: np.random.Generator) -> Singles:
        """So many points spread over it."""
        ...

    def moved(self, x: Singles, towards: Singles, share: float) -> Singles:
        """x moved along `towards` by a share of the room's width, and back inside."""
        ...

    def best(self, towards: Singles) -> Singles:
        """The point of the room that lies furthest along each row of `towards`."""
        ...

    def mixed(self, x: Singles, other: Singles, rng: np.random.Generator) -> Singles:
        """Points of the room that have something of both."""
        ...

    def starts(self, data: Singles, rng: np.random.Generator) -> Singles:
        """Data, brought into the room; points of the room where that cannot be done."""
        ...


def room(domain: Domain, data: Singles | None = None, *, whole: bool = False) -> Room:
    """The room of a domain; `data` [samples, *shape] tell how far to go where an end is open.

    `whole`: the input is of an integer type, so that only whole numbers are tried.
    """
    if isinstance(domain, Hull) and not whole:
        return _HullRoom(domain.points.astype(np.float32), float(domain.radius))
    box = domain.box
    far = _REACH * max(1.0, 0.0 if data is None or not len(data) else float(np.abs(data).max()))
    lo = np.where(np.isfinite(box.lo), box.lo, np.minimum(-far, box.hi - far))
    hi = np.where(np.isfinite(box.hi), box.hi, np.maximum(far, box.lo + far))
    if whole:
        lo, hi = np.ceil(lo), np.floor(hi)
    return _BoxRoom(_up(lo), _down(hi), whole)


def _up(x: Floats) -> Singles:
    """The smallest float32 at or above x."""
    with np.errstate(over="ignore"):
        near = x.astype(np.float32)
    return np.where(near < x, np.nextafter(near, np.float32(np.inf)), near)


def _down(x: Floats) -> Singles:
    with np.errstate(over="ignore"):
        near = x.astype(np.float32)
    return np.where(near > x, np.nextafter(near, np.float32(-np.inf)), near)


@dataclass(frozen=True)
class _BoxRoom:
    lo: Singles
    hi: Singles
    whole: bool

    def points(self, count: int, rng: np.random.Generator) -> Singles:
        """The middle, corners (each with its own share of upper ends), and points at random."""
        shape = (count, *self.lo.shape)
        share = rng.random((count, *(1,) * self.lo.ndim), np.float32)
        corner = rng.random(shape, np.float32) < share
        spread = rng.random(shape, np.float32)
        spread[: count // 2] = corner[: count // 2]
        if count:
            spread[0] = 0.5
        return self._inside(self.lo + (self.hi - self.lo) * spread)

    def moved(self, x: Singles, towards: Singles, share: float) -> Singles:
        step = np.float32(share) * (self.hi - self.lo)
        if self.whole:
            step = np.maximum(step, 1)
        return self._inside(x + step * np.sign(towards))

    def best(self, towards: Singles) -> Singles:
        middle = self._inside(((self.lo + self.hi) / 2)[None])
        return np.asarray(np.where(towards > 0, self.hi, np.where(towards < 0, self.lo, middle)))

    def mixed(self, x: Singles, other: Singles, rng: np.random.Generator) -> Singles:
        """A fifth of the elements are the other's."""
        return np.where(rng.random(x.shape, np.float32) < _SHAKEN, other, x)

    def starts(self, data: Singles, rng: np.random.Generator) -> Singles:
        return self._inside(data)

    def _inside(self, x: Singles) -> Singles:
        single = np.asarray(x, np.float32)
        made: Singles = np.clip(np.rint(single) if self.whole else single, self.lo, self.hi)
        return made


@dataclass(frozen=True)
class _HullRoom:
    """Convex combinations, to float32 rounding."""

    corners: Singles
    radius: float

    def points(self, count: int, rng: np.random.Generator) -> Singles:
        """Between pairs of points, and moved within the radius."""
        first, second = rng.integers(0, len(self.corners), (2, count))
        share = rng.random((count, *(1,) * (self.corners.ndim - 1)), np.float32)
        share[: count // 2] = 0
        made = self.corners[first] * (1 - share) + self.corners[second] * share
        spread = np.float32(self.radius) * (2 * rng.random(made.shape, np.float32) - 1)
        return np.asarray(made + spread)

    def moved(self, x: Singles, towards: Singles, share: float) -> Singles:
        """A step to the best corner (Frank and Wolfe), which never leaves the hull."""
        return np.asarray(x + np.float32(share) * (self.best(towards) - x))

    def best(self, towards: Singles) -> Singles:
        flat = self.corners.reshape(len(self.corners), -1)
        at = (towards.reshape(len(towards), -1) @ flat.T).argmax(axis=1)
        return np.asarray(self.corners[at] + np.float32(self.radius) * np.sign(towards))

    def mixed(self, x: Singles, other: Singles, rng: np.random.Generator) -> Singles:
        """A fifth of the way to the other: elements that are exchanged would leave the hull."""
        return np.asarray(x + np.float32(_SHAKEN) * (other - x))

    def starts(self, data: Singles, rng: np.random.Generator) -> Singles:
        return self.points(len(data), rng)
