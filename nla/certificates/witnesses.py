"""Inputs that wake a neuron: what refutes that it is silent, once the model itself has confirmed them.

Where z is linear in the inputs the best input is known in closed form. Deeper, z is climbed by signed gradients with
momentum, from the best input found so far, and from others of a pool, in rounds. Slopes of shut activations count as a
little more than nothing on the way, so that layers that are shut can be opened. Every input that is tried is tried for
all neurons of all sites before it: most neurons are woken on the way to another. The search runs in float32, the
result is computed again in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nla.certificates import first_layer
from nla.certificates.gradients import by_inputs, forward, single
from nla.certificates.interval import Ranges, ranges
from nla.certificates.network import Network, Target
from nla.certificates.points import Points
from nla.certificates.rooms import Room, Singles, room
from nla.certificates.rounding import Floats
from nla.certificates.sets import Domain, anywhere

ROUNDS = 12
_STEPS = (40, 60)
"""Of a climb: in the first round, in later ones."""
_LEAKS = (0.02, 0.0, 0.1, 0.005)
_MOMENTUM, _FIRST, _LAST = 0.75, (0.25, 0.25, 0.1, 0.5, 0.25), 0.0025
"""Steps shrink from a first share of the room's width, another each round, to the last."""
_POOL = 4096
_AT_ONCE = 1 << 25
"""Elements of all tensors times rows that are held at once."""
_FOR_STARTS = 0.5
"""Of what is kept, the inputs that wake nothing yet."""
_ROWS = 1024
_CLEAR = 1e-4
"""A neuron counts as woken for certain where z exceeds its threshold by this share of z's range over the pool."""

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Witnesses:
    """The best inputs found for some neurons of a site."""

    target: Target
    neurons: NDArray[np.int64]
    """[k]"""
    points: Mapping[str, Singles]
    """[points, *shape] by input, values inside the domain; several neurons, and sites, have one in common."""
    point: NDArray[np.int64]
    """[k] which of them; -1: none was found."""
    z: Floats
    """[k] the largest z of the neuron there: where it is near the threshold, in exact arithmetic (float64)."""

    @property
    def inputs(self) -> dict[str, Floats]:
        """[k, *shape] by input, as float64."""
        return {name: value[self.point].astype(np.float64) for name, value in self.points.items()}

    @property
    def woken(self) -> NDArray[np.bool_]:
        """[k] z is above the threshold there; the model itself is still to confirm it."""
        return np.asarray(self.z > self.target.threshold)


def why_not(network: Network, target: Target) -> str | None:
    """Why no input can be searched for a site, in words; None where one can.

    Behind a normalisation, or an operator without a rule, z is no function of the inputs here.
    """
    reached = {target.pre} | {name for op in network.before([target.pre]) for name in op.inputs}
    blocked = sorted(reached & set(network.given))
    return f"'{blocked[0]}' before it is known by its range only" if blocked else None


def search(
    network: Network,
    wanted: Mapping[str, Sequence[int] | NDArray[np.int64]],
    domains: Mapping[str, Domain],
    *,
    starts: Mapping[str, Floats] | None = None,
    whole: frozenset[str] = frozenset(),
    seed: int = 0,
    rounds: int = ROUNDS,
    stop: Callable[[], bool] = lambda: False,
    report: Report = lambda phase, done, total: None,
    known: Ranges | None = None,
) -> dict[str, Witnesses]:
    """For each neuron the input of the domain at which the search found the largest z.

    Args:
        network: lowered.
        wanted: neurons by site; sites for which `why_not` has a reason are left out of the result.
        domains: boxes or hulls, one for each input; where an end is open, or an input has none, values up to 16 times
            those of the data (or 16) are tried.
        starts: [samples, *shape] by input: data; clipped to the boxes.
        whole: inputs of an integer type.
        seed: of what is drawn at random.
        rounds: over all sites; ends early when all neurons are woken.
        stop: asked between steps.
        report: told ("witnesses", neurons woken, neurons) after each site of each round.
        known: the interval bounds over the domains, where they are known already.
    """
    targets = [t for t in network.targets if t.site in wanted and why_not(network, t) is None]
    if not targets:
        return {}
    used = [name for name in network.inputs if _read(network, targets, name)]
    if not used:
        return {}
    rooms = {
        name: room(
            domains.get(name, anywhere(network.inputs[name])),
            None if starts is None else starts.get(name),
            whole=name in whole,
        )
        for name in used
    }
    state = _Search(network, targets, wanted, rooms, np.random.default_rng(seed), stop)
    state.fill(starts or {})
    state.closed_forms(domains, known)
    for turn in range(rounds):
        for target in targets:
            if state.open(target).size and not stop():
                state.round(target, turn)
            report("witnesses", state.done(), state.asked())
        if stop() or state.done() == state.asked():
            break
    return {target.site: state.result(target) for target in targets}


