"""The replay itself: workers that read chunks of samples, and commits in the order of the data.

The numbers do not depend on the number of workers: chunks of samples are cut by the batch size alone, and their
summaries are committed to the accumulators in order, whichever worker made them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nla.replay.reading import ChunkResult, Reader

Indices = NDArray[np.int64]
Progress = Callable[[int, int], None]

_AHEAD = 2
"""Chunks that a worker may run ahead of the next commit, for each worker: it bounds what waits in memory."""


def replay(
    reader: Reader,
    samples: int,
    chunk: int,
    workers: int,
    commit: Callable[[ChunkResult], None],
    progress: Progress,
) -> None:
    """Reads all samples in chunks, on as many threads as there are workers, and commits the results in order.

    Raises:
        NlaError: whatever a worker met first; the others stop after their chunk.
    """
    queue = _Queue(
        [np.arange(s, min(s + chunk, samples)) for s in range(0, samples, chunk)], _AHEAD * workers
    )

    def done(where: Indices, result: ChunkResult) -> None:
        commit(result)
        queue.samples += len(where)
        progress(queue.samples, samples)

    def work() -> None:
        for number, where in queue:
            try:
                result = reader.read(where)
            except BaseException as error:
                queue.stop(error)
                return
            queue.put(number, where, result, done)

    progress(0, samples)
    threads = [threading.Thread(target=work, name=f"nla-replay-{k}", daemon=True) for k in range(workers - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if queue.error is not None:
        raise queue.error


class _Queue:
    """Chunks handed out in order, and their results committed in the same order."""

    def __init__(self, chunks: list[Indices], ahead: int) -> None:
        self._chunks = chunks
        self._ahead = ahead
        self._taken = 0
        self._committed = 0
        self._waiting: dict[int, tuple[Indices, ChunkResult]] = {}
        self._turn = threading.Condition()
        self.samples = 0
        self.error: BaseException | None = None

    def __iter__(self) -> _Queue:
        return self

    def __next__(self) -> tuple[int, Indices]:
        with self._turn:
            self._turn.wait_for(lambda: self.error is not None or self._taken < self._committed + self._ahead)
            if self.error is not None or self._taken == len(self._chunks):
                raise StopIteration
            self._taken += 1
            return self._taken - 1, self._chunks[self._taken - 1]

    def put(
        self,
        number: int,
        where: Indices,
        result: ChunkResult,
        commit: Callable[[Indices, ChunkResult], None],
    ) -> None:
        """Keeps a result until its turn has come, then commits it and all that waited behind it."""
        with self._turn:
            self._waiting[number] = (where, result)
            try:
                while self._committed in self._waiting and self.error is None:
                    commit(*self._waiting.pop(self._committed))
                    self._committed += 1
            except BaseException as error:
                self.error = self.error or error
            self._turn.notify_all()

    def stop(self, error: BaseException) -> None:
        """No further chunk is handed out."""
        with self._turn:
            self.error = self.error or error
            self._turn.notify_all()
