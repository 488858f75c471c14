"""Initialisation schemes (lifecycle paper, Table 2) and how far weights are from each.

Table 2 prints the right variances. Its gains hold for He (√2) and LeCun (1) as std·√fan_in; the gain that it
prints for Xavier, 1/√2, is another quantity (the rms that a ReLU layer loses): std·√fan_in is
√(2·fan_in/(fan_in + fan_out)), which is 1 for a square layer. PyTorch's default for Linear and Conv, U(±1/√fan_in),
has a variance of 1/(3·fan_in) and fits none of the three. What Keras calls "normal" of these is truncated at two
standard deviations and widened, so that its variance is the one that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_KEPT = math.erf(math.sqrt(2))  # of a normal within two standard deviations
_TRUNCATED_STD = 0.8796256610342398
"""Standard deviation of a standard normal truncated at ±2."""
_TRUNCATED_EDGE = 4 * math.exp(-2) / math.sqrt(2 * math.pi) / _KEPT
"""Share of a truncated normal that lies in the outermost x of its range, over x."""
_FAR_FROM_BOUND = math.log(100)
_SHARP = 0.01
_KOLMOGOROV = 1.7308184
"""√n times the distance beyond which a sample of n is rejected at 0.5 %: two such tests together reject at 1 %."""
_NORMAL = 2.8070338
"""Standard errors beyond which a normally distributed number is rejected at 0.5 %."""
_GRID = 8193


@dataclass(frozen=True)
class Fans:
    """Sizes of a layer that initialisers go by."""

    fan_in: int
    """Weights of one output channel."""
    fan_out: int
    """Output channels times the size of the kernel, as PyTorch counts."""
    rows: int
    """Output channels; with `columns`, the matrix that an orthogonal initialiser fills."""
    columns: int


@dataclass(frozen=True)
class Scheme:
    """A distribution from which the weights of a layer are drawn, independently (orthogonal ones: jointly)."""

    name: str
    family: str
    """'normal', 'uniform', 'truncated' (a normal, at ±2 of its own standard deviations) or 'orthogonal'."""
    variance: Callable[[Fans], float]
    said: str
    """Whose default it is, or how the variance comes about."""

    def std(self, fans: Fans) -> float:
        """Standard deviation of a weight."""
        return math.sqrt(self.variance(fans))

    def gain(self, fans: Fans) -> float:
        """std·√fan_in: what the scheme multiplies the rms of inputs with, on the way to z."""
        return self.std(fans) * math.sqrt(fans.fan_in)

    def bound(self, fans: Fans) -> float | None:
        """The largest |w| that can be drawn; None where there is none, or none of a single weight."""
        if self.family == "uniform":
            return math.sqrt(3) * self.std(fans)
        return 2 * self.std(fans) / _TRUNCATED_STD if self.family == "truncated" else None

    def filled(self, largest: float, weights: int, fans: Fans, rounding: float = 0.0) -> bool:
        """Whether so many weights reach as near to the bound as 99 in 100 fresh draws do, and none goes beyond.

        Of n uniform weights the largest stays 1/n of the range below the bound on average, and more than 4.6/n in 1 %
        of draws. Where that is over 1 % of the range (n < 461) it would tell little, and is never so.

        Args:
            largest: max |w|.
            weights: how many.
            fans: of the layer.
            rounding: relative error of a weight as it is stored.

        """
        bound = self.bound(fans)
        if bound is None:
            return False
        window = _FAR_FROM_BOUND / (weights * (1.0 if self.family == "uniform" else _TRUNCATED_EDGE))
        return window <= _SHARP and -rounding <= 1 - largest / bound <= window + rounding

    def cdf(self, weights: ArrayLike, fans: Fans) -> Floats:
        """The distribution function of one weight, float64 of the shape of `weights`."""
        scaled = np.asarray(weights, np.float64) / self.std(fans)
        if self.family == "uniform":
            return np.clip(0.5 + scaled / (2 * math.sqrt(3)), 0.0, 1.0)
        if self.family == "truncated":
            inside = normal_cdf(np.clip(scaled * _TRUNCATED_STD, -2.0, 2.0))
            return np.asarray(np.clip(0.5 + (inside - 0.5) / _KEPT, 0.0, 1.0))
        if self.family == "orthogonal":
            return _sphere_cdf(scaled, max(fans.rows, fans.columns))
        return normal_cdf(scaled)


def _he(fans: Fans) -> float:
    return 2 / fans.fan_in


def _glorot(fans: Fans) -> float:
    return 2 / (fans.fan_in + fans.fan_out)


def _lecun(fans: Fans) -> float:
    return 1 / fans.fan_in


SCHEMES: tuple[Scheme, ...] = (
    Scheme("he-normal", "normal", _he, "He: variance 2/fan_in"),
    Scheme("he-uniform", "uniform", _he, "He: variance 2/fan_in"),
    Scheme("he-truncated", "truncated", _he, "Keras' he_normal"),
    Scheme("he-fan-out", "normal", lambda fans: 2 / fans.fan_out, "He by fan_out: torchvision's ResNet"),
    Scheme("glorot-normal", "normal", _glorot, "Glorot (Xavier): variance 2/(fan_in + fan_out)"),
    Scheme("glorot-uniform", "uniform", _glorot, "Glorot (Xavier); the default of Keras"),
    Scheme("glorot-truncated", "truncated", _glorot, "Keras' glorot_normal"),
    Scheme("lecun-normal", "normal", _lecun, "LeCun: variance 1/fan_in"),
    Scheme("lecun-uniform", "uniform", _lecun, "LeCun: variance 1/fan_in"),
    Scheme("lecun-truncated", "truncated", _lecun, "Keras' lecun_normal"),
    Scheme(
        "torch-default",
        "uniform",
        lambda fans: 1 / (3 * fans.fan_in),
        "PyTorch's Linear and Conv: U(±1/√fan_in)",
    ),
    Scheme(
        "normal-0.02", "normal", lambda fans: 0.02**2, "GPT-2, BERT and their kin: initializer_range 0.02"
    ),
    Scheme("orthogonal", "orthogonal", lambda fans: 1 / max(fans.rows, fans.columns), "orthogonal, gain 1"),
    Scheme(
        "orthogonal-√2",
        "orthogonal",
        lambda fans: 2 / max(fans.rows, fans.columns),
        "orthogonal, gain √2 (ReLU)",
    ),
)
"""Table 2 in its normal, uniform and truncated forms, and the defaults that are met in practice."""


@dataclass(frozen=True)
class Likeness:
    """How far the weights of a layer are from one scheme."""

    scheme: str
    std_ratio: float
    """Root mean square of the weights over the scheme's standard deviation: 1 where they agree."""
    distance: float
    """Largest difference of the distribution functions (Kolmogorov-Smirnov), in [0, 1]. For an orthogonal scheme
    at least the share by which the largest singular value exceeds what equal ones would be."""
    rejected: bool
    """True where distance or standard deviation is such that at most 1 % of fresh draws are rejected by either."""


