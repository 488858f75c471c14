"""The states of two inspections matched site by site, and unit by unit where it is known which units left."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.results import STATES, Inspection, SiteResult
from nla.verification.results import SiteChange

Bools = NDArray[np.bool_]


class Units:
    """Which units of each site the edited model still has, in its own numbering."""

    def __init__(self, before: Inspection, after: Inspection, removed: Mapping[str, Collection[int]]) -> None:
        """`removed`: by site, the units that surgery took out."""
        self._before = {result.name: result for result in before.sites}
        self._after = {result.name: result for result in after.sites}
        self._removed = removed

    @classmethod
    def none(cls) -> Units:
        """For models without sites that nla understands."""
        units = cls.__new__(cls)
        units._before, units._after, units._removed = {}, {}, {}
        return units

    @property
    def sites(self) -> tuple[str, ...]:
        """Every site of the original, in its order, then those that only the edited model has."""
        return tuple(dict.fromkeys([*self._before, *self._after]))

    def before(self, site: str) -> SiteResult | None:
        """The site in the original."""
        return self._before.get(site)

    def after(self, site: str) -> SiteResult | None:
        """The site in the edited model."""
        return self._after.get(site)

    def stayed(self, site: str) -> Bools | None:
        """bool [neurons before], in the order of the edited model's units; None where they cannot be matched."""
        before, after = self._before.get(site), self._after.get(site)
        if before is None or after is None:
            return None
        stayed = np.ones(before.site.neurons, np.bool_)
        gone = [unit for unit in self._removed.get(site, ()) if unit < len(stayed)]
        stayed[gone] = False
        return stayed if int(stayed.sum()) == after.site.neurons else None

    def places(self, site: str, units: Collection[int]) -> NDArray[np.int64] | None:
        """int64: where these units of the original lie in the edited site, those that left not among them."""
        stayed = self.stayed(site)
        if stayed is None:
            return None
        wanted = np.zeros(len(stayed), np.bool_)
        wanted[[unit for unit in units if unit < len(stayed)]] = True
        return np.flatnonzero(wanted[stayed])


def site_changes(units: Units) -> tuple[SiteChange, ...]:
    """What became of every site."""
    return tuple(_change(name, units) for name in units.sites)


def _change(name: str, units: Units) -> SiteChange:
    old, new = units.before(name), units.after(name)
    stayed = units.stayed(name)
    revived = died = None
    if old is not None and new is not None and stayed is not None:
        was, now = old.states[stayed] == "dead", new.states == "dead"
        revived, died = int((was & ~now).sum()), int((~was & now).sum())
    width, left = _width(old), _width(new)
    return SiteChange(
        site=name,
        neurons_before=width,
        neurons_after=left,
        removed=None if stayed is None else width - left,
        counts_before=_counts(old),
        counts_after=_counts(new),
        revived=revived,
        died=died,
    )


def _width(result: SiteResult | None) -> int:
    return 0 if result is None else result.site.neurons


def _counts(result: SiteResult | None) -> dict[str, int]:
    return dict.fromkeys(STATES, 0) if result is None else dict(result.counts)
