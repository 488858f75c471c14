"""Masks of weights for other pruners: a safetensors file of booleans, True where a weight is kept."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.checkpoint.atomic import atomic_write
from nla.checkpoint.safetensors_file import Entry, pieces
from nla.checkpoint.safetensors_header import METADATA
from nla.checkpoint.wire import Piece
from nla.checkpoint.writing import pour
from nla.errors import OutputError, printable


def write_masks(
    path: str | os.PathLike[str],
    masks: Mapping[str, NDArray[np.bool_]],
    *,
    metadata: Mapping[str, str] | None = None,
    sources: Iterable[str | os.PathLike[str]] = (),
) -> None:
    """Write the masks by tensor name, in the shapes of the tensors; the same masks give the same bytes.

    Raises OutputError.
    """
    if METADATA in masks:
        raise OutputError(
            f"cannot write {printable(os.fspath(path))}: a tensor bears the name '{METADATA}', which safetensors keeps "
            "for itself"
        )
    entries = {name: Entry("BOOL", mask.shape, _piece(mask)) for name, mask in masks.items()}
    atomic_write(path, lambda file: pour(file, pieces(entries, metadata or {})), sources=sources)


def _piece(mask: NDArray[Any]) -> Piece:
    if mask.dtype != np.bool_:
        raise AssertionError(f"a mask of {mask.dtype}")
    return Piece(mask.size, lambda: (np.ascontiguousarray(mask).reshape(-1).view(np.uint8).data,))
