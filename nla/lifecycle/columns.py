"""The evidence columns of `nla neurons` for one site, in their order and under their names."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle import evidence
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.information import Information, labels_answered, selectivity
from nla.site import Site
from nla.statistics.measurements import SiteMeasurements

Columns = dict[str, NDArray[Any]]


def columns(
    site: Site,
    measurements: SiteMeasurements,
    criteria: Criteria,
    *,
    rate_upper_bound: NDArray[np.float64],
    decided_by: NDArray[np.str_],
    told: Information | None = None,
    held_out: SiteMeasurements | None = None,
) -> Columns:
    """Name to values [neurons]: those always known, those known here, then further evidence.

    int64 for counts, float64 (NaN: not known) for the rest, str for `decided_by`.
    """
    m = measurements
    known: Columns = {
        "activation_rate": evidence.share(m.positive, m),
        "firing_frequency": evidence.share(m.fired, m),
        "mean": m.mean,
        "mean_abs": m.mean_abs,
        "std": m.std,
        "min": _finite(m.min),
        "max": _finite(m.max),
        "dormancy_score": evidence.dormancy_score(m),
        "contribution_score": evidence.contribution_score(site, m),
        "samples": np.full(site.neurons, m.samples, np.int64),
        "positions": m.counted,
        "fired_samples": evidence.fired_samples(m),
        "rate_upper_bound": rate_upper_bound,
        "margin": evidence.margin(m),
    }
    if m.low is not None or m.high is not None:
        known["saturated_share"] = evidence.saturated_share(m)
    if told is not None:
        known |= {"mutual_information": told.mutual, "p_value": told.p_value}
    if held_out is not None:
        known["held_out_fired"] = evidence.fired_samples(held_out)
    return known | _further(m, criteria, decided_by, told)


def _further(
    m: SiteMeasurements, criteria: Criteria, decided_by: NDArray[np.str_], told: Information | None
) -> Columns:
    known: Columns = {}
    if told is not None and m.labels is not None:
        known |= {
            "mutual_information_corrected": told.corrected,
            "q_value": told.q_value,
            "selectivity": selectivity(m.labels),
            "labels_answered": labels_answered(m.labels, criteria.answered_share),
        }
    return known | {
        "lifetime_sparseness": m.lifetime_sparseness,
        "nonfinite": m.nonfinite,
        "decided_by": decided_by,
    }


def _finite(extreme: NDArray[np.float64]) -> NDArray[np.float64]:
    """The extremes, NaN where nothing was counted, so that an accumulator's ±inf is not mistaken for a
    value."""
    return np.where(np.isfinite(extreme), extreme, np.nan)
