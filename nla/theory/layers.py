"""What the bounds want to know of a ReLU layer: neurons, weights of a neuron, bias, groups.

Convolutions: a layer of N_out channels has N_out·(N_in/groups·kh·kw) weights and N_out biases. Eq. 22 of the bounds
paper prints M² + 1 parameters for a whole neuron of N input channels, N(M² + 1) for a layer; by its own eq. 21 a
neuron has N·M² weights, so that the layer has N(N·M² + 1), and only that reduces to eq. 10 where M = 1. Counted
by simulation the print is wrong: N = 2, M = 1, k = 2 networks are born dead in 1.8 % of cases, of which it demands
6.25 %, and the corrected form 1.6 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nla.errors import UsageError, printable

LARGEST = 10**12
"""Of widths and depths: nothing that is built comes near, and every product of two of them is a float64."""


@dataclass(frozen=True)
class Layer:
    """A layer of ReLU neurons at its initialisation, or several alike in a row."""

    neurons: int
    """Neurons, or channels of a convolution."""
    fan_in: int
    """Weights of one neuron: its group's input channels times the size of the kernel."""
    bias: bool = True
    """True where biases are drawn from a continuous distribution, symmetric like that of the weights; a bias that
    starts at zero is none."""
    groups: int = 1
    times: int = 1
    """So many such layers follow one another."""
    name: str = ""
    reached: int | None = None
    """Neurons that any living point reaches, at least: all of them with biases, those of a group without, by default.
    Fewer where layers side by side make them, one of which may read what is dead, or where what follows takes some."""

    def __post_init__(self) -> None:
        for what in ("neurons", "fan_in", "groups", "times"):
            object.__setattr__(self, what, checked(getattr(self, what), what))
        if self.neurons % self.groups:
            raise UsageError(f"{self.neurons} neurons cannot stand in {self.groups} groups of one size")

    @classmethod
    def convolution(
        cls,
        outputs: int,
        inputs: int,
        kernel: Sequence[int],
        *,
        groups: int = 1,
        bias: bool = True,
        name: str = "",
    ) -> Layer:
        """A convolution from so many channels to so many. Raises UsageError where the groups do not divide them.

        >>> Layer.convolution(8, 4, (3, 3), groups=4).parameters
        80
        """
        if checked(inputs, "inputs") % checked(groups, "groups"):
            raise UsageError(f"{inputs} input channels cannot stand in {groups} groups of one size")
        size = math.prod(checked(length, "kernel") for length in kernel)
        return cls(outputs, inputs // groups * size, bias, groups, name=name)

    @property
    def parameters(self) -> int:
        """Weights and biases of one such layer: where all are negative (and inputs are not), it is dead."""
        return self.neurons * (self.fan_in + self.bias)

    @property
    def log2_death_at_most(self) -> float:
        """log2 of the probability with which the layer kills a living point, at most (eq. 8).

        2^-N. With groups and without bias 2^(-N/groups): a point that lives in one group only is seen by that group's
        neurons alone (the paper's 2^-N does not hold there: depthwise, N = 4, such a point dies with 0.5).
        """
        if self.reached is not None:
            return -float(self.reached)
        return -float(self.neurons if self.bias else self.neurons // self.groups)

    @property
    def log2_death_at_least(self) -> float:
        """log2 of the probability that all its parameters are negative (eq. 10, eq. 22 as corrected)."""
        return -float(self.parameters)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "neurons": self.neurons,
            "fan_in": self.fan_in,
            "bias": self.bias,
            "groups": self.groups,
            "layers": self.times,
            "parameters": self.parameters,
        }


def checked(number: int, what: str, least: int = 1) -> int:
    """`number` as an int, unless it is not a whole one from `least` to 10^12. Raises UsageError."""
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not whole or not least <= number <= LARGEST:
        raise UsageError(
            f"{what} is {printable(repr(number))}, expected a whole number from {least} to 10^12"
        )
    return int(number)


def checked_probability(probability: float) -> float:
    """`probability`, unless it is no number between 0 and 1. Raises UsageError."""
    real = isinstance(probability, int | float | np.floating)
    if not real or not 0 < probability < 1:
        raise UsageError(
            f"the probability is {printable(repr(probability))}, expected one between 0 and 1, such as 0.99"
        )
    return float(probability)


def alike(
    width: int, depth: int, *, inputs: int | None = None, bias: bool = True, groups: int = 1
) -> tuple[Layer, ...]:
    """`depth` dense layers of one width, on `inputs` features (as many as the width by default)."""
    first = checked(width, "width") if inputs is None else checked(inputs, "inputs")
    checked(depth, "depth")
    if first == width:
        return (Layer(width, width, bias, groups, depth),)
    rest = (Layer(width, width, bias, groups, depth - 1),) if depth > 1 else ()
    return (Layer(width, first, bias, groups), *rest)


def stacked(widths: Sequence[int], *, inputs: int | None = None, bias: bool = True) -> tuple[Layer, ...]:
    """Dense layers of these widths, on `inputs` features (as many as the first width by default)."""
    widths = [checked(width, "width") for width in widths] if np.iterable(widths) else []
    if not widths:
        raise UsageError("no width is given, expected one for each layer, such as 16,8,4")
    before = [widths[0] if inputs is None else checked(inputs, "inputs"), *widths]
    return tuple(
        Layer(width, fan_in, bias, name=str(at))
        for at, (fan_in, width) in enumerate(zip(before, widths, strict=False), 1)
    )
