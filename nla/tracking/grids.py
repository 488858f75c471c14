"""The grid on which quantised activations lie, read off the extremes of the neurons of a site."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_FEWEST = 4
"""Distinct values below which a grid may be chance: of floats one in 8,000 is a half, one in 2,500 fits a step."""
_LEVELS = 255
_FIT = 2e-4
"""How far from a multiple of the step a value may lie, in steps: float32 holds 255 levels to 3e-5."""
_TOP, _BOTTOMS = 127, (127, 128)
"""Of signed eight-bit types with the zero point in the middle; symmetric ones leave -128 out."""


@dataclass(frozen=True)
class Grid:
    """Where the values of a site can lie."""

    kind: str
    """integer (multiples of `step`), float16 or bfloat16."""
    step: float
    """The largest step that fits; NaN for floats."""
    bottom: float
    """Smallest and largest value that is reached."""
    top: float
    bottom_is_end: bool = False
    """Whether an eight-bit type ends there: all its levels lie between bottom and top, or those of its half do."""
    top_is_end: bool = False

    @property
    def words(self) -> str:
        """As the end of 'they lie on …'."""
        return f"a grid of {self.step:.3g}" if self.kind == "integer" else f"the grid of {self.kind}"


def grid_of(low: Floats, high: Floats) -> Grid | None:
    """The grid that holds the extremes of all neurons, [neurons] each; None where there is none to be seen.

    >>> grid_of(np.zeros(5), 0.5 * np.array([3, 255, 7, 11, 20])).step
    0.5
    >>> grid_of(np.zeros(5), np.sqrt([2, 3, 5, 6, 7])) is None
    True
    """
    values = np.concatenate([low, high])
    values = np.unique(values[np.isfinite(values)])
    sizes = np.unique(np.abs(values[values != 0]))
    if len(sizes) < _FEWEST:
        return None
    bottom, top = float(min(values[0], 0)), float(max(values[-1], 0))
    step = _step(sizes)
    if step is not None:
        levels = round((top - bottom) / step)
        return Grid(
            "integer",
            step,
            bottom,
            top,
            bottom_is_end=levels == _LEVELS or round(-bottom / step) in _BOTTOMS,
            top_is_end=levels == _LEVELS or round(top / step) == _TOP,
        )
    # The eight digits of bfloat16 are among the eleven of float16, where the range allows.
    for kind, rounded in (("bfloat16", _bfloat16), ("float16", _float16)):
        if np.array_equal(rounded(sizes), sizes):
            return Grid(kind, float("nan"), bottom, top)
    return None


def _step(sizes: Floats) -> float | None:
    """The largest step of which all are multiples, none more than 255; None where there is none."""
    for levels in range(1, _LEVELS + 1):
        step = float(sizes[-1]) / levels
        places = sizes / step
        if places[0] > 1 / 2 and np.all(np.abs(places - np.rint(places)) <= _FIT):
            return step
    return None


def _float16(values: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float64)


def _bfloat16(values: Floats) -> Floats:
    """The upper half of the bits of float32."""
    bits = values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(np.float64)
