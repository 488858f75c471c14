"""The HDF5 side of a recording: bytes from a document and its arrays, and back, trusting nothing.

A hostile HDF5 file can read other files (external links and storage), show zeros for data that is not there
(virtual datasets, unallocated storage: zeros look like death), or declare sizes that no memory holds. Every
dataset is checked for kind of link, storage, filters, type and shape before it is read, and only expected
names are looked at.
"""

from __future__ import annotations

import json
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from math import ceil, prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from nla.errors import RecordingError, one_line, printable
from nla.statistics.base import Field

Array = NDArray[Any]
Layout = Callable[[Mapping[str, Any]], dict[str, Field]]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_DOCUMENT = "document"
_DOCUMENT_FIELD = Field("uint8", (None,), 256 << 20)
_SUM = "crc32"
"""Attribute: of the document and every array, in the order of their names. Older recordings have none."""
_COMPRESS_FROM_BYTES = 1 << 16
_DEFLATE_FACTOR = 1100
"""DEFLATE shrinks nothing by more than about 1,032; a size that needs a higher factor is a lie."""
_FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE)


def to_bytes(
    schema: str, document: Mapping[str, Any], arrays: Mapping[str, Array], names: Mapping[str, str]
) -> bytes:
    """The HDF5 file, made in memory: HDF5 that meets a full disk ends the process.

    `names` are remarks on groups for people who browse the file; they are made printable and never read back.
    """
    with h5py.File("recording", "w", driver="core", backing_store=False) as file:
        file.attrs["schema"] = np.bytes_(schema)
        text = json.dumps(document, allow_nan=False).encode("ascii")
        _put(file, _DOCUMENT, np.frombuffer(text, np.uint8))
        for path in sorted(arrays):
            _put(file, path, arrays[path])
        file.attrs[_SUM] = np.uint32(_sum({_DOCUMENT: np.frombuffer(text, np.uint8), **arrays}))
        for path, name in names.items():
            file.require_group(path).attrs["name"] = np.bytes_(printable(name).encode("utf-8"))
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def load(path: Path, schema: str, layout: Layout) -> tuple[dict[str, Any], dict[str, Array]]:
    """The document of a recording and the arrays that `layout` says belong to it.

    Raises:
        RecordingError: no such file, not HDF5, truncated, another schema, not what `layout` expects, or changed since
            it was written.
    """
    size = _check_file(path)
    try:
        with h5py.File(path, "r", locking=False) as file:
            _check_schema(file, schema)
            document = parse(bytes(_read_all(file, {_DOCUMENT: _DOCUMENT_FIELD}, size, only=True)[_DOCUMENT]))
            fields = layout(document)
            arrays = _read_all(file, {_DOCUMENT: _DOCUMENT_FIELD, **fields}, size)
            _check_sum(file, arrays)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        said = one_line(error, 200)
        raise RecordingError(f"HDF5 cannot read it; is it truncated or damaged? ({said})") from error
    del arrays[_DOCUMENT]
    return document, arrays


def parse(text: bytes) -> dict[str, Any]:
    """A JSON object, strictly: no NaN or infinity, no key twice, no other type outside.

    Raises:
        RecordingError: anything else.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"its document is not strict JSON: {one_line(error, 200)}") from error
    if not isinstance(value, dict):
        raise RecordingError("its document is not a JSON object")
    return value


def _put(file: h5py.File, path: str, array: Array) -> None:
    """Counts are mostly small and shrink well; rows of activations do not, and would only cost time."""
    options: dict[str, Any] = {}
    if array.dtype.kind == "i" and array.nbytes > _COMPRESS_FROM_BYTES:
        options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    file.create_dataset(
        path, data=np.ascontiguousarray(array).reshape(array.shape), track_times=False, **options
    )


def _check_file(path: Path) -> int:
    """Size of a regular file that begins as HDF5 does."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise RecordingError("is a folder or device, expected an HDF5 file")
        with path.open("rb") as file:
            start = file.read(len(_SIGNATURE))
    except OSError as error:
        raise RecordingError((error.strerror or str(error)).lower()) from error
    except ValueError as error:
        raise RecordingError("the path holds a NUL character") from error
    if start != _SIGNATURE:
        raise RecordingError("not an HDF5 file; expected a recording written by nla inspect -o")
    return status.st_size


