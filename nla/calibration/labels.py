"""Labels: one class a sample, as codes and names."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration.columns import check_text
from nla.calibration.files import read_text
from nla.errors import DataError, printable

NAMES = ("y", "label", "labels", "target", "targets")
"""Arrays of these names are labels, unless an input bears the name."""
TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
_MOST_CLASSES = 1 << 16
_TEXT_BYTES = 1 << 28


@dataclass(frozen=True, eq=False)
class Labels:
    """One class a sample."""

    codes: NDArray[np.int64]
    """[samples] position in `names`."""
    names: tuple[str, ...]
    """Name of each class, in the order of its value (numbers) or of its spelling."""


def from_array(values: NDArray[Any], what: str) -> tuple[Labels, str | None]:
    """Labels from integers or strings [n] or [n, 1], or one-hot rows [n, k]; and a sentence on what was done.

    Raises DataError, beginning with `what`, for anything else, and for the -1 of unlabelled samples.
    """
    values, note = _flattened(values, what)
    if values.dtype.kind == "f":
        note = f"{what}: whole numbers stored as {values.dtype} are taken as classes"
        values = _whole(values, what)
    if values.dtype.kind == "S":
        values = np.char.decode(np.asarray(values, np.bytes_), "utf-8", "replace")
    if values.dtype.kind not in "biuU":
        raise DataError(f"{what}: labels must be integers or strings, not {values.dtype}")
    check_text(values, what)
    classes, codes = np.unique(values, return_inverse=True)
    if len(classes) > _MOST_CLASSES:
        raise DataError(
            f"{what}: {len(classes)} different labels; at most {_MOST_CLASSES} classes are counted"
        )
    if len(classes) > 3 and values.dtype.kind == "i" and classes[0] == -1 and classes[1] == 0:
        missing = int((values == -1).sum())
        raise DataError(
            f"{what}: {missing} samples bear the label -1 beside 0..{classes[-1]}; if that means unlabelled, "
            f"leave these samples out, else give the class another number"
        )
    return Labels(codes.astype(np.int64).reshape(-1), tuple(str(c) for c in classes.tolist())), note


def _flattened(values: NDArray[Any], what: str) -> tuple[NDArray[Any], str | None]:
    if values.ndim == 1:
        return values, None
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0], None
    if values.ndim == 2 and values.dtype.kind in "biuf":
        hot = values == 1
        if bool(((values == 0) | hot).all()) and bool((hot.sum(1) == 1).all()):
            return np.argmax(hot, axis=1), f"{what}: one-hot rows of {values.shape[1]} are taken as classes"
    raise DataError(
        f"{what}: shape {list(values.shape)}; labels are one a sample, [n], or one-hot rows [n, k]"
    )


def _whole(values: NDArray[Any], what: str) -> NDArray[np.int64]:
    if not bool(
        np.isfinite(values).all() and (values == np.floor(values)).all() and (abs(values) < 2**53).all()
    ):
        raise DataError(f"{what}: labels are not whole numbers; classes are needed, not measurements")
    return values.astype(np.int64)


def from_names(names: Sequence[str]) -> Labels:
    """Labels from a name for each sample."""
    return from_array(np.array(names, dtype=np.str_), "labels")[0]


def read_lines(path: Path) -> NDArray[Any]:
    """The labels in a text file, one a line: int64 [n] if every line is an integer, else strings [n].

    A first line that says `label` (or another of NAMES) is a heading. DataError where a line has several
    columns.
    """
    shown = printable(path)
    text = read_text(path, _TEXT_BYTES)
    if path.suffix.lower() == ".txt":
        lines = [line.strip() for line in text.splitlines()]
    else:
        lines = _column(text, "\t" if path.suffix.lower() == ".tsv" else ",", shown)
    while lines and not lines[-1]:
        lines.pop()
    if lines and lines[0].lower() in NAMES:
        lines = lines[1:]
    if "" in lines:
        raise DataError(f"{shown}: line {lines.index('') + 1} holds no label; one a line is expected")
    try:
        return np.array([int(line) for line in lines], dtype=np.int64)
    except (ValueError, OverflowError):
        return np.array(lines, dtype=np.str_)


def _column(text: str, delimiter: str, shown: str) -> list[str]:
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{shown}: not readable as CSV: {error}") from None
    if wide := next((number for number, row in enumerate(rows, 1) if len(row) > 1), 0):
        raise DataError(f"{shown}: line {wide} has several columns; a file of labels has one")
    return [row[0].strip() if row else "" for row in rows]
