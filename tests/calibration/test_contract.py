"""One contract for every reader: the same arrays give the same feeds, digest, parts and account."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import formats as writers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nla.calibration import Calibration, CalibrationOptions, open_calibration
from nla.errors import DataError
from nla.site import Input

N = 23
IMAGES = Input("images", "float32", ("batch", 3, 4))
STATE = Input("state", "int64", ("batch", 2))


def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "images": random.standard_normal((N, 3, 4)).astype(np.float32),
        "state": random.integers(-5, 5, (N, 2)),
        "y": random.integers(0, 3, N),
    }


def opened(write: writers.Writer, folder: Path, **options: object) -> Calibration:
    return open_calibration(write(folder, arrays()), (IMAGES, STATE), CalibrationOptions(**options))


every_format = pytest.mark.parametrize("write", writers.NAMED, ids=lambda w: w.__name__)


@every_format
def test_feeds_are_the_arrays_bit_for_bit(write: writers.Writer, tmp_path: Path) -> None:
    calibration = opened(write, tmp_path)
    assert calibration.samples == N
    assert calibration.data_inputs == ("images", "state")
    for where in (np.arange(N), np.array([4]), np.arange(3, 9), np.array([20, 1, 1, 7]), np.arange(0, N, 5)):
        fed = calibration.feeds(where)
        for name in ("images", "state"):
            np.testing.assert_array_equal(fed[name], arrays()[name][where])
            assert fed[name].flags.c_contiguous
            assert fed[name].dtype == arrays()[name].dtype


@every_format
def test_labels_lie_in_the_array_named_y(write: writers.Writer, tmp_path: Path) -> None:
    labels = opened(write, tmp_path).labels
    assert labels is not None
    np.testing.assert_array_equal(labels.codes, arrays()["y"])
    assert labels.names == ("0", "1", "2")


@every_format
def test_digest_depends_on_the_values_and_not_on_the_format(write: writers.Writer, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    expected = opened(writers.in_memory, tmp_path).digest
    assert opened(write, tmp_path).digest == expected
    changed = arrays()
    changed["images"][N - 1, 2, 3] += 1
    other = open_calibration(write(tmp_path / "other", changed), (IMAGES, STATE), CalibrationOptions())
    assert other.digest != expected


@every_format
def test_two_threads_read_what_one_reads(write: writers.Writer, tmp_path: Path) -> None:
    calibration, expected, wrong = opened(write, tmp_path), arrays()["images"], []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(30):
            where = random.integers(0, N, 5)
            if not np.array_equal(calibration.feeds(where)["images"], expected[where]):
                wrong.append(where)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@every_format
def test_describe_says_what_was_read(write: writers.Writer, tmp_path: Path) -> None:
    described = opened(write, tmp_path).describe()
    assert described["samples"] == N
    assert described["synthetic"] is False
    assert described["labels"]["names"] == ["0", "1", "2"]
    assert {"input": "state", "array": "state", "dtype": "int64", "shape": [N, 2]} in described["arrays"]
    assert any("'y' is taken as labels" in sentence for sentence in described["account"])


def test_npy_feeds_the_only_input_whatever_its_name(tmp_path: Path) -> None:
    calibration = open_calibration(writers.npy(tmp_path, arrays()["images"]), [IMAGES], CalibrationOptions())
    np.testing.assert_array_equal(calibration.feeds(np.arange(N))["images"], arrays()["images"])
    by_name = open_calibration({"images": arrays()["images"]}, [IMAGES], CalibrationOptions())
    assert calibration.digest == by_name.digest


def test_fortran_order_npy_equals_c_order(tmp_path: Path) -> None:
    path = writers.npy(tmp_path, np.asfortranarray(arrays()["images"]))
    fed = open_calibration(path, [IMAGES], CalibrationOptions()).feeds(np.array([22, 3]))
    np.testing.assert_array_equal(fed["images"], arrays()["images"][[22, 3]])


@every_format
@pytest.mark.parametrize("n", [1, 2, 5])
def test_shards_partition_the_samples(write: writers.Writer, n: int, tmp_path: Path) -> None:
    whole = opened(write, tmp_path)
    shards = [whole.shard(k, n) for k in range(1, n + 1)]
    assert sorted(np.concatenate([s.indices for s in shards]).tolist()) == list(range(N))
    for k, shard in enumerate(shards, 1):
        assert set(shard.indices % n) == {k - 1}
        np.testing.assert_array_equal(
            shard.feeds(np.arange(shard.samples))["images"], arrays()["images"][shard.indices]
        )
        assert shard.labels is not None
        np.testing.assert_array_equal(shard.labels.codes, arrays()["y"][shard.indices])
        assert shard.digest == whole.digest


@every_format
def test_limit_keeps_the_first_samples(write: writers.Writer, tmp_path: Path) -> None:
    limited = opened(write, tmp_path, limit=6)
    assert limited.indices.tolist() == [0, 1, 2, 3, 4, 5]
    first = {name: value[:6] for name, value in arrays().items()}
    assert limited.digest == open_calibration(first, (IMAGES, STATE), CalibrationOptions()).digest


@given(
    samples=st.integers(1, 200),
    limit=st.none() | st.integers(1, 250),
    parts=st.integers(1, 7),
    held_out=st.floats(0.05, 0.6),
)
@settings(deadline=None, max_examples=60)
def test_limit_shards_and_split_partition_exactly(
    samples: int, limit: int | None, parts: int, held_out: float
) -> None:
    data = np.arange(samples, dtype=np.float32).reshape(samples, 1)
    options = CalibrationOptions(limit=limit)
    whole = open_calibration(data, [Input("x", "float32", (None, 1))], options)
    kept = min(samples, limit or samples)
    held_everywhere: set[int] = set()
    seen: list[int] = []
    for k in range(1, min(parts, kept) + 1):
        shard = whole.shard(k, parts)
        try:
            main, held = shard.split(held_out)
        except DataError:  # too few samples for this share: refused, as test_split says
            return
        assert not set(main.indices) & set(held.indices)
        seen += [*main.indices.tolist(), *held.indices.tolist()]
        held_everywhere |= set(held.indices.tolist())
    assert sorted(seen) == list(range(kept))
    assert held_everywhere == set(whole.split(held_out)[1].indices.tolist())


@given(rows=st.lists(st.integers(0, N - 1), max_size=12))
@settings(deadline=None, max_examples=60)
def test_any_rows_in_any_order_are_those_rows(rows: list[int]) -> None:
    where = np.array(rows, dtype=np.int64)
    with tempfile.TemporaryDirectory() as folder:
        for write in (writers.npz, writers.hdf5_chunked, writers.safetensors):
            fed = opened(write, Path(folder)).feeds(where)
            np.testing.assert_array_equal(fed["images"], arrays()["images"][where])