def _read(network: Network, targets: Sequence[Target], name: str) -> bool:
    ops = network.before([target.pre for target in targets])
    return any(name in op.inputs for op in ops) or any(target.pre == name for target in targets)


@dataclass
class _Found:
    """The best inputs of the neurons asked about at one site."""

    neurons: NDArray[np.int64]
    kept: Points
    z: Singles
    clear: Singles
    """z above which a neuron is not tried again."""
    at: NDArray[np.int64]
    """Places in `kept`; -1: none."""

    @property
    def open(self) -> NDArray[np.bool_]:
        """[k] neurons that are not woken for certain."""
        return np.asarray(self.z <= self.clear)

    def take(self, z: Singles, points: Mapping[str, Singles]) -> None:
        """Better inputs among `points` [rows], whose z is [rows, all neurons of the site]."""
        own = np.where(np.isnan(z), -np.inf, z)[:, self.neurons]
        row = own.argmax(axis=0)
        value = own[row, np.arange(len(self.neurons))]
        better = value > self.z
        wakes = better & self.open & (value > self.clear)
        refused = self._put(np.flatnonzero(wakes), row, value, points, 1.0)
        if len(refused) and len(refused) < wakes.sum():  # another's input may do
            placed = np.setdiff1d(np.flatnonzero(wakes), refused)
            best = own[row[placed]][:, refused].argmax(axis=0)
            there = own[row[placed[best]], refused]
            does = there > self.clear[refused]
            who = refused[does]
            self.kept.join(self.at[who], self.at[placed[best[does]]])
            self.at[who], self.z[who] = self.at[placed[best[does]]], there[does]
        self._put(np.flatnonzero(better & ~wakes), row, value, points, _FOR_STARTS)

    def _put(
        self,
        who: NDArray[np.int64],
        row: NDArray[np.int64],
        value: Singles,
        points: Mapping[str, Singles],
        share: float,
    ) -> NDArray[np.int64]:
        """Give these neurons their rows of `points`; those for whom there was no room."""
        now = self.kept.exchange(self.at[who], points, row[who], share)
        some = who[now >= 0]
        self.at[some], self.z[some] = now[now >= 0], value[some]
        return np.asarray(who[now < 0])

    def held(self, rows: NDArray[np.int64]) -> dict[str, Singles]:
        """The inputs of these neurons; where there is none, whatever is kept first."""
        return {name: value[np.maximum(self.at[rows], 0)] for name, value in self.kept.values.items()}


