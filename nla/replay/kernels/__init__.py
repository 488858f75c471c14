"""Fused passes over one tensor: every field of a `Summary` in as few passes over memory as can be.

Two members of one family: `numpy`, always there, and `numba` (the extra `fast`), several times faster. They
agree exactly in counts and extremes, and to 1e-6 relative in sums.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nla.errors import MissingExtraError, UsageError, printable
from nla.statistics.summary import Summary, Thresholds

NAMES = ("auto", "numba", "numpy")
WORTH_NUMBA = 1 << 30
"""Activations above which numba wins back its start: 0.4 s, and 2 to 3 s where nothing is cached."""


class Sums(Protocol):
    """The sums over several tensors of one site, one call for each; for one thread.

    The methods add groups behind those of the calls before, and are else those of `Kernel`.
    """

    def columns(self, a: NDArray[Any], runs: NDArray[np.int64], groups: int) -> None: ...

    def maps(self, a: NDArray[Any]) -> None: ...

    def blocked(self, a: NDArray[Any], channels: int) -> None: ...

    def summary(self) -> Summary:
        """The groups of all calls, of which there was one at least, about one shift."""
        ...


class Kernel(Protocol):
    """One way to sum up a tensor; safe to call from several threads, and never raising on NaN or infinity.

    Arrays are C-contiguous; float32 is fast, float16 is converted, float64 is summed in float64 (slowly). The
    shift of a Summary is the value nearest to zero of a few of each channel, or zero: the sums of a channel that
    is mostly zero stay exact, and a large mean does not swallow the variance.
    """

    name: str

    def sums(self, thresholds: Thresholds, per_sample: bool) -> Sums:
        """Sums without any call yet; `per_sample` must be True for `maps` and `blocked`."""
        ...

    def columns(
        self, a: NDArray[Any], runs: NDArray[np.int64], groups: int, thresholds: Thresholds, per_sample: bool
    ) -> Summary:
        """The sums of a [R, C], neurons innermost, over runs int64 [K, 3] of (first row, end, group).

        Rows in no run (padding) are not counted; a group may have several runs, or none.

        Raises:
            IndexError: a run that does not lie within the rows, or a group that is not below `groups`.
        """
        ...

    def maps(self, a: NDArray[Any], thresholds: Thresholds) -> Summary:
        """The sums of a [G, C, P], positions innermost (NCHW); each of the G samples is a group."""
        ...

    def blocked(self, a: NDArray[Any], channels: int, thresholds: Thresholds) -> Summary:
        """The sums of a [G, Cb, P, block] (NCHWc); the first `channels` of Cb * block channels count."""
        ...

    def silent(self, a: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
        """bool [R]: rows of a [R, C] in which every value is <= threshold; a row with NaN is not silent."""
        ...


def load(name: str = "auto", values: int | None = None) -> Kernel:
    """The kernel `name`: auto, numba or numpy.

    auto takes numba where it is installed and works, unless `values`, the number of activations that will be
    summed, is known and below `WORTH_NUMBA`: for a small job numpy is done before numba is imported.

    Raises:
        UsageError: no such kernel.
        MissingExtraError: numba was asked for and is not installed.
    """
    if name not in NAMES:
        raise UsageError(f"no kernel {printable(name)}: expected one of {', '.join(NAMES)}")
    if name == "numba" and find_spec("numba") is None:
        raise MissingExtraError("the accelerated kernel", "fast")
    if name == "numba":
        return _numba()
    if name == "auto" and find_spec("numba") is not None and (values is None or values >= WORTH_NUMBA):
        try:
            return _numba()
        except Exception:
            # A library that is optional may be broken, or unable to write its cache: no reason to stop.
            return _numpy()
    return _numpy()


def _numba() -> Kernel:
    from nla.replay.kernels.numba_kernel import NumbaKernel

    kernel = NumbaKernel()
    kernel.columns(
        np.zeros((1, 1), np.float32), np.array([[0, 1, 0]]), 1, Thresholds(nonnegative=True), False
    )
    return kernel


def _numpy() -> Kernel:
    from nla.replay.kernels.numpy_kernel import NumpyKernel

    return NumpyKernel()


__all__ = ["NAMES", "WORTH_NUMBA", "Kernel", "Sums", "load"]
