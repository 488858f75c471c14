"""The family of activation functions φ: value, derivative, flat regions, and what the sign of z leaves in a.

One row of `_FORMULAS` is one activation. To add one, write its row: φ, φ′, defaults, and the facts that hold;
the tests compare φ′ with finite differences and every fact with φ itself. Names and parameters are ONNX's;
`z` is the pre-activation, `a` = φ(z).

Sources: the ONNX operator reference; Hendrycks and Gimpel 2016 (GELU); Ramachandran et al. 2017 (Swish);
Klambauer et al. 2017 (SELU); Misra 2019 (Mish); Shazeer 2020 (gated products); the lifecycle paper, Table 1
(derivatives and risks).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nla.errors import ModelError, printable

Floats = NDArray[np.float64]
Plateaus = tuple[float | None, float | None]

GATED = {"Sigmoid": "GLU", "Relu": "ReGLU", "Gelu": "GeGLU", "Swish": "SwiGLU", "Identity": "Bilinear"}
"""Name of the gated product φ(gate) · up by the name of φ; `Gated` where φ is another."""

_FLAT = 0.01  # |φ′| that counts as flat where only the risk in words is asked for


@dataclass(frozen=True)
class _Formula:
    """One activation. Callables take the parameters by name; facts that never hold need no entry."""

    value: Callable[..., Any] | None = None
    """φ(z, **parameters); None where a is not a function of one z (gated products, recurrent units)."""
    derivative: Callable[..., Any] | None = None
    """φ′(z, **parameters); at a kink the value from the left, as PyTorch has it for Relu."""
    defaults: Mapping[str, float] = field(default_factory=dict)
    nonnegative: Callable[..., bool] = lambda **_: False
    reaches_zero: Callable[..., bool] = lambda **_: False
    positive_threshold: Callable[..., float | None] = lambda **_: None
    zero_plateau_below: Callable[..., float | None] = lambda **_: None
    zero_plateau_needs_z: bool = False
    plateaus: Callable[..., Plateaus] = lambda flat, **_: (None, None)


@dataclass(frozen=True)
class Activation:
    """An activation function with its parameters: a value that can be hashed, compared and stored as JSON.

    >>> relu6 = Activation.named("Clip", min=0.0, max=6.0)
    >>> relu6.value([-1.0, 3.0, 9.0]).tolist()
    [0.0, 3.0, 6.0]
    >>> relu6.plateaus(0.01)
    (None, 6.0)
    """

    name: str
    parameters: tuple[tuple[str, float], ...] = ()
    """All parameters, sorted by name; build with `named`, which fills in the defaults."""

    @classmethod
    def named(cls, name: str, **parameters: float) -> Activation:
        """The activation of that ONNX name; parameters that are not given take ONNX's defaults.

        Raises:
            ModelError: an unknown name or parameter, or a parameter that is not a finite number.
        """
        if name not in _FORMULAS:
            raise ModelError(f"activation {printable(name)!r} is unknown; known are {', '.join(_FORMULAS)}")
        defaults = _FORMULAS[name].defaults
        for key, value in parameters.items():
            if key not in defaults:
                known = sorted(defaults)
                raise ModelError(f"activation {name}: no parameter {printable(key)!r}, expected {known}")
            if math.isnan(value) or (math.isinf(value) and value != defaults[key]):
                raise ModelError(f"activation {name}: {key} is {value}, expected a finite number")
        full = {**defaults, **parameters}
        return cls(name, tuple(sorted((key, float(value)) for key, value in full.items())))

    def to_dict(self) -> dict[str, Any]:
        """`{"name": …, "parameters": {…}}` for strict JSON; an absent bound of Clip is left out."""
        finite = {key: value for key, value in self.parameters if math.isfinite(value)}
        return {"name": self.name, "parameters": finite}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Activation:
        """The inverse of `to_dict`; raises ModelError as `named` does."""
        return cls.named(plain["name"], **plain.get("parameters", {}))

    @property
    def elementwise(self) -> bool:
        """True where a = φ(z) of one z; False for gated products and recurrent units."""
        return self._formula.value is not None

    def value(self, z: ArrayLike) -> Floats:
        """φ(z), float64 of z's shape. NaN for z < 0 of a PRelu whose slope differs between channels.

        Raises:
            ValueError: not elementwise.
        """
        return self._evaluate(self._formula.value, z)

    def derivative(self, z: ArrayLike) -> Floats:
        """φ′(z), float64 of z's shape; at a kink one of the two one-sided values. Raises as `value` does."""
        return self._evaluate(self._formula.derivative, z)

    @property
    def nonnegative(self) -> bool:
        """True where a >= 0 for every z."""
        return self._formula.nonnegative(**self._keywords)

    @property
    def reaches_zero(self) -> bool:
        """True where a is exactly 0 on a whole half-line of z: a unit there has no gradient and is dead."""
        return self._formula.reaches_zero(**self._keywords)

    @property
    def positive_threshold(self) -> float | None:
        """The t with a > t exactly where z > 0; None where the sign of z cannot be read off a.

        Gated products and recurrent units are their own z: t = 0. Softplus's t is ln 2 in float32, in which
        activations arrive.
        """
        return self._formula.positive_threshold(**self._keywords)

    @property
    def zero_plateau_below(self) -> float | None:
        """The z below which φ is flat without reaching zero: |a| <= 0.001, |φ′| < 0.01; None: no such z."""
        return self._formula.zero_plateau_below(**self._keywords)

    @property
    def zero_plateau_needs_z(self) -> bool:
        """True where |a| is small around z = 0 too (GELU, Swish, Mish): a alone cannot tell the plateau."""
        return self._formula.zero_plateau_needs_z

    def plateaus(self, flat_derivative: float) -> Plateaus:
        """(low, high): φ is saturated, |φ′| <= flat_derivative, where a <= low or a >= high; None: nowhere.

        A rectifier's zero half-line is death's, not saturation's; HardSigmoid, a gate, has both.
        """
        return self._formula.plateaus(flat=flat_derivative, **self._keywords)

    @property
    def dead_risk(self) -> str:
        """In words, from where φ and φ′ vanish together (lifecycle paper, Table 1)."""
        if self.reaches_zero:
            return "high: φ and φ′ are exactly zero on a half-line"
        if self.zero_plateau_below is not None:
            return "low: φ and φ′ approach zero together, never reaching it"
        return "none: φ and φ′ never vanish together"

    @property
    def saturation_risk(self) -> str:
        """In words, from where φ is flat at a value other than zero (lifecycle paper, Table 1)."""
        low, high = self.plateaus(_FLAT)
        if low is not None and high is not None:
            return "high: φ is flat on both sides"
        if low is None and high is None:
            return "none: φ has no plateau but zero"
        return f"moderate: φ is flat {'below' if high is None else 'above'}"

    @property
    def _formula(self) -> _Formula:
        return _FORMULAS[self.name]

    @property
    def _keywords(self) -> dict[str, Any]:
        return dict(self.parameters)

    def _evaluate(self, function: Callable[..., Any] | None, z: ArrayLike) -> Floats:
        if function is None:
            raise ValueError(f"{self.name} is not a function of one pre-activation")
        with np.errstate(all="ignore"):
            return np.asarray(function(np.asarray(z, np.float64), **self._keywords), np.float64)


