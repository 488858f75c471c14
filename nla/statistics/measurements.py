"""What a recording says of one site once its accumulators are read out: arrays with one entry per neuron.

This is the border between gathering (statistics, recording) and judging (lifecycle). All arrays are [neurons];
floats are float64 and NaN where the number is not known.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class LabelMeasurements:
    """How each neuron's response depends on the label."""

    labels: tuple[str, ...]
    samples_per_label: Counts
    """[labels]"""
    response: str
    """'z > 0' where a sample is one position, else 'binned mean activation'; what mutual information is taken of."""
    bin_edges: tuple[float, ...]
    """Inner edges of the bins; empty for the bit z > 0."""
    joint: NDArray[np.int64]
    """[labels, bins, neurons] samples."""
    mean_by_label: NDArray[np.float64]
    """[labels, neurons] mean over the label's samples of the sample's mean |a|."""
    fired_by_label: NDArray[np.int64]
    """[labels, neurons] samples of the label in which the neuron fired (z > 0) at least once."""


@dataclass(frozen=True)
class Histogram:
    """Counts in fixed bins, over all neurons of the site."""

    edges: Floats
    """[bins + 1], increasing; the outer two are -inf and +inf."""
    counts: Counts
    """[bins]"""
    values: int
    """Number of values counted: all of them, or those of the row sample."""
    exact: bool
    """True where every counted position went in; False where only the row sample did."""


@dataclass(frozen=True)
class SiteMeasurements:
    """Everything measured at one site on one split of the data."""

    samples: int
    positions: int
    """Counted positions, padding excluded; equal for every neuron."""
    counted: Counts
    """Finite values behind each neuron's numbers: positions minus its non-finite ones."""
    nonfinite: Counts
    positive: Counts
    """Positions with z > 0."""
    fired: Counts
    """Positions with |a| above the firing threshold."""
    fired_samples: Counts
    """Samples with z > 0 at one position at least."""
    mean: Floats
    mean_abs: Floats
    std: Floats
    """Population standard deviation of a (ddof 0)."""
    min: Floats
    max: Floats
    low: Counts | None
    """Positions on φ's lower plateau, None where φ has none that counts as saturation."""
    high: Counts | None
    lifetime_sparseness: Floats
    """Vinje and Gallant (2000) over the samples' mean |a|: 0 dense, 1 one sample only; NaN below two samples."""
    pre_max: Floats
    """Largest z; NaN where z was not observed at every counted position of the neuron."""
    pre_mean: Floats
    pre_std: Floats
    effective_rank: float
    """Eq. 6, uncentred; NaN where no row was kept; 0 for an all-zero matrix."""
    effective_rank_rows: int
    effective_rank_exact: bool
    histogram: Histogram | None
    pre_histogram: Histogram | None
    silent_samples: int
    """Samples for which every neuron of the site is silent (z <= 0 at every position)."""
    killed_samples: int
    """Of these, samples that no earlier site in graph order had silenced."""
    pre_rows: NDArray[np.float32] | None = None
    """[rows, neurons] z at positions drawn alike from all that were counted where z was observed throughout, else from
    the share of the samples on which it was; NaN and infinity included, in no order, not to be written to. None where
    z was not observed. Enough for quantiles: 2,048 rows, fewer in layers of more than 512 neurons, or of few positions.
    """
    input_mean: Floats | None = None
    """[input channels of the producer] E[x] over the counted positions of what the site's one producer reads; None
    where that was not observed."""
    labels: LabelMeasurements | None = None
    notes: tuple[str, ...] = field(default=())
