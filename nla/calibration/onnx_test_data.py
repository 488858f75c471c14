"""ONNX's `test_data_set_*` folders: each holds one run's inputs as input_0.pb, input_1.pb, …"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.calibration.columns import Column, Rows, Shape, why_unsupported
from nla.calibration.files import blaming, open_regular
from nla.calibration.shapes import describe, wanted
from nla.calibration.source import Request, Source
from nla.errors import DataError, printable
from nla.site import Input

_FOLDER = re.compile(r"test_data_set_(\d{1,9})")
_FILE = re.compile(r"input_(\d{1,4})\.pb")
_LARGEST_BYTES = 1 << 31
"""Protobuf's own limit."""


@dataclass
class _File:
    """One input of one run."""

    path: Path
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass
class RunsColumn:
    """One input over all runs; run by run stacked, or, where the runs are batches, laid end to end."""

    files: Sequence[_File]
    stacked: bool
    last: tuple[int, NDArray[Any]] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As in Column."""
        return self.files[0].dtype

    @property
    def shape(self) -> Shape:
        """As in Column."""
        first = self.files[0].shape
        return (
            (len(self.files), *first) if self.stacked else (sum(f.shape[0] for f in self.files), *first[1:])
        )

    def read(self, rows: Rows) -> NDArray[Any]:
        """As in Column."""
        counts = [1 if self.stacked else f.shape[0] for f in self.files]
        ends = np.cumsum(counts)
        owners = np.searchsorted(ends, rows, side="right")
        sample = self.files[0].shape if self.stacked else self.files[0].shape[1:]
        out = np.empty((len(rows), *sample), self.dtype)
        for at, (row, owner) in enumerate(zip(rows.tolist(), owners.tolist(), strict=True)):
            values = self._load(owner)
            out[at] = values if self.stacked else values[row - int(ends[owner]) + counts[owner]]
        return out

    def _load(self, number: int) -> NDArray[Any]:
        with self.lock:
            if self.last is None or self.last[0] != number:
                self.last = (number, _parse(self.files[number].path)[1])
            return self.last[1]


class OnnxTestData:
    """The layout of the ONNX model zoo and of ONNX's backend tests."""

    kind = "onnx-test-data"

    def recognises(self, path: Path, head: bytes) -> bool:
        """A folder with test_data_set_* in it, or one of these."""
        return not head and bool(_runs(path))

    def open(self, path: Path, request: Request) -> Source:
        """A column per input, by the name in its file, else by its number; outputs are not read."""
        runs = _runs(path)
        numbers = sorted(_numbered(runs[0], _FILE))
        arrays: dict[str, Column] = {}
        notes = []
        for number in numbers:
            files = [_header(run / f"input_{number}.pb") for run in runs]
            name, note = _name(files[0].name, number, request.inputs)
            if name in arrays:
                raise DataError(f"{printable(path)}: two inputs are named {printable(name)!r}")
            notes += [note] if note else []
            arrays[name] = _column(name, files, request.inputs)
        return Source(self.kind, arrays, anonymous=False, account=tuple(notes))


def _runs(path: Path) -> list[Path]:
    try:
        if _FOLDER.fullmatch(path.name) and _numbered(path, _FILE):
            return [path]
        found = _numbered(path, _FOLDER)
        return [found[number] for number in sorted(found) if _numbered(found[number], _FILE)]
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be listed: {error.strerror}") from None


def _numbered(folder: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    matches = ((pattern.fullmatch(entry.name), entry) for entry in folder.iterdir())
    return {int(match[1]): entry for match, entry in matches if match}


def _name(given: str, number: int, inputs: Sequence[Input]) -> tuple[str, str | None]:
    names = [i.name for i in inputs]
    if given in names or number >= len(names):
        return given or f"input_{number}", None
    return names[
        number
    ], f"input_{number}.pb is taken as the input {printable(names[number])!r} by its number"


def _column(name: str, files: Sequence[_File], inputs: Sequence[Input]) -> Column:
    declared = next((i for i in inputs if i.name == name), None)
    batched = declared is None or wanted(declared).batched
    shapes = {f.shape[1:] if batched else f.shape for f in files}
    if (
        len(shapes) != 1
        or len({f.dtype for f in files}) != 1
        or (batched and not all(f.shape for f in files))
    ):
        told = ", ".join(sorted({f"{f.dtype} {describe(f.shape)}" for f in files})[:4])
        raise DataError(
            f"input {printable(name)!r}: the test_data_set folders differ in type or shape: {told}"
        )
    if reason := why_unsupported(files[0].dtype):
        raise DataError(f"input {printable(name)!r}: {reason}")
    return RunsColumn(files, stacked=not batched)


def _header(path: Path) -> _File:
    name, values = _parse(path)
    return _File(path, name, values.dtype, values.shape)


def _parse(path: Path) -> tuple[str, NDArray[Any]]:
    """Name and values of a TensorProto; DataError where it is none, or says more values than it holds."""
    import onnx
    from onnx import numpy_helper

    handle = open_regular(path)
    if handle.size > _LARGEST_BYTES:
        raise DataError(f"{handle.name}: {handle.size} bytes; a tensor file holds at most {_LARGEST_BYTES}")
    with blaming(f"{handle.name}: not a readable tensor (TensorProto)"):
        tensor = onnx.TensorProto()
        tensor.ParseFromString(handle.read(handle.size, 0))
        if tensor.data_type == 0 or tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ValueError("no element type, or its data lies in another file")
        if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) > 8 * handle.size:
            raise ValueError(f"it declares the shape {list(tensor.dims)[:8]} in {handle.size} bytes")
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "O":
            values = np.array([_text(v) for v in values.reshape(-1)], np.str_).reshape(values.shape)
        name = tensor.name if isinstance(tensor.name, str) else ""
    if values.dtype.kind == "V" or values.dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        values = values.astype(np.float32)
    return name, values


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
