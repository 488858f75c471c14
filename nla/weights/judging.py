"""One site judged by the weights around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.activations import Activation
from nla.graph import drafts, query
from nla.graph.channels import NOBODY
from nla.graph.weighted import Weighted
from nla.site import Site
from nla.surgery.structure import Structure
from nla.surgery.weights.inward import inward
from nla.surgery.weights.patterns import patterns_of
from nla.surgery.weights.reads import goes_on
from nla.surgery.weights.way import Inward, Way, layers
from nla.weights.duplicates import Duplicates, duplicates
from nla.weights.reading import Layers
from nla.weights.results import SiteWeights
from nla.weights.units import Incoming, verdict

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Judge:
    """Judges the sites of one graph."""

    structure: Structure
    layers: Layers
    tolerance: float
    """Largest |a| of a dead neuron whose φ never reaches zero."""

    def ways(self, name: str) -> Inward | str:
        """The ways into a site; or why none is followed, a sentence."""
        return inward(self.structure, name)

    @np.errstate(all="ignore")
    def site(self, site: Site) -> SiteWeights:
        """What the weights around a site tell of its neurons."""
        found = self.ways(site.name)
        incoming: tuple[Incoming, ...] = ()
        skipped = found if isinstance(found, str) else ""
        if not isinstance(found, str):
            incoming = tuple(self._incoming(way, site.neurons) for way in found.ways)
            reasons = [reason for each in incoming for reason in each.reasons]
            parts = [part for each in incoming for part in each.parts]
            skipped = f"{reasons[0].rstrip('.')}." if reasons and not parts else ""
        decided = self._decided(site, incoming) if incoming and not skipped else {}
        outgoing, unread, why, readers = self._outgoing(site)
        repeated = self._duplicates(site, incoming, decided) if not skipped else None
        states = np.full(site.neurons, "unknown", dtype="<U8")
        for unit, (state, _, _) in decided.items():
            states[unit] = state
        none = np.full(site.neurons, -1, np.int64)
        return SiteWeights(
            site=site,
            states=states,
            evidence={unit: text for unit, (_, _, text) in decided.items()},
            values={unit: value for unit, (_, value, _) in decided.items()},
            incoming_norm=_norm(incoming, site.neurons) if not skipped else np.full(site.neurons, np.nan),
            outgoing_norm=outgoing,
            unread=unread,
            duplicate_of=none if repeated is None else repeated.of,
            duplicate_exact=none >= 0 if repeated is None else repeated.exact,
            compared=0 if repeated is None else repeated.compared,
            makers=() if isinstance(found, str) else self._names(found),
            readers=readers,
            skipped=skipped,
            outgoing_skipped=why,
        )

    def _incoming(self, way: Way, neurons: int) -> Incoming:
        made = Incoming(neurons, self.layers.constants, self.layers.read)
        made.follow(way)
        return made

    def _names(self, found: Inward) -> tuple[str, ...]:
        names = []
        for way in found.ways:
            for layer in layers(way):
                self.layers.summed_up(layer.weighted)
                names.append(query.node_name(layer.weighted.node))
        return tuple(dict.fromkeys(names))

    # --- what is decided

    def _decided(self, site: Site, incoming: tuple[Incoming, ...]) -> dict[int, tuple[str, float, str]]:
        """By unit: (state, activation, evidence), where it is the same for every input."""
        if len(incoming) == 2:
            return self._decided_product(site, *incoming)
        if not site.activation.elementwise:
            return {}
        return self._of_one(incoming[0], site.activation)

    def _of_one(self, incoming: Incoming, activation: Activation) -> dict[int, tuple[str, float, str]]:
        found = {}
        for unit in np.flatnonzero(incoming.decided).tolist():
            z = float(incoming.constant[unit])
            state, value = verdict(z, bool(incoming.sure[unit]), activation, self.tolerance)
            found[unit] = (
                state,
                value,
                f"{_zero(incoming, unit)}, bias {z:.4g}: a is {value:.4g} for every input",
            )
        return found

    def _decided_product(self, site: Site, gate: Incoming, up: Incoming) -> dict[int, tuple[str, float, str]]:
        """Of a gated product: a factor that is always zero decides it, and two that are constant."""
        what = self.structure.drafts[site.name].what
        pattern = None if what.gate is None else patterns_of(self.structure).get(what.gate)
        phi = None if pattern is None else pattern.activation
        gates = {} if phi is None or not phi.elementwise else self._of_one(gate, phi)
        ups = self._of_one(up, Activation.named("Identity"))
        found = {}
        for unit in sorted({*gates, *ups}):
            one, other = gates.get(unit), ups.get(unit)
            texts = [f"{who}: {each[2]}" for who, each in (("gate", one), ("up", other)) if each is not None]
            if any(each is not None and each[0] == "dead" and each[1] == 0 for each in (one, other)):
                found[unit] = ("dead", 0.0, "; ".join(texts))
            elif one is not None and other is not None:
                value = one[1] * other[1]
                found[unit] = ("dead" if value == 0 else "constant", value, "; ".join(texts))
        return found

    def _duplicates(
        self, site: Site, incoming: tuple[Incoming, ...], decided: dict[int, Any]
    ) -> Duplicates | None:
        if not incoming:
            return None
        candidates = np.ones(site.neurons, bool)
        for each in incoming:
            candidates &= ~each.open & ~each.bad & np.isfinite(each.constant)
        candidates[list(decided)] = False
        return duplicates(incoming, candidates, site.activation if len(incoming) == 1 else None)

    # --- what reads it

    def _outgoing(self, site: Site) -> tuple[Floats | None, Bools | None, str, tuple[str, ...]]:
        """(norms, True where all weights are zero, why these are not known, names of the readers)."""
        draft = self.structure.drafts.get(site.name)
        if draft is None:
            return None, None, "The site has no activation of its own.", ()
        found, complete, leak = self.structure.walk.flow.sources.readers(draft.source, draft.neurons)
        names = tuple(dict.fromkeys(query.node_name(use.weighted.node) for use, _ in found))
        why = self._not_all(site.name, complete, leak)
        squares, there = np.zeros(site.neurons), np.zeros(site.neurons, bool)
        done: set[Weighted] = set()
        for use, number in found:
            if (
                use.weighted.node in self.structure.walk.layers
            ):  # not a recurrent one, which is several in one
                self.layers.summed_up(use.weighted)
            read = self.layers.read(use.weighted)
            if isinstance(read, str) or len(read[1].in_squares) != len(number):
                why = why or (
                    read if isinstance(read, str) else f"The weights of {names[0]} have other axes."
                )
                continue
            if use.weighted in done:
                continue
            done.add(use.weighted)
            mine = number != NOBODY
            np.add.at(squares, number[mine], read[1].in_squares[mine])
            np.logical_or.at(there, number[mine], read[1].in_any[mine])
        if why or not found:
            return None, None, why or "No weighted layer reads its units.", names
        unread = None if draft.what.found == drafts.RECURRENT else ~there
        return np.sqrt(squares), unread, "", names

    def _not_all(self, name: str, complete: bool, leak: str | None) -> str:
        """Why the weights that read a site are not all known; "" where they are."""
        if leak is not None:
            return f"Its units are read by {leak}."
        if not complete:
            return "Its units go through more sums than are followed."
        other = next((other for other, units in goes_on(self.structure, name) if units), None)
        return (
            "" if other is None else f"Its units go into the site '{other}' with no weighted layer between."
        )


def _zero(incoming: Incoming, unit: int) -> str:
    return "a scale on the way is zero" if incoming.stored[unit] else "incoming weights are zero"


def _norm(incoming: tuple[Incoming, ...], neurons: int) -> Floats:
    total: Floats = np.zeros(neurons)
    for each in incoming:
        total = total + np.square(each.norm)
    return np.sqrt(total) if incoming else np.full(neurons, np.nan)
