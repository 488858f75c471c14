"""The outputs of two models over the same data, and the time that each takes: one batch in memory at a time.

Both run as their files stand, without nla's rewriting: what is compared is what their users will run.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration import Calibration
from nla.checkpoint.onnx_file import OnnxCheckpoint
from nla.checkpoint.tensors import type_name
from nla.errors import ModelError, UsageError, one_line, printable
from nla.graph.given import ConstantFeed
from nla.replay.session import Runnable
from nla.verification.differences import AccuracyCount, OutputDifferences, class_indices
from nla.verification.results import Latency, SplitComparison

Array = NDArray[Any]
Indices = NDArray[np.int64]
Feeds = dict[str, Array]
Progress = Callable[[int, int], None]

_BATCH_BYTES = 32 << 20
"""What a batch's inputs and outputs may take."""
_LARGEST_BATCH = 256
_AHEAD = 2
"""Batches that may wait, beside those that are run."""
_WARM_UP = 2
_FEWEST_PAIRS, _MOST_PAIRS = 3, 201
_PAIRS_SECONDS = 1.0
"""How long a batch size is timed."""


@dataclass(frozen=True)
class Runner:
    """A model as its file stands, and the constants that its inputs take."""

    path: str
    session: Runnable
    outputs: tuple[str, ...]
    """Those that are tensors."""
    constants: Mapping[str, ConstantFeed | Array] = field(default_factory=dict)

    def run(self, feeds: Feeds, samples: int) -> list[Array]:
        """Every output for these samples. Raises ModelError, which names the file."""
        whole = {
            name: constant.of(samples) if isinstance(constant, ConstantFeed) else constant
            for name, constant in self.constants.items()
        }
        with about(self.path):
            return self.session.run(self.outputs, {**whole, **feeds})


@contextmanager
def about(path: object) -> Iterator[None]:
    """Errors about a model name its file."""
    try:
        yield
    except ModelError as error:
        if printable(path) in str(error):
            raise
        raise ModelError(f"{printable(path)}: {error}") from error


