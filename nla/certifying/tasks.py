"""The task of the supervised child: which neurons are silent for every input of a domain."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.certificates import first_layer
from nla.certificates.assumptions import assumptions
from nla.certificates.domains import OBSERVED
from nla.certificates.interval import Ranges, ranges
from nla.certificates.network import Network, Target
from nla.certificates.proving import Bounds, prove
from nla.certificates.question import Budget
from nla.certificates.results import (
    CERTIFIED,
    REFUTED,
    UNDECIDED,
    Certificates,
    SiteCertificates,
    Undecidable,
    site_of,
)
from nla.certificates.thresholds import plateau
from nla.certifying import asking
from nla.certifying.agreeing import agreeing
from nla.certifying.confirming import Confirming
from nla.certifying.observing import bounds_of, observed
from nla.certifying.opened import ANY, Opened, opened
from nla.certifying.refuting import Open, Refuted, Search
from nla.certifying.stating import Domains, stated
from nla.replay.blame import names_files
from nla.replay.tasks import Arguments, Arrays, Report, throttled

_CHEAP = "interval"
_FOR_SEARCH, _FOR_PROOFS, _WITHOUT_BUDGET = 0.2, 0.7, 10.0
"""Of the time that is left, what the search for witnesses may take before sharper methods, and what these may take;
seconds of that search without a budget."""
_FOR_RADII = 2.0
"""Seconds that a site's radii may take even where the budget is spent: there is a closed form."""


