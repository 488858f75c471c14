"""Which initialisation the layers of a checkpoint still look like, and what that is worth as evidence.

That no difference is found ("not rejected") is weak: a standard deviation off by a few per cent, or a little training,
is not noticed. Strong are an exact range that the weights fill (of n uniform weights the largest lies 1/n below the
bound; weights that were moved by more than that pass it) and a bias that is zero throughout, which training moves
unless it is frozen or a normalisation follows. A spectrum proves nothing: training changes a few singular values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nla.theory.initialisation import SCHEMES, Fans
from nla.theory.initialisation_table import GainRow, SchemeRow
from nla.weights.results import LayerWeights, WeightInspection

SCHEMA = "nla/initialisation/1"
STRENGTHS = ("strong", "weak", "against", "none")
_ROUNDING = {"float64": 2.0**-40, "float32": 2.0**-22, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_BY_NAME = {scheme.name: scheme for scheme in SCHEMES}


@dataclass(frozen=True)
class LayerInitialisation:
    """What speaks for one layer being as it was drawn."""

    layer: LayerWeights
    scheme: str
    """The nearest scheme, or the one whose range is filled; "" where none was compared."""
    strength: str
    """One of STRENGTHS: 'against' where every scheme is rejected, 'none' where nothing could be compared."""
    range_filled: bool
    """The scheme is not rejected and has a bound, which the weights come as near to as fresh draws do."""
    bias_zero: bool
    """A scheme is not rejected, and the layer's bias is zero throughout with no normalisation behind it."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        layer = self.layer
        like = next((one for one in layer.likenesses if one.scheme == self.scheme), None)
        return {
            "name": layer.name,
            "weight": layer.weight,
            "fan_in": layer.fan_in,
            "fan_out": layer.fan_out,
            "weights": layer.elements,
            "scheme": self.scheme or None,
            "nearest": list(layer.nearest),
            "std_ratio": like.std_ratio if like else None,
            "distance": like.distance if like else None,
            "critical": layer.power.critical if like else None,
            "detectable": layer.power.detectable if like else None,
            "bias": layer.bias,
            "strength": self.strength,
            "range_filled": self.range_filled,
            "bias_zero": self.bias_zero,
        }


@dataclass(frozen=True)
class Initialisation:
    """The schemes for a layer of given fans, or what the layers of a checkpoint look like."""

    fans: tuple[int, int] | None = None
    """(fan_in, fan_out) of `schemes`; None for a checkpoint."""
    schemes: tuple[SchemeRow, ...] = ()
    gains: tuple[GainRow, ...] = ()
    layers: tuple[LayerInitialisation, ...] = ()
    checkpoint: dict[str, Any] | None = None
    unread_layers: tuple[tuple[str, str], ...] = ()
    """(layer, why its weights were not read)."""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The document, plain values: `schemas/initialisation-1.schema.json`."""
        fan_in, fan_out = self.fans or (None, None)
        return {
            "schema": SCHEMA,
            "fan_in": fan_in,
            "fan_out": fan_out,
            "schemes": [row.to_dict() for row in self.schemes],
            "activations": [row.to_dict() for row in self.gains],
            "layers": [layer.to_dict() for layer in self.layers],
            "unread_layers": dict(self.unread_layers),
            "checkpoint": self.checkpoint,
            "notes": list(self.notes),
        }

    def rows(self) -> list[dict[str, Any]]:
        """A row for each scheme, or for each layer."""
        return [row.to_dict() for row in self.schemes or self.layers]


def initialisation_of(found: WeightInspection) -> Initialisation:
    """What an inspection of weights says of the initialisation, layer by layer."""
    return Initialisation(
        layers=tuple(map(judged, found.layers)),
        checkpoint=found.checkpoint,
        unread_layers=tuple(found.unread_layers.items()),
        notes=found.notes,
    )


def judged(layer: LayerWeights) -> LayerInitialisation:
    """The evidence of one layer."""
    if not layer.likenesses:
        return LayerInitialisation(layer, "", "none", False, False)
    fans = Fans(layer.fan_in, layer.fan_out, layer.outputs, layer.fan_in)
    rounding = _ROUNDING.get(layer.dtype, 0.0)
    fitting = [one.scheme for one in layer.likenesses if not one.rejected]
    filled = [
        name for name in fitting if _BY_NAME[name].filled(layer.largest, layer.elements, fans, rounding)
    ]
    zero = bool(fitting) and layer.bias == "zero"
    strength = "against" if not fitting else "strong" if filled or zero else "weak"
    return LayerInitialisation(layer, (filled or [layer.nearest[0]])[0], strength, bool(filled), zero)
