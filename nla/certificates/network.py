"""A network as the proofs see it: operators in order, for one sample, and the tensors that are asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from nla.activations import Activation
from nla.certificates.ops.base import Op
from nla.certificates.rounding import SINGLE, Floats
from nla.certificates.sets import Domain


@dataclass(frozen=True)
class Target:
    """A site whose silence may be proved: its pre-activation z, and where its neurons lie in it."""

    site: str
    pre: str
    """Name of z."""
    activation: Activation
    axis: int
    """Axis of the neurons in z's shape of one sample, from the front."""
    neurons: int
    threshold: float = 0.0
    """The neuron is silent where z ≤ threshold: 0 for ReLU, the start of the zero plateau for GELU and its kin."""
    order: tuple[int, ...] | None = None
    """Where the activation is laid out otherwise than z: axis k of one sample of it is axis order[k] of z."""


@dataclass(frozen=True)
class Network:
    """A graph for one sample, lowered to operators that have sound rules."""

    ops: tuple[Op, ...]
    """In an order in which every input comes before it is read."""
    inputs: Mapping[str, tuple[int, ...]]
    """Shape of one sample of each input."""
    targets: tuple[Target, ...] = ()
    given: Mapping[str, Domain] = field(default_factory=dict)
    """Tensors whose range is known whatever the inputs: outputs of LayerNorm and RMSNorm. They count as inputs."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """By site, why nothing can be proved of it: an operator before it that has no sound rule."""
    unit: float = SINGLE
    """Unit roundoff of the model's arithmetic."""

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one sample of every tensor."""
        known = {**self.inputs, **{name: domain.box.shape for name, domain in self.given.items()}}
        for op in self.ops:
            known[op.output] = op.shape(*(known[name] for name in op.inputs))
        return known

    @cached_property
    def place(self) -> dict[str, int]:
        """By tensor, the number of the operator that makes it."""
        return {op.output: k for k, op in enumerate(self.ops)}

    def before(self, tensors: Sequence[str]) -> tuple[Op, ...]:
        """The operators that these tensors need, in order."""
        needed, kept = set(tensors), []
        for op in reversed(self.ops):
            if op.output in needed:
                kept.append(op)
                needed.update(op.inputs)
        return tuple(reversed(kept))

    def forward(self, values: Mapping[str, Floats], tensors: Sequence[str]) -> dict[str, Floats]:
        """The exact values (float64) of these tensors, [rows, *shape], for inputs [rows, *shape]."""
        known = {name: np.asarray(value, np.float64) for name, value in values.items()}
        for op in self.before(tensors):
            known[op.output] = op.forward(*(known[name] for name in op.inputs))
        return {name: known[name] for name in tensors}
