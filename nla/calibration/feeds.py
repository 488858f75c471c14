"""One input of the model, fed from one array: read, reshape, scale, cast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration.casts import Cast, family, plan_cast, plan_scaling, scaling_note
from nla.calibration.columns import Column, LoneColumn, Rows, Shape
from nla.calibration.options import CalibrationOptions
from nla.calibration.shapes import fit, wanted
from nla.errors import DataError, printable
from nla.site import Input


@dataclass(frozen=True)
class ArrayFeed:
    """An input of the model and the column that feeds it."""

    name: str
    array: str
    source: Column
    """The array as it is in the data: what the digest is over."""
    column: Column
    """The same with a sample axis."""
    lone: bool
    """The array was one sample, without a sample axis."""
    batched: bool
    sample: Shape | None
    cast: Cast
    scale: Callable[[NDArray[Any]], NDArray[Any]] | None
    account: tuple[str, ...]

    @property
    def samples(self) -> int:
        """Number of samples in the array."""
        return self.column.shape[0] or 0

    @property
    def shape(self) -> Shape:
        """Of what `read` gives: None for the number of samples, and for sizes that vary between them."""
        sample = self.column.shape[1:] if self.sample is None else self.sample
        return (None, *sample) if self.batched else tuple(sample)

    def read(self, rows: Rows) -> NDArray[Any]:
        """The input for `rows`, [b, …] as the model wants it; where not `batched`, one sample without b."""
        values = self.column.read(rows)
        if self.sample is not None:
            values = values.reshape(len(rows), *(-1 if size is None else size for size in self.sample))
        if self.scale is not None:
            values = self.scale(values)
        values = self.cast(values, self.array)
        if not self.batched:
            values = values[0]
        return np.ascontiguousarray(values) if values.ndim else values

    def repeated(self, samples: int) -> ArrayFeed:
        """The feed that gives its one sample for each of `samples`."""
        note = f"array {printable(self.array)!r} holds one sample, which is fed with each of the {samples}"
        return replace(self, column=LoneColumn(self.source, samples), account=(note, *self.account[1:]))


def plan_feed(declared: Input, array: str, column: Column, options: CalibrationOptions) -> ArrayFeed:
    """How `column` feeds `declared`; DataError where it cannot."""
    fitted = fit(array, column.shape, declared)
    cast, cast_note = plan_cast(array, column.dtype, declared.dtype, options)
    sample = (
        fitted.sample if fitted.sample is not None else (column.shape if fitted.lone else column.shape[1:])
    )
    scale, scale_note = None, None
    if options.preprocesses and family(cast.target) == "float":
        if family(column.dtype) == "str":
            raise DataError(f"array {printable(array)!r} holds strings, which cannot be scaled")
        scale, scale_note = plan_scaling(array, sample, options), scaling_note(array, options)
    return ArrayFeed(
        name=declared.name,
        array=array,
        source=column,
        column=LoneColumn(column) if fitted.lone else column,
        lone=fitted.lone,
        batched=wanted(declared).batched,
        sample=fitted.sample,
        cast=cast,
        scale=scale,
        account=tuple(note for note in (fitted.note, cast_note, scale_note) if note),
    )


def finite(feeds: Mapping[str, NDArray[Any]], samples: int, batched: bool = True) -> NDArray[np.bool_]:
    """bool [samples]: whether every value fed for that sample is finite. Integers and strings always are.

    >>> finite({"x": np.array([[1.0, 2.0], [np.nan, 0.0]])}, 2).tolist()
    [True, False]
    """
    good = np.ones(samples, np.bool_)
    for values in feeds.values():
        if family(values.dtype) == "float" and values.size and not _all_finite(values):
            rows = values.reshape(samples, -1) if batched else values.reshape(1, -1)
            good &= _finite_rows(rows)
    return good


def _all_finite(values: NDArray[Any]) -> bool:
    """Whether the sum of squares is finite, which no NaN and no infinity leaves: the cheapest proof there is."""
    if values.dtype not in (np.float32, np.float64) or not values.flags.c_contiguous:
        return False
    flat = values.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.dot(flat, flat)))


def _finite_rows(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """A finite sum proves finite summands; only rows whose sum is not are looked at value by value."""
    with np.errstate(over="ignore", invalid="ignore"):
        good: NDArray[np.bool_] = np.isfinite(
            rows.sum(axis=1, dtype=np.float32 if rows.dtype.itemsize < 4 else None)
        )
        doubtful = np.flatnonzero(~good)
        good[doubtful] = np.isfinite(rows[doubtful]).all(axis=1)
    return good
