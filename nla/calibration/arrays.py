"""Arrays in memory: a mapping of names to arrays, or one array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration.columns import MemoryColumn, why_unsupported
from nla.calibration.source import Source
from nla.errors import DataError, printable


def open_arrays(data: NDArray[Any] | Mapping[str, Any]) -> Source:
    """The arrays in `data`, not copied; DataError for what is neither an array nor a mapping of arrays."""
    if isinstance(data, Mapping):
        columns = {str(name): MemoryColumn(as_array(str(name), value)) for name, value in data.items()}
        return Source("arrays", columns)
    return Source("arrays", {"array": MemoryColumn(as_array("array", data))}, anonymous=True)


def as_array(name: str, value: Any) -> NDArray[Any]:
    """`value` as an array of a type that a model may take; DataError, which names it, where it is none."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # ragged lists
        raise DataError(f"array {printable(name)!r}: not an array ({error})") from None
    if reason := why_unsupported(array.dtype):
        raise DataError(f"array {printable(name)!r}: {reason}")
    return array
