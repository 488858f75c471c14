"""The replay gives the numbers of the whole data, whatever the batch size and the number of workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from nla.errors import ModelError
from nla.replay import kernels, reading
from nla.replay.engine import replay
from nla.replay.masks import lay_mask
from nla.replay.reading import ChunkResult, Reader, SiteReading
from nla.replay.taps import Taps
from nla.replay.views import Layout
from nla.statistics.site import SiteStatistics
from nla.statistics.summary import Thresholds

SAMPLES, TOKENS, NEURONS, LABELS = 53, 6, 5, 3
RNG = np.random.default_rng(0)
Z = RNG.normal(size=(SAMPLES, TOKENS, NEURONS)).astype(np.float32)
Z[..., 1] = -1.0  # dead
Z[7] = -2.0  # a sample that is killed
LABEL_CODES = RNG.integers(0, LABELS, SAMPLES)
MASK = np.arange(TOKENS)[None, :] < RNG.integers(0, TOKENS + 1, SAMPLES)[:, None]
RELU = SiteReading(Thresholds(nonnegative=True), reads_pre=False, counts_alive=True)


class Model:
    """A session that gives the ReLU of its input, all tokens and the first one; it fails on demand."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.largest_batch = 0

    def run(self, names: Sequence[str], feeds: Mapping[str, Any]) -> list[np.ndarray]:
        if self.fails:
            raise ModelError("an operator failed")
        z = feeds["z"]
        self.largest_batch = max(self.largest_batch, len(z))
        values = {"tokens": np.maximum(z, 0), "first": np.maximum(z[:, 0], 0), "z": z}
        return [values[name] for name in names]


class Samples:
    """Calibration data over an array."""

    batchable = True
    data_inputs = ("z",)

    def __init__(self, z: np.ndarray = Z, mask: np.ndarray | None = None) -> None:
        self._z, self._mask = z, mask
        self.indices = np.arange(len(z))

    @property
    def samples(self) -> int:
        return len(self._z)

    def feeds(self, where: np.ndarray) -> dict[str, np.ndarray]:
        return {"z": self._z[where]}

    def finite(self, feeds: Mapping[str, Any], samples: int) -> np.ndarray:
        return np.isfinite(feeds["z"]).all(axis=(1, 2))

    def mask(self, where: np.ndarray) -> np.ndarray | None:
        return None if self._mask is None else self._mask[where]


def replayed(
    data: Samples,
    *,
    batch: int = 4,
    chunk: int = 8,
    workers: int = 1,
    labels: bool = False,
    model: Model | None = None,
) -> tuple[list[SiteStatistics], list[ChunkResult]]:
    layouts = (Layout(NEURONS, (-1,), per_sample=True), Layout(NEURONS, (-1,)))
    taps = Taps(model or Model(), ("tokens", "first"), layouts, {})  # type: ignore[arg-type]
    sites = [
        SiteStatistics(NEURONS, thresholds=RELU.thresholds, labels=LABELS if labels else 0, per_sample=p)
        for p in (True, False)
    ]
    reader = Reader(
        taps,
        data,
        [RELU, RELU],
        kernels.load("numpy"),
        batch_size=batch,
        labels=LABEL_CODES if labels else None,
        row_threshold=lambda k: sites[k].row_threshold,
    )
    chunks: list[ChunkResult] = []

    def commit(result: ChunkResult) -> None:
        for site, observation in zip(sites, result.observations, strict=False):
            site.update(observation)
        chunks.append(result)

    replay(reader, data.samples, chunk, workers, commit, lambda done, total: None)
    return sites, chunks


@pytest.mark.parametrize("batch", [1, 4, 100])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("labels", [False, True])
def test_numbers_are_those_of_the_whole_data(batch: int, workers: int, labels: bool) -> None:
    (tokens, first), chunks = replayed(Samples(), batch=batch, workers=workers, labels=labels)
    names = ("a", "b", "c") if labels else ()
    for site, z in ((tokens, Z), (first, Z[:, :1])):
        seen, a = site.measure(names), np.maximum(z, 0).astype(np.float64)
        assert (seen.samples, seen.positions) == (SAMPLES, z.shape[0] * z.shape[1])
        assert np.array_equal(seen.positive, (z > 0).sum(axis=(0, 1)))
        assert np.array_equal(seen.fired_samples, (z > 0).any(axis=1).sum(axis=0))
        assert np.allclose(seen.mean, a.mean(axis=(0, 1)), rtol=1e-6, atol=1e-9)
        assert np.allclose(seen.std, a.std(axis=(0, 1)), rtol=1e-6, atol=1e-9)
        if labels:
            assert seen.labels is not None
            fired = (z > 0).any(axis=1)
            expected = np.stack([fired[k == LABEL_CODES].sum(axis=0) for k in range(LABELS)])
            assert np.array_equal(seen.labels.fired_by_label, expected)
    alive = np.concatenate([c.alive for c in chunks], axis=1)
    assert (~alive[0]).sum() == (~(Z > 0).any(axis=(1, 2))).sum()
    assert (~alive[1]).sum() == (~(Z[:, 0] > 0).any(axis=1)).sum()


