"""The lifecycle state of every neuron of a site, decided in the order of the definitions.

Dead, constant, saturated, dormant, born, specialised, active: the first that holds. A neuron with a NaN or an
infinity among its values is never called dead or constant, for those values were not silence; one without any
finite value is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.criteria import Criteria
from nla.lifecycle.evidence import dormancy_score, saturated_share
from nla.lifecycle.information import Information
from nla.site import Site
from nla.statistics.measurements import SiteMeasurements

Bools = NDArray[np.bool_]

_FEWEST_VALUES = 2
"""Values below which a range says nothing: one value alone is not constant."""


@dataclass(frozen=True)
class Classified:
    """The states of a site's neurons and what could not be decided."""

    states: NDArray[np.str_]
    """[neurons]"""
    decided_by: NDArray[np.str_]
    """[neurons] what made a neuron specialised: `labels` or `sparseness`; empty for every other state."""
    notes: tuple[str, ...]


def classify(
    site: Site,
    measurements: SiteMeasurements,
    criteria: Criteria,
    *,
    told: Information | None = None,
    unchanged: Bools | None = None,
) -> Classified:
    """The state of each neuron of `site`.

    Args: site: for φ and its flat regions. measurements: of one split of the data. criteria: the
        thresholds. told: what the neurons say about the labels; None without labels, or with one label
        only. unchanged: [neurons] True where the weights equal those of a given initial checkpoint: such a
        neuron is born where it would be specialised or active.
    """
    m = measurements
    silent, notes = dead(site, m, criteria)
    selective = (
        m.lifetime_sparseness >= criteria.specialised_sparseness if told is None else told.selective(criteria)
    )
    living = np.zeros(site.neurons, bool) if unchanged is None else np.asarray(unchanged, bool)
    rules: list[tuple[str, Bools]] = [
        ("unknown", m.counted == 0),
        ("dead", silent),
        ("constant", constant(m, criteria)),
        ("saturated", saturated_share(m) >= criteria.saturated_share),
        ("dormant", dormancy_score(m) <= criteria.dormancy_threshold),
        ("born", living),
        ("specialised", selective),
    ]
    states = np.select([holds for _, holds in rules], [np.str_(name) for name, _ in rules], np.str_("active"))
    decided_by = np.where(states == "specialised", "sparseness" if told is None else "labels", "")
    return Classified(states, decided_by, notes)


def dead(site: Site, measurements: SiteMeasurements, criteria: Criteria) -> tuple[Bools, tuple[str, ...]]:
    """[neurons] True where a is exactly zero at every counted position, and notes on what z would have told.

    Where φ never reaches zero it is also dead whose |a| stays within the tolerance on φ's flat side. For
    GELU, SiLU and Mish only z can tell: without it the neuron is not called dead, and a note says so.
    """
    m = measurements
    seen = (m.counted > 0) & (m.nonfinite == 0)
    zero = seen & (m.min == 0) & (m.max == 0)
    edge = site.activation.zero_plateau_below
    if edge is None or site.activation.reaches_zero:
        return zero, ()
    tiny = seen & (np.maximum(np.abs(m.min), np.abs(m.max)) <= criteria.dead_tolerance_abs)
    if not site.activation.zero_plateau_needs_z:
        return zero | (tiny & (m.max <= site.activation.value(edge))), ()
    untold = int((tiny & ~zero & np.isnan(m.pre_max)).sum())
    note = (
        f"site {site.name}: {untold} of {site.neurons} neurons stay within "
        f"{criteria.dead_tolerance_abs:g} of zero, but z was not observed, so that they cannot be called "
        "dead; --pre-activations observes it"
    )
    return zero | (tiny & (m.pre_max <= edge)), (note,) if untold else ()


def constant(measurements: SiteMeasurements, criteria: Criteria) -> Bools:
    """[neurons] True where a is not zero and its range within tolerance, as a share of the largest |a|."""
    m = measurements
    largest = np.maximum(np.abs(m.min), np.abs(m.max))
    seen = (m.counted >= _FEWEST_VALUES) & (m.nonfinite == 0)
    return np.asarray(seen & (largest > 0) & (m.max - m.min <= criteria.constant_tolerance * largest))