def _sigmoid(z: Floats) -> Floats:
    small = np.exp(-np.abs(z))  # the exponential of a negative number only: no overflow
    return np.asarray(np.where(z >= 0, 1, small) / (1 + small))


def _softplus(z: Floats) -> Floats:
    return np.logaddexp(0.0, z)


_GELU_C = math.sqrt(2 / math.pi)
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _normal_cdf(z: Floats) -> Floats:
    return np.asarray(_erfc(-z / math.sqrt(2)) / 2, np.float64)


def _step(z: Floats, alpha: float) -> Floats:
    return np.where(z > 0, 1.0, alpha)


def _inside(z: Floats, min: float, max: float) -> Floats:
    return np.where((z > min) & (z < max), 1.0, 0.0)


def _gelu(z: Floats, approximate: float) -> Floats:
    # (1 + tanh u) / 2 is sigmoid(2u), which does not cancel to zero far out
    return np.asarray(z * (_sigmoid(_gelu_argument(z)) if approximate else _normal_cdf(z)))


def _gelu_derivative(z: Floats, approximate: float) -> Floats:
    if not approximate:
        return np.asarray(_normal_cdf(z) + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi))
    u = _gelu_argument(z)
    slope = 2 * _GELU_C * (1 + 3 * 0.044715 * z * z)
    return np.asarray(_sigmoid(u) + z * _sigmoid(u) * _sigmoid(-u) * slope)


def _gelu_argument(z: Floats) -> Floats:
    return np.asarray(2 * _GELU_C * (z + 0.044715 * z**3))


