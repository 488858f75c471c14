"""A safetensors checkpoint as Hugging Face lays it out: config.json beside one file of tensors, or beside shards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from nla.checkpoint.digest import checkpoint_digest, file_digest
from nla.checkpoint.external import ExternalFile, Hashed, Place, counting, open_external
from nla.checkpoint.opening import open_regular
from nla.checkpoint.quantised import refuse_quantised
from nla.checkpoint.safetensors_file import Stored, read_header
from nla.checkpoint.safetensors_header import MOST_TENSORS
from nla.checkpoint.safetensors_layout import CONFIG, Layout, find_layout
from nla.checkpoint.strict_json import read_json_file
from nla.errors import ModelError, printable

_LARGEST_CONFIG_BYTES = 16 << 20
_DTYPES: dict[str, Any] = {
    **{"BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16},
    **{"U32": np.uint32, "I32": np.int32, "U64": np.uint64, "I64": np.int64},
    **{"F16": np.float16, "F32": np.float32, "F64": np.float64, "C64": np.complex64},
    **{"BF16": ml_dtypes.bfloat16},
}


@dataclass(frozen=True)
class SafetensorsSource:
    """A checkpoint whose headers, index and config passed all checks. Its tensors are not loaded."""

    path: Path
    """As it was given: the folder, a .safetensors file, or an index."""
    folder: Path
    """Where config.json and the files lie."""
    config: Mapping[str, Any] | None
    """What config.json says; None where there is none."""
    tensors: Mapping[str, Stored]
    """By name: the files in order, the tensors of a file as its header lists them."""
    files: tuple[Path, ...]
    """The .safetensors files, shards in order of their numbers."""
    index: Path | None
    """The index of the shards."""
    metadata: Mapping[str, Mapping[str, str]]
    """What each file says of itself, by the file's name."""
    digest: str
    """sha256 over config.json and the files (`checkpoint_digest`); of one file without config.json, its own."""
    size_bytes: int
    """Of config.json and the files."""
    external_files: tuple[ExternalFile, ...]
    """The files, as external data of a graph."""

    @property
    def place(self) -> Place:
        """Where a graph finds the files as its external data."""
        return place_of(self.folder)

    def array(self, name: str) -> np.ndarray:
        """The tensor, a part of its file mapped into memory, read-only; bfloat16 is ml_dtypes'.

        It may lie unaligned in memory: numpy computes with that, libraries that take an address may not.
        Raises KeyError for a name that is not there, ModelError where the file changed.
        """
        stored = self.tensors[name]
        dtype = np.dtype(_DTYPES[stored.dtype])
        size = next(file.size_bytes for file in self.external_files if file.location == stored.path.name)
        with open_external(self.place, stored.path.name) as (file, there):
            if there != size:
                raise ModelError(f"{printable(stored.path)}: the file changed while the checkpoint was read")
            if not stored.length:
                return _frozen(np.zeros(stored.shape, dtype))
            raw = np.memmap(file, np.uint8, "r", stored.offset, (stored.length,))
        array: np.ndarray = np.asarray(raw).view(dtype).reshape(stored.shape)
        return array


def place_of(folder: Path) -> Place:
    """Where the external data of a checkpoint's graph is looked for: links lead wherever the user's folder says."""
    return Place(folder / CONFIG, linked=True)


def looks_like_safetensors(path: str | os.PathLike[str]) -> bool:
    """Whether the path is for `open_safetensors`: a folder, a .safetensors file, or an index of shards."""
    name = os.path.basename(os.fspath(path)).lower()
    return name.endswith((".safetensors", ".safetensors.index.json")) or os.path.isdir(path)


def open_safetensors(path: str | os.PathLike[str], on_hashed: Hashed | None = None) -> SafetensorsSource:
    """The checkpoint at `path`, checked. Raises ModelError: one line that names file, tensor and fault.

    `on_hashed` is told from time to time how many bytes were hashed, and of how many.
    """
    layout = find_layout(Path(path))
    config = _config(layout.config)
    tensors, metadata = _tensors(layout)
    with _about(layout.path):
        refuse_quantised(config, {name: stored.dtype for name, stored in tensors.items()})
    files = [file for file in (layout.config, *layout.files) if file is not None]
    sizes = {file: _size(file) for file in files}
    tell = counting(sum(sizes.values()), on_hashed)
    digests = {file: _digest(file, tell) for file in files}
    external = tuple(
        ExternalFile(file.name, layout.folder / CONFIG, sizes[file], digests[file], linked=True)
        for file in layout.files
    )
    return SafetensorsSource(
        layout.path,
        layout.folder,
        config,
        tensors,
        layout.files,
        layout.index,
        metadata,
        _whole_digest(digests, layout),
        sum(sizes.values()),
        external,
    )


def _config(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    with _about(path):
        return read_json_file(path, _LARGEST_CONFIG_BYTES)


def _tensors(layout: Layout) -> tuple[dict[str, Stored], dict[str, dict[str, str]]]:
    """The tensors of all files, by name, and each file's metadata."""
    tensors: dict[str, Stored] = {}
    metadata: dict[str, dict[str, str]] = {}
    for file in layout.files:
        with _about(file):
            found, metadata[file.name] = read_header(file)
        for name, stored in found.items():
            if name in tensors:
                raise ModelError(
                    f"{printable(layout.folder)}: tensor '{printable(name)}' is both in "
                    f"{printable(tensors[name].path.name)} and in {printable(file.name)}: files of two checkpoints?"
                )
            tensors[name] = stored
        if len(tensors) > MOST_TENSORS:
            raise ModelError(f"{printable(layout.folder)}: more than {MOST_TENSORS:,} tensors")
    if not tensors:
        raise ModelError(f"{printable(layout.path)}: it holds no tensors")
    _check_listed(layout, tensors)
    return tensors, metadata


def _check_listed(layout: Layout, tensors: Mapping[str, Stored]) -> None:
    """What the index lists is where it says. A tensor that it leaves out counts as the others do."""
    for name, shard in layout.listed.items():
        if name not in tensors:
            raise ModelError(
                f"{printable(layout.index)}: tensor '{printable(name)}' is not in {printable(shard)}, where the index "
                "says it is: the files are not of one checkpoint"
            )
        if tensors[name].path.name != shard:
            raise ModelError(
                f"{printable(layout.index)}: tensor '{printable(name)}' is in "
                f"{printable(tensors[name].path.name)}, and the index says {printable(shard)}"
            )


def _size(path: Path) -> int:
    with _about(path), open_regular(path) as (_, status):
        return status.st_size


def _digest(path: Path, tell: Callable[[int], None]) -> str:
    with _about(path), open_regular(path) as (file, _):
        return file_digest(file, tell)


def _whole_digest(digests: Mapping[Path, str], layout: Layout) -> str:
    if layout.config is None and len(layout.files) == 1:
        return digests[layout.files[0]]
    own = "" if layout.config is None else digests[layout.config]
    return checkpoint_digest(own, ((file.name, digests[file]) for file in layout.files))


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Errors name the file."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{printable(path)}: {error}") from None


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
