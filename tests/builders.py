"""Small ONNX graphs with seeded weights and planted neurons, each with data and the sites to be found.

`Built` says where the neurons lie, by construction; what their numbers are is for `oracle` to say. Graphs are
ONNX text, so that the reader sees them. Knows nothing of nla.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
import oracle
from numpy.typing import NDArray
from onnx import numpy_helper, parser

Array = NDArray[Any]
SAFE = 3e-5
"""Samples with a z nearer to zero than this share of the neuron's largest |z| are left out: batch sizes
differ in rounding, and fire counts are to be exact."""


@dataclass(frozen=True)
class Expected:
    """A site that must be found."""

    name: str
    role: str
    activation: str
    neurons: int
    channel_axis: int = -1
    """In the tensor `name`, as the graph has it."""
    sample_axis: int = 0
    unit_size: int = 1
    directions: int = 1
    """2 where the neurons are those of both directions: axes 1 and 3 of [steps, 2, n, hidden]."""
    pre: str | None = None
    """Tensor whose sign says whether the neuron fires: z, or a where it is its own z; kept away from 0."""
    z_at_zero: float = 0.0
    """φ(0): the neuron counts as positive where a is above it."""
    planted: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    out_norm: NDArray[np.float64] | None = None
    """[neurons] norm of the outgoing weights, where a single consumer reads the site."""


@dataclass(frozen=True)
class Built:
    """A graph, its data and its sites."""

    name: str
    model: onnx.ModelProto
    feeds: dict[str, Array]
    sites: tuple[Expected, ...]
    labels: NDArray[np.int64]
    mask: NDArray[np.bool_] | None = None
    """[samples, tokens]"""
    batched: bool = True
    """False where the graph takes one sample at a time."""

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def values(self, names: list[str] | None = None) -> dict[str, NDArray[np.float64]]:
        """[samples, positions, neurons] of every site, or of the named z, by plain onnxruntime."""
        sites = [s for s in self.sites if names is None or s.pre in names]
        tensors = [s.name if names is None else str(s.pre) for s in sites]
        axes = {t: s.sample_axis for t, s in zip(tensors, sites, strict=True)}
        got = oracle.replay(self.model, self.feeds, tensors, sample_axes=axes, one_by_one=not self.batched)
        return {t: _positions(got[t], s, self.samples) for t, s in zip(tensors, sites, strict=True)}

    def counted(self, site: Expected, positions: int) -> NDArray[np.bool_]:
        """[samples, positions] what is counted at a site: the mask where a sample has as many positions."""
        if self.mask is not None and self.mask.shape[1] == positions:
            return self.mask
        return np.ones((self.samples, positions), bool)

    def only(self, keep: NDArray[np.bool_]) -> Built:
        """The same graph with a part of the samples."""
        mask = None if self.mask is None else self.mask[keep]
        feeds = {name: values[keep] for name, values in self.feeds.items()}
        return replace(self, feeds=feeds, labels=self.labels[keep], mask=mask)


def _positions(tensor: NDArray[np.float64], site: Expected, samples: int) -> NDArray[np.float64]:
    if site.directions > 1:
        tensor = tensor.reshape(*tensor.shape[:2], -1)
        return oracle.by_position(tensor, -1, samples)
    axis = site.channel_axis
    if axis >= 0 and axis < site.sample_axis:
        axis += 1  # the samples moved to the front
    return oracle.by_position(tensor, axis, samples, site.unit_size)


def settled(built: Built) -> Built:
    """Without the samples in which some z is too near to zero for its sign to be safe from rounding."""
    names = [s.pre for s in built.sites if s.pre]
    keep = np.ones(built.samples, bool)
    for z in built.values(names).values() if names else ():
        near = np.abs(z) < SAFE * np.abs(z).max((0, 1))
        keep &= ~(near & (z != 0)).any((1, 2))
    assert keep.sum() >= built.samples // 2, f"{built.name}: too few samples left"
    return built.only(keep)


def model(
    text: str, weights: Mapping[str, Array], *, opset: int = 17, contrib: bool = False
) -> onnx.ModelProto:
    """The graph of ONNX text with `weights` as initializers."""
    ir = 8 if opset < 20 else 9
    domains = f'"" : {opset}' + (', "com.microsoft" : 1' if contrib else "")
    proto = parser.parse_model(f"<ir_version: {ir}, opset_import: [{domains}]>\n{text}")
    proto.graph.initializer.extend(initializers(weights))
    return proto


def initializers(weights: Mapping[str, Array]) -> list[onnx.TensorProto]:
    """Initializers; float64 values become float32."""
    plain = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in weights.items()}
    return [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in plain.items()]


def normal(rng: np.random.Generator, *shape: int, scale: float | None = None) -> Array:
    """float32 normal values of the variance 1 / fan-in, the fan-in being all axes but the first."""
    fan_in = int(np.prod(shape[1:])) or 1
    return (rng.standard_normal(shape) * (scale or fan_in**-0.5)).astype(np.float32)


def classes(rng: np.random.Generator, samples: int) -> NDArray[np.int64]:
    """Labels 0..2, each present."""
    labels = rng.integers(0, 3, samples)
    labels[:3] = [0, 1, 2]
    return labels.astype(np.int64)


def clusters(rng: np.random.Generator, labels: NDArray[np.int64], *shape: int) -> Array:
    """float32 [samples, *shape]: noise around one centre for each label, so that labels can be told."""
    centres = rng.standard_normal((3, *shape))
    return (centres[labels] + rng.standard_normal((len(labels), *shape))).astype(np.float32)


def plant(w: Array, b: Array, rng: np.random.Generator, *, dead: bool = True) -> dict[str, tuple[int, ...]]:
    """Makes neuron 1 dead and neuron 2 constant for a ReLU, in place; w [out, …], b [out]."""
    w[1] *= 0.01
    b[1] = -5.0 if dead else b[1]
    w[2] = 0
    b[2] = 0.75
    return {"dead": (1,), "constant": (2,)} if dead else {"constant": (2,)}
