"""What replay asks of calibration data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from nla.calibration.labels import Labels

Array = NDArray[Any]


class Data(Protocol):
    """What replay asks of calibration data (`nla.calibration.Calibration` offers it)."""

    @property
    def samples(self) -> int: ...
    @property
    def indices(self) -> NDArray[np.int64]: ...
    @property
    def data_inputs(self) -> tuple[str, ...]: ...
    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]: ...
    @property
    def batchable(self) -> bool: ...
    def feeds(self, where: NDArray[np.int64]) -> dict[str, Array]: ...
    def finite(self, feeds: Mapping[str, Array], samples: int) -> NDArray[np.bool_]: ...
    def mask(self, where: NDArray[np.int64]) -> NDArray[np.bool_] | None: ...


class SplitData(Data, Protocol):
    """What the passes over one split ask beside that."""

    @property
    def labels(self) -> Labels | None: ...
    def subset(self, where: NDArray[np.int64]) -> Self: ...