def _check_schema(file: h5py.File, schema: str) -> None:
    family = schema.rsplit("/", 1)[0]
    if not h5py.h5a.exists(file.id, b"schema"):
        raise RecordingError(f"an HDF5 file, but not a recording: it has no attribute schema = {schema}")
    attribute = h5py.h5a.open(file.id, b"schema")
    kind = attribute.get_type()
    plain = isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str()
    if not plain or attribute.shape != () or kind.get_size() > 64:
        raise RecordingError(f"an HDF5 file, but not a recording: its attribute schema is not {schema}")
    found = bytes(file.attrs["schema"]).decode("utf-8", "replace")
    if found != schema and found.startswith(family + "/"):
        raise RecordingError(f"schema {printable(found)}, this nla reads {schema}: use the nla that wrote it")
    if found != schema:
        raise RecordingError(f"schema {printable(found)}, expected {schema}")


def _sum(arrays: Mapping[str, Array]) -> int:
    found = 0
    for path in sorted(arrays):
        found = zlib.crc32(np.ascontiguousarray(arrays[path]).reshape(-1).view(np.uint8).data, found)
    return found


def _check_sum(file: h5py.File, arrays: Mapping[str, Array]) -> None:
    """Raises RecordingError where bytes are others than were written: a flipped bit is a wrong number."""
    if not h5py.h5a.exists(file.id, _SUM.encode()):
        return
    attribute = h5py.h5a.open(file.id, _SUM.encode())
    if attribute.shape != () or attribute.dtype != np.uint32:
        raise RecordingError(f"its attribute {_SUM} is no number of 32 bits")
    if int(file.attrs[_SUM]) != _sum(arrays):
        raise RecordingError(
            "its bytes are not those that were written: it is damaged, or was edited by hand"
        )


def _read_all(
    file: h5py.File, fields: Mapping[str, Field], size: int, *, only: bool = False
) -> dict[str, Array]:
    """All arrays, none of them read before all of them are checked.

    With `only`, other members of the root are passed over (the document comes first: it says what they are).
    """
    tree: dict[str, Any] = {}
    for path, spec in fields.items():
        *groups, name = path.split("/")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[name] = spec
    datasets = dict(_walk(file, tree, "", only))
    stored = sum(dataset.id.get_storage_size() for dataset in datasets.values())
    if stored > size:
        raise RecordingError(f"its arrays claim {stored} bytes of a file of {size}")
    return {path: np.asarray(dataset[()], fields[path].dtype) for path, dataset in datasets.items()}


def _walk(
    group: h5py.Group, tree: Mapping[str, Any], prefix: str, only: bool
) -> Iterator[tuple[str, h5py.Dataset]]:
    if not only and len(group) != len(tree):
        raise RecordingError(f"group /{printable(prefix)} has {len(group)} members, expected {len(tree)}")
    for name, node in tree.items():
        path = prefix + name
        if name not in group or not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise RecordingError(f"{printable(path)} is missing, or a link")
        kind = group.get(name, getclass=True)
        if kind is not (h5py.Dataset if isinstance(node, Field) else h5py.Group):
            raise RecordingError(f"{printable(path)} is a {getattr(kind, '__name__', 'strange object')}")
        item = group[name]
        if isinstance(node, Field):
            _check_dataset(item, node, path)
            yield path, item
        else:
            yield from _walk(item, node, path + "/", False)


def _check_dataset(dataset: h5py.Dataset, spec: Field, path: str) -> None:
    """Raises RecordingError unless type, shape and storage are such as `to_bytes` makes them."""
    fault = "empty" if dataset.shape is None else spec.fault(dataset.shape, dataset.dtype)
    if fault is None and (dataset.is_virtual or dataset.external):
        fault = "kept in another file"
    if fault is None and dataset.nbytes and not _is_stored(dataset):
        fault = "declared, but not stored in the file"
    if fault is not None:
        raise RecordingError(f"{printable(path)} is {fault}")


def _is_stored(dataset: h5py.Dataset) -> bool:
    """True where every byte of the dataset lies in the file, with no filter but ours."""
    properties, stored = dataset.id.get_create_plist(), dataset.id.get_storage_size()
    filters = [properties.get_filter(k)[0] for k in range(properties.get_nfilters())]
    if properties.get_layout() != h5py.h5d.CHUNKED:
        return bool(stored == dataset.nbytes)
    chunk_bytes = prod(dataset.chunks) * dataset.dtype.itemsize
    whole = prod(ceil(n / c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    return bool(
        all(code in _FILTERS for code in filters)
        and chunk_bytes <= max(2 * dataset.nbytes, 1 << 20)
        and dataset.id.get_num_chunks() == whole
        and dataset.nbytes <= _DEFLATE_FACTOR * stored
    )


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands there twice")
    return made
