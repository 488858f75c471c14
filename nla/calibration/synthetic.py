"""Random samples: only when asked for by name, and every output says so."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration.casts import element_type, family
from nla.calibration.columns import Rows
from nla.calibration.shapes import describe, wanted
from nla.calibration.source import Request, Source
from nla.errors import DataError, printable
from nla.site import Input

FREE_AXIS = 32
"""Size given to an axis that the model leaves free."""


@dataclass(frozen=True)
class RandomColumn:
    """Samples drawn from a counter-based generator: sample i is the same in every batch and shard."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    key: int
    """Seed in 0..2^64-1."""

    def read(self, rows: Rows) -> NDArray[Any]:
        """As in Column."""
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for at, row in enumerate(rows.tolist()):
            # A counter of 256 bits: the sample in the third word leaves 2^128 blocks for its values.
            generator = np.random.Generator(np.random.Philox(key=self.key, counter=[0, 0, row, 0]))
            out[at] = self._draw(generator)
        return out

    def _draw(self, generator: np.random.Generator) -> NDArray[Any]:
        if self.dtype.kind == "f":
            return generator.standard_normal(self.shape[1:], dtype=np.float32)
        high = 256 if self.dtype == np.uint8 else 2
        return generator.integers(0, high, self.shape[1:])


def open_synthetic(request: Request) -> Source:
    """`options.synthetic` samples: normal (0, 1) floats; integers 0 or 1, which every vocabulary has."""
    samples, seed = request.options.synthetic or 0, request.options.seed
    arrays: dict[str, RandomColumn] = {}
    notes = ["SYNTHETIC: the samples are random; states found with them say nothing about real data"]
    for declared in request.inputs:
        arrays[declared.name], free = _column(declared, samples, seed)
        if free:
            shown = f"input {printable(declared.name)!r} {describe(declared.shape)}"
            notes.append(f"{shown}: each free axis is made {FREE_AXIS} long")

    def fingerprint(update: Callable[[bytes], None], count: int) -> None:
        shapes = [(n, c.dtype.str, c.shape[1:]) for n, c in sorted(arrays.items())]
        update(f"synthetic seed {seed} samples {count} {shapes}".encode("utf-8", "surrogatepass"))

    return Source("synthetic", arrays, account=tuple(notes), fingerprint=fingerprint)


def _column(declared: Input, samples: int, seed: int) -> tuple[RandomColumn, bool]:
    target = element_type(declared.dtype)
    want = wanted(declared)
    if want.sample is None or family(target) == "str":
        raise DataError(
            f"input {printable(declared.name)!r}: no random samples can be made for it; give data"
        )
    dtype = np.dtype(np.float32) if family(target) == "float" else target
    key = hashlib.sha256(f"{seed}\0{declared.name}".encode("utf-8", "surrogatepass")).digest()[:8]
    sizes = tuple(FREE_AXIS if size is None else size for size in want.sample)
    return RandomColumn(dtype, (samples, *sizes), int.from_bytes(key, "little")), None in want.sample
