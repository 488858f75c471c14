"""Inputs of the domain that wake neurons: data, random points, ascent; all of them confirmed by onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.certificates import domains, witnesses
from nla.certificates.network import Target
from nla.certificates.sets import Box
from nla.certifying.confirming import Confirming, Seen
from nla.certifying.opened import Opened
from nla.certifying.stating import Domains
from nla.errors import DataError, ModelError

Array = NDArray[Any]
Stop = Callable[[], bool]
Progress = Callable[[str, int, int], None]
Open = dict[str, NDArray[np.int64]]
"""By site, the neurons that nothing has decided yet."""

_SAMPLES, _RANDOM = 512, 64
_REACH = 8.0
"""An open end of a range counts as this for the search; z of a domain without ends is searched between them."""
_KEPT_BYTES = 1 << 28


@dataclass
class Refuted:
    """The neurons that were seen awake, and at which inputs."""

    z: dict[tuple[str, int], float] = field(default_factory=dict)
    a: dict[tuple[str, int], float] = field(default_factory=dict)
    found: dict[tuple[str, int], str] = field(default_factory=dict)
    sample: dict[tuple[str, int], int] = field(default_factory=dict)
    row: dict[tuple[str, int], int] = field(default_factory=dict)
    inputs: dict[str, list[Array]] = field(default_factory=dict)
    """By input, the witnesses that are kept."""
    unconfirmed: dict[tuple[str, int], float] = field(default_factory=dict)
    """Neurons of which ascent found a z above the threshold that the model itself does not reach."""
    kept_all: bool = True
    _rows: int = 0
    _bytes: int = 0

    def take(
        self, seen: Mapping[str, Seen], asked: Open, feeds: Mapping[str, Array], found: str, sample: int = -1
    ) -> int:
        """Enter the neurons of `asked` that this input wakes; how many there were."""
        fresh = [
            (site, int(k))
            for site, neurons in asked.items()
            for k in neurons[seen[site].awake[neurons]]
            if (site, int(k)) not in self.found
        ]
        row = self._keep(feeds) if fresh else -1
        for site, k in fresh:
            self.found[site, k], self.sample[site, k], self.row[site, k] = found, sample, row
            self.z[site, k], self.a[site, k] = float(seen[site].z[k]), float(seen[site].a[k])
        return len(fresh)

    def _keep(self, feeds: Mapping[str, Array]) -> int:
        size = sum(value.nbytes for value in feeds.values())
        if self._bytes + size > _KEPT_BYTES:
            self.kept_all = False
            return -1
        for name, value in feeds.items():
            self.inputs.setdefault(name, []).append(value)
        self._bytes += size
        self._rows += 1
        return self._rows - 1

    def left(self, asked: Open) -> Open:
        """Of these neurons, those that were not seen awake; sites without any are left out."""
        kept = {
            site: neurons[[(site, int(k)) not in self.found for k in neurons]] if len(neurons) else neurons
            for site, neurons in asked.items()
        }
        return {site: neurons for site, neurons in kept.items() if len(neurons)}


@dataclass
class Search:
    """Everything that is tried to wake the neurons of some targets."""

    opened: Opened
    domain: Domains
    targets: Mapping[str, Target]
    confirm: Confirming
    seed: int
    stop: Stop
    progress: Progress
    starts: dict[str, list[Array]] = field(default_factory=dict)
    """By input, samples to begin with."""

    def sample(self, asked: Open, left: Open, refuted: Refuted) -> None:
        """Run data and random inputs; `left` of those `asked` are not certified. What is certified is watched too."""
        for steps in (self._data, self._random):
            for point, feeds, found, sample in steps():
                if self.stop() or not refuted.left(left):
                    return
                self._try(asked, refuted, feeds, found, sample)
                for name, value in point.items():
                    self.starts.setdefault(name, []).append(value)

    def _try(
        self, asked: Open, refuted: Refuted, feeds: Mapping[str, Array], found: str, sample: int = -1
    ) -> None:
        try:
            seen = self.confirm.run(feeds)
        except (ModelError, DataError):
            if found == "data":
                raise
            return  # an index beyond a table: an input of the domain that the model does not take
        refuted.take(seen, asked, feeds, found, sample)

    def _data(self) -> Iterator[tuple[dict[str, Array], dict[str, Array], str, int]]:
        data = self.opened.data
        if data is None:
            return
        names, shapes = self.confirm.inputs, self.opened.network.inputs
        for number in range(min(data.samples, _SAMPLES)):
            self.progress("running the data", number, min(data.samples, _SAMPLES))
            feeds = {name: value for name, value in data.feeds(np.array([number])).items() if name in names}
            if all(list(value.shape) == self.opened.shapes[name] for name, value in feeds.items()):
                point = {
                    name: np.asarray(value, np.float64).reshape(shapes[name])
                    for name, value in feeds.items()
                    if name in shapes and value.dtype.kind == "f"
                }
                yield point, feeds, "data", int(data.indices[number])

    def _random(self) -> Iterator[tuple[dict[str, Array], dict[str, Array], str, int]]:
        """Corners and points inside the ranges; integer inputs are zero or one, which every vocabulary has."""
        if self.domain.kind == domains.HULL:
            return
        rng = np.random.default_rng(self.seed)
        boxes = self._boxes(self.confirm.inputs)
        if boxes is None:
            return
        for number in range(_RANDOM):
            point = {}
            for name, box in boxes.items():
                corner = rng.random(box.shape) < rng.random()
                inside = box.lo + (box.hi - box.lo) * rng.random(box.shape)
                drawn = np.where(corner, box.hi, box.lo) if number % 2 else inside
                point[name] = _single(drawn, box)
            yield {}, self.confirm.feeds(point), "random", -1

    def _boxes(self, names: tuple[str, ...]) -> dict[str, Box] | None:
        """Finite ranges inside the domain of these inputs; None where one of them is not a number of known size."""
        found = {}
        for name in names:
            if name not in self.domain.sets:
                return None
            box = self.domain.sets[name].box
            integer = not _floating(self.confirm.types[name])
            low, high = (0.0, 1.0) if integer else (-_REACH, _REACH)
            lo = np.where(np.isfinite(box.lo), box.lo, np.minimum(low, box.hi - 1))
            hi = np.where(np.isfinite(box.hi), box.hi, np.maximum(high, lo + 1 if not integer else lo))
            found[name] = Box(lo, hi)
        return found

    def ascend(self, asked: Open, left: Open, refuted: Refuted) -> None:
        """Gradient ascent of z; what it finds is run."""
        if self.stop() or not refuted.left(left):
            return
        made = witnesses.search(
            self.opened.network,
            refuted.left(left),
            self.domain.sets,
            starts={name: np.stack(values) for name, values in self.starts.items()} or None,
            whole=frozenset(name for name, kind in self.confirm.types.items() if not _floating(kind)),
            seed=self.seed,
            stop=self.stop,
            report=lambda phase, done, total: self.progress("searching for witnesses", done, total),
        )
        for found in made.values():
            for k in np.argsort(-found.z, kind="stable"):
                place = (found.target.site, int(found.neurons[k]))
                if not found.woken[k] or place in refuted.found:
                    continue
                feeds = self.confirm.feeds({name: value[k] for name, value in found.inputs.items()})
                self._try(asked, refuted, feeds, "ascent")
                if place not in refuted.found:
                    refuted.unconfirmed[place] = float(found.z[k])


def _floating(kind: str) -> bool:
    return kind.startswith(("float", "bfloat"))


def _single(x: Array, box: Box) -> Array:
    """The nearest float32 values inside the box, as float64."""
    near = x.astype(np.float32)
    up, down = (np.nextafter(near, np.float32(end)).astype(np.float64) for end in (np.inf, -np.inf))
    value = near.astype(np.float64)
    return np.where(value < box.lo, up, np.where(value > box.hi, down, value))
