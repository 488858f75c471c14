"""What one fused pass over one tensor leaves: the only thing that accumulators see of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Thresholds:
    """The comparisons that the fused pass counts, all on the activation a, all strict as written.

    `positive`: a > positive counts as z > 0. `fired`: |a| > fired. `low`: a <= low lies on φ's lower plateau, `high`:
    a >= high on its upper one; None where φ has no such plateau that counts as saturation.
    `nonnegative` promises a >= 0 everywhere, which lets a kernel skip |a|.
    """

    positive: float = 0.0
    fired: float = 1e-3
    low: float | None = None
    high: float | None = None
    nonnegative: bool = False


@dataclass(frozen=True)
class Summary:
    """Sums over the counted positions of one batch at one site: a row per group, a column per neuron.

    A group is one sample where a sample has several positions (pixels, tokens); where every sample is one position
    (`per_sample` False), a group is a run of samples that share a label, so that small batches stay cheap.
    Non-finite values are left out of every field but `nonfinite`: for neuron c, group g holds
    `positions[g] - nonfinite[g, c]` values.
    """

    per_sample: bool
    positions: NDArray[np.int64]
    """[G] counted positions of each group; may be 0 (a sample that is all padding)."""
    positive: NDArray[np.int64]
    """[G, C]"""
    fired: NDArray[np.int64]
    low: NDArray[np.int64] | None
    high: NDArray[np.int64] | None
    nonfinite: NDArray[np.int64] | None
    """[G, C]; None where every value was finite."""
    shift: NDArray[np.float64]
    """[C] the value about which the totals are taken, so that a large mean does not swallow the variance."""
    total: NDArray[np.float64]
    """[G, C] Σ (a - shift)"""
    total_sq: NDArray[np.float64]
    """[G, C] Σ (a - shift)²"""
    total_abs: NDArray[np.float64] | None
    """[G, C] Σ |a|; None where a >= 0 was promised, so that it is Σ a."""
    min: NDArray[np.float64]
    """[G, C]; +inf where nothing was counted."""
    max: NDArray[np.float64]
    """[G, C]; -inf where nothing was counted."""

    @property
    def neurons(self) -> int:
        """C."""
        return int(self.total.shape[1])

    @property
    def counted(self) -> NDArray[np.int64]:
        """[G, C] finite values behind each sum."""
        full = np.broadcast_to(self.positions[:, None], self.total.shape)
        return full if self.nonfinite is None else full - self.nonfinite

    @property
    def each_counted(self) -> NDArray[np.int64]:
        """`counted`, [G, C], or [G, 1] where it is the same for every neuron: arithmetic is cheaper so."""
        return self.positions[:, None] if self.nonfinite is None else self.counted

    @property
    def absolute(self) -> NDArray[np.float64]:
        """[G, C] Σ |a|."""
        return self.total + self.each_counted * self.shift if self.total_abs is None else self.total_abs


@dataclass(frozen=True)
class Observation:
    """One batch at one site, as accumulators receive it."""

    summary: Summary
    samples: NDArray[np.int64]
    """[S] indices of the samples in the whole calibration set (not in the shard), in the order of the groups."""
    group_samples: NDArray[np.int64]
    """[G] samples in each group, all ones where `summary.per_sample`; sums to S."""
    group_labels: NDArray[np.int64] | None
    """[G] label code of each group; None without labels."""
    rows: NDArray[np.float32]
    """[R, C] activations at the positions that the row sample drew from this batch, R may be 0."""
    row_keys: NDArray[np.uint64]
    """[R] their keys, `statistics.rows.keys(samples, slots)`: smaller is kept."""


def concatenate(summaries: Sequence[Summary]) -> Summary:
    """The groups of several summaries of one site, one behind the other, about the first one's shift."""
    if len(summaries) == 1:
        return summaries[0]
    arrays: dict[str, Any] = {name: _joined(summaries, name) for name in _STACKED}
    if any(summary.nonfinite is not None for summary in summaries):
        zeros = [np.zeros_like(s.positive) if s.nonfinite is None else s.nonfinite for s in summaries]
        arrays["nonfinite"] = np.concatenate(zeros)
    else:
        arrays["nonfinite"] = None
    joint = Summary(per_sample=summaries[0].per_sample, shift=summaries[0].shift, **arrays)
    shifts = np.stack([summary.shift for summary in summaries])
    return about_one_shift(joint, shifts, [len(summary.positions) for summary in summaries])


_STACKED = ("positions", "positive", "fired", "low", "high", "total", "total_sq", "total_abs", "min", "max")


def _joined(summaries: Sequence[Summary], name: str) -> NDArray[Any] | None:
    parts = [getattr(summary, name) for summary in summaries]
    return None if parts[0] is None else np.concatenate(parts)


def about_one_shift(joint: Summary, shifts: NDArray[np.float64], groups: Sequence[int]) -> Summary:
    """`joint`, whose totals are about `shifts` [P, C] of `groups` [P] groups each, with all about the first of them.

    Exact algebra, and stable because all shifts lie in the data.
    """
    steps = shifts - shifts[0]
    if not steps.any():
        return joint
    steps = np.repeat(steps, groups, axis=0)
    moved = joint.each_counted * steps
    total_sq = joint.total_sq + steps * (2.0 * joint.total + moved)
    return replace(joint, shift=shifts[0], total=joint.total + moved, total_sq=total_sq)