def tensor_outputs(checkpoint: OnnxCheckpoint) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The outputs that are tensors, and those that are not (sequences, maps) and cannot be compared."""
    outputs = checkpoint.proto.graph.output
    tensors = tuple(o.name for o in outputs if o.type.WhichOneof("value") in (None, "tensor_type"))
    return tensors, tuple(o.name for o in outputs if o.name not in tensors)


def check_same_interface(original: OnnxCheckpoint, edited: OnnxCheckpoint) -> None:
    """Refuse two models that are not one and its edit. Raises UsageError: their inputs or outputs differ."""
    for what in ("input", "output"):
        before, after = (_declared(checkpoint, what) for checkpoint in (original, edited))
        if before != after:
            raise UsageError(
                f"{printable(edited.path)}: its {what}s are {_listed(after)}, those of {printable(original.path)} "
                f"are {_listed(before)}; expected a model and an edit of it"
            )


def _declared(checkpoint: OnnxCheckpoint, what: str) -> list[tuple[str, int]]:
    """(name, element type) of each; weights that old files list among the inputs left out."""
    graph = checkpoint.proto.graph
    weights = {tensor.name for tensor in graph.initializer}
    listed = graph.input if what == "input" else graph.output
    return [(v.name, v.type.tensor_type.elem_type) for v in listed if v.name not in weights]


def _listed(values: Sequence[tuple[str, int]]) -> str:
    named = (f"{printable(name)} ({type_name(kind)})" for name, kind in values)
    return one_line(", ".join(named) or "none", 200)


def batch_size(before: Runner, after: Runner, data: Calibration, fixed: bool, wanted: int | None) -> int:
    """Samples of a run: 1 where the file takes one, or where it fails on several.

    `wanted` is an upper bound; the size of the inputs and outputs is another.
    """
    first = np.array([0], np.int64)
    feeds = data.feeds(first)
    outputs = before.run(feeds, 1)
    size = sum(np.asarray(value).nbytes for value in (*feeds.values(), *outputs))
    fits = min(
        _LARGEST_BATCH if wanted is None else wanted, max(1, _BATCH_BYTES // max(size, 1)), data.samples
    )
    if fixed or not data.batchable or fits < 2:
        return 1
    where = np.arange(fits, dtype=np.int64)
    try:
        before.run(data.feeds(where), fits)
    except ModelError:
        return 1
    return int(fits)


class Comparison:
    """The sums of one split: differences of every output, and the accuracy of the first that scores classes."""

    def __init__(self, before: Runner, after: Runner, data: Calibration, tolerance: float) -> None:
        self._before = before
        self._after = after
        self._data = data
        self._labels = data.labels
        self._outputs = [OutputDifferences(name, tolerance) for name in before.outputs]
        self._accuracy: tuple[int, AccuracyCount, Indices] | None = None
        self._left_out = 0

    def run(self, batch: int, workers: int, progress: Progress) -> SplitComparison:
        """Every sample, in batches; the sums do not depend on the number of workers."""
        samples = self._data.samples
        starts = range(0, samples, batch)
        done = 0
        for where, given, values in _in_order(self._read, starts, batch, samples, workers):
            if len(where):
                self._add(where, *values)
            self._left_out += given - len(where)
            done += given
            progress(done, samples)
        return SplitComparison(
            samples - self._left_out,
            self._left_out,
            tuple(output.result() for output in self._outputs),
            None if self._accuracy is None else self._accuracy[1].result(),
        )

    def _read(self, where: Indices) -> tuple[Indices, int, tuple[list[Array], list[Array]]]:
        feeds = self._data.feeds(where)
        good = self._data.finite(feeds, len(where))
        kept = where[good]
        if not len(kept):
            return kept, len(where), ([], [])
        if len(kept) < len(where):
            feeds = self._data.feeds(kept)
        return kept, len(where), (self._before.run(feeds, len(kept)), self._after.run(feeds, len(kept)))

    def _add(self, where: Indices, before: list[Array], after: list[Array]) -> None:
        for output, a, b in zip(self._outputs, before, after, strict=True):
            output.update(a, b, len(where))
        if self._labels is None:
            return
        if self._accuracy is None:
            self._accuracy = self._scored(before)
        if self._accuracy is not None:
            place, count, classes = self._accuracy
            if before[place].shape == after[place].shape:
                count.update(before[place], after[place], classes[where])

    def _scored(self, values: Sequence[Array]) -> tuple[int, AccuracyCount, Indices] | None:
        """The first output [samples, classes] that the labels fit."""
        assert self._labels is not None
        for place, (output, value) in enumerate(zip(self._outputs, values, strict=True)):
            if output.classes is None or value.ndim != 2:
                continue
            classes = class_indices(self._labels.codes, self._labels.names, output.classes)
            if classes is not None:
                return place, AccuracyCount(self._before.outputs[place]), classes
        return None


_Read = tuple[Indices, int, tuple[list[Array], list[Array]]]


def _in_order(
    read: Callable[[Indices], _Read], starts: range, batch: int, samples: int, workers: int
) -> Iterator[_Read]:
    """What `read` gives for each batch, in order, with a few batches read ahead on other threads."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[_Read]] = deque()
        try:
            for start in starts:
                waiting.append(pool.submit(read, np.arange(start, min(start + batch, samples))))
                if len(waiting) >= workers + _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def latency(
    before: Runner, after: Runner, data: Calibration, batch: int, report: Callable[[], None]
) -> Latency:
    """Paired runs of so many samples, in turn, so that what else the machine does falls on both."""
    feeds = data.feeds(np.arange(batch, dtype=np.int64))
    for runner in (before, after) * _WARM_UP:
        runner.run(feeds, batch)
    times: list[tuple[float, float]] = []
    begin = time.monotonic()
    while len(times) < _MOST_PAIRS and (
        len(times) < _FEWEST_PAIRS or time.monotonic() - begin < _PAIRS_SECONDS
    ):
        order = (before, after) if len(times) % 2 == 0 else (after, before)
        taken = {id(runner): _seconds(runner, feeds, batch) for runner in order}
        times.append((taken[id(before)], taken[id(after)]))
        report()
    return Latency(
        batch=batch,
        pairs=len(times),
        before_ms=1000 * statistics.median(a for a, _ in times),
        after_ms=1000 * statistics.median(b for _, b in times),
        ratio=statistics.median(b / a for a, b in times),
    )


def _seconds(runner: Runner, feeds: Feeds, samples: int) -> float:
    begin = time.perf_counter()
    runner.run(feeds, samples)
    return max(time.perf_counter() - begin, 1e-9)