@names_files
def certify(
    arguments: Arguments, arrays: Arrays, report: Report
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The verdicts on the neurons that were asked about, as plain values: `Certificates.to_plain`.

    Raises:
        ModelError, DataError, UsageError: what was given cannot be used.
    """
    begin, budget = time.monotonic(), Budget(arguments["time_budget"])
    progress = throttled(report)
    has = opened(arguments, arrays, report)
    wanted = asking.wanted(has, arguments["site"], arguments["neuron"], arguments["neurons"])
    has = agreeing(has, tuple(wanted), verbose=arguments["verbose"])
    targets = {each.site: each for each in has.network.targets if each.site in wanted}
    asked = {site: wanted[site] for site in targets}
    if arguments["domain"] == OBSERVED:
        domain, refuted = observed(has, asked, arguments, progress)
        known = None
        bounds = bounds_of(domain, asked, arguments["methods"], budget, progress)
        _hold_together(_certified(bounds), refuted)
    else:
        has = _pruned(has, tuple(targets.values()))
        domain = stated(has, tuple(targets.values()), arguments, progress)
        bounds, refuted, known = _decided(has, domain, targets, asked, arguments, budget, progress)
    sizes = {each.name: each.neurons for each in has.sites}
    notes = list(has.prepared.notes)
    if not refuted.kept_all:
        notes.append("witnesses take much memory: the inputs of the later ones were not kept")
    return Certificates(
        checkpoint={
            **has.checkpoint.describe(),
            "parameters": has.prepared.parameters,
            **arguments["construction"],
        },
        domain=domain.plain(),
        methods=tuple(arguments["methods"]),
        unit=has.network.unit,
        sites=tuple(
            _site(
                has,
                domain,
                known,
                target,
                asked[name],
                bounds.get(name),
                refuted,
                arguments["methods"],
                budget,
            )
            for name, target in targets.items()
        ),
        undecidable=tuple(
            Undecidable(
                name,
                sizes[name],
                tuple(neurons.tolist()),
                has.network.reasons.get(name, "no operator before it was understood"),
            )
            for name, neurons in wanted.items()
            if name not in targets
        ),
        shapes=has.shapes,
        free_sizes=has.free,
        constants={
            **{name: str(value) for name, value in sorted(arguments["constants"].items())},
            **arguments["constant_digests"],
        },
        seconds=time.monotonic() - begin,
        budget=arguments["time_budget"],
        notes=tuple(notes),
        witnesses={name: np.concatenate(rows) for name, rows in refuted.inputs.items()},
    ).to_plain()


def _pruned(has: Opened, targets: Sequence[Target]) -> Opened:
    """With the operators that the targets need, and no others: neither ranges nor searches walk through the rest."""
    ops = has.network.before([each.pre for each in targets])
    return replace(has, network=replace(has.network, ops=ops, targets=tuple(targets)))


def _decided(
    has: Opened,
    domain: Domains,
    targets: Mapping[str, Target],
    asked: Open,
    arguments: Arguments,
    budget: Budget,
    progress: Any,
) -> tuple[dict[str, Bounds], Refuted, Ranges | None]:
    """Samples, cheap bounds, a short search for witnesses, the sharper methods on the rest, a long search on what is
    left; and the interval bounds."""
    refuted = Refuted()
    if not targets:
        return {}, refuted, None
    cheap = [name for name in arguments["methods"] if name == _CHEAP]
    sharp = [name for name in arguments["methods"] if name != _CHEAP]

    def told(phase: str, done: int, total: int) -> None:
        progress(f"proving by {phase}", done, total)

    confirm = Confirming(has, tuple(targets.values()), verbose=arguments["verbose"])
    first = _first_search(budget) if sharp else budget.spent
    search = Search(has, domain, targets, confirm, arguments["seed"], first, progress, budget.spent)
    search.sample(asked, asked, refuted)
    told("ranges", 0, 1)
    known = ranges(has.network, domain.sets, budget.spent)
    bounds = prove(has.network, domain.sets, asked, cheap, budget, told, known) if cheap else {}
    left = _without(asked, _certified(bounds))
    search.ascend(asked, left, refuted, known)
    left = refuted.left(left)
    if sharp and left and not budget.spent():
        found = prove(has.network, domain.sets, left, sharp, _for_proofs(budget), told, known)
        bounds = {**bounds, **{name: _joined(bounds.get(name), each) for name, each in found.items()}}
        left = _without(left, _certified(bounds))
        search.stop = budget.spent
        search.seed += 1
        search.ascend(asked, left, refuted, known)
    _hold_together(_certified(bounds), refuted)
    return bounds, refuted, known


def _for_proofs(budget: Budget) -> Budget:
    """The share of what is left that sharper methods may take, so that a search comes after them."""
    left = budget.remaining()
    return Budget() if left is None else Budget(_FOR_PROOFS * left)


def _first_search(budget: Budget) -> Callable[[], bool]:
    """Whether the first search has had its share of what is left of the budget."""
    now = time.monotonic()
    left = None if budget.seconds is None else max(0.0, budget.seconds - (now - budget.started))
    most = _WITHOUT_BUDGET if left is None else _FOR_SEARCH * left
    return lambda: time.monotonic() - now > most


def _certified(bounds: Mapping[str, Bounds]) -> Open:
    return {site: each.neurons[each.certified] for site, each in bounds.items()}


def _without(asked: Open, certified: Open) -> Open:
    kept = {site: np.setdiff1d(neurons, certified.get(site, [])) for site, neurons in asked.items()}
    return {site: neurons for site, neurons in kept.items() if len(neurons)}


def _hold_together(certified: Open, refuted: Refuted) -> None:
    """A neuron that is certified and seen awake is a defect of nla, and must not be passed over."""
    for site, neurons in certified.items():
        for k in neurons:
            if (site, int(k)) in refuted.found:
                raise AssertionError(
                    f"neuron {k} of {site} was certified, and an input of the domain wakes it"
                )


def _joined(first: Bounds | None, second: Bounds) -> Bounds:
    """Both, neuron by neuron: the lower bound of the two."""
    if first is None:
        return second
    at = np.searchsorted(first.neurons, second.neurons)
    upper, place, method = first.upper.copy(), first.place.copy(), list(first.method)
    for row, k in enumerate(at):
        if second.upper[row] < upper[k]:
            upper[k], place[k], method[k] = second.upper[row], second.place[row], second.method[row]
    return Bounds(first.target, first.neurons, upper, place, tuple(method))


def _site(
    has: Opened,
    domain: Domains,
    known: Ranges | None,
    target: Target,
    index: NDArray[np.int64],
    bounds: Bounds | None,
    refuted: Refuted,
    methods: Sequence[str],
    budget: Budget,
) -> SiteCertificates:
    upper, method = np.full(len(index), np.inf), [""] * len(index)
    if bounds is not None:
        for row, k in enumerate(np.searchsorted(index, bounds.neurons)):
            upper[k], method[k] = bounds.upper[row], bounds.method[row]
    places = [(target.site, int(k)) for k in index]
    verdict = [
        REFUTED if place in refuted.found else CERTIFIED if upper[k] <= target.threshold else UNDECIDED
        for k, place in enumerate(places)
    ]
    reasons = [
        ""
        if verdict[k] != UNDECIDED
        else _reason(domain.kind, upper[k], refuted.unconfirmed.get(place), methods, budget)
        for k, place in enumerate(places)
    ]
    network = domain.network(has.network, target.site)
    silent = np.array([word == CERTIFIED for word in verdict], bool)
    return site_of(
        {
            "name": target.site,
            "activation": target.activation.name,
            "neurons": target.neurons,
            "threshold": target.threshold,
            "plateau": plateau(target.activation),
            "assumes": assumptions(network, known or ranges(network, domain.sets), target),
            "every_size": domain.kind == ANY and (not has.free or target.site in has.every_size),
        },
        index,
        verdict,
        bound=upper,
        method=np.array(method, np.str_),
        found=np.array([refuted.found.get(place, "") for place in places], np.str_),
        z=np.array([refuted.z.get(place, np.nan) for place in places]),
        a=np.array([refuted.a.get(place, np.nan) for place in places]),
        sample=np.array([refuted.sample.get(place, -1) for place in places], np.int64),
        row=np.array([refuted.row.get(place, -1) for place in places], np.int64),
        reason=np.array(reasons, np.str_),
        radius=_radii(domain, network, target, index, silent, budget),
    )


def _radii(
    domain: Domains,
    network: Network,
    target: Target,
    index: NDArray[np.int64],
    silent: NDArray[np.bool_],
    budget: Budget,
) -> NDArray[np.float64]:
    """[asked] how far from the hull of the data the certified neurons of a first layer stay silent; NaN elsewhere."""
    found = np.full(len(index), np.nan)
    points = domain.points()
    if points and silent.any():
        end = time.monotonic() + max(_FOR_RADII, budget.remaining() or 0.0)
        reached = first_layer.radii(network, target, index[silent], points, lambda: time.monotonic() > end)
        if reached is not None:
            found[silent] = np.maximum(reached, min(each.margin for each in domain.stated.values()))
    return found


def _reason(
    kind: str, bound: float, unconfirmed: float | None, methods: Sequence[str], budget: Budget
) -> str:
    """Why a neuron is undecided."""
    found = "no sample wakes it" if kind == OBSERVED else "no input that wakes it was found"
    if unconfirmed is not None:
        return (
            f"an input with z = {unconfirmed:.3g} was found, which the model's own arithmetic does not show"
        )
    if budget.spent():
        before = f"all of {', '.join(methods)} was tried" if np.isfinite(bound) else "z was bounded at all"
        return f"the time budget of {budget.seconds:g} s was spent before {before}"
    if not np.isfinite(bound):
        return f"z is not bounded over this domain, and {found}"
    return f"{', '.join(methods)} do not reach the threshold, and {found}"
