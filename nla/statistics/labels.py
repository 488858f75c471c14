"""How each neuron's response depends on the label: the counts behind mutual information and selectivity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nla.errors import UsageError
from nla.statistics.base import Additive, Array, Field
from nla.statistics.measurements import LabelMeasurements
from nla.statistics.summary import Observation, Summary

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

JOINT_CELLS = 4 << 20
"""A site's labels × bins × neurons stay at or below this (32 MiB of int64); bins are given up for it."""
MOST_CELLS = 16 << 20
"""Beyond this, labels × neurons alone are refused: several arrays of 128 MiB for one site."""


def _quarter_decades(*powers: int) -> tuple[float, ...]:
    """10^(p/4 + 1/8): no round numbers, so that the mean of a saturated neuron (1, 6) is no edge."""
    return tuple(10.0 ** (p / 4 + 0.125) for p in powers)


NONNEGATIVE_EDGES = (
    (0.0, *_quarter_decades(-12, -10, -8, -6, -4, -3, -2, -1, 0, 2, 4)),
    (0.0, *_quarter_decades(-8, -4, 0)),
)
"""Inner edges of the bins of a sample's mean activation where a >= 0, finest first: (lower, upper]."""
SIGNED_EDGES = (
    (*(-x for x in _quarter_decades(1, -2, -4, -6, -8)), *_quarter_decades(-8, -6, -4, -3, -2, 1)),
    (*(-x for x in _quarter_decades(-4, -8)), *_quarter_decades(-8, -4, 0)),
)
"""The same where a takes both signs; the bin around zero is one bin."""


def bin_edges(labels: int, neurons: int, nonnegative: bool) -> tuple[float, ...]:
    """Inner edges for a site: the finest that keep labels × bins × neurons within `JOINT_CELLS`.

    Empty where not even the coarse bins fit: then the bit 'fired in the sample' takes their place. Depends on
    the site and the number of labels only, so that all shards agree.
    """
    for edges in NONNEGATIVE_EDGES if nonnegative else SIGNED_EDGES:
        if labels * (len(edges) + 1) * neurons <= JOINT_CELLS:
            return edges
    return ()


class Labels(Additive[Observation]):
    """Counts per label and neuron, each [labels, neurons] but `samples` [labels].

    `fired`: samples with z > 0 somewhere; `missing`: samples without a finite value; `total_abs`: sum over
    samples of the sample's mean |a|. Where a sample has several positions, `joint` [labels, bins, neurons]
    counts samples by the bin of their mean activation; where it is one position, the response is the bit z >
    0, which `fired` counts.
    """

    name = "labels"
    samples: Counts
    fired: Counts
    missing: Counts
    total_abs: Floats
    joint: Counts

    def __init__(self, neurons: int, *, labels: int, per_sample: bool, nonnegative: bool) -> None:
        """Raises UsageError where labels × neurons exceed `MOST_CELLS`."""
        if labels * neurons > MOST_CELLS:
            raise UsageError(
                f"{labels} labels × {neurons} neurons are too many to count jointly, at most {MOST_CELLS}; "
                "use fewer labels (are these numbers rather than classes?)"
            )
        super().__init__(neurons=neurons, labels=labels, per_sample=per_sample, nonnegative=nonnegative)
        self.edges = bin_edges(labels, neurons, nonnegative) if per_sample else ()

    @classmethod
    def layout(cls, neurons: int, *, labels: int, per_sample: bool, nonnegative: bool) -> dict[str, Field]:
        counts = Field("int64", (labels, neurons))
        fields = {
            "samples": Field("int64", (labels,)),
            "fired": counts,
            "missing": counts,
            "total_abs": Field("float64", (labels, neurons)),
        }
        edges = bin_edges(labels, neurons, nonnegative) if per_sample else ()
        if edges:
            fields["joint"] = Field("int64", (labels, len(edges) + 1, neurons))
        return fields

    def update(self, seen: Observation) -> None:
        """Adds one batch; every group must bear a label in 0..labels-1.

        Raises:
            ValueError: a batch without labels, or a label out of range.
        """
        labels, summary = seen.group_labels, seen.summary
        if labels is None or (len(labels) and not 0 <= labels.min() <= labels.max() < self.config["labels"]):
            raise ValueError(
                f"labels {labels}, expected one in 0..{self.config['labels'] - 1} for each group"
            )
        if not len(labels):
            return
        groups = _Groups(labels)
        if self.config["per_sample"]:
            self._add_samples(groups, summary)
        else:
            self._add_runs(groups, summary)

    def _add_runs(self, groups: _Groups, summary: Summary) -> None:
        """Groups are runs of samples of one position each."""
        groups.add(self.samples, summary.positions)
        groups.add(self.fired, summary.positive)
        groups.add(self.total_abs, summary.absolute)
        if summary.nonfinite is not None:
            groups.add(self.missing, summary.nonfinite)

    def _add_samples(self, groups: _Groups, summary: Summary) -> None:
        """Every group is one sample; those that are all padding are not counted."""
        counted = summary.counted
        some = np.maximum(counted, 1)
        groups.add(self.samples, summary.positions > 0)
        groups.add(self.fired, summary.positive > 0)
        groups.add(self.total_abs, summary.absolute / some)
        if summary.nonfinite is not None:
            groups.add(self.missing, (counted == 0) & (summary.positions > 0)[:, None])
        if self.edges:
            bins = self._bins(summary, summary.shift + summary.total / some)
            cell = (groups.labels[:, None] * (len(self.edges) + 1) + bins) * summary.neurons
            cell += np.arange(summary.neurons)
            np.add.at(self.joint.reshape(-1), cell[counted > 0], 1)

    def _bins(self, summary: Summary, mean: Floats) -> Counts:
        """Bin of each sample's mean activation, [G, C]; round-off neither wakes nor silences a sample."""
        mean = np.maximum(np.minimum(mean, summary.max), summary.min)
        if self.config["nonnegative"]:
            mean = np.maximum(mean, np.where(summary.max > 0, np.finfo(np.float64).tiny, 0.0))
        return np.searchsorted(self.edges, mean, side="left")

    def measure(self, names: tuple[str, ...]) -> LabelMeasurements:
        """The counts as `lifecycle` reads them; `names` are the labels' names by code."""
        present = self.samples[:, None] - self.missing
        if self.edges:
            response, joint = "binned mean activation", self.joint
        else:
            response = "fired in the sample" if self.config["per_sample"] else "z > 0"
            joint = np.stack([np.maximum(present - self.fired, 0), self.fired], axis=1)
        mean = np.where(present > 0, self.total_abs / np.maximum(present, 1), np.nan)
        return LabelMeasurements(names, self.samples, response, self.edges, joint, mean, self.fired)


class _Groups:
    """The groups of one batch gathered by label, so that one addition serves the groups that share one."""

    def __init__(self, labels: Counts) -> None:
        self.labels = labels
        self._distinct = len(labels) == 1 or bool((labels[1:] > labels[:-1]).all())
        if not self._distinct:
            self._order = np.argsort(labels, kind="stable")
            ordered = labels[self._order]
            self._first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
            self._each = ordered[self._first]

    def add(self, target: Array, values: Array) -> None:
        """target[label of g] += values[g] for every group g; `target` [labels, …], `values` [G, …]."""
        if self._distinct:
            target[self.labels] += values
            return
        dtype = target.dtype
        target[self._each] += np.add.reduceat(values[self._order], self._first, axis=0, dtype=dtype)
