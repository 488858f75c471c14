"""Channels that leave the graph together: a unit may go only where every unit of its channel group may.

The recording tells the groups (`Site.groups`), so that planning needs no model. Where it does not, the surgery
decides, which reads them off the graph anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nla.errors import printable
from nla.lifecycle.results import Inspection, SiteResult

Bools = NDArray[np.bool_]
Groups = NDArray[np.int64]

LOCKED = -1
_NONE = -1
_SILENT = ("dead", "constant")


@dataclass(frozen=True)
class Kept:
    """Units of a site that cannot be cut, and why."""

    result: SiteResult
    units: NDArray[np.int64]
    reason: str


def uncuttable(
    inspection: Inspection, wanted: Mapping[str, Bools], merged: Mapping[str, Bools]
) -> list[Kept]:
    """The units among `wanted` that must stay, by reason.

    Args:
        inspection: whose sites know their channel groups.
        wanted: by site, bool [neurons]: all that is to leave the graph.
        merged: by site, bool [neurons]: of these, the duplicates, which live.
    """
    known = [(r, r.site.groups) for r in inspection.sites if r.site.groups is not None]
    needed = [_stays(r, wanted) & ~_shielded(r, groups, known, wanted) for r, groups in known]
    lively = _first([(groups, need & ~_silent(r)) for (r, groups), need in zip(known, needed, strict=True)])
    staying = _first([(groups, need) for (_, groups), need in zip(known, needed, strict=True)])
    shared = _shared([groups for _, groups in known])
    kept: list[Kept] = []
    for result, groups in known:
        if result.name not in wanted:
            continue
        left = wanted[result.name].copy()
        for holds, reason in _reasons(result, groups, known, lively, staying, shared, merged):
            held = left & holds
            if held.any():
                kept.append(Kept(result, np.flatnonzero(held), reason))
                left &= ~held
    return kept


def _reasons(
    result: SiteResult,
    groups: Groups,
    known: Sequence[tuple[SiteResult, Groups]],
    lively: Groups,
    staying: Groups,
    shared: Bools,
    merged: Mapping[str, Bools],
) -> Iterator[tuple[Bools, str]]:
    """Of the site's units, those that something holds, and what: bool [neurons]; the first that holds counts."""
    locked = groups == LOCKED
    by = f": kept by {printable(result.site.kept)}" if result.site.kept else ""
    yield locked, f"its channel cannot leave the graph{by}"
    for blockers, why in (
        (lively, "its channel goes with one that is not silent, at"),
        (staying, "its channel goes with one that is silent and is not to be cut, at"),
    ):
        site = np.where(locked, _NONE, blockers[groups])
        for number in np.unique(site[site != _NONE]):
            yield site == number, f"{why} {printable(known[number][0].name, 80)}"
    twins = merged.get(result.name)
    if twins is not None:
        yield twins & ~locked & shared[groups], "a duplicate whose channel goes with those of other sites"


def _stays(result: SiteResult, wanted: Mapping[str, Bools]) -> Bools:
    """bool [neurons], the units that nobody wants to cut."""
    return ~wanted.get(result.name, np.zeros(result.site.neurons, bool))


def _shielded(
    result: SiteResult,
    groups: Groups,
    known: Sequence[tuple[SiteResult, Groups]],
    wanted: Mapping[str, Bools],
) -> Bools:
    """bool [neurons], the units that nobody needs once those of other sites that are dead are gone."""
    found = np.zeros(result.site.neurons, bool)
    for other, theirs in known:
        if other.name in result.site.shielded_by and other.name in wanted:
            dead = wanted[other.name] & (other.states == "dead") & (theirs != LOCKED)
            found |= np.isin(groups, theirs[dead])
    return found


def _silent(result: SiteResult) -> Bools:
    return np.isin(result.states, _SILENT)


def _first(members: Sequence[tuple[Groups, Bools]]) -> Groups:
    """By channel group, the first place in `members` that has a unit of it for which the condition holds."""
    first = np.full(_most([groups for groups, _ in members]) + 1, _NONE, np.int64)
    for place, (groups, holds) in reversed(list(enumerate(members))):
        first[groups[holds & (groups != LOCKED)]] = place
    return first


def _shared(members: Sequence[Groups]) -> Bools:
    """By channel group, whether units of two sites are in it."""
    sites = np.zeros(_most(members) + 1, np.int64)
    for groups in members:
        sites[np.unique(groups[groups != LOCKED])] += 1
    return sites > 1


def _most(members: Sequence[Groups]) -> int:
    return max((int(groups.max(initial=0)) for groups in members), default=0)
