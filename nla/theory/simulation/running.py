"""Running a simulation: blocks on threads, tallies that are added up, and what is left to do after an interrupt."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nla.theory.simulation.networks import BLOCK, Counts, Tally, Task, counted
from nla.theory.simulation.results import Series, Simulation
from nla.theory.simulation.settings import Settings

_MOST_THREADS = 256
_AHEAD = 4
"""Blocks that wait for each thread: an interrupt has so few to wait for."""


@dataclass(eq=False)
class Sums:
    """What is known of one task: sums over the blocks that are done."""

    task: Task
    known: tuple[Counts, NDArray[np.bool_]]
    """([4, depth]: alive, living, squares, silent, as in `Tally`; [blocks]: those that are in these sums)."""
    variances: NDArray[np.float32]
    """[networks, sampled depths]; NaN for networks that are not done, or dead."""

    @classmethod
    def empty(cls, task: Task) -> Sums:
        """Nothing done yet."""
        variances = np.full((task.networks, len(task.sampled)), np.nan, np.float32)
        return cls(task, (np.zeros((4, task.depth), np.int64), np.zeros(task.blocks, bool)), variances)

    def add(self, block: int, tally: Tally) -> None:
        """Add a block that is not yet done, in one assignment: an interrupt finds it added or not."""
        counts, done = self.known
        done = done.copy()
        done[block] = True
        self.variances[block * BLOCK : (block + 1) * BLOCK] = tally.variances
        self.known = counts + np.stack([tally.alive, tally.living, tally.squares, tally.silent]), done

    def series(self) -> Series:
        """The result, when every block is done."""
        alive, living, squares, silent = self.known[0]
        return Series(self.task, alive, living, squares, silent, self.variances)


def simulate(
    settings: Settings,
    *,
    threads: int | None = None,
    known: tuple[Sums, ...] | None = None,
    on_block: Callable[[int, int], None] = lambda done, total: None,
) -> Simulation:
    """Run what is not done yet, and give the whole.

    Args:
        settings: of the simulation; the result depends on them alone, to the bit.
        threads: so many at once; the cores of this machine where None.
        known: the sums to go on from and to add to, of `settings.tasks()`; they stay right under an interrupt.
        on_block: called with (done, total) work after each block, from this thread.

    """
    sums = tuple(map(Sums.empty, settings.tasks())) if known is None else known
    left = [(each, block) for each in sums for block in np.flatnonzero(~each.known[1]).tolist()]
    total = sum(each.task.cost * each.task.blocks for each in sums)
    done = total - sum(each.task.cost for each, _ in left)
    workers = min(threads or _cores(), _MOST_THREADS)
    with _pool(workers) as pool:
        for each, block, tally in _finished(pool, left, workers * _AHEAD):
            each.add(block, tally)
            done += each.task.cost
            on_block(done, total)
    return Simulation(settings, tuple(each.series() for each in sums))


def _cores() -> int:
    """Of this machine that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _finished(
    pool: ThreadPoolExecutor, left: list[tuple[Sums, int]], ahead: int
) -> Iterator[tuple[Sums, int, Tally]]:
    """The tallies as they become ready, with few waiting at a time."""
    running: dict[Future[Tally], tuple[Sums, int]] = {}
    queue = iter(left)
    while True:
        for each, block in queue:
            running[pool.submit(counted, each.task, block)] = (each, block)
            if len(running) >= ahead:
                break
        if not running:
            return
        ready, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in ready:
            each, block = running.pop(future)
            yield each, block, future.result()


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that leaves what has not begun where the work ends early."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
