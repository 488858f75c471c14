"""How the axes of an array become those of a model's input, without ever guessing which axis means what.

Axes of size 1 come and go; adjacent axes are joined; one axis is split into two. What would need a
transposition, or an opinion about channel order, is refused with the reason.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from nla.calibration.columns import Shape
from nla.errors import DataError, printable
from nla.site import Input

_BATCH_SYMBOL = re.compile(r"(?i)n|b|bs|.*batch.*")


@dataclass(frozen=True)
class Wanted:
    """What one sample of a model's input looks like."""

    batched: bool
    """The input's axis 0 counts samples; otherwise a run takes one sample, which is the whole input."""
    sample: Shape | None
    """Shape of a sample, None for a free axis; None where not even the rank is known."""


@dataclass(frozen=True)
class Fit:
    """How an array becomes samples of an input."""

    lone: bool
    """The array is one sample and has no sample axis."""
    sample: Shape | None
    """Shape to which each sample is brought, None for an axis that changes; None: as it is."""
    note: str | None
    """What was done, as a sentence; None where nothing was."""


def wanted(declared: Input) -> Wanted:
    """Which axis is the batch: axis 0, if it is free or 1 and no other axis is the one named batch."""
    if declared.shape is None:
        return Wanted(True, None)
    axes = tuple(size if isinstance(size, int) and size > 0 else None for size in declared.shape)
    named = [
        i for i, size in enumerate(declared.shape) if isinstance(size, str) and _BATCH_SYMBOL.fullmatch(size)
    ]
    if axes and axes[0] in (None, 1) and (not named or 0 in named):
        return Wanted(True, axes[1:])
    return Wanted(False, tuple(1 if i in named else size for i, size in enumerate(axes)))


def fit(name: str, array: Shape, declared: Input) -> Fit:
    """How the array `name` of shape `array` feeds `declared`; DataError that says what would fit."""
    want = wanted(declared)
    shown = f"array {printable(name)!r} {describe(array)}"
    to = f"input {printable(declared.name)!r} {describe(declared.shape)}"
    if want.sample is None:
        if not array:
            raise DataError(f"{shown} has no sample axis, which {to} needs")
        return Fit(False, None, f"{shown} is fed to {to}, whose shape is not declared, as it is")
    if array and _matches(array[1:], want.sample):
        return Fit(False, None, None)
    if _is_one_sample(array, want.sample):
        sample = None if _matches(array, want.sample) else _filled(array, want.sample)
        return Fit(True, sample, f"{shown} has no sample axis: it is taken as one sample of {to}")
    joined = _regroup(array[1:], want.sample, want.batched) if array else None
    if joined is None:
        raise DataError(f"{shown} does not fit {to}: {_hint(name, array, declared, want)}")
    how, sample = joined
    return Fit(False, sample, f"{shown} is fed to {to}: {how}")


def describe(shape: tuple[int | str | None, ...] | None) -> str:
    """A shape as people write it.

    >>> describe(("batch", None, 28))
    '[batch, ?, 28]'
    """
    if shape is None:
        return "[of unknown shape]"
    return "[" + ", ".join("?" if size is None else printable(size, 40) for size in shape) + "]"


def _matches(array: Shape, sample: Shape) -> bool:
    return len(array) == len(sample) and all(s is None or a == s for a, s in zip(array, sample, strict=True))


def _is_one_sample(array: Shape, sample: Shape) -> bool:
    """Whether the array is one sample, for sure: some axis has the declared size, or there is only one."""
    alike = _matches(array, sample) or _strip(array) == _strip(sample)
    return alike and (len(sample) < 2 or any(size is not None for size in sample))


def _strip(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)


def _filled(array: Shape, sample: Shape) -> Shape:
    """`sample` with its free axes taken from the array, whose axes other than 1 correspond to it in order."""
    rest = iter(_strip(array))
    return tuple(1 if size == 1 else next(rest) for size in sample)


def _regroup(array: Shape, sample: Shape, batched: bool) -> tuple[str, Shape] | None:
    have, want = _strip(array), _strip(sample)
    if _matches(have, want):
        return "axes of size 1 were added or dropped", _filled(array, sample)
    if not batched or None in have or None in want:
        return None
    if _joins(have, want):
        return "adjacent axes are joined", sample
    # Into three axes or more it would be a guess: pixels by channel, or channels by pixel?
    if _joins(want, have) and len(want) <= 2:
        return "the last axis is split, row by row", sample
    return None


def _joins(fine: Shape, coarse: Shape) -> bool:
    """Whether joining runs of adjacent axes turns `fine` into `coarse`; both without None."""
    product, rest = 1, list(coarse)
    for size in fine:
        product *= size or 0
        if rest and product == rest[0]:
            product = 1
            rest.pop(0)
    return not rest and product == 1


def _hint(name: str, array: Shape, declared: Input, want: Wanted) -> str:
    sample = want.sample or ()
    fits = describe(("n", *sample))
    if order := _transposition(array[1:], sample):
        axes = ", ".join(map(str, (0, *order)))
        return f"the axes are in another order; transpose it first: np.transpose({printable(name)}, ({axes}))"
    if not want.batched and sample and (sample[0] or 0) > 1:
        return (
            f"the model was exported with a fixed first axis of {sample[0]}, a run takes {describe(sample)} "
            f"whole: give {fits}, or export the model with a dynamic batch axis"
        )
    if not want.batched:
        return f"give {fits} (one sample a run), or a constant: --set {printable(declared.name)}=0"
    if None in sample or None in array:
        return f"give {fits}"
    per = math.prod(size or 0 for size in array[1:])
    return f"a sample must hold {math.prod(s or 0 for s in sample)} values as {fits}, here it holds {per}"


def _transposition(array: Shape, sample: Shape) -> tuple[int, ...] | None:
    """Axes (1 = first after the samples) that bring a channels-last array to channels-first, or back."""
    count = len(sample)
    if len(array) != count or count < 2:
        return None
    for order in ((count, *range(1, count)), (*range(2, count + 1), 1)):
        if _matches(tuple(array[i - 1] for i in order), sample):
            return order
    return None
