"""The sizes of pre-activations of drawn networks, beside what `nla.theory.variance` predicts: figure 3."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.activations import Activation
from nla.errors import UsageError
from nla.theory.initialisation import Fans, Scheme
from nla.theory.layers import checked
from nla.theory.variance import Propagated, propagated, scheme_named

Floats = NDArray[np.float64]
SCHEMA = "nla/variance/1"
USUAL = ("he-normal", "glorot-normal", "torch-default")
"""Square layers: LeCun's variance is Glorot's there."""
_TRUNCATED = 0.8796256610342398
"""Standard deviation of a standard normal truncated at ±2."""
_MOST = 1 << 28
"""Numbers in a matrix."""


@dataclass(frozen=True, eq=False)
class Sizes:
    """One scheme: predicted, and measured on networks; an entry a layer."""

    predicted: Propagated
    mean_square: Floats
    """[networks, layers], mean of z² over neurons and points."""
    over_data: Floats
    """[networks, layers], variance of z over points, mean over neurons."""

    def columns(self) -> dict[str, list[float]]:
        """Predictions, means over networks, and the standard errors of these; by name, an entry a layer."""
        networks = len(self.mean_square)
        found: dict[str, Floats] = {
            "mean_square": self.predicted.mean_square,
            "over_data": self.predicted.over_data,
            "as_printed": self.predicted.as_printed,
        }
        for name in ("mean_square", "over_data") if networks else ():
            measured: Floats = getattr(self, name)
            error = (
                measured.std(axis=0, ddof=1) / math.sqrt(networks)
                if networks > 1
                else np.zeros(measured.shape[1])
            )
            found |= {f"{name}_measured": measured.mean(axis=0), f"{name}_error": error}
        return {name: values.tolist() for name, values in found.items()}


@dataclass(frozen=True, eq=False)
class VarianceTable:
    """How sizes propagate under several schemes."""

    schemes: tuple[Sizes, ...]
    settings: dict[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each scheme and layer."""
        return [
            {
                "scheme": each.predicted.scheme,
                "layer": at + 1,
                **{name: column[at] for name, column in columns.items()},
            }
            for each in self.schemes
            for columns in (each.columns(),)
            for at in range(len(each.predicted.mean_square))
        ]

    def to_dict(self) -> dict[str, Any]:
        """The document, plain values."""
        return {
            "schema": SCHEMA,
            "settings": self.settings,
            "schemes": [{"scheme": each.predicted.scheme, **each.columns()} for each in self.schemes],
        }


def sizes(
    schemes: Sequence[str],
    activation: Activation,
    width: int,
    depth: int,
    *,
    networks: int = 16,
    points: int = 256,
    seed: int = 0,
    on_network: Callable[[int, int], None] = lambda done, total: None,
) -> VarianceTable:
    """Predict and measure; no networks: predict alone. Raises UsageError.

    The result depends on the arguments alone; each network has its own seed.
    """
    names = tuple(dict.fromkeys(schemes or USUAL))
    checked(points, "points"), checked(networks, "networks", 0), checked(seed, "seed", 0)
    predicted = [propagated(name, activation, width, depth) for name in names]
    if networks and (width * max(width, points) > _MOST or depth > 1 << 16 or networks > 1 << 20):
        raise UsageError(
            f"networks of width {width} and depth {depth} on {points} points are too large to be drawn"
        )
    found, total = [], networks * len(names)
    for number, each in enumerate(predicted):
        measured = np.zeros((2, networks, depth))
        for network in range(networks):
            rng = np.random.default_rng([seed, network])
            measured[:, network] = _measured(scheme_named(each.scheme), activation, width, depth, points, rng)
            on_network(number * networks + network + 1, total)
        found.append(Sizes(each, measured[0], measured[1]))
    settings = {
        "activation": activation.to_dict(),
        "width": width,
        "depth": depth,
        "networks": networks,
        "points": points,
        "seed": seed,
    }
    return VarianceTable(tuple(found), settings)


def _measured(
    scheme: Scheme, activation: Activation, width: int, depth: int, points: int, rng: np.random.Generator
) -> Floats:
    """[2, depth]: mean square, and variance over the points, of each layer of one network."""
    a, found = rng.standard_normal((width, points)), np.zeros((2, depth))
    for layer in range(depth):
        z = drawn(scheme, width, rng) @ a
        found[:, layer] = np.mean(z * z), np.mean(z.var(axis=1, ddof=1 if points > 1 else 0))
        a = activation.value(z)
    return found


def drawn(scheme: Scheme, width: int, rng: np.random.Generator) -> Floats:
    """A square matrix of weights of the scheme."""
    std = scheme.std(Fans(width, width, width, width))
    shape = (width, width)
    if scheme.family == "uniform":
        return rng.uniform(-math.sqrt(3) * std, math.sqrt(3) * std, shape)
    weights = rng.standard_normal(shape)
    if scheme.family == "truncated":
        while (outside := np.abs(weights) > 2).any():
            weights[outside] = rng.standard_normal(int(outside.sum()))
        return weights * (std / _TRUNCATED)
    if scheme.family == "orthogonal":
        q, r = np.linalg.qr(weights)
        return np.asarray(q * np.sign(np.diag(r)) * (std * math.sqrt(width)))
    return weights * std