def _swish_derivative(z: Floats, alpha: float) -> Floats:
    s = _sigmoid(alpha * z)
    return np.asarray(s + alpha * z * s * (1 - s))


def _swish_plateau(alpha: float) -> float:
    """The z below which |z·σ(αz)| ≤ 0.001: with u = -αz, u / (1 + eᵘ) ≤ 0.001·α."""
    u = 9.12  # the root for α = 1; for a larger α φ is within the bound there already, and flat
    for _ in range(60):  # a contraction by 1/u
        u = max(9.12, math.log(u / (1e-3 * alpha)))
    return -u / alpha


def _mish_derivative(z: Floats) -> Floats:
    t = np.tanh(_softplus(z))
    return np.asarray(t + z * (1 - t * t) * _sigmoid(z))


def _exponential_plateau(height: float, flat: float) -> Plateaus:
    """Below zero a = height·(eᶻ - 1), so φ′ = a + height; height 0 is a rectifier."""
    return (min(flat - height, 0.0) if height > 0 else None, None)


def _sigmoid_plateaus(flat: float) -> Plateaus:
    low = 2 * flat / (1 + math.sqrt(max(0.0, 1 - 4 * flat)))  # root of a(1 - a) = flat, without cancelling
    return (low, 1 - low)


def _clip_plateaus(flat: float, min: float, max: float) -> Plateaus:
    low = min if math.isfinite(min) and min != 0 else None
    return (low, max if math.isfinite(max) and max != 0 else None)


def _common(slope_min: float, slope_max: float) -> float:
    return slope_min if slope_min == slope_max else math.nan


def _symmetric(threshold: float) -> Plateaus:
    return (-threshold, threshold)


def _always(**_: float) -> bool:
    return True


def _zero_if(holds: Callable[..., bool]) -> Callable[..., float | None]:
    return lambda **parameters: 0.0 if holds(**parameters) else None


_zero = _zero_if(_always)
_SELU = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}

