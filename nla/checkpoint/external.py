"""The one opener of external data: what a tensor says of its file is checked, and only here is it opened.

onnx, onnx_ir and onnxruntime each check other things (onnx's checker never looks at offset and length, a NUL
in a location opens another file than a check by name looks at), so none of them opens anything for nla.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
from onnx import TensorProto

from nla.checkpoint.digest import file_digest
from nla.checkpoint.limits import ModelLimits
from nla.checkpoint.opening import open_regular
from nla.checkpoint.tensors import named, size_bytes, type_name
from nla.errors import ModelError, printable

Hashed = Callable[[int, int], None]
"""Told how many bytes of external data were hashed, and of how many."""

_TOLD_EVERY_BYTES = 64 << 20
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
_KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})


@dataclass(frozen=True)
class ExternalRange:
    """Where a tensor's bytes lie: `length` bytes from `offset` of the file at `location`."""

    location: str
    offset: int
    length: int


@dataclass(frozen=True)
class Place:
    """Where a model's external data is looked for: beside the file `model`, which need not be there."""

    model: Path
    linked: bool = False
    """Whether the files there may be links of either kind, wherever they lead: those of a checkpoint's own folder
    may (model hubs keep them in one store, uv and conda install by hard link), those that a graph names may not."""


@dataclass(frozen=True)
class ExternalFile:
    """An external file that was opened and checked once; `map` opens it again, by the same rules."""

    location: str
    """Relative to the model's folder, as the tensors write it."""
    model: Path
    size_bytes: int
    digest: str = field(compare=False)
    linked: bool = False
    """As `Place.linked`."""

    @property
    def place(self) -> Place:
        """Where it is looked for."""
        return Place(self.model, self.linked)

    def map(self) -> np.ndarray:
        """uint8 [size_bytes], the file mapped into memory, read-only. Raises ModelError if it changed."""
        with open_external(self.place, self.location) as (file, size):
            if size != self.size_bytes:
                raise ModelError(
                    f"external data '{printable(self.location)}' changed while the model was read"
                )
            return np.memmap(file, np.uint8, "r") if size else np.zeros(0, np.uint8)


def read_range(tensor: TensorProto) -> ExternalRange:
    """What the tensor says of its external data, each entry once and in plain digits. Raises ModelError."""
    entries: dict[str, str] = {}
    for entry in tensor.external_data:
        if not isinstance(entry.key, str) or not isinstance(entry.value, str):
            raise ModelError("an entry of its external data is not UTF-8")
        if entry.key in entries:
            raise ModelError(
                f"its external data gives '{printable(entry.key)}' twice, and readers differ on which counts"
            )
        entries[entry.key] = entry.value
    if "location" not in entries:
        raise ModelError("its external data names no location")
    numbers = {key: entries[key] for key in ("offset", "length") if key in entries}
    for key, text in numbers.items():
        if not _DIGITS.fullmatch(text):
            raise ModelError(f"external data: {key} '{printable(text)}' is no plain number of bytes")
    needed = size_bytes(tensor)
    length = int(numbers.get("length", needed))
    if length != needed:
        shape = f"{type_name(tensor.data_type)} {list(tensor.dims)}"
        raise ModelError(f"{shape} takes {needed:,} bytes, and its external data gives length {length:,}")
    return ExternalRange(entries["location"], int(numbers.get("offset", 0)), length)


@contextmanager
def open_external(place: Place, location: str) -> Iterator[tuple[BinaryIO, int]]:
    """The external file opened for reading, and its size in bytes. Raises ModelError.

    `location` is relative and stays inside the model's folder. A symbolic link is followed where it leads
    into that folder or into the folder in which the model file itself really lies: caches of model hubs keep
    both as links into one store. A file with a second hard link is refused, as onnx does: its other name may
    be anywhere. With `place.linked`, links of both kinds may lead anywhere.
    """
    real = _inside(place, location)
    with ExitStack() as stack:
        try:
            file, status = stack.enter_context(open_regular(real, follow=False))
            if status.st_nlink > 1 and not place.linked:
                raise ModelError(
                    "the file has a second hard link, perhaps outside the model's folder; copy it"
                )
        except ModelError as error:
            hint = "" if real.exists() else "; put the file that came with the model there, under that name"
            where = f"external data '{printable(location)}' in {printable(place.model.parent)}"
            raise ModelError(f"{where}: {error}{hint}") from None
        yield file, status.st_size


def _inside(place: Place, location: str) -> Path:
    if not location or not location.isprintable():
        raise ModelError(
            f"external data: location '{printable(location)}' is empty or holds control characters"
        )
    relative = PurePosixPath(location)
    if relative.is_absolute() or ".." in relative.parts or re.match(r"[A-Za-z]:[\\/]|\\", location):
        raise ModelError(f"external data: location '{printable(location)}' leads out of the model's folder")
    model = place.model
    folders = {os.path.realpath(model.parent), os.path.dirname(os.path.realpath(model))}
    real = os.path.realpath(model.parent / relative)
    if not place.linked and not any(os.path.commonpath([folder, real]) == folder for folder in folders):
        raise ModelError(
            f"external data: location '{printable(location)}' is a link out of the model's folder"
        )
    return Path(real)


def check_external(
    model: Path, tensors: Iterable[TensorProto], limits: ModelLimits, on_hashed: Hashed | None = None
) -> tuple[ExternalFile, ...]:
    """Check every external tensor against its file; the files, each hashed once, in order of their locations.

    Raises ModelError that names the tensor, the file and what to do.
    """
    sizes: dict[str, int] = {}
    claimed = 0
    for tensor in tensors:
        try:
            where = read_range(tensor)
            if where.location not in sizes:
                with open_external(Place(model), where.location) as (_, size):
                    sizes[where.location] = size
            _check_fits(where, sizes[where.location])
        except ModelError as error:
            raise named("tensor", tensor.name, error) from None
        claimed += where.length
    _check_claims(claimed, sum(sizes.values()), limits)
    tell = counting(sum(sizes.values()), on_hashed)
    return tuple(ExternalFile(at, model, sizes[at], _hash(model, at, tell)) for at in sorted(sizes))


def _check_fits(where: ExternalRange, size: int) -> None:
    if where.offset + where.length > size:
        raise ModelError(
            f"bytes {where.offset:,} to {where.offset + where.length:,} of external data "
            f"'{printable(where.location)}', which has {size:,}: it is cut short, or of another model"
        )


def _check_claims(claimed: int, there: int, limits: ModelLimits) -> None:
    """Thousands of tensors on one small file ask for memory that the file never had."""
    if claimed > max(limits.external_floor_bytes, limits.external_reuse * there):
        raise ModelError(
            f"its tensors claim {claimed:,} bytes of external files that have {there:,} together"
        )


def _hash(model: Path, location: str, tell: Callable[[int], None]) -> str:
    with open_external(Place(model), location) as (file, _):
        return file_digest(file, tell)


def counting(total: int, on_hashed: Hashed | None) -> Callable[[int], None]:
    """Adds up what was hashed and passes it on every 64 MiB: 100 GB of weights take minutes to read."""
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        if on_hashed is not None and done // _TOLD_EVERY_BYTES != (done + count) // _TOLD_EVERY_BYTES:
            on_hashed(done + count, total)
        done += count

    return tell
