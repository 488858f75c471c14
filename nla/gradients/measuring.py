"""Running the backward pass over the data, and what is kept of it: sums in float64, committed in the data's order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.activations import Activation
from nla.errors import DataError
from nla.gradients.labelled import Labelled
from nla.gradients.weights import Summed
from nla.replay.opening import Model, open_taps
from nla.replay.taps import Taps
from nla.site import Site

Array = NDArray[Any]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
LossOf = Callable[[Array, Indices], Floats]
"""From the output of some samples, and their places, to the loss of each."""

_RUN_BYTES = 1 << 25
"""Of the tensors that one run gives."""
_LARGEST_BATCH = 512
_AHEAD = 2
_IDENTITY = Activation.named("Identity")


@dataclass(frozen=True)
class Tensor:
    """A tensor that runs give, with its channels."""

    name: str
    channels: int
    axes: tuple[int, ...]
    """Counted from the end."""

    def as_site(self) -> Site:
        """As replay taps and views it."""
        return Site(self.name, "linear", _IDENTITY, self.channels, self.axes)


@dataclass(frozen=True, eq=False)
class Rows:
    """The gradient of a layer's weights."""

    read: Tensor
    """What it multiplies; it may be an input."""
    made: Tensor
    """The gradient at what it makes."""
    summed: Summed


@dataclass(frozen=True, eq=False)
class Wanted:
    """What is measured at one layer."""

    gradient: Tensor
    rows: Rows | None = None


@dataclass
class Sums:
    """What is kept of one layer."""

    norms: list[Floats] = field(default_factory=list)
    """[samples] ‖δ‖, a run each."""
    squares: Floats | float = 0.0
    """[neurons] Σ δ²"""
    peak: Floats | float = 0.0
    """[neurons] max |δ|"""
    rows: Floats | float = 0.0
    """[outputs, weights of one output]"""
    bias: Floats | float = 0.0
    """[outputs]"""

    def add(self, other: Sums) -> None:
        """What another run left."""
        self.norms += other.norms
        self.squares = self.squares + other.squares
        self.peak = np.maximum(self.peak, other.peak)
        self.rows = self.rows + other.rows
        self.bias = self.bias + other.bias


@dataclass
class Result:
    """What all runs left."""

    sums: list[Sums]
    losses: list[Floats] = field(default_factory=list)
    left_out: int = 0
    batch_size: int = 1
    one_by_one: str = ""

    @property
    def samples(self) -> int:
        """Samples that were measured."""
        return sum(map(len, self.losses))


def measure(
    model: Model,
    data: Labelled,
    wanted: Sequence[Wanted],
    output: Tensor,
    loss: LossOf,
    workers: int,
    progress: Callable[[int, int], None],
) -> Result:
    """Runs the model, which holds its backward pass, over all samples.

    Raises:
        ModelError, DataError: it cannot be run, or no sample is finite.
    """
    tensors: dict[str, Tensor] = {output.name: output}
    for each in wanted:
        tensors.setdefault(each.gradient.name, each.gradient)
        if each.rows is not None:
            tensors.setdefault(each.rows.made.name, each.rows.made)
            if each.rows.read.name not in data.data_inputs:
                tensors.setdefault(each.rows.read.name, each.rows.read)
    opened = open_taps(
        model, [t.as_site() for t in tensors.values()], data, [False] * len(tensors), blocked=False
    )
    reader = _Reader(opened.taps, data, list(tensors), wanted, output.name, loss)
    size = 1 if not opened.probe.batched else _batch_size(opened.probe.bytes_per_sample)
    result = Result([Sums() for _ in wanted], batch_size=size, one_by_one=opened.probe.reason)
    for done, part in _in_order(reader.run, data.samples, size, workers):
        for sums, other in zip(result.sums, part.sums, strict=True):
            sums.add(other)
        result.losses += part.losses
        result.left_out += part.left_out
        progress(done, data.samples)
    if not result.samples:
        raise DataError(
            f"every sample ({data.samples} of {data.samples}) holds NaN or infinity in an input: nothing is measured"
        )
    return result


def _batch_size(bytes_per_sample: int) -> int:
    return int(min(max(_RUN_BYTES // max(bytes_per_sample, 1), 1), _LARGEST_BATCH))


def _in_order(
    run: Callable[[Indices], Result], samples: int, size: int, workers: int
) -> Iterator[tuple[int, Result]]:
    """(samples so far, what the next run left), in the order of the data, whichever thread made it."""
    starts = iter(range(0, samples, size))
    waiting: deque[tuple[int, Future[Result]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                while len(waiting) < workers + _AHEAD and (start := next(starts, None)) is not None:
                    end = min(start + size, samples)
                    waiting.append((end, pool.submit(run, np.arange(start, end))))
                if not waiting:
                    return
                end, future = waiting.popleft()
                yield end, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


class _Reader:
    """Turns samples into sums; workers share it."""

    def __init__(
        self,
        taps: Taps,
        data: Labelled,
        names: Sequence[str],
        wanted: Sequence[Wanted],
        output: str,
        loss: LossOf,
    ) -> None:
        self._taps = taps
        self._data = data
        self._place = {name: at for at, name in enumerate(names)}
        self._wanted = wanted
        self._output = output
        self._loss = loss

    @np.errstate(all="ignore")
    def run(self, where: Indices) -> Result:
        """What these samples leave."""
        feeds = self._data.feeds(where)
        good = self._data.finite(feeds, len(where))
        result = Result([Sums() for _ in self._wanted], left_out=int(len(where) - np.count_nonzero(good)))
        if result.left_out:
            where, feeds = where[good], {name: value[good] for name, value in feeds.items()}
        if len(where):
            values = self._taps.run(feeds, len(where))
            result.losses.append(self._loss(self._columns(self._output, values, len(where)), where))
            for sums, wanted in zip(result.sums, self._wanted, strict=True):
                self._sum(sums, wanted, feeds, values, len(where))
        return result

    def _columns(self, name: str, values: Sequence[Array], samples: int) -> Array:
        """[samples × positions, channels]"""
        return self._taps.view(self._place[name], values, samples).columns().values

    def _sum(
        self, sums: Sums, wanted: Wanted, feeds: dict[str, Array], values: Sequence[Array], samples: int
    ) -> None:
        delta = np.asarray(self._columns(wanted.gradient.name, values, samples), np.float64)
        squares = np.square(delta)
        sums.norms.append(np.sqrt(squares.reshape(samples, -1).sum(axis=1)))
        sums.squares, sums.peak = squares.sum(axis=0), np.abs(delta).max(axis=0)
        rows = wanted.rows
        if rows is not None:
            made = self._columns(rows.made.name, values, samples)
            read = self._place.get(rows.read.name)
            sums.bias = np.asarray(made, np.float64).sum(axis=0)
            known = feeds[rows.read.name] if read is None else values[read]
            sums.rows = rows.summed(known, values[self._place[rows.made.name]])
