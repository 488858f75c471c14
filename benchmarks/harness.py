"""Rounds of variants, each in a process of its own and in shuffled order, and the table they make.

A process of its own because an intra-op pool keeps spinning after a run and slows whatever is timed next;
shuffled because a machine drifts. The figure is the minimum over the rounds, with the median beside it.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class Row:
    """What the rounds of one variant gave."""

    name: str
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Processor seconds, of all threads: steadier than the clock where others use the machine."""
    rss_mb: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def best(self) -> float:
        """The smallest time of a round, in seconds."""
        return min(self.seconds, default=float("nan"))

    @property
    def best_cpu(self) -> float:
        """The smallest processor time of a round, in seconds."""
        return min(self.cpu, default=float("nan"))

    @property
    def median(self) -> float:
        """The median time of a round, in seconds."""
        return statistics.median(self.seconds) if self.seconds else float("nan")


def stopwatch() -> tuple[float, float]:
    """Now, on the clock and in processor time of this process."""
    return time.perf_counter(), time.process_time()


def since(begin: tuple[float, float]) -> tuple[float, float]:
    """Seconds passed, on the clock and of the processor."""
    now = stopwatch()
    return now[0] - begin[0], now[1] - begin[1]


def report(seconds: tuple[float, float], note: str = "") -> None:
    """What a variant prints as its last line."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = {"seconds": seconds[0], "cpu": seconds[1], "rss_mb": peak, "note": note}
    print(json.dumps(told), flush=True)


def measure(commands: Mapping[str, Sequence[str]], rounds: int, seed: int = 0) -> list[Row]:
    """Run every command (arguments for Python) once a round, in an order shuffled anew for each."""
    rows = {name: Row(name) for name in commands}
    order = random.Random(seed)
    for k in range(rounds):
        for name in order.sample(list(commands), len(commands)):
            done = subprocess.run(
                [sys.executable, *commands[name]], capture_output=True, text=True, check=False
            )
            if done.returncode:
                rows[name].note = f"failed: {done.stderr.strip().splitlines()[-1:]}"
                continue
            told = json.loads(done.stdout.strip().splitlines()[-1])
            rows[name].seconds.append(told["seconds"])
            rows[name].cpu.append(told["cpu"])
            rows[name].rss_mb.append(told["rss_mb"])
            rows[name].note = told["note"]
            print(f"round {k + 1}/{rounds}  {name:30} {told['seconds']:8.3f} s", file=sys.stderr, flush=True)
    return list(rows.values())


def table(rows: Sequence[Row], plain: Sequence[str]) -> str:
    """A Markdown table of seconds and of ratios to the best of the rows named in `plain`."""
    best = min(row.best for row in rows if row.name in plain)
    middle = min(row.median for row in rows if row.name in plain)
    least = min(row.best_cpu for row in rows if row.name in plain)
    lines = [
        "| variant | s | ratio to best plain | ratio in processor time | peak MB | |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        peak = f"{max(row.rss_mb):.0f}" if row.rss_mb else ""
        times = f"{row.best:.2f} ({row.median:.2f})"
        ratios = f"{row.best / best:.2f} ({row.median / middle:.2f})"
        work = f"{row.best_cpu / least:.2f}"
        lines.append(f"| {row.name} | {times} | {ratios} | {work} | {peak} | {row.note} |")
    return "\n".join(lines)
