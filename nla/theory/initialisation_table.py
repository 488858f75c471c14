"""The schemes of Table 2 and the usual defaults for one layer, and the gains that activations ask for.

Table 2 prints 1/√2 as the gain of Xavier. By std·√fan_in, which gives LeCun's 1 and He's √2, it is
√(2·fan_in/(fan_in + fan_out)): 1 for a square layer. 1/√2 is the rms that a ReLU layer loses under it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nla.activations import NAMES, Activation
from nla.theory.initialisation import SCHEMES, Fans
from nla.theory.layers import checked
from nla.theory.slopes import backward_gain, forward_gain

_FIRST = ("Relu", "LeakyRelu", "Elu", "Selu", "Gelu", "Swish", "Tanh", "Sigmoid")


@dataclass(frozen=True)
class SchemeRow:
    """One scheme for one layer."""

    name: str
    family: str
    variance: float
    std: float
    bound: float | None
    """The largest |w|; None where there is none."""
    gain: float
    """std·√fan_in."""
    said: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "family": self.family,
            "variance": self.variance,
            "std": self.std,
            "bound": self.bound,
            "gain": self.gain,
            "about": self.said,
        }


@dataclass(frozen=True)
class GainRow:
    """The gains that keep sizes through one activation."""

    activation: str
    forward: float
    """1/√E[φ(z)²], standard normal z: keeps activations."""
    backward: float
    """1/√E[φ′(z)²]: keeps gradients where layers are square."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"activation": self.activation, "forward": self.forward, "backward": self.backward}


def schemes_for(fan_in: int, fan_out: int) -> tuple[SchemeRow, ...]:
    """Every scheme for a dense layer of so many inputs and outputs. Raises UsageError.

    >>> {row.name: round(row.gain, 4) for row in schemes_for(256, 256)}["glorot-normal"]
    1.0
    """
    checked(fan_in, "fan-in"), checked(fan_out, "fan-out")
    fans = Fans(fan_in, fan_out, fan_out, fan_in)
    return tuple(
        SchemeRow(
            scheme.name,
            scheme.family,
            scheme.variance(fans),
            scheme.std(fans),
            scheme.bound(fans),
            scheme.gain(fans),
            scheme.said,
        )
        for scheme in SCHEMES
    )


def gains() -> tuple[GainRow, ...]:
    """Of every activation of one z, the best known first."""
    found = []
    for name in dict.fromkeys((*_FIRST, *NAMES)):
        activation = Activation.named(name)
        forward, backward = forward_gain(activation), backward_gain(activation)
        if forward is not None and backward is not None:
            found.append(GainRow(name, forward, backward))
    return tuple(found)
