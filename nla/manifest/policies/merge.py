"""merge: units that are one another up to a positive factor into one; the surgery proves it on the weights."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nla.activations import Activation
from nla.lifecycle.results import Inspection, SiteResult
from nla.manifest.policies.base import LIVE, Answers, Options, Policy, Proposal, Units
from nla.statistics.measurements import SiteMeasurements

_CLOSE = 1e-5
"""Largest relative difference of two statistics of fp32 activations that are the same up to a factor."""

_FEWEST_FIRINGS = 3
"""Positions at which a unit fires, where z was not observed: all that fire at one only are alike."""

Floats = NDArray[np.float64]


def propose(result: SiteResult, units: Units, inspection: Inspection, options: Options) -> Answers:
    """Candidates: equal counts on every split, all other statistics equal up to one factor.

    The factor is 1 unless φ is positively homogeneous. The unit of lowest index of each set stays.
    """
    duplicate, into, scales = _duplicates(result, units)
    if not len(duplicate):
        return []
    expect = (
        "duplicates are added to the unit that they equal, where the weights confirm it; no output changes"
    )
    parameters = {"into": into, "scales": scales}
    return [Proposal("merge", result, duplicate, expect, exact=True, parameters=parameters)]


def _duplicates(result: SiteResult, units: Units) -> tuple[Units, Units, Floats]:
    """Units that duplicate another, that one, and the factor a / a of that one."""
    m = result.measurements
    telling = (m.positive >= _FEWEST_FIRINGS) | np.isfinite(m.pre_std)
    units = units[((m.mean_abs > 0) & (m.nonfinite == 0) & telling)[units]]
    homogeneous = is_homogeneous(result.site.activation)
    counts, rows = _counts(result)[units], _shape(m, scale_too=not homogeneous)[units]
    sets = [members for run in _runs(counts) for members in _equal(run, rows)]
    twins = [(units[k], units[members[0]]) for members in sets for k in members[1:]]
    duplicate, into = np.array(sorted(twins), np.int64).reshape(-1, 2).T
    factors = m.mean_abs[duplicate] / m.mean_abs[into]
    return duplicate, into, factors if homogeneous else np.ones(len(duplicate))


def is_homogeneous(activation: Activation) -> bool:
    """Whether φ(s·z) = s·φ(z) for every s > 0.

    >>> is_homogeneous(Activation.named("Relu")), is_homogeneous(Activation.named("Gelu"))
    (True, False)
    """
    if activation.name == "PRelu":
        parameters = dict(activation.parameters)
        return parameters["slope_min"] == parameters["slope_max"]
    if activation.name == "Clip":
        return dict(activation.parameters) == {"min": 0.0, "max": math.inf}
    return activation.name in ("Relu", "LeakyRelu", "Identity")


def _counts(result: SiteResult) -> NDArray[np.int64]:
    """[neurons, counts] what duplicates have exactly equal."""
    splits = [result.measurements] + ([] if result.held_out is None else [result.held_out])
    return np.stack([column for m in splits for column in (m.positive, m.fired_samples, m.counted)], axis=1)


def _shape(m: SiteMeasurements, scale_too: bool) -> Floats:
    """[neurons, ratios] statistics that no factor changes; with `scale_too` the factor itself counts."""
    statistics = [m.std, m.max, m.min, m.mean, m.pre_max, m.pre_mean, m.pre_std]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = [statistic / m.mean_abs for statistic in statistics]
    return np.stack([*ratios, m.mean_abs] if scale_too else ratios, axis=1)


def _runs(counts: NDArray[np.int64]) -> list[Units]:
    """Places of equal rows, of two rows or more; each ascending."""
    if len(counts) < 2:
        return []
    order = np.lexsort(counts.T)
    starts = np.flatnonzero(np.append(True, (counts[order][1:] != counts[order][:-1]).any(1)))
    return [np.sort(run) for run in np.split(order, starts[1:]) if len(run) > 1]


def _equal(run: Units, rows: Floats) -> list[list[int]]:
    """Sets of two places or more, out of `run`, whose rows are equal within rounding; each ascending.

    Rows are met in the order of one number made of all their columns, so that each is compared with the few
    that can equal it, and not with all.
    """
    known = np.nan_to_num(rows[run], posinf=0.0, neginf=0.0)
    weigh = 1 + np.arange(known.shape[1]) / 7  # no two columns alike: rows that differ rarely meet
    place, room = known @ weigh, 2 * _tolerance(known) @ weigh
    sets: list[list[int]] = []
    near: list[tuple[float, list[int]]] = []
    for k in np.argsort(place, kind="stable"):
        near = [(end, members) for end, members in near if end >= place[k]]
        twin = next((members for _, members in near if _same(rows[run[k]], rows[members[0]])), None)
        if twin is None:
            twin = []
            sets.append(twin)
            near.append((place[k] + room[k], twin))
        twin.append(int(run[k]))
    return [sorted(members) for members in sets if len(members) > 1]


def _same(ours: Floats, theirs: Floats) -> bool:
    with np.errstate(invalid="ignore"):  # of two infinities
        close = np.abs(ours - theirs) <= _tolerance(theirs)
    return bool(np.all(close | (np.isnan(ours) & np.isnan(theirs))))


def _tolerance(rows: Floats) -> Floats:
    return np.asarray(_CLOSE * np.maximum(np.abs(rows), 1e-3))


POLICY = Policy(
    "merge",
    "duplicates into one",
    propose,
    states=LIVE,
    by_evidence=False,
)
