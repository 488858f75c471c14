"""Observations made from whole arrays by plain NumPy: what a kernel and the replay would hand over."""

from __future__ import annotations

import numpy as np

from nla.statistics import rows
from nla.statistics.summary import Observation, Summary, Thresholds

THRESHOLDS = Thresholds(positive=0.0, fired=1e-3, low=-1.0, high=2.0)


def observe(a, samples, labels=None, valid=None, thresholds=THRESHOLDS, first=None):
    """The observation of activations [S, P, C]; a sample of one position goes into a run of its label's.

    `first` says which samples' rows come before all others.
    """
    count, positions, _ = a.shape
    valid = np.ones((count, positions), bool) if valid is None else valid
    per_sample = positions > 1
    groups = [[s] for s in range(count)] if per_sample else _runs(count, labels)
    members = [a[group][valid[group]] for group in groups]
    within, keys = rows.draw(samples, valid.sum(axis=1))
    keys = keys if first is None else rows.ranked(keys, first(samples)[:, None])
    sample, slot = np.nonzero(within >= 0)
    drawn = [a[s, np.flatnonzero(valid[s])[within[s, k]]] for s, k in zip(sample, slot, strict=True)]
    return Observation(
        summary=summarise(members, a.shape[2], per_sample, thresholds),
        samples=samples,
        group_samples=np.array([len(group) for group in groups], np.int64),
        group_labels=None if labels is None else np.array([labels[group[0]] for group in groups], np.int64),
        rows=np.array(drawn, np.float32).reshape(-1, a.shape[2]),
        row_keys=keys[sample, slot],
    )


def summarise(members, neurons, per_sample, thresholds):
    """A Summary of groups, each [positions, C], about the first finite value of every neuron."""
    every = np.concatenate([*members, np.zeros((0, neurons))])
    finite = np.isfinite(every)
    shift = np.array([every[finite[:, c], c][0] if finite[:, c].any() else 0.0 for c in range(neurons)])

    def count(test):
        return np.array([(np.isfinite(m) & test(m)).sum(axis=0) for m in members], np.int64).reshape(
            -1, neurons
        )

    def total(value, empty=np.zeros, reduce=np.sum):
        parts = [
            reduce(np.where(np.isfinite(m), value(m), empty(neurons)), axis=0, initial=empty(1)[0])
            for m in members
        ]
        return np.array(parts, np.float64).reshape(-1, neurons)

    with np.errstate(invalid="ignore"):
        return Summary(
            per_sample=per_sample,
            positions=np.array([len(m) for m in members], np.int64),
            positive=count(lambda m: m > thresholds.positive),
            fired=count(lambda m: np.abs(m) > thresholds.fired),
            low=None if thresholds.low is None else count(lambda m: m <= thresholds.low),
            high=None if thresholds.high is None else count(lambda m: m >= thresholds.high),
            nonfinite=None
            if finite.all()
            else np.array([(~np.isfinite(m)).sum(axis=0) for m in members], np.int64),
            shift=shift,
            total=total(lambda m: m - shift),
            total_sq=total(lambda m: (m - shift) ** 2),
            total_abs=None if thresholds.nonnegative else total(np.abs),
            min=total(lambda m: m, lambda n: np.full(n, np.inf), np.min),
            max=total(lambda m: m, lambda n: np.full(n, -np.inf), np.max),
        )


def _runs(count, labels):
    """Runs of neighbours that share a label."""
    runs = []
    for s in range(count):
        if runs and (labels is None or labels[s] == labels[runs[-1][-1]]):
            runs[-1].append(s)
        else:
            runs.append([s])
    return runs
