"""What a neuron's response says about the label: information in nats, its significance, labels answered to.

All from counts, for all neurons of a site at once; C neurons, L labels, B bins of the response.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.criteria import Criteria
from nla.lifecycle.special import chi_square_survival
from nla.statistics.measurements import LabelMeasurements

Floats = NDArray[np.float64]

_CELLS_AT_ONCE = 1 << 20
"""Joint counts are worked on by blocks of neurons of about this many cells: 8 MiB a temporary."""


@dataclass(frozen=True)
class Information:
    """What each neuron of a site says about the label; every array is float64 [C]."""

    mutual: Floats
    """Eq. 7, plug-in, nats, >= 0."""
    corrected: Floats
    """With Miller and Madow's correction of the bias, nats; a little below 0 where nothing is told."""
    attainable: Floats
    """min(H(label), H(response)), plug-in, nats: the most that `mutual` could be."""
    p_value: Floats
    """Of the G-test of independence."""
    q_value: Floats
    """Benjamini and Hochberg's adjusted p over the site's neurons."""

    def selective(self, criteria: Criteria) -> NDArray[np.bool_]:
        """[C] significant over the site, and a large enough share of the attainable."""
        enough = self.corrected >= criteria.specialised_information * self.attainable
        return (self.q_value <= criteria.false_discovery_rate) & enough & (self.mutual > 0)


def information(joint: NDArray[np.int64]) -> Information:
    """The information between label and response from joint counts [L, B, C], C >= 1."""
    labels, bins, neurons = joint.shape
    step = max(1, _CELLS_AT_ONCE // max(1, labels * bins))
    blocks = [_block(joint[:, :, start : start + step]) for start in range(0, neurons, step)]
    mutual, corrected, attainable, p_value = np.concatenate(blocks, axis=1)
    return Information(mutual, corrected, attainable, p_value, adjusted(p_value))


def _block(joint: NDArray[np.int64]) -> Floats:
    """[4, C] mutual, corrected, attainable, p-value."""
    cells = joint.reshape(-1, joint.shape[-1])
    by_label, by_bin, total = joint.sum(1), joint.sum(0), cells.sum(0)
    h_label, h_bin = _entropy(by_label, total), _entropy(by_bin, total)
    mutual = np.maximum(h_label + h_bin - _entropy(cells, total), 0)
    rows, columns, met = ((counts > 0).sum(0) for counts in (by_label, by_bin, cells))
    mutual[(rows <= 1) | (columns <= 1)] = (
        0  # not a rounding above it: one label or one response tells nothing
    )
    corrected = mutual + (rows + columns - met - 1) / (2 * np.maximum(total, 1))
    degrees = np.maximum(rows - 1, 0) * np.maximum(columns - 1, 0)
    p_value = chi_square_survival(2 * total * mutual, degrees)
    return np.stack([mutual, corrected, np.minimum(h_label, h_bin), p_value])


def _entropy(counts: NDArray[np.int64], total: NDArray[np.int64]) -> Floats:
    """[C] plug-in entropy in nats of counts [cells, C]; 0 where there are none."""
    share = counts / np.maximum(total, 1)
    return np.asarray(-(share * np.log(share, out=np.zeros_like(share), where=share > 0)).sum(0))


def adjusted(p_value: Floats) -> Floats:
    """Benjamini and Hochberg's (1995) adjusted p-values: the smallest level at which each is a discovery.

    >>> adjusted(np.array([0.01, 0.04, 0.03, 0.5])).round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]
    """
    order = np.argsort(p_value)
    scaled = p_value[order] * len(p_value) / np.arange(1, len(p_value) + 1)
    result = np.empty(len(p_value))
    result[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return np.minimum(result, 1)


def selectivity(labels: LabelMeasurements) -> Floats:
    """[C] (μ_max - μ_rest) / (μ_max + μ_rest) of the mean |a| by label, in [0, 1] (Morcos et al. 2018).

    μ_rest is the mean over the other labels. 0 for a neuron that is silent on all; NaN where fewer than two
    labels have samples.
    """
    means = labels.mean_by_label[labels.samples_per_label > 0]
    if len(means) < 2:
        return np.full(labels.mean_by_label.shape[1], np.nan)
    best = means.max(0)
    rest = (means.sum(0) - best) / (len(means) - 1)
    return np.asarray(np.divide(best - rest, best + rest, out=np.zeros_like(best), where=best + rest > 0))


def labels_answered(labels: LabelMeasurements, share: float) -> Floats:
    """[C] labels on which a neuron's mean |a| is at least `share` of that on its best label; silent: 0."""
    means = labels.mean_by_label[labels.samples_per_label > 0]
    if not len(means):
        return np.full(labels.mean_by_label.shape[1], np.nan)
    best = means.max(0)
    return np.asarray(((means >= share * best) & (means > 0)).sum(0), np.float64)
