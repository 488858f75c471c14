"""Exact answers for small networks: branch and bound over safe linear programs.

The mixed-integer program of a piecewise linear network asks which straight piece of every activation an input falls
on. A solver's own branching ends at its tolerance (1e-6 and more, times multipliers that nobody bounds), so that its
answer is no proof; here every branch is closed by a bound of `linear_program`, which is one. Ranges are cut at the
breaks of φ, where the lines then meet φ; windows of a MaxPool by which place wins; ranges of smooth activations in two,
which comes as near as the time allows. A point of a program that does wake the neuron ends the search.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nla.certificates import envelopes
from nla.certificates.exact import linear_program
from nla.certificates.exact.encoding import Cuts, Encoding
from nla.certificates.exact.linear_program import Solved, System, one, solve
from nla.certificates.ops.elementwise import Activate
from nla.certificates.ops.pooling import MaxPool
from nla.certificates.question import Budget, Question
from nla.certificates.rounding import Floats
from nla.certificates.sets import Box

MOST_VARIABLES = 1_000
"""Larger networks are left to the linear program."""
MOST_PROGRAMS = 2_000
"""Linear programs for one element, at most."""
_CLOSED = 1e-7
"""A distance between a program's activation and φ, relatively, that is no reason to branch."""


@dataclass(frozen=True)
class Decided:
    """What the search came to for one element."""

    bound: float
    """Never below the maximum."""
    inputs: dict[str, Floats] | None
    """Values of the inputs (float64) at which the element exceeds what was enough; None: none was met."""
    reached: float
    """The element there, in exact arithmetic; -∞ where no point was tried."""
    programs: int
    """Linear programs that were solved."""


def upper(asked: Question) -> Floats:
    """[k] upper bounds of the elements asked about, branched until they are at or below what is enough or seen to
    exceed it.

    Networks of more than MOST_VARIABLES elements before the tensor keep their box.
    """
    linear_program.libraries()
    found = asked.held
    encoding = Encoding(asked.network, asked.known, asked.tensor)
    if encoding.size > MOST_VARIABLES:
        return found
    for k, place in enumerate(asked.places):
        if asked.budget.spent():
            break
        asked.progress(k, len(found))
        found[k] = min(found[k], decide(encoding, int(place), asked.enough, asked.budget).bound)
    return found


def decide(
    encoding: Encoding,
    place: int,
    enough: float,
    budget: Budget | None = None,
    programs: int = MOST_PROGRAMS,
) -> Decided:
    """Branch until the element is proved at or below `enough`, an input is met that exceeds it, or time is over.

    Args:
        encoding: of the tensor.
        place: the element, flat.
        enough: the threshold.
        budget: the time for it; None: no end.
        programs: linear programs, at most.
    """
    return _Search(encoding, place, enough, budget or Budget(), programs).run()


