"""Which site of one run is which of another.

By name first. Tools that convert a model rename its tensors: a quantised twin's activation is the dequantised tensor,
whose name is the float one's and an ending, and an exporter may number everything anew. Then the order of the sites
decides, but only where roles and widths agree all along: what is matched wrongly would be believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nla.errors import UsageError, printable
from nla.runs.run import Run, RunSite

Pair = tuple[RunSite, RunSite]

QUANTISED_ENDINGS = (
    "_DequantizeLinear_Output",
    "_quantized_dequantized",
    "_dequantized",
    "_quantized",
)
"""What onnxruntime's quantiser, and nla for its operators without a float output, put after a tensor's name."""

_FOLDED = ({"Relu", "Clip"},)
"""Activations that one quantisation may stand for: with the zero point at the bottom of the type it cuts both off."""


@dataclass(frozen=True)
class Matching:
    """The sites of two runs that are one site of one network."""

    pairs: tuple[Pair, ...]
    """In the order of the first run; neurons of a pair are matched by their index."""
    notes: tuple[str, ...] = ()
    """Sentences: what was matched otherwise than by name, and what was left out."""


def match(a: Run, b: Run, *, common_only: bool = False) -> Matching:
    """The sites of `a` beside those of `b`.

    With `common_only`, sites that do not fit are left out and noted; by default each must fit.

    Raises:
        UsageError: a site has no counterpart, or another role, width or activation there; with `common_only`, no site
            fits.
    """
    named = _by_name(a, b)
    fitting = [(one, other) for one, other in named if _same_shape(one, other)]
    notes: list[str] = []
    if len(fitting) < max(len(a.sites), len(b.sites)) and _in_order(a, b, fitting):
        fitting = list(zip(a.sites, b.sites, strict=True))
        moved = [(one, other) for one, other in fitting if one.name != other.name]
        notes.append(_ordered_note(a, b, moved))
    kept = [(one, other) for one, other in fitting if _same_activation(one, other)]
    misfits = list(_misfits(a, b, named, kept))
    if misfits and not common_only:
        hint = "; --common-only compares the sites that fit" if kept else ""
        raise UsageError(
            f"{misfits[0]}: another architecture, whose neurons cannot be matched{hint}; nla compare sets any runs "
            "side by side"
        )
    if not kept:
        raise UsageError(
            f"no site of {printable(a.label)} fits one of {printable(b.label)}; nla compare sets any runs side by side"
        )
    return Matching(tuple(kept), (*notes, *(f"left out: {misfit}" for misfit in misfits)))


def bare(name: str) -> str:
    """A site's name without the endings of quantisation.

    >>> bare("/fc1/Relu_output_0_DequantizeLinear_Output")
    '/fc1/Relu_output_0'
    """
    for ending in QUANTISED_ENDINGS:
        if name.endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def _by_name(a: Run, b: Run) -> list[Pair]:
    """Pairs of one name; then, of those left, of one name but for the endings of quantisation."""
    exact = {site.name: site for site in b.sites}
    found = {site.name: exact.pop(site.name) for site in a.sites if site.name in exact}
    left_a = _unique([site for site in a.sites if site.name not in found])
    left_b = _unique(list(exact.values()))
    found |= {site.name: left_b[name] for name, site in left_a.items() if name in left_b}
    return [(site, found[site.name]) for site in a.sites if site.name in found]


def _unique(sites: Sequence[RunSite]) -> dict[str, RunSite]:
    """By bare name, without those whose bare name another bears."""
    names = [bare(site.name) for site in sites]
    return {name: site for name, site in zip(names, sites, strict=True) if names.count(name) == 1}


def _same_shape(one: RunSite, other: RunSite) -> bool:
    return (one.role, one.neurons) == (other.role, other.neurons)


def _same_activation(one: RunSite, other: RunSite) -> bool:
    if one.activation == other.activation:
        return True
    quantised = any(bare(site.name) != site.name for site in (one, other))
    return quantised and {one.activation, other.activation} in _FOLDED


def _in_order(a: Run, b: Run, fitting: Sequence[Pair]) -> bool:
    """Whether roles and widths agree all along, and the pairs that names have made stand at the same places."""
    if len(a.sites) != len(b.sites):
        return False
    together = list(zip(a.sites, b.sites, strict=True))
    places = {(one.name, other.name) for one, other in together}
    return all(_same_shape(*pair) for pair in together) and all(
        (one.name, other.name) in places for one, other in fitting
    )


def _ordered_note(a: Run, b: Run, moved: Sequence[Pair]) -> str:
    one, other = moved[0]
    return (
        f"{len(moved)} of {len(a.sites)} sites bear other names in {printable(b.label)} and were matched by their "
        f"order, for roles and widths agree all along: {printable(one.name)} is {printable(other.name)} there"
    )


def _misfits(a: Run, b: Run, named: Sequence[Pair], kept: Sequence[Pair]) -> Iterator[str]:
    """What does not fit, in graph order: each site of `a` with what stands against it, then the rest of `b`."""
    used_a, used_b = {one.name for one, _ in kept}, {other.name for _, other in kept}
    against = {one.name: other for one, other in named}
    if len(a.sites) == len(b.sites):
        against = {one.name: other for one, other in zip(a.sites, b.sites, strict=True)} | against
    told = set(used_b)
    for site in a.sites:
        if site.name in used_a:
            continue
        other = against.get(site.name)
        if other is None or other.name in told:
            yield f"{_of(site, a)} has no counterpart in {printable(b.label)}"
        else:
            told.add(other.name)
            yield f"{_of(site, a)} is {_described(other)} in {printable(b.label)}"
    yield from (
        f"{_of(site, b)} has no counterpart in {printable(a.label)}"
        for site in b.sites
        if site.name not in told
    )


def _of(site: RunSite, run: Run) -> str:
    return f"site {_described(site)} of {printable(run.label)}"


def _described(site: RunSite) -> str:
    kind = "" if site.activation == "Identity" else f" {site.activation}"
    return f"{printable(site.name)} ({site.role}{kind}, {site.neurons:,} neurons)"
