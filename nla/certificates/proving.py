"""Which neurons are silent for every input of a domain: methods tried from cheap to sharp until one decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nla.certificates.backward import tighten
from nla.certificates.interval import Ranges, ranges
from nla.certificates.methods import METHODS, Method
from nla.certificates.network import Network, Target
from nla.certificates.ops.base import Bent
from nla.certificates.question import Budget, Question
from nla.certificates.rounding import Floats
from nla.certificates.sets import Box, Domain

Report = Callable[[str, int, int], None]
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Bounds:
    """What was proved of one site: nothing that a later method could take back."""

    target: Target
    neurons: NDArray[np.int64]
    """[k] indices of the neurons that were asked about."""
    upper: Floats
    """[k] an upper bound of z over the domain and over all positions, rounding included."""
    place: NDArray[np.int64]
    """[k] flat position, in the sample's z, at which that bound is reached."""
    method: tuple[str, ...]
    """[k] the method whose bound it is."""

    @property
    def certified(self) -> NDArray[np.bool_]:
        """[k] silent for every input of the domain: z ≤ threshold everywhere."""
        return np.asarray(self.upper <= self.target.threshold)


def prove(
    network: Network,
    domains: Mapping[str, Domain],
    wanted: Mapping[str, Sequence[int] | NDArray[np.int64]],
    methods: Sequence[str] = ("interval", "linear", "slopes"),
    budget: Budget | None = None,
    report: Report = lambda phase, done, total: None,
    known: Ranges | None = None,
) -> dict[str, Bounds]:
    """Bounds by site, for the neurons that are asked about.

    Args:
        network: lowered; sites in `network.reasons`, or without a target, are left out of the result.
        domains: a set for each input.
        wanted: neurons by site.
        methods: names of METHODS, tried in their order; a neuron that one certifies is not given to the next.
        budget: the time for all; what is not done then keeps the bound reached.
        report: told the phase, and what is done of all in it: sites of a method, tensors being tightened, or, where the
            phase is a method and a site, places of that site.
        known: the interval bounds, where they are known already; boxes of sites are narrowed by what is found.

    Raises:
        MissingExtraError: a method needs optional libraries.
    """
    limit = budget or Budget()
    known = known or ranges(network, domains, limit.spent)
    targets = [target for target in network.targets if target.site in wanted]
    found: dict[str, Bounds] = {}
    tightened = False
    for turn, name in enumerate(methods):
        method = METHODS[name]
        if method.tightens and not tightened and not limit.spent():
            tightened = True
            still = [t for t in targets if t.site not in found or not found[t.site].certified.all()]
            tensors = _worth_tightening(network, still)
            known = tighten(network, known, tensors, stop=limit.spent, report=partial(report, "tightening"))
        for k, target in enumerate(targets):
            report(method.name, k, len(targets))
            before = found.get(target.site)
            if before is not None and (before.certified.all() or limit.spent()):
                continue
            if "linear" in methods[:turn] and not method.applies(network, known, target.pre):
                continue
            within = partial(report, f"{method.name} {target.site}")
            asked = Question(network, known, target.pre, _NONE, target.threshold, limit, within)
            start = before or _unbounded(network, target, wanted[target.site], name)
            found[target.site] = start if target.pre in known.lost else _improved(asked, method, start)
    return found


def _unbounded(
    network: Network, target: Target, neurons: Sequence[int] | NDArray[np.int64], method: str
) -> Bounds:
    """Before anything is known."""
    index = np.asarray(neurons, np.int64)
    first = places(network, target, index)[:, 0]
    return Bounds(target, index, np.full(len(index), np.inf), first, (method,) * len(index))


def _worth_tightening(network: Network, targets: Sequence[Target]) -> list[str]:
    """Inputs of activations, products and pooling: where the width of a range decides how tight a line can be."""
    ops = network.before([target.pre for target in targets])
    return [name for op in ops if isinstance(op, Bent) for name in op.inputs]


def _improved(asked: Question, method: Method, before: Bounds) -> Bounds:
    """The bounds of a site with what a method finds at the places of its neurons that are still open.

    The box of z is narrowed with them: these bounds hold of z whoever asks, and the methods to come need no more there.
    """
    target, upper, at = before.target, before.upper.copy(), before.place.copy()
    by = list(before.method)
    rows = np.flatnonzero(~before.certified)
    held = places(asked.network, target, before.neurons[rows])  # [rows, positions]
    box = asked.known.boxes[target.pre]
    open_places = np.zeros(box.hi.size, bool)
    open_places[held] = True
    tried = np.flatnonzero(open_places & (box.hi.ravel() > target.threshold))
    high = box.hi.copy()
    high.ravel()[tried] = method.bound(replace(asked, places=tried))
    narrowed = asked.known.boxes[target.pre] = box.meet(Box(box.lo, high))
    least = narrowed.hi.ravel()
    for row, flat, worst in zip(rows, held, least[held].argmax(axis=1), strict=True):
        if (value := least[flat[worst]]) < upper[row]:
            upper[row], at[row], by[row] = value, flat[worst], method.name
    return Bounds(target, before.neurons, upper, at, tuple(by))


def places(network: Network, target: Target, neurons: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [k, positions]: where each neuron lies in the flat pre-activation."""
    shape = network.shapes[target.pre]
    index = np.moveaxis(np.arange(int(np.prod(shape))).reshape(shape), target.axis, 0)
    return np.asarray(index.reshape(shape[target.axis], -1)[neurons])
