"""What weights prove, and what their numbers are worth, in sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from nla.rendering.words import count, counted, percent, several, short
from nla.weights.results import Chain, LayerWeights, SiteWeights, WeightInspection

_MOST_TOLD = 6
_OTHER_SCALE = math.log10(2)


def label(layer: LayerWeights) -> str:
    """The layer's name as training code has it, where its weight tells; else the node's."""
    return layer.weight.removesuffix(".weight") if layer.weight.endswith(".weight") else layer.name


def certain(found: WeightInspection) -> Iterator[str]:
    totals = found.summary
    neurons = counted(totals["neurons"], "neuron")
    decided = totals["dead"] + totals["constant"]
    if not decided:
        yield f"None of {neurons} is dead or constant by its weights. Whether they fire, only data can tell."
    else:
        states = f"{count(totals['dead'])} dead, {count(totals['constant'])} constant"
        yield f"{count(decided)} of {neurons} are decided by their weights: {states}. Of the others only data can tell."
    told: dict[tuple[str, str, str], list[int]] = {}
    for site in found.sites:
        for unit, text in site.evidence.items():
            told.setdefault((site.name, str(site.states[unit]), text), []).append(unit)
    for (name, state, text), units in list(told.items())[:_MOST_TOLD]:
        yield f"{short(name, 40)} [{_units(units)}] {state}: {text}."
    if len(told) > _MOST_TOLD:
        left = sum(map(len, list(told.values())[_MOST_TOLD:]))
        yield f"… and {count(left)} more: --json has the evidence of each."
    if totals["unread"]:
        which = _where(found, lambda site: site.unread_count or 0)
        one = totals["unread"] == 1
        yield (
            f"{counted(totals['unread'], 'neuron')} {'has' if one else 'have'} no effect, for every weight that reads "
            f"{'it' if one else 'them'} is zero: {which}."
        )
    if totals["duplicates"]:
        exact = sum(int(site.duplicate_exact.sum()) for site in found.sites)
        which = _where(found, lambda site: site.duplicates)
        repeat = "repeats" if totals["duplicates"] == 1 else "repeat"
        yield (
            f"{counted(totals['duplicates'], 'neuron')} {repeat} an earlier one of the site, up to a positive factor "
            f"where φ lets one through ({count(exact)} number by number, the others to 1e-6): {which}."
        )


def _units(units: Sequence[int]) -> str:
    """The first few numbers.

    >>> _units([2, 12, 31]), _units(range(20))
    ('2, 12, 31', '0, 1, 2, 3, 4, 5 and 14 more')
    """
    shown = ", ".join(map(str, units[:_MOST_TOLD]))
    return shown + (f" and {count(len(units) - _MOST_TOLD)} more" if len(units) > _MOST_TOLD else "")


def _where(found: WeightInspection, number: Callable[[SiteWeights], int]) -> str:
    at = [(short(site.name, 40), number(site)) for site in found.sites]
    return several([f"{n:,} at {name}" for name, n in at if n])


def initialisation(layers: Sequence[LayerWeights]) -> Iterator[str]:
    compared = [layer for layer in layers if layer.likenesses]
    fitting = [layer for layer in compared if not layer.rejected]
    if not compared:
        return
    schemes = Counter(layer.nearest[0] for layer in fitting)
    named = several([f"{name} ({n:,})" for name, n in schemes.most_common()])
    if not fitting:
        yield (
            f"{_none_of(len(compared))} looks as if drawn from a scheme; the nearest is named. Such weights "
            "were moved, or drawn from something else."
        )
        return
    blind = sorted(layer.power.detectable for layer in fitting)
    span = percent(blind[0]) + (f" ({percent(blind[-1])} in the smallest layer)" if len(blind) > 1 else "")
    yield (
        f"{count(len(fitting))} of {counted(len(compared), 'layer')} cannot be told from fresh draws: {named}. This is "
        f"weak evidence: a standard deviation off by less than {span} would not be noticed, nor a little training. "
        "No neuron is called born for it."
    )


def _none_of(layers: int) -> str:
    return "No layer" if layers == 1 else f"None of {counted(layers, 'layer')}"


def gradient(found: WeightInspection) -> Iterator[str]:
    chains = [chain for chain in found.chains if len(chain.factors) > 1][:2]
    for chain in chains:
        yield _bound(chain, label(found.layer(chain.end)))
    if chains:
        yield from _worth(chains)
    bent = [site.name for site in found.sites if site.site.activation.name != "Identity"]
    ends = [name for name in (*bent, *found.unchained) if name in found.unchained]
    if not chains and ends:
        yield (
            "Eq. 4 bounds the gradient along a chain of layers, and no two steps follow one another here. "
            f"{short(ends[0], 40)}: {found.unchained[ends[0]]}"
        )


def _bound(chain: Chain, end: str) -> str:
    first, bound = chain.factors[0], chain.log10_bounds[0]
    sign = "about" if chain.kind == "estimate" else "at most"
    return (
        f"From the output of {short(end, 40)} back to z of {short(first.site, 40)} the gradient grows by {sign} "
        f"×{_power_of_ten(bound)} (eq. 4, {counted(len(chain.factors), 'factor')} C·σ)."
    )


def _worth(chains: Sequence[Chain]) -> Iterator[str]:
    if any(chain.log10_bounds[0] < -_OTHER_SCALE for chain in chains):
        yield "A bound below 1 is a proof: the gradient shrinks at least so much."
    if any(chain.log10_bounds[0] >= -_OTHER_SCALE for chain in chains):
        yield "A bound above 1 tells nothing: the truth is often orders of magnitude below it."


def _power_of_ten(exponent: float) -> str:
    """10 to a power of any size.

    >>> _power_of_ten(5.977), _power_of_ten(-400.5), _power_of_ten(0.0)
    ('9.48e5', '3.16e-401', '1')
    """
    if math.isinf(exponent):
        return "0" if exponent < 0 else "∞"
    whole_part = math.floor(exponent)
    lead = f"{10 ** (exponent - whole_part):.3g}"
    return f"{float(lead) * 10**whole_part:.3g}" if -2 <= whole_part <= 2 else f"{lead}e{whole_part}"


def faults(layers: Sequence[LayerWeights]) -> Iterator[str]:
    for layer in layers:
        parts = [
            (layer.nans, "NaN"),
            (layer.infinities, "infinite"),
            (layer.denormals, "denormal (so small that they cost precision, and on some machines time)"),
        ]
        told = [f"{count(number)} {what}" for number, what in parts if number]
        if told:
            yield f"{short(label(layer), 40)}: of {counted(layer.elements, 'weight')} {', '.join(told)}."


def skipped(found: WeightInspection) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for site in found.sites:
        if site.skipped:
            reasons.setdefault(site.skipped, []).append(short(site.name, 40))
    for reason, names in reasons.items():
        yield f"{several(names)}: {reason}"
    unknown = [site for site in found.sites if site.outgoing_skipped]
    if unknown:
        of = f"{count(len(unknown))} of {counted(len(found.sites), 'site')}"
        first = unknown[0]
        yield f"Not all that reads {of} is a layer. {short(first.name, 40)}: {first.outgoing_skipped}"
