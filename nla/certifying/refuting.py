"""Inputs of the domain that wake neurons: data, random points, ascent; all of them confirmed by onnxruntime."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.certificates import domains, witnesses
from nla.certificates.interval import Ranges
from nla.certificates.network import Target
from nla.certificates.rooms import room
from nla.certificates.sets import Box
from nla.certificates.witnesses import Witnesses
from nla.certifying.climbing import Climbing, Point
from nla.certifying.confirming import Confirming, Seen
from nla.certifying.opened import Opened
from nla.certifying.stating import Domains
from nla.errors import DataError, ModelError
from nla.graph.lookups import lookups

Array = NDArray[Any]
Stop = Callable[[], bool]
Progress = Callable[[str, int, int], None]
Open = dict[str, NDArray[np.int64]]
"""By site, the neurons that nothing has decided yet."""

_NOBODY = np.zeros(0, np.int64)
_SAMPLES, _RANDOM = 512, 64
_CLIMBS = 3
"""Starts of each neuron's ascent in the model itself."""
_REACH = 8.0
"""An open end of a range counts as this for the search; z of a domain without ends is searched between them."""
_KEPT_BYTES = 1 << 28
_STARTS_BYTES = 1 << 27
_GRACE = 1.0
"""Seconds for which witnesses that were found are still run when the budget is spent."""


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
    over: Stop
    """Whether the whole budget is spent."""
    starts: dict[str, list[Array]] = field(default_factory=dict)
    """By input, samples to begin with, float32."""
    _climbs: dict[str, Climbing | None] = field(default_factory=dict)

    def sample(self, asked: Open, left: Open, refuted: Refuted) -> None:
        """Run data and random inputs, one of each at least, until all of `left` are seen awake; all that are `asked`
        about are watched."""
        for steps in (self._data, self._random):
            for number, (point, feeds, found, sample) in enumerate(steps()):
                if (number and self.stop()) or not refuted.left(left):
                    break
                self._try(asked, refuted, feeds, found, sample)
                size = sum(value.nbytes for value in point.values()) * (
                    1 + min(map(len, self.starts.values()), default=0)
                )
                for name, value in point.items() if size <= _STARTS_BYTES else ():
                    self.starts.setdefault(name, []).append(value)

    def _inside(self, feeds: Mapping[str, Array]) -> bool:
        """Whether the values that are fed lie in the ranges of the domain."""
        for name, value in feeds.items():
            if name in self.domain.sets:
                box = self.domain.sets[name].box
                x = np.asarray(value, np.float64).reshape(box.shape)
                if not ((box.lo <= x) & (x <= box.hi)).all():
                    return False
        return True

    def _try(
        self, asked: Open, refuted: Refuted, feeds: Mapping[str, Array], found: str, sample: int = -1
    ) -> Mapping[str, Array] | None:
        """What the model makes of an input, and whom it wakes; None where the model does not take it, or no number of
        its type lies in the domain there."""
        if found != "data" and not self._inside(feeds):
            return None
        try:
            values = self.confirm.values(feeds)
        except (ModelError, DataError):
            if found == "data":
                raise
            return None  # an index beyond a table: an input of the domain that the model does not take
        refuted.take(self.confirm.seen(values), asked, feeds, found, sample)
        return values

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
                    name: np.asarray(value, np.float32).reshape(shapes[name])
                    for name, value in feeds.items()
                    if name in shapes and value.dtype.kind == "f"
                }
                yield point, feeds, "data", int(data.indices[number])

    def _random(self) -> Iterator[tuple[dict[str, Array], dict[str, Array], str, int]]:
        """Corners and points inside the ranges."""
        if self.domain.kind == domains.HULL:
            return
        rng = np.random.default_rng(self.seed)
        boxes = self._boxes(self.confirm.inputs)
        for number in range(_RANDOM if boxes is not None else 0):
            point = _drawn(boxes or {}, rng, corners=bool(number % 2))
            yield {}, self.confirm.feeds(point), "random", -1

    def _boxes(self, names: tuple[str, ...]) -> dict[str, Box] | None:
        """Finite ranges inside the domain of these inputs; None where one of them is not a number of known size.

        Tokens are those that the model has rows for; other integers are zero or one where nobody says.
        """
        found = {}
        tokens: dict[str, int] = {}
        for each in lookups(self.opened.prepared.model.graph):
            tokens[each.input] = min(len(each.table), tokens.get(each.input, len(each.table)))
        for name in names:
            if name not in self.domain.sets:
                return None
            box = self.domain.sets[name].box
            integer = not _floating(self.confirm.types[name])
            low, high = (0.0, float(tokens.get(name, 2) - 1)) if integer else (-_REACH, _REACH)
            lo = np.where(np.isfinite(box.lo), box.lo, np.minimum(low, box.hi - 1))
            hi = np.where(np.isfinite(box.hi), box.hi, np.maximum(high, lo + 1 if not integer else lo))
            found[name] = Box(lo, np.maximum(np.minimum(hi, high), lo) if name in tokens else hi)
        return found

    def ascend(self, asked: Open, left: Open, refuted: Refuted, known: Ranges) -> None:
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
            known=known,
        )
        self._confirmed(made, asked, refuted)
        self._climb(asked, left, refuted)

    def _climb(self, asked: Open, left: Open, refuted: Refuted) -> None:
        """Ascent in the model itself, of the sites that the network does not reach from its inputs."""
        boxes = self._boxes(self.confirm.inputs) if self.domain.kind != domains.HULL else None
        behind = [t for t in self.targets.values() if witnesses.why_not(self.opened.network, t) is not None]
        rng = np.random.default_rng(self.seed)
        for _ in range(_CLIMBS if boxes else 0):
            for target in behind:
                site = target.site
                for k in refuted.left({site: left.get(site, _NOBODY)}).get(site, _NOBODY):
                    if self.stop() or (climbing := self._climbing(target, boxes or {})) is None:
                        break
                    self._climb_one(climbing, target, int(k), _drawn(boxes or {}, rng), asked, refuted)

    def _climb_one(
        self, climbing: Climbing, target: Target, neuron: int, start: Point, asked: Open, refuted: Refuted
    ) -> None:
        self.progress("searching in the model", len(refuted.found), sum(map(len, asked.values())))

        def tried(point: Point) -> Mapping[str, Array] | None:
            return self._try(asked, refuted, self.confirm.feeds(point), "ascent")

        def done() -> bool:
            return self.stop() or (target.site, neuron) in refuted.found

        climbing.climb(neuron, start, tried, done)

    def _climbing(self, target: Target, boxes: Mapping[str, Box]) -> Climbing | None:
        """The gradient of a site; None where there is none."""
        if target.site not in self._climbs:
            rooms = {name: room(box) for name, box in boxes.items() if _floating(self.confirm.types[name])}
            try:
                made = Climbing(self.opened, self.confirm, target, rooms)
            except ModelError:
                made = None
            self._climbs[target.site] = made
        return self._climbs[target.site]

    def _confirmed(self, made: Mapping[str, Witnesses], asked: Open, refuted: Refuted) -> None:
        """Run what ascent found, first the inputs that wake most; at most a little longer than there is time."""
        begun = time.monotonic()
        wakes: dict[int, list[tuple[tuple[str, int], float]]] = {}
        for site, found in made.items():
            for k in np.flatnonzero(found.woken):
                place = (site, int(found.neurons[k]))
                wakes.setdefault(int(found.point[k]), []).append((place, float(found.z[k])))
        points = next(iter(made.values())).points if made else {}
        for row in sorted(wakes, key=lambda row: -len(wakes[row])):
            left = [(place, z) for place, z in wakes[row] if place not in refuted.found]
            if not left:
                continue
            if self.over() and time.monotonic() - begun > _GRACE:
                return
            feeds = self.confirm.feeds({name: value[row] for name, value in points.items()})
            self._try(asked, refuted, feeds, "ascent")
            refuted.unconfirmed.update({place: z for place, z in left if place not in refuted.found})


def _drawn(boxes: Mapping[str, Box], rng: np.random.Generator, *, corners: bool = False) -> Point:
    """A point inside the ranges; with `corners` most of its elements lie at one end or the other."""
    point = {}
    for name, box in boxes.items():
        upper = rng.random(box.shape) < rng.random()
        inside = box.lo + (box.hi - box.lo) * rng.random(box.shape)
        point[name] = _single(np.where(upper, box.hi, box.lo) if corners else inside, box)
    return point


def _floating(kind: str) -> bool:
    return kind.startswith(("float", "bfloat"))


def _single(x: Array, box: Box) -> Array:
    """The nearest float32 values inside the box, as float64."""
    with np.errstate(over="ignore"):
        near = x.astype(np.float32)
    up, down = (np.nextafter(near, np.float32(end)).astype(np.float64) for end in (np.inf, -np.inf))
    value = near.astype(np.float64)
    return np.where(value < box.lo, up, np.where(value > box.hi, down, value))