@dataclass
class _Search:
    network: Network
    targets: Sequence[Target]
    wanted: Mapping[str, Sequence[int] | NDArray[np.int64]]
    rooms: Mapping[str, Room]
    rng: np.random.Generator
    stop: Callable[[], bool]
    found: dict[str, _Found] = field(default_factory=dict)
    pool: dict[str, Singles] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._exact, self.network = self.network, single(self.network)
        ops = self.network.before([target.pre for target in self.targets])
        each = sum(_size(self.network, name) for name in (*self.rooms, *(op.output for op in ops)))
        self.rows = int(np.clip(_AT_ONCE // each, 1, _ROWS))
        self.most = int(np.clip(8 * _AT_ONCE // each, 64, _POOL))
        kept = Points({name: self.network.inputs[name] for name in self.rooms})
        for target in self.targets:
            neurons = np.asarray(self.wanted[target.site], np.int64)
            z = np.full(len(neurons), -np.inf, np.float32)
            at = np.full(len(neurons), -1)
            self.found[target.site] = _Found(neurons, kept, z, np.full_like(z, target.threshold), at)

    def _zeros(self, name: str, rows: int) -> Singles:
        return np.zeros((rows, *self.network.inputs[name]), np.float32)

    # --- what is asked and done

    def open(self, target: Target) -> NDArray[np.int64]:
        """Rows of the site's neurons that are not woken for certain."""
        return np.flatnonzero(self.found[target.site].open)

    def asked(self) -> int:
        return sum(len(found.neurons) for found in self.found.values())

    def done(self) -> int:
        return sum(int((~found.open).sum()) for found in self.found.values())

    # --- trying

    def fill(self, starts: Mapping[str, Floats]) -> None:
        """The first pool: data, and points spread over the rooms; each tried for every neuron."""
        data = min((len(starts[name]) for name in self.rooms if name in starts), default=0)
        chosen = self.rng.permutation(data)[: self.most // 2]
        spread = self.most - len(chosen)
        for name, place in self.rooms.items():
            parts = [place.points(spread, self.rng)]
            if len(chosen) and name in starts:
                parts.append(place.starts(np.asarray(starts[name])[chosen], self.rng))
            elif len(chosen):
                parts.append(place.points(len(chosen), self.rng))
            self.pool[name] = np.concatenate(parts)
        low, high = self._tried(self.pool)
        for target in self.targets:
            found = self.found[target.site]
            width = (high[target.site] - low[target.site])[found.neurons]
            found.clear += _CLEAR * width

    def _tried(self, points: Mapping[str, Singles]) -> tuple[dict[str, Singles], dict[str, Singles]]:
        """Try points for all neurons; the least and the largest z of each neuron by site."""
        low: dict[str, Singles] = {}
        high: dict[str, Singles] = {}
        for start in range(0, len(next(iter(points.values()))), self.rows):
            if self.stop() and low:
                break
            some = {name: value[start : start + self.rows] for name, value in points.items()}
            values = forward(self.network, some, [target.pre for target in self.targets])
            for target in self.targets:
                z = _over_positions(values[target.pre], target)
                self.found[target.site].take(z, some)
                least, most = z.min(axis=0), z.max(axis=0)
                low[target.site] = np.minimum(low.get(target.site, least), least)
                high[target.site] = np.maximum(high.get(target.site, most), most)
        return low, high

    def closed_forms(self, domains: Mapping[str, Domain], known: Ranges | None) -> None:
        """The best input of a box, at the position where its bound is largest, for sites linear in the inputs."""
        for target in self.targets:
            rows = self.open(target)
            if self.stop() or not len(rows) or not first_layer.is_linear(self.network, target):
                continue
            known = known or ranges(self._exact, _every(self._exact, domains), self.stop)
            high = np.moveaxis(known.boxes[target.pre].hi, target.axis, 0)
            neurons = self.found[target.site].neurons[rows]
            place = high.reshape(len(high), -1)[neurons].argmax(axis=1)
            for start in range(0, len(rows), self.rows):
                if self.stop():
                    break
                some = slice(start, start + self.rows)
                A = self._units(target, neurons[some], place[some])
                gradient = by_inputs(self.network, {}, target.pre, A)
                self._tried(
                    {
                        name: self.rooms[name].best(gradient.get(name, self._zeros(name, len(A))))
                        for name in self.rooms
                    }
                )

    def round(self, target: Target, turn: int) -> None:
        """Climb for every neuron of the site that is not woken, and try where the climbs ended for all sites."""
        leaks = _LEAKS[:1] if turn == 0 else _LEAKS
        for leak in leaks:
            rows = self.open(target)
            if not len(rows) or self.stop():
                break
            often = 1 if len(rows) > self.rows // 8 or turn == 0 else 6
            rows = np.repeat(rows, often)
            for start in range(0, len(rows), self.rows):
                if self.stop():
                    break
                some = rows[start : start + self.rows]
                ended = self._climb(target, some, self._from(target, some, turn), leak, turn)
                self._tried(ended)

    def _from(self, target: Target, rows: NDArray[np.int64], turn: int) -> dict[str, Singles]:
        """Where to start: the best so far; the best of a part of the pool; the best shaken; one that woke another."""
        found = self.found[target.site]
        best = found.held(rows)
        way = turn % 4
        if way == 0:
            return best
        if way == 1:
            size = len(next(iter(self.pool.values())))
            part = self.rng.permutation(size)[: min(128, self.rows)]
            others = self.found[self.targets[int(self.rng.integers(0, len(self.targets)))].site]
            also = self.rng.integers(0, len(others.neurons), min(32, self.rows))
            woken = others.held(also)
            some = {name: np.concatenate([value[part], woken[name]]) for name, value in self.pool.items()}
            z = _over_positions(forward(self.network, some, [target.pre])[target.pre], target)
            order = np.argsort(-z[:, found.neurons[rows]], axis=0)
            rank = self.rng.integers(0, min(8, len(part)), len(rows))
            at = order[rank, np.arange(len(rows))]
            return {name: value[at] for name, value in some.items()}
        if way == 2:
            made = {}
            for name, value in best.items():
                other = self.rooms[name].points(len(rows), self.rng)
                made[name] = self.rooms[name].mixed(value, other, self.rng)
            return made
        others = self.found[self.targets[int(self.rng.integers(0, len(self.targets)))].site]
        at = self.rng.integers(0, len(others.neurons), len(rows))
        return others.held(at)

    def _climb(
        self, target: Target, rows: NDArray[np.int64], point: dict[str, Singles], leak: float, turn: int
    ) -> dict[str, Singles]:
        """Signed gradients with momentum; every point on the way is tried for all neurons of the site."""
        found = self.found[target.site]
        neurons = found.neurons[rows]
        steps, first = _STEPS[turn > 0], _FIRST[turn % len(_FIRST)]
        pace = {name: np.zeros_like(value) for name, value in point.items()}
        for step in range(steps):
            values = forward(self.network, point, [target.pre])
            z = np.moveaxis(values[target.pre], target.axis + 1, 1)
            z = z.reshape(*z.shape[:2], -1)
            found.take(z.max(axis=2), point)
            if self.stop() or not found.open[rows].any():
                break
            place = z[np.arange(len(rows)), neurons].argmax(axis=1)
            A = self._units(target, neurons, place)
            share = first * (_LAST / first) ** (step / (steps - 1))
            for name, gradient in by_inputs(self.network, values, target.pre, A, leak).items():
                size = np.abs(gradient).reshape(len(rows), -1).mean(axis=1)
                scaled = gradient / np.where(size > 0, size, 1).reshape(-1, *(1,) * (gradient.ndim - 1))
                pace[name] = np.float32(_MOMENTUM) * pace[name] + scaled
                point[name] = self.rooms[name].moved(point[name], pace[name], share)
        return point

    def _units(self, target: Target, neurons: NDArray[np.int64], place: NDArray[np.int64]) -> Singles:
        """[rows, *shape of z] one coefficient of one in each row, at that neuron and position."""
        shape = self.network.shapes[target.pre]
        moved = (shape[target.axis], *(size for k, size in enumerate(shape) if k != target.axis))
        A = np.zeros((len(neurons), *moved), np.float32)
        A.reshape(len(neurons), moved[0], -1)[np.arange(len(neurons)), neurons, place] = 1
        return np.moveaxis(A, 1, target.axis + 1)

    def result(self, target: Target) -> Witnesses:
        """The best inputs, and their z; that of the neurons that are not woken for certain in float64."""
        found = self.found[target.site]
        z = found.z.astype(np.float64)
        near = np.flatnonzero(
            found.open & (found.z > target.threshold - np.abs(found.clear - target.threshold))
        )
        for start in range(0, len(near), self.rows):
            if self.stop():
                break
            rows = near[start : start + self.rows]
            some = {name: value.astype(np.float64) for name, value in found.held(rows).items()}
            made = self._exact.forward(some, [target.pre])[target.pre]
            z[rows] = _over_positions(made, target)[np.arange(len(rows)), found.neurons[rows]]
        return Witnesses(target, found.neurons, found.kept.values, found.at, z)


def _size(network: Network, name: str) -> int:
    return max(1, int(np.prod(network.shapes[name])))


def _every(network: Network, domains: Mapping[str, Domain]) -> dict[str, Domain]:
    return {name: domains.get(name, anywhere(shape)) for name, shape in network.inputs.items()}


def _over_positions(z: Singles, target: Target) -> Singles:
    """[rows, neurons] the largest over positions."""
    moved = np.moveaxis(z, target.axis + 1, 1)
    return np.asarray(moved.reshape(*moved.shape[:2], -1).max(axis=2))
