"""The evidence behind a state: scores, bounds on the firing rate, the margin, what else would have to die.

Every function takes the measurements of one site and gives back one number per neuron.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nla.activations import Activation
from nla.lifecycle.criteria import Criteria
from nla.site import Site
from nla.statistics.measurements import SiteMeasurements

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
States = NDArray[np.str_]

_LINEAR_ABOVE_ZERO = ("Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Clip")
"""Activations that are a straight line wherever z > 0 (Clip: until its upper plateau)."""


def share(counts: NDArray[np.int64], measurements: SiteMeasurements) -> Floats:
    """[neurons] share of the counted values, in [0, 1]; NaN where there is none."""
    return _quotient(counts, measurements.counted)


def saturated_share(measurements: SiteMeasurements) -> Floats:
    """[neurons] share of positions on a flat part of φ that is not zero; NaN where φ has none."""
    m = measurements
    if m.low is None and m.high is None:
        return np.full(len(m.counted), np.nan)
    on_plateau = sum((part for part in (m.low, m.high) if part is not None), np.zeros_like(m.counted))
    return share(on_plateau, m)


def dormancy_score(measurements: SiteMeasurements) -> Floats:
    """[neurons] E|a_j| over the site's mean E|a_k|, eq. 11; averages to 1, and is 0 for all of a silent
    site."""
    return _relative(measurements.mean_abs)


def contribution_score(site: Site, measurements: SiteMeasurements) -> Floats:
    """[neurons] E|a_j|·‖w_out,j‖ over the site's mean of it; unlike the dormancy score it is not changed
    when a unit is rescaled. NaN where the outgoing weights are not known."""
    if site.out_norm is None:
        return np.full(site.neurons, np.nan)
    return _relative(measurements.mean_abs * site.out_norm)


def fired_samples(measurements: SiteMeasurements) -> NDArray[np.int64]:
    """[neurons] samples in which the neuron fired: z > 0, and a not zero throughout (ThresholdedRelu)."""
    m = measurements
    silent = (m.min == 0) & (m.max == 0) & (m.nonfinite == 0)
    return np.where(silent, 0, m.fired_samples)


def margin(measurements: SiteMeasurements) -> Floats:
    """[neurons] -max(z) / sd(z): how many standard deviations of z a silent neuron is from waking.

    NaN where z was not observed; where z never varies, ±inf by the sign of z, and 0 for z = 0.
    """
    m = measurements
    with np.errstate(divide="ignore", invalid="ignore"):
        margins = -m.pre_max / m.pre_std
    return np.asarray(
        np.where((m.pre_max == 0) & (m.pre_std == 0), 0.0, margins) + 0.0
    )  # + 0.0: no negative zero


def linear(site: Site, measurements: SiteMeasurements, criteria: Criteria) -> Bools:
    """[neurons] True where a rectifier is never off, nor on an upper plateau: φ′ = 1, which is not
    saturation."""
    m = measurements
    if site.activation.name not in _LINEAR_ABOVE_ZERO:
        return np.zeros(site.neurons, bool)
    on = share(m.positive, m) >= criteria.linear_rate
    return on if m.high is None else on & (m.high == 0)


def near_dead(site: Site, measurements: SiteMeasurements, criteria: Criteria) -> Bools:
    """[neurons] True where max z is close to zero, on either side, and φ is zero for z <= 0.

    False where z was not observed.
    """
    if not dies_at_zero(site.activation):
        return np.zeros(site.neurons, bool)
    return np.asarray(np.abs(margin(measurements)) < criteria.near_dead_margin)


def dies_at_zero(activation: Activation) -> bool:
    """Whether φ(z) = 0 exactly where z <= 0, so that the margin of z is the distance from death.

    >>> dies_at_zero(Activation.named("Relu")), dies_at_zero(Activation.named("HardSwish"))
    (True, False)
    """
    if not activation.elementwise:
        return False
    off, on = activation.value([-1e-6, 1e-6])
    return bool(off == 0 < on)


def starved(site: Site, states: Mapping[str, States]) -> Bools:
    """[neurons] True where every input comes from dead or constant neurons (eq. 12); False where it is not
    known.

    `states` holds the states of all sites by name. In a grouped convolution a neuron reads its own group
    only.
    """
    none = np.zeros(site.neurons, bool)
    if not site.upstream or not site.producers or any(name not in states for name in site.upstream):
        return none
    silent = np.isin(np.concatenate([states[name] for name in site.upstream]), ("dead", "constant"))
    groups = {producer.groups for producer in site.producers}
    if groups == {1}:
        return none | silent.all()
    count = groups.pop()
    whole = not groups and all(producer.channel_offset == 0 for producer in site.producers)
    if not whole or len(silent) % count or site.neurons % count:
        return none
    return np.repeat(silent.reshape(count, -1).all(1), site.neurons // count)


def parameters_dead(site: Site, sites: Mapping[str, Site], states: Mapping[str, States]) -> int:
    """Parameters that the site's dead neurons hold: incoming, and outgoing to neurons that are not dead.

    Outgoing weights to a dead neuron count there, as its incoming ones, so that the sum over sites counts
    none twice.
    """
    dead = states[site.name] == "dead"
    held = float(dead.sum() * site.parameters_in)
    for consumer in site.consumers:
        living = _living_readers(site, sites.get(consumer.site or ""), states)
        held += float((dead * living).sum()) * consumer.parameters_per_neuron
    return round(held)


def _living_readers(site: Site, reader: Site | None, states: Mapping[str, States]) -> Floats:
    """[neurons] share of the neurons reading each neuron of `site` that are not dead; 1 where they are no
    site."""
    if reader is None or reader.name not in states:
        return np.ones(site.neurons)
    living = states[reader.name] != "dead"
    groups = reader.producers[0].groups if reader.producers else 1
    if groups > 1 and site.neurons % groups == 0 and reader.neurons % groups == 0:
        return np.repeat(living.reshape(groups, -1).mean(1), site.neurons // groups)
    return np.full(site.neurons, living.mean())


def _relative(values: Floats) -> Floats:
    """`values` over their mean; all 0 where the mean is 0. NaN stays NaN and is left out of the mean."""
    known = values[np.isfinite(values)]
    mean = known.mean() if len(known) else np.nan
    return np.where(np.isfinite(values), 0.0, np.nan) if mean == 0 else np.asarray(values / mean)


def _quotient(counts: NDArray[np.int64], total: NDArray[np.int64]) -> Floats:
    return np.asarray(np.divide(counts, total, out=np.full(len(total), np.nan), where=total > 0), np.float64)
