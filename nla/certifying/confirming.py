"""The model itself, run on one input: what a witness is worth is what onnxruntime sees there, not what we computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.certificates.network import Network, Target
from nla.certifying.opened import Opened
from nla.graph.rewrite import extract
from nla.replay.opening import Model

Array = NDArray[Any]
Feeds = Mapping[str, Array]


@dataclass(frozen=True)
class Seen:
    """What one input does to the neurons of one site."""

    z: NDArray[np.float64]
    """[neurons] the largest pre-activation over the positions."""
    a: NDArray[np.float64]
    """[neurons] the activation at that position."""
    awake: NDArray[np.bool_]
    """[neurons] z is above the threshold, and a is not zero where φ reaches zero."""


class Confirming:
    """A session that gives z and a of every target for one sample."""

    def __init__(
        self, opened: Opened, targets: Sequence[Target], *, beside: Sequence[str] = (), verbose: bool = False
    ) -> None:
        """`beside`: further tensors whose values are wanted."""
        self._network, self._targets = opened.network, tuple(targets)
        self._opened = opened
        asked = [*(name for each in targets for name in (each.pre, each.site)), *beside]
        self._names = [name for name in dict.fromkeys(asked) if name not in opened.network.inputs]
        model = Model(
            opened.prepared.model,
            opened.prepared.inputs,
            opened.prepared.constant_feeds,
            opened.checkpoint.map_external(),
            opened.checkpoint.size_bytes,
            verbose=verbose,
        )
        content = extract(model.graph, self._names, model.lifted).SerializeToString()
        self._session = model.session(content)
        self._fixed = {name: feed.of(1) for name, feed in opened.prepared.constant_feeds.items()}
        self.types: dict[str, str] = {each.name: each.dtype for each in opened.prepared.inputs}

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the model reads on the way to the targets, constants left out."""
        return tuple(name for name in self._session.inputs if name not in self._fixed)

    def feeds(self, point: Mapping[str, Array]) -> dict[str, Array]:
        """One sample of each input, [*shape] of the network, as the model takes it: in its type, with its batch axis.

        What the point leaves out is zero.
        """
        fed = {}
        for name in self.inputs:
            shape = tuple(self._opened.shapes[name])
            kind = np.dtype(self.types[name]) if self.types[name] != "bfloat16" else np.dtype(np.float32)
            value = np.zeros(shape) if name not in point else np.asarray(point[name]).reshape(shape)
            fed[name] = np.rint(value).astype(kind) if kind.kind in "iub" else value.astype(kind)
        return fed

    def run(self, feeds: Feeds) -> dict[str, Seen]:
        """By site, what this input does. Raises ModelError, DataError: the model does not run on it."""
        return self.seen(self.values(feeds))

    def values(self, feeds: Feeds) -> dict[str, Array]:
        """By tensor, what this input makes of it; the inputs themselves too. Raises ModelError, DataError."""
        fed = {**self._fixed, **feeds}
        return {**fed, **dict(zip(self._names, self._session.run(self._names, fed), strict=True))}

    def seen(self, values: Mapping[str, Array]) -> dict[str, Seen]:
        """By site, what these values of z and a say."""
        return {each.site: _seen(self._network, each, values) for each in self._targets}


def _seen(network: Network, target: Target, values: Mapping[str, Array]) -> Seen:
    shape, order = network.shapes[target.pre], target.order or range(len(network.shapes[target.pre]))
    laid = values[target.site].reshape([shape[axis] for axis in order]).transpose(np.argsort(order))
    z, a = (_by_neuron(network, target, value) for value in (values[target.pre], laid))
    at = np.where(np.isnan(z), -np.inf, z).argmax(axis=1)[:, None]
    largest, there = (np.take_along_axis(each, at, axis=1)[:, 0] for each in (z, a))
    awake = largest > target.threshold
    if target.activation.reaches_zero:
        awake &= there != 0
    return Seen(largest, there, awake & np.isfinite(there))


def _by_neuron(network: Network, target: Target, value: Array) -> NDArray[np.float64]:
    """[neurons, positions]"""
    shaped = np.asarray(value, np.float64).reshape(network.shapes[target.pre])
    moved = np.moveaxis(shaped, target.axis, 0)
    return moved.reshape(len(moved), -1)
