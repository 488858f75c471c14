"""Two runs of one network, neuron by neuron: what died, revived, saturated, woke, and whether that is news."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nla.errors import UsageError, printable
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.results import STATES
from nla.runs.run import Rows, Run, RunSite
from nla.tracking.events import EVENTS, events
from nla.tracking.firmness import p_values
from nla.tracking.matching import match
from nla.tracking.same_data import check_data, same_data

if TYPE_CHECKING:
    from nla.tracking.quantised import Quantisation

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SHIFTING = ("activation_rate", "mean", "dormancy_score")
"""The evidence whose shifts are told."""
_MOVERS = 5


@dataclass(frozen=True)
class Shift:
    """How one column of the evidence moved at a site."""

    before: float
    """Mean over the neurons where it is known on both sides; NaN where there is none."""
    after: float
    moved: float
    """Mean of |after - before| over them."""
    movers: tuple[tuple[int, float, float], ...]
    """(index, before, after) of the neurons that moved most, largest first; none that did not move."""


@dataclass(frozen=True)
class SiteDifference:
    """One site before and after. Arrays are [neurons]; a neuron is matched by its index."""

    before: RunSite
    after: RunSite
    states_before: NDArray[np.str_]
    states_after: NDArray[np.str_]
    events: Mapping[str, Bools]
    """By name: `changed`, those of `nla.tracking.events.EVENTS`, `unjudged`."""
    p_value: Floats
    """That the change is chance; NaN: unchanged, or not tested. See `nla.tracking.firmness`."""
    firm: Bools
    """p_value below 1 - the confidence of the criteria."""
    transitions: NDArray[np.int64]
    """[state, state] neurons from (rows) to (columns), in the order of STATES."""
    shifts: Mapping[str, Shift]

    @property
    def name(self) -> str:
        """The site's name in the first run."""
        return self.before.name

    @property
    def neurons(self) -> int:
        """How many neurons are compared."""
        return self.before.neurons

    @property
    def summary(self) -> dict[str, int]:
        """Neurons, then how many there are of each event."""
        return {"neurons": self.neurons, **{name: int(where.sum()) for name, where in self.events.items()}}

    @property
    def evidence(self) -> dict[str, dict[str, int]]:
        """By event: how many of its changes are `firm`, `weak` (chance explains them), or `untested`."""
        tested = ~np.isnan(self.p_value)
        kinds = {"firm": self.firm, "weak": tested & ~self.firm, "untested": ~tested}
        return {
            event: {kind: int((self.events[event] & where).sum()) for kind, where in kinds.items()}
            for event in ("changed", *EVENTS)
        }

    def changes(self, states: Sequence[str] = ()) -> list[dict[str, Any]]:
        """A row for each neuron that changed: index, from, to, events, evidence of both sides, p_value, firm.

        With `states`, only neurons that are, or were, in one of them. A number that is not known is NaN; `firm` is
        None where no test applies.
        """
        return [self._row(int(index)) for index in self.changed(states)]

    def foremost(self, number: int, states: Sequence[str] = ()) -> list[dict[str, Any]]:
        """So many of `changes`: first those that chance explains least, of these the largest moves of the rate."""
        at = self.changed(states)
        p = np.where(np.isnan(self.p_value[at]), 2, self.p_value[at])
        rates = [_column(site, "activation_rate") for site in (self.before, self.after)]
        moved = np.nan_to_num(np.abs(rates[1] - rates[0]))[at]
        return [self._row(int(index)) for index in at[np.lexsort((-moved, p))[:number]]]

    def changed(self, states: Sequence[str] = ()) -> NDArray[np.int64]:
        """Indices, ascending, of the neurons that changed; with `states`, that are, or were, in one of them."""
        chosen = self.events["changed"].copy()
        if states:
            chosen &= np.isin(self.states_before, list(states)) | np.isin(self.states_after, list(states))
        return np.flatnonzero(chosen)

    def _row(self, index: int) -> dict[str, Any]:
        tested = not np.isnan(self.p_value[index])
        row: dict[str, Any] = {
            "index": index,
            "from": str(self.states_before[index]),
            "to": str(self.states_after[index]),
            "events": [name for name in EVENTS if self.events[name][index]],
        }
        for name in ("activation_rate", "fired_samples", "samples", "mean", "max", "dormancy_score"):
            row[f"{name}_before"] = _value(self.before, name, index)
            row[f"{name}_after"] = _value(self.after, name, index)
        row["rate_upper_bound_after"] = _value(self.after, "rate_upper_bound", index)
        return {
            **row,
            "p_value": float(self.p_value[index]),
            "firm": bool(self.firm[index]) if tested else None,
        }