_FORMULAS: dict[str, _Formula] = {
    "Relu": _Formula(
        lambda z: np.maximum(z, 0), lambda z: _step(z, 0), {}, _always, _always, positive_threshold=_zero
    ),
    "LeakyRelu": _Formula(
        lambda z, alpha: np.where(z > 0, z, alpha * z),
        _step,
        {"alpha": 0.01},
        nonnegative=lambda alpha: alpha <= 0,
        reaches_zero=lambda alpha: alpha == 0,
        positive_threshold=_zero_if(lambda alpha: alpha >= 0),
    ),
    "PRelu": _Formula(
        lambda z, slope_min, slope_max: np.where(z > 0, z, z * _common(slope_min, slope_max)),
        lambda z, slope_min, slope_max: _step(z, _common(slope_min, slope_max)),
        {"slope_min": 0.25, "slope_max": 0.25},
        nonnegative=lambda slope_min, slope_max: slope_max <= 0,
        reaches_zero=lambda slope_min, slope_max: slope_min == slope_max == 0,
        positive_threshold=_zero_if(lambda slope_min, slope_max: slope_min >= 0),
    ),
    "Elu": _Formula(
        lambda z, alpha: np.where(z > 0, z, alpha * np.expm1(z)),
        lambda z, alpha: np.where(z > 0, 1.0, alpha * np.exp(z)),
        {"alpha": 1.0},
        nonnegative=lambda alpha: alpha <= 0,
        reaches_zero=lambda alpha: alpha == 0,
        positive_threshold=_zero_if(lambda alpha: alpha >= 0),
        plateaus=lambda flat, alpha: _exponential_plateau(alpha, flat),
    ),
    "Selu": _Formula(
        lambda z, alpha, gamma: gamma * np.where(z > 0, z, alpha * np.expm1(z)),
        lambda z, alpha, gamma: gamma * np.where(z > 0, 1.0, alpha * np.exp(z)),
        _SELU,
        reaches_zero=lambda alpha, gamma: alpha * gamma == 0,
        positive_threshold=_zero_if(lambda alpha, gamma: alpha >= 0 and gamma > 0),
        plateaus=lambda flat, alpha, gamma: _exponential_plateau(alpha * gamma, flat),
    ),
    "Celu": _Formula(
        lambda z, alpha: np.where(z > 0, z, alpha * np.expm1(z / alpha)),
        lambda z, alpha: np.where(z > 0, 1.0, np.exp(z / alpha)),
        {"alpha": 1.0},
        positive_threshold=_zero_if(lambda alpha: alpha > 0),
        plateaus=lambda flat, alpha: ((flat - 1) * alpha if alpha > 0 and flat < 1 else None, None),
    ),
    "Clip": _Formula(
        lambda z, min, max: np.minimum(np.maximum(z, min), max),
        _inside,
        {"min": -math.inf, "max": math.inf},
        nonnegative=lambda min, max: min >= 0 and max >= 0,
        reaches_zero=lambda min, max: min == 0 or max == 0,
        positive_threshold=_zero_if(lambda min, max: min <= 0 < max),
        plateaus=_clip_plateaus,
    ),
    "ThresholdedRelu": _Formula(
        lambda z, alpha: np.where(z > alpha, z, 0.0),
        lambda z, alpha: np.where(z > alpha, 1.0, 0.0),
        {"alpha": 1.0},
        nonnegative=lambda alpha: alpha >= 0,
        reaches_zero=_always,
        positive_threshold=_zero_if(lambda alpha: alpha <= 0),
    ),
    "Sigmoid": _Formula(
        _sigmoid,
        lambda z: _sigmoid(z) * _sigmoid(-z),
        nonnegative=_always,
        positive_threshold=lambda: 0.5,
        zero_plateau_below=lambda: math.log(1e-3 / (1 - 1e-3)),  # a = 0.001
        plateaus=_sigmoid_plateaus,
    ),
    "Tanh": _Formula(
        np.tanh,
        lambda z: 4 * _sigmoid(2 * z) * _sigmoid(-2 * z),
        positive_threshold=_zero,
        plateaus=lambda flat: _symmetric(math.sqrt(max(0.0, 1 - flat))),
    ),
    "HardSigmoid": _Formula(
        lambda z, alpha, beta: np.clip(alpha * z + beta, 0, 1),
        lambda z, alpha, beta: alpha * _inside(alpha * z + beta, 0, 1),
        {"alpha": 0.2, "beta": 0.5},
        _always,
        _always,
        positive_threshold=lambda alpha, beta: beta if alpha > 0 and 0 <= beta < 1 else None,
        plateaus=lambda flat, alpha, beta: (0.0, 1.0),
    ),
    "HardSwish": _Formula(
        lambda z: z * np.clip(z / 6 + 0.5, 0, 1),
        lambda z: np.where(z >= 3, 1.0, np.where(z > -3, z / 3 + 0.5, 0.0)),
        reaches_zero=_always,
        positive_threshold=_zero,
    ),
    "Softplus": _Formula(
        _softplus,
        _sigmoid,
        nonnegative=_always,
        positive_threshold=lambda: float(np.float32(math.log(2))),
        zero_plateau_below=lambda: math.log(math.expm1(1e-3)),  # a = 0.001
    ),
    "Softsign": _Formula(
        lambda z: z / (1 + np.abs(z)),
        lambda z: (1 + np.abs(z)) ** -2.0,
        positive_threshold=_zero,
        plateaus=lambda flat: _symmetric(max(0.0, 1 - math.sqrt(flat))),
    ),
    "Mish": _Formula(
        lambda z: z * np.tanh(_softplus(z)),
        _mish_derivative,
        positive_threshold=_zero,
        zero_plateau_below=lambda: -9.12,  # the root of |a| = 0.001 there
        zero_plateau_needs_z=True,
    ),
    "Gelu": _Formula(
        _gelu,
        _gelu_derivative,
        {"approximate": 0.0},
        # In float32 1 + tanh u misses zero by an ulp or two: a = 6e-7 is z = 1.2e-6, and as well z = -5.
        positive_threshold=lambda approximate: None if approximate else 0.0,
        zero_plateau_below=lambda approximate: -3.441,  # |a| <= 0.001, |φ′| <= 0.004
        zero_plateau_needs_z=True,
    ),
    "Swish": _Formula(
        lambda z, alpha: z * _sigmoid(alpha * z),
        _swish_derivative,
        {"alpha": 1.0},
        positive_threshold=_zero,
        zero_plateau_below=lambda alpha: _swish_plateau(alpha) if alpha > 0 else None,
        zero_plateau_needs_z=True,
    ),
    "Identity": _Formula(lambda z: z, np.ones_like, positive_threshold=_zero),
    **dict.fromkeys([*GATED.values(), "Gated", "LSTM", "GRU", "RNN"], _Formula(positive_threshold=_zero)),
    "ReGLU": _Formula(reaches_zero=_always, positive_threshold=_zero),
}

NAMES = tuple(_FORMULAS)
"""Every name that `Activation.named` knows."""
