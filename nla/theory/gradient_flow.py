"""How large the gradient is at each layer, as measured, beside the bound of eq. 4 (lifecycle paper, figure 4).

δ is the gradient of the loss of one sample at a pre-activation z, and ‖δ‖ its Euclidean norm over all neurons and
positions of the layer. What is said of a layer is the mean of ‖δ‖ over samples; what is said of parameters is of the
gradient of the mean loss over all samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SCHEMA = "nla/gradient/1"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
VACUOUS = 100.0
"""A bound so many times above what was measured says nothing."""
VANISHING, EXPLODING, STEADY, NONE = "vanishing", "exploding", "steady", "none"
FAR = 100.0
"""Gradients vanish, or explode, where the first layer's are so many times smaller, or larger, than the output's."""
_ARRAYS = ("rms", "peak", "row_norm", "bias_abs")


@dataclass(frozen=True)
class Bound:
    """Eq. 4 from a layer to the end of the chain that it lies in."""

    slope: float
    """C, sup |φ′| of the layer's activation."""
    norm: float
    """σ of what leads to the next pre-activation; of several paths the sum over them, to the end."""
    kind: str
    """'exact', 'estimate' or 'bound', of `norm`."""
    reader: str
    """The layer that leads there; 'several paths' where branches are added."""
    log10: float
    """log10 of the product from here to the end; -inf where a factor is zero."""
    end: str
    """The layer that the chain ends at: a site, or the node whose output the gradient comes from."""
    measured: float
    """mean ‖δ‖ here over mean ‖δ‖ at the end; NaN where that is zero or was not measured."""

    @property
    def log10_apart(self) -> float:
        """log10 of the bound over what was measured; NaN where either says nothing."""
        return self.log10 - math.log10(self.measured) if self.measured > 0 else math.nan

    @property
    def vacuous(self) -> bool:
        """Whether the bound is so far above the measurement that it says nothing."""
        return self.log10_apart > math.log10(VACUOUS)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, null for what is not finite."""
        return {
            "slope": self.slope,
            "norm": _finite(self.norm),
            "norm_kind": self.kind,
            "reader": self.reader,
            "log10": _finite(self.log10),
            "end": self.end,
            "measured": _finite(self.measured),
            "log10_apart": _finite(self.log10_apart),
            "vacuous": self.vacuous,
        }


@dataclass(frozen=True, eq=False)
class LayerGradient:
    """The gradient at one layer's pre-activations."""

    name: str
    """The site; the output's tensor for the last."""
    tensor: str
    role: str
    """The site's, or 'output'."""
    activation: str
    """'' for the output."""
    neurons: int
    mean: float
    """Mean of ‖δ‖ over samples."""
    quantiles: tuple[float, ...]
    """Of ‖δ‖ over samples, at QUANTILES."""
    zero_samples: int
    """Samples whose δ is exactly zero at every neuron."""
    rms: Floats
    """[neurons] √ of the mean over samples of Σ δ_j² over positions."""
    peak: Floats
    """[neurons] largest |δ_j| of all samples and positions: 0 where a neuron gets no gradient at all."""
    row_norm: Floats
    """[neurons] norm of the gradient of the mean loss at the neuron's incoming weights; [0] where it was not had."""
    bias_abs: Floats
    """[neurons] |gradient of the mean loss| at its bias; [0] where there is none, or it was not had."""
    rows_skipped: str = ""
    """Why there is no gradient of weights, a sentence."""
    bound: Bound | None = None
    unbounded: str = ""
    """Why eq. 4 does not lead on from here, a sentence."""

    @property
    def without(self) -> int:
        """Neurons that get no gradient from any sample."""
        return int(np.count_nonzero(self.peak == 0))

    def to_dict(self, output: float) -> dict[str, Any]:
        """Plain values; `output` is the mean ‖δ‖ at the output."""
        return {
            "name": self.name,
            "tensor": self.tensor,
            "role": self.role,
            "activation": self.activation,
            "neurons": self.neurons,
            "mean_norm": _finite(self.mean),
            "ratio": _finite(self.mean / output) if output > 0 else None,
            "quantiles": dict(zip(map(str, QUANTILES), map(_finite, self.quantiles), strict=True)),
            "zero_samples": self.zero_samples,
            "without_gradient": self.without,
            "bound": None if self.bound is None else self.bound.to_dict(),
            "unbounded": self.unbounded,
            "rows_skipped": self.rows_skipped,
            "neuron": {name: _column(getattr(self, name)) for name in _ARRAYS},
        }


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """The gradient from the output back to the first layer."""

    layers: tuple[LayerGradient, ...]
    """In the order of the forward pass, the output last."""
    loss: str
    mean_loss: float
    samples: int
    left_out: int
    """Samples with NaN or infinity in an input."""
    not_measured: Mapping[str, str]
    """By site, why no gradient was measured there, a sentence."""
    checkpoint: dict[str, Any]
    data: dict[str, Any]
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> LayerGradient:
        """The layer that the loss is a function of."""
        return self.layers[-1]

    @property
    def factor(self) -> float:
        """Mean ‖δ‖ at the first layer over that at the output; NaN where either is not known."""
        if len(self.layers) < 2 or not self.output.mean > 0:
            return math.nan
        return self.layers[0].mean / self.output.mean

    @property
    def verdict(self) -> str:
        """'vanishing', 'exploding', 'steady', or 'none' where there is nothing to compare."""
        factor = self.factor
        if math.isnan(factor):
            return NONE
        return VANISHING if factor < 1 / FAR else EXPLODING if factor > FAR else STEADY

    @property
    def vacuous(self) -> int:
        """Layers whose bound says nothing."""
        return sum(layer.bound is not None and layer.bound.vacuous for layer in self.layers)

    def rows(self) -> list[dict[str, Any]]:
        """A row a neuron: layer, index, and what was measured; None where it was not."""
        found = []
        for layer in self.layers:
            columns = {name: _column(getattr(layer, name)) for name in _ARRAYS}
            for at in range(layer.neurons):
                values = {name: column[at] if column else None for name, column in columns.items()}
                found.append({"layer": layer.name, "neuron": at, **values})
        return found

    def to_dict(self) -> dict[str, Any]:
        """The document, plain values."""
        output = self.output.mean
        return {
            "schema": SCHEMA,
            "checkpoint": self.checkpoint,
            "data": self.data,
            "settings": {**self.settings, "vacuous_above": VACUOUS, "far": FAR},
            "loss": self.loss,
            "mean_loss": _finite(self.mean_loss),
            "samples": self.samples,
            "left_out": self.left_out,
            "verdict": self.verdict,
            "factor": _finite(self.factor),
            "layers": [layer.to_dict(output) for layer in self.layers],
            "not_measured": [{"name": name, "reason": reason} for name, reason in self.not_measured.items()],
            "notes": list(self.notes),
        }

    def to_plain(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Plain values and arrays: what travels between processes."""
        plain = {
            "layers": [
                {
                    **{name: value for name, value in vars(layer).items() if name not in (*_ARRAYS, "bound")},
                    "bound": None if layer.bound is None else vars(layer.bound),
                }
                for layer in self.layers
            ],
            **{name: value for name, value in vars(self).items() if name != "layers"},
        }
        arrays = {
            f"{name}/{at}": getattr(layer, name) for at, layer in enumerate(self.layers) for name in _ARRAYS
        }
        return plain, arrays

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> GradientFlow:
        """The inverse of `to_plain`."""
        layers = []
        for at, given in enumerate(plain["layers"]):
            values = {**given, **{name: arrays[f"{name}/{at}"] for name in _ARRAYS}}
            values["quantiles"] = tuple(given["quantiles"])
            values["bound"] = None if given["bound"] is None else Bound(**given["bound"])
            layers.append(LayerGradient(**values))
        return cls(**{**plain, "layers": tuple(layers), "notes": tuple(plain["notes"])})


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _column(values: Floats) -> list[float | None] | None:
    """None where it was not had."""
    return [_finite(float(value)) for value in values] if len(values) else None