@dataclass(frozen=True)
class Difference:
    """The result of `nla.diff`.

    `summary` counts neurons by what happened to them: `neurons` compared; `changed` state; `died` (not dead before,
    dead after); `revived` (dead before, not after); `saturated`, `desaturated`; `woke` (dormant before, and after
    active, specialised, saturated or born), `fell_dormant` (the other way); `became_constant`, `left_constant`;
    `specialised`; `generalised` (specialised before, active after); `left_born`; `unjudged` (a state is unknown on one
    side, so that nothing is said). One neuron may count in several.
    """

    before: Run
    after: Run
    sites: tuple[SiteDifference, ...]
    same_data: bool
    """Whether both runs saw the same samples."""
    alpha: float
    """A change whose p-value is below is firm: 1 - the confidence of the criteria."""
    quantisation: Quantisation | None = None
    """What quantisation did; None where the second run is no quantised twin of the first."""
    states: tuple[str, ...] = ()
    """Rows of neurons in these states only; all where empty."""
    notes: tuple[str, ...] = field(default=())

    @property
    def summary(self) -> dict[str, int]:
        """Totals over the sites: see the class."""
        names = ("neurons", "changed", *EVENTS, "unjudged")
        each = [site.summary for site in self.sites]
        return {name: sum(summary[name] for summary in each) for name in names}

    @property
    def evidence(self) -> dict[str, dict[str, int]]:
        """As `SiteDifference.evidence`, over all sites."""
        each = [site.evidence for site in self.sites]
        return {
            event: {kind: sum(site[event][kind] for site in each) for kind in ("firm", "weak", "untested")}
            for event in ("changed", *EVENTS)
        }

    def __getitem__(self, name: str) -> SiteDifference:
        """The site of that name in the first run. Raises KeyError."""
        return {site.name: site for site in self.sites}[name]

    def to_dict(self) -> dict[str, Any]:
        """The document that `--json` writes: `schemas/difference-1.schema.json`."""
        from nla.tracking.difference_document import document

        return document(self)


def difference(
    before: Run,
    after: Run,
    *,
    site: Sequence[str] = (),
    state: Sequence[str] = (),
    common_only: bool = False,
    different_data: bool = False,
    quantised: bool = False,
) -> Difference:
    """What became of each neuron of `before` in `after`.

    Args:
        before, after: with rows.
        site: names of sites in the first run; all where empty.
        state: rows of neurons that are, or were, in these states.
        common_only: leave out sites that do not fit, instead of refusing.
        different_data: compare runs on different data.
        quantised: `after` is the quantised twin of `before`, whether or not that can be seen.

    Raises:
        UsageError: the runs are of different architectures or data; a site or state that does not exist.
    """
    from nla.tracking.quantised import quantisation

    matching = match(before, after, common_only=common_only)
    notes = (*matching.notes, *check_data((before, after), different_data))
    _known("state", state, STATES)
    _known("site", site, [one.name for one, _ in matching.pairs])
    said = before.criteria.get("confidence_alpha")
    alpha = Criteria().confidence_alpha if said is None else float(said["value"])
    same = same_data(before, after)
    sites = tuple(
        site_difference(one, other, alpha, same)
        for one, other in matching.pairs
        if not site or one.name in site
    )
    return Difference(
        before,
        after,
        sites,
        same,
        alpha,
        quantisation(before, after, sites, assumed=quantised),
        tuple(state),
        notes,
    )


def site_difference(before: RunSite, after: RunSite, alpha: float, same_samples: bool) -> SiteDifference:
    """One site before and after. Raises UsageError where it has no rows."""
    rows = _rows(before), _rows(after)
    states = rows[0].states, rows[1].states
    p = p_values(before, after, same_samples)
    places = [np.array([STATES.index(state) for state in each], np.int64) for each in states]
    counts = np.bincount(places[0] * len(STATES) + places[1], minlength=len(STATES) ** 2)
    return SiteDifference(
        before,
        after,
        *states,
        events=events(*states),
        p_value=p,
        firm=np.asarray(p < alpha),  # NaN is not
        transitions=counts.reshape(len(STATES), len(STATES)).astype(np.int64),
        shifts={name: shift(rows[0].columns.get(name), rows[1].columns.get(name)) for name in SHIFTING},
    )


def shift(before: NDArray[Any] | None, after: NDArray[Any] | None) -> Shift:
    """How a column moved: float64 [neurons] on both sides, None or NaN where it is not known."""
    nothing = Shift(float("nan"), float("nan"), float("nan"), ())
    if before is None or after is None:
        return nothing
    one, other = np.asarray(before, np.float64), np.asarray(after, np.float64)
    known = np.flatnonzero(np.isfinite(one) & np.isfinite(other))
    if not known.size:
        return nothing
    moved = np.abs(other - one)[known]
    largest = known[np.argsort(-moved, kind="stable")[:_MOVERS]]
    movers = [(int(i), float(one[i]), float(other[i])) for i in largest if one[i] != other[i]]
    return Shift(float(one[known].mean()), float(other[known].mean()), float(moved.mean()), tuple(movers))


def _rows(site: RunSite) -> Rows:
    if site.rows is None:
        raise UsageError(
            f"site {printable(site.name)} has no row for each neuron: compare recordings, or documents with rows"
        )
    return site.rows


def _column(site: RunSite, name: str) -> Floats:
    """The evidence of that name, [neurons]; NaN where it is not known."""
    columns = {} if site.rows is None else site.rows.columns
    return np.asarray(columns.get(name, np.full(site.neurons, np.nan)), np.float64)


def _value(site: RunSite, name: str, index: int) -> int | float:
    """One number of the evidence; NaN where it is not known."""
    columns = {} if site.rows is None else site.rows.columns
    value = columns[name][index] if name in columns else float("nan")
    return int(value) if float(value).is_integer() and name in ("fired_samples", "samples") else float(value)


def _known(what: str, asked: Sequence[str], known: Sequence[str]) -> None:
    for name in asked:
        if name not in known:
            listed = ", ".join(map(printable, known[:5])) + (
                f" and {len(known) - 5} more" if len(known) > 5 else ""
            )
            raise UsageError(f"no {what} {printable(name)!r}; there are {listed}")