class _Search:
    def __init__(self, encoding: Encoding, place: int, enough: float, budget: Budget, programs: int) -> None:
        self._encoding, self._place, self._enough = encoding, place, enough
        self._budget, self._limit, self._left = budget, programs, programs
        self._c, self._constant = encoding.aim(one(encoding.network.shapes[encoding.tensor], place))
        self._closed = -np.inf
        self._open: list[tuple[float, int, Cuts, Solved]] = []
        self._order = 0
        self._inputs: dict[str, Floats] | None = None
        self._reached = -np.inf

    def run(self) -> Decided:
        self._enter(Cuts(), np.inf)
        while self._open and self._inputs is None and not self._over():
            negative, _, cuts, solved = heapq.heappop(self._open)
            branches = self._branches(cuts, solved.point)
            if branches is None:  # the lines meet φ here, and the bound still exceeds what is enough
                self._closed = max(self._closed, -negative)
                break
            for branch in branches:
                if self._over():  # what was not looked into has the bound of the whole
                    self._closed = max(self._closed, -negative)
                    break
                self._enter(branch, -negative)
        bound = max([self._closed, *(-negative for negative, *_ in self._open)])
        return Decided(float(bound), self._inputs, self._reached, self._limit - self._left)

    def _over(self) -> bool:
        return self._left <= 0 or self._budget.spent()

    def _enter(self, cuts: Cuts, parent: float) -> None:
        self._left -= 1
        system = System(self._encoding.program(cuts))
        solved = solve(self._encoding, system, self._c, self._constant, self._budget)
        bound = min(parent, solved.bound)
        if bound <= self._enough:
            self._closed = max(self._closed, bound)
            return
        if solved.point is not None:
            self._try(solved.point)
        self._order += 1
        heapq.heappush(self._open, (-bound, self._order, cuts, solved))

    def _try(self, point: Floats) -> None:
        """Whether the inputs of a program's point wake the neuron, in exact arithmetic."""
        encoding = self._encoding
        inputs = {}
        for name, domain in encoding.known.domains.items():
            if name not in encoding.start:
                continue
            if not isinstance(domain, Box) or name in encoding.network.given:
                return  # a point of the box around a set need not lie in it
            values = point[encoding.variables(name)].reshape(domain.shape)
            inputs[name] = np.clip(values, domain.lo, domain.hi)
        z = encoding.network.forward({name: value[None] for name, value in inputs.items()}, [encoding.tensor])
        reached = float(z[encoding.tensor].ravel()[self._place])
        self._reached = max(self._reached, reached)
        if reached > self._enough:
            self._inputs = inputs

    def _branches(self, cuts: Cuts, point: Floats | None) -> Iterator[Cuts] | None:
        """The two halves, or the winners, where the point is farthest from what the network does; None: it is near."""
        encoding = self._encoding
        worst, chosen = _CLOSED, None
        for op in encoding.ops:
            if isinstance(op, Activate):
                z = encoding.cut(op.inputs[0], cuts)
                gap = _gap(encoding, op, z, point)
            elif isinstance(op, MaxPool):
                gap = _pool_gap(encoding, op, cuts, point)
            else:
                continue
            at = int(gap.argmax()) if gap.size else 0
            if gap.size and gap[at] > worst:
                worst, chosen = float(gap[at]), (op, at)
        if chosen is None:
            return None
        op, at = chosen
        if isinstance(op, MaxPool):
            return self._winners(op, at, cuts)
        assert isinstance(op, Activate)
        return self._halves(op, at, cuts, point)

    def _halves(self, op: Activate, at: int, cuts: Cuts, point: Floats | None) -> Iterator[Cuts]:
        name = op.inputs[0]
        z = self._encoding.cut(name, cuts)
        low, high = float(z.lo.ravel()[at]), float(z.hi.ravel()[at])
        here = (low + high) / 2 if point is None else float(point[self._encoding.variables(name)][at])
        where = _cut_at(op, low, high, here)
        for ends in ((low, where), (where, high)):
            places = {**cuts.ranges.get(name, {}), at: ends}
            yield Cuts({**cuts.ranges, name: places}, cuts.winners)

    def _winners(self, op: MaxPool, at: int, cuts: Cuts) -> Iterator[Cuts]:
        for place in self._encoding.windows(op, at):
            windows = {**cuts.winners.get(op.output, {}), at: int(place)}
            yield Cuts(cuts.ranges, {**cuts.winners, op.output: windows})


def _gap(encoding: Encoding, op: Activate, z: Box, point: Floats | None) -> Floats:
    """[elements] how far the program's activation is from φ, relatively; without a point, how wide the range is."""
    finite = np.isfinite(z.lo) & np.isfinite(z.hi)
    curved = (envelopes.curved(op.activation, z) & finite).ravel()
    if point is None:
        return np.where(curved, np.where(finite, z.hi - z.lo, 0.0).ravel(), 0.0)
    a, x = point[encoding.variables(op.output)], point[encoding.variables(op.inputs[0])]
    exact = op.activation.value(x)
    return np.where(curved, np.abs(a - exact) / (1 + np.abs(exact)), 0.0)


def _pool_gap(encoding: Encoding, op: MaxPool, cuts: Cuts, point: Floats | None) -> Floats:
    y = encoding.variables(op.output)
    if point is None:
        return np.zeros(y.stop - y.start)
    x = point[encoding.variables(op.inputs[0])].reshape(1, *encoding.network.shapes[op.inputs[0]])
    exact = op.forward(x).ravel()
    gap = np.abs(point[y] - exact) / (1 + np.abs(exact))
    gap[list(cuts.winners.get(op.output, {}))] = 0.0
    return np.asarray(gap)


def _cut_at(op: Activate, low: float, high: float, here: float) -> float:
    """A break of φ inside the range, the one next to the point; where there is none, the point, off the ends."""
    curve = envelopes.CURVES[op.activation.name]
    inside = [b for b in curve.breaks(dict(op.activation.parameters)) if low < b < high]
    if inside:
        return min(inside, key=lambda b: abs(b - here))
    margin = (high - low) / 5
    return min(max(here, low + margin), high - margin)
