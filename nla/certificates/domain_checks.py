"""What a domain, and the data it is held against, have to be: refused in one line otherwise."""

from __future__ import annotations

from collections.abc import Container, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nla.certificates.rounding import Floats
from nla.errors import UsageError, printable

Shape = tuple[int, ...]


def spread(tensor: str, end: ArrayLike, shape: Shape) -> Floats:
    try:
        given = np.asarray(end, np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"the domain of '{printable(tensor)}': its ends are no arrays of numbers") from None
    if given.ndim == 1 and given.size > 1 and given.shape != shape and shape.count(given.size):
        axis = shape.index(given.size)
        given = given.reshape(-1, *(1,) * (len(shape) - axis - 1))
    elif given.size == int(np.prod(shape)):
        given = given.reshape(shape)  # a batch axis of one, or a flat list
    try:
        return np.array(np.broadcast_to(given, shape))
    except ValueError:
        raise UsageError(
            f"the domain of '{printable(tensor)}': {given.size} numbers of shape {given.shape} do not fit one sample, "
            f"of shape {shape}: give one number, one for each channel, or one for each element"
        ) from None


def batch_of(tensor: str, values: ArrayLike, shape: Shape, first: int) -> Floats:
    batch = np.asarray(values, np.float64)
    if batch.ndim == 0 or batch.size != len(batch) * int(np.prod(shape)):
        raise UsageError(
            f"samples of '{printable(tensor)}' are of shape {batch.shape[1:]}; one sample is of shape {shape}"
        )
    batch = batch.reshape(len(batch), *shape)
    bad = ~np.isfinite(batch)
    if bad.any():
        place = np.argwhere(bad)[0]
        at = tuple(int(k) for k in place[1:])
        raise UsageError(
            f"sample {first + int(place[0])} has {batch[tuple(place)]:g} at {element(tensor, at)}: no domain holds it"
        )
    return batch


def refuse(tensor: str, wrong: NDArray[np.bool_], why: str, lo: Floats, hi: Floats) -> None:
    if not wrong.any():
        return
    at = tuple(int(k) for k in np.argwhere(wrong)[0])
    more = f" (and {int(wrong.sum()) - 1} others)" if wrong.sum() > 1 else ""
    raise UsageError(f"the domain at {element(tensor, at)} {why}: {lo[at]:g} to {hi[at]:g}{more}")


def element(tensor: str, at: tuple[int, ...]) -> str:
    return f"'{printable(tensor)}'[{', '.join(map(str, at))}]" if at else f"'{printable(tensor)}'"


def range_of(text: str, part: str) -> tuple[float, float]:
    low, colon, high = part.strip().partition(":")
    try:
        if not colon:
            raise ValueError
        return float(low), float(high)
    except ValueError:
        raise UsageError(
            f"box '{printable(text)}': '{printable(part)}' is no range LOW:HIGH, such as 0:1 or -1:inf"
        ) from None


def known(name: str, inputs: Iterable[str]) -> None:
    if name not in inputs:
        raise UsageError(f"a domain for '{printable(name)}', which is no input: {listed(inputs)}")


def once(name: str, found: Container[str]) -> None:
    if name in found:
        raise UsageError(f"the domain of '{printable(name)}' is given twice")


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{printable(name)}'" for name in list(names)[:8]) or "it has none"


def positive(what: str, value: float) -> None:
    if not (np.isfinite(value) and value >= 0):
        raise UsageError(f"{what} {value:g}: expected a number of at least 0")
