"""The activations side by side (lifecycle paper, Table 1 and figure 2), every number from `nla.activations` alone.

Beside the print: GELU's and Swish's slopes exceed 1 (1.1290 at z = √2, 1.0998 at z = 2.3994), and vanish at -0.7518 and
-1.2785; ELU's slope at 0 is 1 from both sides for α = 1 only; an always-on ReLU is linear, which is no saturation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.activations import NAMES, Activation
from nla.errors import UsageError, printable
from nla.theory.slopes import backward_gain, forward_gain, largest_slope

Floats = NDArray[np.float64]
SCHEMA = "nla/activations/1"
FLAT = 0.01
"""|φ′| below this counts as flat."""
_REACH = 40.0
_GRID = 40_001
_CURVE = np.linspace(-6.0, 6.0, 241)
_HALVINGS = 60
_DIGITS = 12
_STEP = 1e-9
_FAR = 1e9
_NEAR = 0.05
"""φ at ±40 is no further from its limit."""
_SHOWN: dict[str, dict[str, float]] = {"Clip": {"min": 0.0, "max": 6.0}}
"""Parameters of a row where the defaults say nothing: Clip is ReLU6."""
_KNOWN = tuple(name for name in NAMES if Activation.named(name).elementwise)


@dataclass(frozen=True, eq=False)
class Row:
    """One activation."""

    activation: Activation
    lowest: float
    """inf φ, -inf where there is none."""
    highest: float
    at_zero: float
    """φ(0)."""
    slopes: tuple[float, float]
    """Least and largest φ′."""
    flat: tuple[tuple[float, float], ...]
    """Intervals of z where |φ′| < 0.01; infinite where they go on."""
    turns: tuple[float, ...]
    """The z where φ′ changes its sign."""
    forward_gain: float
    """1/√E[φ(z)²] for standard normal z."""
    backward_gain: float
    """1/√E[φ′(z)²]."""

    @property
    def curve(self) -> dict[str, list[float]]:
        """z from -6 to 6 with φ and φ′: figure 2."""
        value, slope = self.activation.value(_CURVE), self.activation.derivative(_CURVE)
        return {"z": _CURVE.tolist(), "value": value.tolist(), "derivative": slope.tolist()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; null for what is not finite."""
        return {
            "name": self.activation.name,
            "parameters": self.activation.to_dict()["parameters"],
            "lowest": _finite(self.lowest),
            "highest": _finite(self.highest),
            "at_zero": self.at_zero,
            "slope_min": self.slopes[0],
            "slope_max": self.slopes[1],
            "flat": [[_finite(low), _finite(high)] for low, high in self.flat],
            "turns": list(self.turns),
            "forward_gain": self.forward_gain,
            "backward_gain": self.backward_gain,
            "dead_risk": self.activation.dead_risk,
            "saturation_risk": self.activation.saturation_risk,
        }


@dataclass(frozen=True, eq=False)
class ActivationTable:
    """Activations side by side."""

    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """The document, plain values, with the curves."""
        return {
            "schema": SCHEMA,
            "flat_derivative": FLAT,
            "activations": [{**row.to_dict(), "curve": row.curve} for row in self.rows],
        }


def table_of(names: str | Sequence[str] = ()) -> ActivationTable:
    """The activations of these names, whatever their case; all that are functions of one z where there are none.

    Raises:
        UsageError: a name that is none of these.
    """
    given = [names] if isinstance(names, str) or not np.iterable(names) else names
    wanted = [named(name) for name in given] or list(map(named, _KNOWN))
    return ActivationTable(tuple(map(_row, dict.fromkeys(wanted))))


def named(name: str) -> Activation:
    """The activation of one z of that name, whatever its case. Raises UsageError."""
    found = {known.lower(): known for known in _KNOWN}.get(str(name).lower())
    if found is None:
        raise UsageError(f"no activation {printable(str(name))!r} of one z; there are {', '.join(_KNOWN)}")
    return Activation.named(found, **_SHOWN.get(found, {}))


def _row(activation: Activation) -> Row:
    z = np.linspace(-_REACH, _REACH, _GRID)
    value, slope = activation.value(z), activation.derivative(z)
    forward, backward, largest = (
        forward_gain(activation),
        backward_gain(activation),
        largest_slope(activation),
    )
    assert forward is not None
    assert backward is not None
    assert largest is not None
    flat = _where(z, np.abs(slope) < FLAT, lambda at: bool(abs(float(activation.derivative(at))) < FLAT))
    beside = [end + side * _STEP for ends in flat for end in ends for side in (-1, 1) if math.isfinite(end)]
    least = min(
        float(slope.min()), *map(float, activation.derivative([-_FAR, 0.0, _FAR, *beside]))
    )  # φ′ may jump there
    return Row(
        activation,
        _extreme(activation, -1.0, float(value.min()), float(slope[0])),
        _extreme(activation, 1.0, float(value.max()), float(slope[-1])),
        float(activation.value(0.0)),
        (least, largest),
        flat,
        _turns(activation, z, slope),
        forward,
        backward,
    )


def _extreme(activation: Activation, side: float, inside: float, slope: float) -> float:
    """inf or sup of φ: infinite where it is not flat far out on that side, else the limit or what it has inside."""
    if slope >= FLAT:
        return side * math.inf
    far = float(activation.value(side * _FAR))
    limit = side * max(side * inside, side * round(far, 8)) if abs(far - inside) < _NEAR else inside
    return limit + 0.0


def _where(
    z: Floats, holds: NDArray[np.bool_], exactly: Callable[[float], bool]
) -> tuple[tuple[float, float], ...]:
    """The intervals of the grid where something holds, their ends by bisection; those at the grid's ends go on."""
    edges = np.flatnonzero(np.diff(holds.astype(np.int8)))
    ends = [round(_bisected(float(z[at]), float(z[at + 1]), exactly), _DIGITS) + 0.0 for at in edges]
    ends = [-math.inf, *ends] if holds[0] else ends
    ends = [*ends, math.inf] if holds[-1] else ends
    return tuple(zip(ends[::2], ends[1::2], strict=True))


def _turns(activation: Activation, z: Floats, slope: Floats) -> tuple[float, ...]:
    """Where φ′ goes from one sign to the other."""
    known = np.flatnonzero(slope)
    signs = np.sign(slope[known])
    return tuple(
        round(
            _bisected(
                float(z[known[at]]),
                float(z[known[at + 1]]),
                lambda where: bool(activation.derivative(where) > 0),
            ),
            _DIGITS,
        )
        for at in np.flatnonzero(signs[:-1] * signs[1:] < 0)
    )


def _bisected(low: float, high: float, holds: Callable[[float], bool]) -> float:
    """Between `low` and `high`, of which it holds for one, where it begins or ends to."""
    first = holds(low)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if holds(middle) == first:
            low = middle
        else:
            high = middle
    return high


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
