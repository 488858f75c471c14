"""GB/s of input that the kernels sum up, on one thread, with all default statistics.

python benchmarks/kernels.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.replay import kernels
from nla.replay.kernels import Kernel
from nla.statistics.summary import Thresholds

Array = NDArray[np.float32]

SHAPES: dict[str, tuple[int, ...]] = {
    "tokens 128 x 3072": (1, 128, 3072),
    "tokens 16 x 128 x 3072": (16, 128, 3072),
    "dense 512 x 1024": (1, 512, 1024),
    "maps 64 x 56²": (1, 64, 3136),
    "maps 256 x 14²": (1, 256, 196),
    "maps 2048 x 7²": (1, 2048, 49),
    "NCHWc 4 x 56² x 16": (1, 4, 3136, 16),
    "NCHWc 128 x 7² x 16": (1, 128, 49, 16),
}


def naive(a: Array, axis: int) -> list[Any]:
    """The same statistics, one NumPy expression each."""
    size = np.abs(a)
    counts = [(a > 0).sum(axis), (size > 1e-3).sum(axis)]
    return [*counts, a.sum(axis), (a * a).sum(axis), size.sum(axis), a.min(axis), a.max(axis)]


def calls(
    name: str, members: list[Kernel], thresholds: Thresholds
) -> tuple[int, dict[str, Callable[[], Any]]]:
    """Bytes of one tensor, and a call for each way to sum it up."""
    shape = SHAPES[name]
    a = np.random.default_rng(0).standard_normal(shape, np.float32)
    if thresholds.nonnegative:
        a = np.maximum(a, 0)
    if len(shape) == 4:
        made: dict[str, Callable[[], Any]] = {
            k.name: lambda k=k: k.blocked(a, shape[1] * shape[3], thresholds) for k in members
        }
        return a.nbytes, {**made, "naive": lambda: naive(a, 2)}
    if name.startswith("maps"):
        made = {k.name: lambda k=k: k.maps(a, thresholds) for k in members}
        return a.nbytes, {**made, "naive": lambda: naive(a, 2)}
    groups, rows, channels = shape
    first = np.arange(groups) * rows
    runs = np.stack([first, first + rows, np.arange(groups)], axis=1)
    flat = a.reshape(-1, channels)
    made = {k.name: lambda k=k: k.columns(flat, runs, groups, thresholds, True) for k in members}
    return a.nbytes, {**made, "naive": lambda: naive(a, 1)}


def seconds(call: Callable[[], Any], at_least: float = 0.01) -> float:
    """Processor time of one call, over as many as take `at_least` seconds."""
    count, begin = 0, time.process_time()
    while (passed := time.process_time() - begin) < at_least:
        call()
        count += 1
    return passed / count


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    members = [kernels.load("numba"), kernels.load("numpy")]
    print("| tensor | φ | numba | numpy | naive | numba / naive | numpy / naive |")
    print("|---|---|---|---|---|---|---|")
    for name in SHAPES:
        for phi, thresholds in (("GELU", Thresholds()), ("ReLU", Thresholds(nonnegative=True))):
            size, by_name = calls(name, members, thresholds)
            for call in by_name.values():
                call()
            best = {way: min(seconds(call) for _ in range(rounds)) for way, call in by_name.items()}
            speed = {way: size / least / 1e9 for way, least in best.items()}
            print(
                f"| {name} | {phi} | {speed['numba']:.1f} | {speed['numpy']:.1f} | {speed['naive']:.1f} "
                f"| {speed['numba'] / speed['naive']:.1f} | {speed['numpy'] / speed['naive']:.1f} |"
            )


if __name__ == "__main__":
    main()
