"""All statistics of one site on one split of the data: what the replay feeds and a recording keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.statistics import effective_rank, histogram
from nla.statistics.base import Accumulator, Array, Field, State
from nla.statistics.configuration import Config, of_today, parts
from nla.statistics.firing import Firing
from nla.statistics.gram import Gram
from nla.statistics.histogram import Histogram
from nla.statistics.inputs import InputMean
from nla.statistics.labels import Labels
from nla.statistics.measurements import Histogram as HistogramMeasurement
from nla.statistics.measurements import SiteMeasurements
from nla.statistics.moments import Moments
from nla.statistics.pre import Pre
from nla.statistics.rows import NOTHING_KEPT, RowSample
from nla.statistics.sample_moments import SampleMoments, lifetime_sparseness
from nla.statistics.summary import Observation, Thresholds


class SiteStatistics:
    """The accumulators of one site, updated together and merged with those of other shards."""

    def __init__(
        self,
        neurons: int,
        *,
        thresholds: Thresholds,
        labels: int = 0,
        exact_rank: bool = False,
        exact_histogram: bool = False,
        per_sample: bool | None = None,
    ) -> None:
        """Starts empty. `labels` is their number; `per_sample` may wait (None) for the first batch.

        Raises:
            UsageError: too many neurons for the exact rank, or too many labels × neurons.
        """
        self._build(
            {
                "neurons": neurons,
                "labels": labels,
                "low": thresholds.low is not None,
                "high": thresholds.high is not None,
                "nonnegative": thresholds.nonnegative,
                "exact_rank": exact_rank,
                "exact_histogram": exact_histogram,
                "per_sample": per_sample,
                "pre": False,
                "pre_share": False,
                "inputs": 0,
            }
        )

    def _build(self, config: Config) -> None:
        self._config = config
        self._parts: dict[str, Accumulator[Any]] = {
            name: kind(**options) for name, (kind, options) in parts(config).items()
        }

    @property
    def config(self) -> Config:
        """Plain values from which, with the state, the statistics are built again."""
        return dict(self._config)

    @property
    def per_sample(self) -> bool | None:
        """True where a sample has several positions; None before the first batch."""
        known: bool | None = self._config["per_sample"]
        return known

    @property
    def row_threshold(self) -> np.uint64:
        """Rows whose key is not below this need not be gathered."""
        return self._rows.threshold

    @property
    def pre_row_threshold(self) -> np.uint64:
        """The same for the rows of z that `update_pre` takes."""
        return self._pre.rows.threshold if self._config["pre"] else NOTHING_KEPT

    @property
    def samples(self) -> int:
        """Samples seen, those left out of it that are all padding."""
        return self._firing.samples

    @property
    def extremes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Least and largest activation of each neuron, [neurons]; +inf and -inf where nothing was counted."""
        return self._moments.min, self._moments.max

    def update(self, observation: Observation, full: Array | None = None) -> None:
        """Adds one batch; `full` [R, neurons] is every counted row, for the exact rank or histogram.

        Raises:
            ValueError: `full` is missing, or samples have one position in one batch and several in another.
        """
        self._extend(per_sample=observation.summary.per_sample)
        with np.errstate(over="ignore", invalid="ignore"):  # float64 activations near the largest float
            for part in self._parts.values():
                if isinstance(part, Gram | Histogram):
                    if full is None:
                        raise ValueError(f"{part.name} needs every row of the batch")
                    part.update(full)
                elif not isinstance(part, Pre | InputMean):
                    part.update(observation)

    def update_pre(self, observation: Observation, *, share: bool = False) -> None:
        """Adds z of one batch: summary and rows are z's, over the same counted positions as a's.

        `share` says that z is observed on the fixed share of the samples only, whose keys come first (`rows.ranked`).
        """
        self._extend(pre=True, pre_share=share or self._config["pre_share"])
        with np.errstate(over="ignore", invalid="ignore"):
            self._pre.update(observation)

    def update_inputs(self, observation: Observation) -> None:
        """Adds one batch of what the site's producer reads: summary [G, input channels] is the inputs'."""
        self._extend(inputs=observation.summary.neurons)
        with np.errstate(over="ignore", invalid="ignore"):
            self._inputs.update(observation)

    def take_inputs(self, before: SiteStatistics) -> None:
        """The producer reads the neurons of `before`, all and in their order: its means are those of the inputs."""
        moments = before._moments
        self._extend(inputs=len(moments.count))
        with np.errstate(over="ignore", invalid="ignore"):
            self._inputs.take(moments.count, moments.mean)

    def merge(self, other: SiteStatistics) -> None:
        """Adds all that `other` has seen.

        What only one of two shards observed, both of which have samples, is not known of all samples: rows of z
        then come down to those of the share that every shard draws, and means of inputs are dropped.

        Raises:
            ValueError: another site's, or gathered with other settings.
        """
        fixed = self._config.keys() - {"per_sample", "pre", "pre_share", "inputs"}
        if any(other._config[key] != self._config[key] for key in fixed):
            raise ValueError(f"statistics of another kind: {other._config}, expected {self._config}")
        inputs = self._joint_inputs(other)
        self._extend(**self._joint_pre(other))
        if other.per_sample is not None:
            self._extend(per_sample=other.per_sample)
        if inputs:
            self._extend(inputs=inputs)
        else:
            self._config["inputs"] = 0
            self._parts.pop(InputMean.name, None)
        with np.errstate(over="ignore", invalid="ignore"):
            for name, part in other._parts.items():
                if isinstance(part, Pre) and part.config != self._pre.config:
                    self._pre.merge(part.of_share())
                elif name in self._parts:  # else they are inputs that were dropped
                    self._parts[name].merge(part)

    def _joint_pre(self, other: SiteStatistics) -> dict[str, bool]:
        """How z is known of both together."""
        ours, theirs = self._config, other._config
        one_only = ours["pre"] != theirs["pre"] and bool(self.samples and other.samples)
        pre = ours["pre"] or theirs["pre"]
        return {"pre": pre, "pre_share": pre and (ours["pre_share"] or theirs["pre_share"] or one_only)}

    def _joint_inputs(self, other: SiteStatistics) -> int:
        """Input channels whose means are known of both together; 0 where they are not."""
        ours, theirs = self._config["inputs"], other._config["inputs"]
        if ours and theirs and ours != theirs:
            raise ValueError(f"means of {ours} inputs and of {theirs}")
        known: int = ours or theirs
        lacking = (not ours and self.samples) or (not theirs and other.samples)
        return 0 if lacking else known

    def copy(self) -> SiteStatistics:
        """The same statistics, to be updated apart."""
        return self.from_state(self.state(), self._config)

    def state(self) -> State:
        """Every accumulator's state, the arrays named `accumulator.field`."""
        return {
            f"{name}.{field}": array
            for name, part in self._parts.items()
            for field, array in part.state().items()
        }

    @staticmethod
    def layout(config: Mapping[str, Any]) -> dict[str, Field]:
        """Names, types and shapes of the arrays of `state` for that configuration; takes no memory."""
        return {
            f"{name}.{field}": spec
            for name, (kind, options) in parts(config).items()
            for field, spec in kind.layout(**options).items()
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Array], config: Mapping[str, Any]) -> SiteStatistics:
        """The inverse of `state` and `config`.

        Raises:
            ValueError: the arrays are not those of the configuration.
        """
        if state.keys() != cls.layout(config).keys():
            raise ValueError(f"arrays {sorted(state)}, expected {sorted(cls.layout(config))}")
        state, config = of_today(state, config)
        made = cls.__new__(cls)
        made._config, made._parts = dict(config), {}
        for name, (kind, options) in parts(config).items():
            fields = {field: state[f"{name}.{field}"] for field in kind.layout(**options)}
            made._parts[name] = kind.from_state(fields, **options)
        return made

    def measure(
        self,
        label_names: tuple[str, ...] = (),
        *,
        silent_samples: int = 0,
        killed_samples: int = 0,
        notes: tuple[str, ...] = (),
        ranks: bool = True,
    ) -> SiteMeasurements:
        """Everything read out, as `lifecycle` takes it; the two sample counts come from `Liveness`.

        Without `ranks` the effective rank is not computed, NaN of 0 rows: it costs more than all the rest.
        """
        firing, moments = self._firing, self._moments
        rank, rank_rows = self._effective_rank() if ranks else (float("nan"), 0)
        labels = self._parts.get("labels")
        return SiteMeasurements(
            samples=firing.samples,
            positions=firing.positions,
            counted=firing.counted,
            nonfinite=firing.nonfinite,
            positive=firing.positive,
            fired=firing.fired,
            fired_samples=firing.fired_samples,
            mean=moments.where_counted(moments.mean),
            mean_abs=moments.mean_abs,
            std=moments.std,
            min=moments.where_counted(moments.min),
            max=moments.where_counted(moments.max),
            low=firing.low if self._config["low"] else None,
            high=firing.high if self._config["high"] else None,
            lifetime_sparseness=self._sparseness(),
            **self._pre_measurements(),
            effective_rank=rank,
            effective_rank_rows=rank_rows,
            effective_rank_exact=self._config["exact_rank"],
            histogram=self._histogram(),
            silent_samples=silent_samples,
            killed_samples=killed_samples,
            input_mean=self._inputs.mean if self._config["inputs"] else None,
            labels=labels.measure(label_names) if isinstance(labels, Labels) else None,
            notes=notes,
        )

    def _extend(self, **known: bool | int) -> None:
        """Adds the accumulators that depend on what a batch has just told."""
        news = {name: value for name, value in known.items() if self._config[name] != value}
        if not news:
            return
        if "per_sample" in news and self._config["per_sample"] is not None:
            raise ValueError("samples have one position in one batch and several in another")
        if "inputs" in news and self._config["inputs"]:
            raise ValueError("another number of inputs in one batch than in another")
        config = {**self._config, **news}
        if "pre_share" in news and self._config["pre"]:
            self._parts[Pre.name] = self._pre.of_share()
        for name, (kind, options) in parts(config).items():
            if name not in self._parts:
                self._parts[name] = kind(**options)
        self._config.update(news)  # last: other threads read `row_threshold` by what the configuration says

    def _sparseness(self) -> NDArray[np.float64]:
        samples = self._parts.get("sample_moments")
        if isinstance(samples, SampleMoments):
            return lifetime_sparseness(samples.count, samples.total, samples.total_sq)
        moments = self._moments
        with np.errstate(over="ignore", invalid="ignore"):
            return lifetime_sparseness(moments.count, moments.total_abs, moments.total_sq)

    def _effective_rank(self) -> tuple[float, int]:
        gram = self._parts.get("gram")
        if isinstance(gram, Gram):
            return (effective_rank.rank_of_gram(gram.gram) if gram.rows else float("nan")), gram.rows
        return effective_rank.rank_of_rows(self._rows.values())

    def _histogram(self) -> HistogramMeasurement:
        exact = self._parts.get("histogram")
        given = isinstance(exact, Histogram)
        counts = exact.counts if isinstance(exact, Histogram) else histogram.bin_counts(self._rows.values())
        return HistogramMeasurement(histogram.EDGES, counts, int(counts.sum()), given)

    def _pre_measurements(self) -> dict[str, Any]:
        """Numbers of z, NaN for neurons whose z was not observed throughout."""
        unknown = np.full(self._config["neurons"], np.nan)
        if not self._config["pre"]:
            names = ("pre_max", "pre_mean", "pre_std")
            return {**dict.fromkeys(names, unknown), "pre_histogram": None, "pre_rows": None}
        pre = self._pre
        holds = pre.holds(self._firing.positions, self._firing.counted)
        every, share = pre.sampled(self._firing.positions)
        counts = histogram.bin_counts(share)
        return {
            "pre_max": np.where(holds, pre.moments.max, unknown),
            "pre_mean": np.where(holds, pre.moments.mean, unknown),
            "pre_std": np.where(holds, pre.moments.std, unknown),
            "pre_histogram": HistogramMeasurement(histogram.EDGES, counts, int(counts.sum()), False),
            "pre_rows": every,
        }

    @property
    def _firing(self) -> Firing:
        part = self._parts["firing"]
        assert isinstance(part, Firing)
        return part

    @property
    def _moments(self) -> Moments:
        part = self._parts["moments"]
        assert isinstance(part, Moments)
        return part

    @property
    def _rows(self) -> RowSample:
        part = self._parts["rows"]
        assert isinstance(part, RowSample)
        return part

    @property
    def _pre(self) -> Pre:
        part = self._parts["pre"]
        assert isinstance(part, Pre)
        return part

    @property
    def _inputs(self) -> InputMean:
        part = self._parts["inputs"]
        assert isinstance(part, InputMean)
        return part
