"""Ascent in the model itself, where z lies behind a normalisation: along the gradient that onnxruntime computes.

Numbers are moved along its signs; tokens are exchanged, one at a time, for those whose rows of the
embedding lie furthest along the gradient (HotFlip, Ebrahimi et al. 2018), the best of them as the model sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.certificates.network import Target
from nla.certificates.rooms import Room
from nla.certifying.confirming import Confirming
from nla.certifying.opened import Opened
from nla.errors import ModelError
from nla.graph.backward.differentiate import backward_graph
from nla.graph.backward.losses import GIVEN, SEED
from nla.graph.lookups import lookups
from nla.graph.rewrite import extract, top_level
from nla.replay.opening import Model

Array = NDArray[Any]
Point = dict[str, Array]
"""By input, one sample in the shape of the network's."""
Try = Callable[[Point], Mapping[str, Array] | None]
"""Runs a point, notes whom it wakes, and gives the values of tensors; None: the model does not take it."""

_STEPS = 40
_MOMENTUM, _FIRST, _LAST = 0.75, 0.25, 0.001
_EXCHANGES = 8
"""Tokens that are tried at a step."""


class Climbing:
    """The gradient of the neurons of one site."""

    def __init__(
        self, opened: Opened, confirm: Confirming, target: Target, rooms: Mapping[str, Room]
    ) -> None:
        """`rooms`: of the inputs of floating-point numbers. Raises ModelError: there is no gradient."""
        prepared = opened.prepared
        self._network, self._target, self._confirm, self._rooms = opened.network, target, confirm, rooms
        self._lookups = [each for each in lookups(prepared.model.graph) if each.input in confirm.inputs]
        whole = prepared.model.clone()
        value = next(each for each in top_level(whole.graph) if each.name == target.pre)
        whole.graph.outputs.append(value)
        wanted = [*(name for name in rooms if name in confirm.inputs), *(each.rows for each in self._lookups)]
        made = backward_graph(whole, wanted, loss=GIVEN, output=target.pre)
        if made.fed is None:
            raise ModelError("the backward pass has no place for the gradient to begin with")
        self._names, self._fed = made.gradients, made.fed
        model = Model(
            made.model,
            (*prepared.inputs, made.fed),
            prepared.constant_feeds,
            opened.checkpoint.map_external(),
            opened.checkpoint.size_bytes,
        )
        content = extract(model.graph, list(self._names.values()), model.lifted).SerializeToString()
        self._session = model.session(content)
        self._fixed = {name: feed.of(1) for name, feed in prepared.constant_feeds.items()}

    def climb(self, neuron: int, point: Point, tried: Try, stop: Callable[[], bool]) -> None:
        """From a point, until `stop`: what is met on the way is `tried`."""
        pace = {name: np.zeros(self._network.inputs[name]) for name in self._rooms}
        values = tried(point)
        for step in range(_STEPS):
            if values is None or stop():
                return
            gradient = self._gradient(neuron, point, values)
            if self._rooms:
                point = self._moved(point, gradient, pace, step)
                values = tried(point)
            better = None if values is None else self._exchanged(neuron, point, values, gradient, tried, stop)
            if better is not None:
                point, values = better
            elif not self._rooms:
                return  # no exchange of a token is better

    def _gradient(self, neuron: int, point: Point, values: Mapping[str, Array]) -> dict[str, Array]:
        """At the inputs, and at the rows of tables, of z at the position where it is largest."""
        z = np.asarray(values[self._target.pre])
        moved = np.moveaxis(z.reshape(self._network.shapes[self._target.pre]), self._target.axis, 0)
        seed = np.zeros((len(moved), moved[0].size), z.dtype)
        seed[neuron, np.nan_to_num(moved[neuron], nan=-np.inf).argmax()] = 1
        seed = np.moveaxis(seed.reshape(moved.shape), 0, self._target.axis).reshape(z.shape)
        feeds = {**self._fixed, **self._confirm.feeds(point), SEED: seed}
        names = list(self._names)
        reads = {name: feeds[name] for name in self._session.inputs}
        found = self._session.run([self._names[name] for name in names], reads)
        return {
            name: np.nan_to_num(np.asarray(each, np.float64)) for name, each in zip(names, found, strict=True)
        }

    def _moved(self, point: Point, gradient: Mapping[str, Array], pace: dict[str, Array], step: int) -> Point:
        """Numbers moved by a share of the room's width, less with every step."""
        share = _FIRST * (_LAST / _FIRST) ** (step / (_STEPS - 1))
        moved = dict(point)
        for name in self._rooms:
            if name not in gradient:
                continue
            part = gradient[name].reshape(pace[name].shape)
            size = np.abs(part).mean()
            pace[name] = _MOMENTUM * pace[name] + (part / size if size > 0 else part)
            x = np.asarray(point[name], np.float32)[None]
            moved[name] = self._rooms[name].moved(x, pace[name][None], share)[0]
        return moved

    def _exchanged(
        self,
        neuron: int,
        point: Point,
        values: Mapping[str, Array],
        gradient: Mapping[str, Array],
        tried: Try,
        stop: Callable[[], bool],
    ) -> tuple[Point, Mapping[str, Array]] | None:
        """The best exchange of one token, and what the model makes of it; None where none is better."""
        best, chosen = self._z(neuron, values), None
        for input_, position, token in self._candidates(point, gradient):
            if stop():
                break
            other = np.array(point[input_])
            other.ravel()[position] = token
            moved = {**point, input_: other}
            after = tried(moved)
            if after is not None and (z := self._z(neuron, after)) > best:
                best, chosen = z, (moved, after)
        return chosen

    def _z(self, neuron: int, values: Mapping[str, Array]) -> float:
        z = np.asarray(values[self._target.pre]).reshape(self._network.shapes[self._target.pre])
        return float(np.moveaxis(z, self._target.axis, 0)[neuron].max())

    def _candidates(self, point: Point, gradient: Mapping[str, Array]) -> list[tuple[str, int, int]]:
        """(input, position, token) of the exchanges that the gradient promises most of."""
        gains: dict[str, Array] = {}
        for each in self._lookups:
            if each.rows not in gradient:
                continue
            at = gradient[each.rows].reshape(-1, each.table.shape[1])
            tokens = np.asarray(point[each.input], np.int64).ravel()
            along = at @ each.table.T.astype(np.float64)  # [positions, tokens]
            gain = along - along[np.arange(len(tokens)), tokens][:, None]
            before = gains.get(each.input)
            size = gain.shape[1] if before is None else min(gain.shape[1], before.shape[1])
            gains[each.input] = gain[:, :size] if before is None else before[:, :size] + gain[:, :size]
        found = []
        for name, gain in gains.items():
            for flat in np.argsort(-gain, axis=None)[:_EXCHANGES]:
                position, token = np.unravel_index(flat, gain.shape)
                found.append((name, int(position), int(token)))
        return found