@dataclass(frozen=True)
class Power:
    """What a comparison of so many weights can tell."""

    weights: int
    critical: float
    """Distance that independent draws from the scheme exceed in 0.5 % of cases."""
    detectable: float
    """Share by which the standard deviation of independent draws is off in 0.5 % of cases (of normals; of others more
    seldom): no finer difference is seen."""


def power(weights: int) -> Power:
    """The power of a comparison of so many weights.

    >>> round(power(10_000).critical, 4), round(power(10_000).detectable, 4)
    (0.0173, 0.0198)
    """
    root = math.sqrt(max(1, weights))
    return Power(weights, min(1.0, _KOLMOGOROV / root), _NORMAL / (math.sqrt(2) * root))


def likenesses(sample: ArrayLike, fans: Fans, spread: float | None = None) -> tuple[Likeness, ...]:
    """How far a sample of a layer's weights is from every scheme: those not rejected first, then by distance.

    Args:
        sample: finite weights, at least one, in any shape and order.
        fans: of the layer.
        spread: largest singular value of the layer's matrix over what min(rows, columns) equal ones of the same sum of
            squares would be, at least 1; None where it is not known: orthogonal schemes are then left out.

    """
    ordered = np.sort(np.asarray(sample, np.float64), axis=None)
    rms = float(np.sqrt(np.mean(np.square(ordered))))
    told, found = power(len(ordered)), []
    for scheme in SCHEMES:
        orthogonal = scheme.family == "orthogonal"
        if orthogonal and spread is None:
            continue
        distance = ks_distance(ordered, scheme.cdf(ordered, fans))
        if orthogonal and spread is not None:
            distance = min(1.0, max(distance, spread - 1))
        ratio = rms / scheme.std(fans)
        rejected = distance > told.critical or abs(ratio - 1) > told.detectable
        found.append(Likeness(scheme.name, ratio, distance, rejected))
    return tuple(sorted(found, key=lambda one: (one.rejected, one.distance)))


def nearest(found: tuple[Likeness, ...], told: Power) -> tuple[str, ...]:
    """The schemes that cannot be told from the first: within the critical distance of it, and rejected if it is."""
    first = found[0]
    near = (one for one in found if one.rejected == first.rejected)
    return tuple(one.scheme for one in near if one.distance <= first.distance + told.critical)


def ks_distance(ordered: Floats, cdf: Floats) -> float:
    """sup |F_n - F|, of a sorted sample and the distribution function at its points."""
    count = len(ordered)
    steps = np.arange(count + 1) / count
    return float(max(np.max(steps[1:] - cdf), np.max(cdf - steps[:-1]), 0.0))


def normal_cdf(values: ArrayLike) -> Floats:
    """Φ, to 1e-7: a table is interpolated, for erf is not in numpy."""
    grid, table = _normal_table()
    return np.asarray(np.interp(np.asarray(values, np.float64), grid, table, 0.0, 1.0), np.float64)


@cache
def _normal_table() -> tuple[Floats, Floats]:
    grid = np.linspace(-9.0, 9.0, 2 * _GRID - 1)
    return grid, np.array([math.erfc(-z / math.sqrt(2)) / 2 for z in grid])


def _sphere_cdf(scaled: Floats, size: int) -> Floats:
    """Of a coordinate, times √size, of a point drawn uniformly from the unit sphere in R^size."""
    if size > _GRID:
        return normal_cdf(scaled)
    x = np.clip(scaled / math.sqrt(size), -1.0, 1.0)
    if size == 1:
        return np.where(x < -1, 0.0, np.where(x < 1, 0.5, 1.0))
    if size == 2:
        return np.asarray(0.5 + np.arcsin(x) / math.pi)
    grid, table = _sphere_table(size)
    return np.asarray(np.interp(x, grid, table), np.float64)


@cache
def _sphere_table(size: int) -> tuple[Floats, Floats]:
    reach = min(1.0, 9 / math.sqrt(size))
    grid = np.linspace(-reach, reach, _GRID)
    density = np.power(np.maximum(1 - grid * grid, 0.0), (size - 3) / 2)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return grid, area / area[-1]
