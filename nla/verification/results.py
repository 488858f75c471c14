"""Typed results of a verification. Gathered by the replay of both models, judged here, rendered by `report`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class OutputResult:
    """How one output of the edited model differs from the original's, over one split of the data."""

    name: str
    dtype: str
    values: int
    """Numbers compared."""
    largest_value: float
    """Largest |value| of the original; 0 for an output without numbers."""
    largest_absolute: float
    """Largest |edited - original|; infinite where a shape, a text, or the place of a NaN or infinity differs."""
    tolerance: float
    """Of one value: it may move by so much times max(1, its own absolute value)."""
    within: int
    """Values that moved by no more than the tolerance."""
    unchanged: bool
    """Nothing moved by more than the tolerance times max(1, `largest_value`)."""
    samples_changed: int | None
    """Samples with a value that moved by more than that; None where the samples cannot be told apart."""
    top1: float | None
    """Share of positions whose largest entry along the last axis is the same; None where these are no classes."""
    nonfinite: int = 0
    """Values of the original that are NaN or infinite: where both models have the same one, it counts as unmoved."""

    @property
    def largest_relative(self) -> float:
        """`largest_absolute` as a share of `largest_value`."""
        if self.largest_absolute == 0:
            return 0.0
        return self.largest_absolute / self.largest_value if self.largest_value else float("inf")

    @property
    def within_share(self) -> float:
        """Share of the values within the tolerance; 1 where there are none."""
        return self.within / self.values if self.values else 1.0


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy against labels, for one output of class scores."""

    output: str
    samples: int
    before: int
    """Samples that the original classifies as labelled."""
    after: int


@dataclass(frozen=True)
class SplitComparison:
    """Both models on one split of the data."""

    samples: int
    left_out: int
    """Samples left out because their input holds NaN or infinity."""
    outputs: tuple[OutputResult, ...]
    accuracy: Accuracy | None = None

    @property
    def unchanged(self) -> bool:
        """No output moved by more than its tolerance."""
        return all(output.unchanged for output in self.outputs)


@dataclass(frozen=True)
class Size:
    """What a checkpoint takes."""

    parameters: int
    bytes: int
    """Of the file and its external data."""
    multiply_adds: int | None
    """Of one sample; None where the size of an operator is not known before a run."""


@dataclass(frozen=True)
class Latency:
    """Time of a run, one thread, original and edited in turn."""

    batch: int
    pairs: int
    before_ms: float
    """Median over the runs."""
    after_ms: float
    ratio: float
    """Median over the pairs of edited / original: below 1 is faster."""


@dataclass(frozen=True)
class SiteChange:
    """One site before and after. Units are compared one by one where it is known which of them left."""

    site: str
    neurons_before: int
    neurons_after: int
    """0 where the edited model has no such site."""
    removed: int | None
    """Units that the manifest took out; None where the widths differ and no manifest says how."""
    counts_before: Mapping[str, int]
    counts_after: Mapping[str, int]
    revived: int | None
    """Units that stayed, were dead and are not; None where units cannot be matched."""
    died: int | None

    @property
    def matched(self) -> bool:
        """Whether every unit is accounted for."""
        return self.revived is not None


@dataclass(frozen=True)
class Promise:
    """What an action promised against what happened."""

    action: str
    """Its id; empty for the promise of an edit without a manifest."""
    kind: str
    site: str
    units: int
    """Units that it was carried out on."""
    promised: str
    happened: str
    kept: bool | None
    """None: measured and told, and no promise that could be broken."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """The numbers behind `happened`, by name."""


@dataclass(frozen=True)
class Verification:
    """The result of `nla.verify`."""

    before: Mapping[str, Any]
    """The original: path, format, digest, bytes, …"""
    after: Mapping[str, Any]
    data: Mapping[str, Any]
    manifest: Mapping[str, Any] | None
    """Digest and policy of the manifest that the promises are of; None where none was given."""
    tolerance: float
    splits: Mapping[str, SplitComparison]
    """`calibration`, and `held_out` where samples were held out."""
    states: tuple[SiteChange, ...]
    promises: tuple[Promise, ...]
    size_before: Size
    size_after: Size
    latencies: tuple[Latency, ...]
    criteria: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """No promise is broken."""
        return all(promise.kept is not False for promise in self.promises)


def plain_split(split: SplitComparison) -> dict[str, Any]:
    """Plain values for JSON: what travels from the process that replays; the inverse is `split_from_plain`."""
    return {
        "samples": split.samples,
        "left_out": split.left_out,
        "outputs": [{f.name: getattr(output, f.name) for f in fields(output)} for output in split.outputs],
        "accuracy": None if split.accuracy is None else dict(vars(split.accuracy)),
    }


def split_from_plain(plain: Mapping[str, Any]) -> SplitComparison:
    """The inverse of `plain_split`."""
    accuracy = plain["accuracy"]
    return SplitComparison(
        plain["samples"],
        plain["left_out"],
        tuple(OutputResult(**output) for output in plain["outputs"]),
        None if accuracy is None else Accuracy(**accuracy),
    )
