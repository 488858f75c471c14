"""Which neurons are silent for every input of a domain: methods tried from cheap to sharp until one decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nla.certificates.backward import tighten
from nla.certificates.interval import Ranges, ranges
from nla.certificates.methods import METHODS, Budget, Progress
from nla.certificates.network import Network, Target
from nla.certificates.ops.elementwise import Activate
from nla.certificates.ops.joining import Product
from nla.certificates.ops.pooling import MaxPool
from nla.certificates.rounding import Floats
from nla.certificates.sets import Box, Domain

Report = Callable[[str, int, int], None]


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

    Raises:
        MissingExtraError: a method needs optional libraries.
    """
    limit = budget or Budget()
    known = ranges(network, domains)
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
            within = partial(report, f"{method.name} {target.site}")
            if target.site in found and (found[target.site].certified.all() or limit.spent()):
                continue
            if "linear" in methods[:turn] and not method.applies(network, known, target.pre):
                continue
            asked = wanted[target.site]
            found[target.site] = _improved(network, known, target, asked, name, found, limit, within)
    return found


def _worth_tightening(network: Network, targets: Sequence[Target]) -> list[str]:
    """Inputs of activations, products and pooling: where the width of a range decides how tight a line can be."""
    ops = network.before([target.pre for target in targets])
    return [name for op in ops if isinstance(op, Activate | MaxPool | Product) for name in op.inputs]


def _improved(
    network: Network,
    known: Ranges,
    target: Target,
    asked: Sequence[int] | NDArray[np.int64],
    name: str,
    found: Mapping[str, Bounds],
    budget: Budget,
    progress: Progress,
) -> Bounds:
    neurons = np.asarray(asked, np.int64)
    held = places(network, target, neurons)  # [k, positions]
    before = found.get(target.site)
    upper = np.full(len(neurons), np.inf) if before is None else before.upper.copy()
    at = held[:, 0].copy() if before is None else before.place.copy()
    by = [name] * len(neurons) if before is None else list(before.method)
    open_rows = np.flatnonzero(upper > target.threshold)
    if not len(open_rows):
        return Bounds(target, neurons, upper, at, tuple(by))
    box = known.boxes[target.pre]
    tried = held[open_rows].ravel()
    tried = tried[box.hi.ravel()[tried] > target.threshold]
    high = box.hi.copy()
    high.ravel()[tried] = METHODS[name].bound(
        network, known, target.pre, tried, target.threshold, budget, progress
    )
    known.boxes[target.pre] = box.meet(
        Box(box.lo, high)
    )  # for the methods to come: these places need no more
    bound = known.boxes[target.pre].hi.ravel()[held[open_rows]]
    worst = bound.argmax(axis=1)
    for row, k, value in zip(open_rows, worst, bound.max(axis=1), strict=True):
        if value < upper[row] or before is None:
            upper[row], at[row], by[row] = value, held[row, k], name
    return Bounds(target, neurons, upper, at, tuple(by))


def places(network: Network, target: Target, neurons: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [k, positions]: where each neuron lies in the flat pre-activation."""
    shape = network.shapes[target.pre]
    index = np.moveaxis(np.arange(int(np.prod(shape))).reshape(shape), target.axis, 0)
    return np.asarray(index.reshape(shape[target.axis], -1)[neurons])