@pytest.mark.parametrize("rows", [1, 6, 1000])
def test_it_matters_not_how_many_rows_of_one_position_are_summed_at_once(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(reading, "_ROWS_AT_ONCE", rows)
    (_, first), chunks = replayed(Samples(), batch=4, chunk=40, labels=True)
    seen, z = first.measure(("a", "b", "c")), Z[:, 0]
    assert np.array_equal(seen.positive, (z > 0).sum(axis=0))
    assert np.allclose(seen.std, np.maximum(z, 0).std(axis=0, dtype=np.float64), rtol=1e-6, atol=1e-9)
    assert seen.labels is not None
    expected = np.stack([(z > 0)[k == LABEL_CODES].sum(axis=0) for k in range(LABELS)])
    assert np.array_equal(seen.labels.fired_by_label, expected)
    order = np.concatenate([c.observations[1].samples for c in chunks])
    alive = np.concatenate([c.alive[1] for c in chunks])
    assert np.array_equal(alive, (z[order] > 0).any(axis=1))


def test_the_number_of_workers_changes_no_bit() -> None:
    one, many = (replayed(Samples(), workers=workers)[0] for workers in (1, 4))
    for a, b in zip(one, many, strict=True):
        assert all(np.array_equal(a.state()[key], b.state()[key]) for key in a.state())


def test_padding_is_not_counted() -> None:
    (tokens, first), chunks = replayed(Samples(mask=MASK))
    seen = tokens.measure()
    assert seen.positions == MASK.sum()
    assert np.array_equal(seen.positive, (Z[MASK] > 0).sum(axis=0))
    assert np.allclose(seen.mean, np.maximum(Z[MASK], 0).mean(axis=0, dtype=np.float64), rtol=1e-6)
    assert first.measure().positions == SAMPLES
    assert not any(c.unmasked for c in chunks)
    kept = {row.tobytes() for row in np.maximum(Z[MASK], 0)}
    drawn = np.concatenate([c.observations[0].rows for c in chunks])
    assert len(drawn) == MASK.sum()
    assert all(row.tobytes() in kept for row in drawn)


def test_a_mask_of_another_shape_is_told() -> None:
    _, chunks = replayed(Samples(mask=np.ones((SAMPLES, TOKENS + 1), bool)))
    assert all(c.unmasked == frozenset({0}) for c in chunks)


def test_samples_with_nan_are_left_out_and_counted() -> None:
    z = Z.copy()
    z[[3, 20], 2, 2] = np.nan, np.inf
    (tokens, _), chunks = replayed(Samples(z))
    keep = np.setdiff1d(np.arange(SAMPLES), [3, 20])
    assert sum(c.left_out for c in chunks) == 2
    assert np.array_equal(tokens.measure().positive, (Z[keep] > 0).sum(axis=(0, 1)))
    everything = np.full_like(Z[:3], np.nan)
    sites, chunks = replayed(Samples(everything))
    assert sum(c.left_out for c in chunks) == 3
    assert sites[0].measure().samples == 0


def test_a_fault_in_a_worker_reaches_the_caller() -> None:
    for workers in (1, 3):
        with pytest.raises(ModelError, match="an operator failed"):
            replayed(Samples(), workers=workers, model=Model(fails=True))


def test_batches_are_no_larger_than_asked() -> None:
    model = Model()
    replayed(Samples(), batch=3, chunk=8, model=model)
    assert model.largest_batch == 3


def test_a_mask_over_tokens_is_repeated_over_the_other_axes() -> None:
    mask = np.array([[True, False, True]])
    assert lay_mask(mask, (3, 2)).tolist() == [[True, True, False, False, True, True]]  # type: ignore[union-attr]
    assert lay_mask(mask, (2, 3)).tolist() == [[True, False, True, True, False, True]]  # type: ignore[union-attr]
    assert lay_mask(mask, (4, 4)) is None
