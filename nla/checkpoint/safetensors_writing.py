"""A safetensors checkpoint written anew in its own layout: the same files, the same order, touched tensors only.

Shards keep their names, the order of their tensors, their types and their metadata; every byte that nothing touched
is copied in pieces. config.json and the index change in the numbers that follow from it, and in nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from nla.checkpoint.atomic import atomic_write
from nla.checkpoint.companions import Companions, companions
from nla.checkpoint.config_text import with_number
from nla.checkpoint.opening import open_regular
from nla.checkpoint.safetensors_file import Stored
from nla.checkpoint.safetensors_header import LARGEST_HEADER_BYTES, LENGTH_BYTES, METADATA
from nla.checkpoint.safetensors_layout import CONFIG
from nla.checkpoint.safetensors_source import SafetensorsSource
from nla.checkpoint.wire import Piece, ready
from nla.checkpoint.writing import pour
from nla.errors import ModelError, OutputError, printable

_LARGEST_TEXT_BYTES = 64 << 20
_SHOWN = 8


@dataclass(frozen=True)
class Revised:
    """A tensor as it is to be written, in the type that it has."""

    shape: tuple[int, ...]
    piece: Piece


@dataclass(frozen=True)
class Revision:
    """A checkpoint as it is to be written: what changes, and where everything else comes from."""

    source: SafetensorsSource
    tensors: Mapping[str, Revised] = field(default_factory=dict)
    """Those that change, by name."""
    config: Mapping[str, int] = field(default_factory=dict)
    """Numbers of config.json that change."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Added to that of the first file."""

    def shards(self) -> dict[Path, list[Piece]]:
        """The content of every file of weights, in pieces. Raises ModelError, OutputError."""
        return {path: self._shard(path) for path in self.source.files}

    def texts(self) -> dict[Path, bytes]:
        """The content of config.json and the index where they change. Raises ModelError."""
        found: dict[Path, bytes] = {}
        if self.config:
            text = read_text(self.source.folder / CONFIG)
            for key, number in self.config.items():
                text = with_number(text, (key,), number)
            found[self.source.folder / CONFIG] = text.encode()
        index = self._index()
        if self.source.index is not None and index is not None:
            found[self.source.index] = index.encode()
        return found

    def size_bytes(self) -> int:
        """Bytes of config.json and the files of tensors as they will be."""
        after = sum(piece.length for pieces in self.shards().values() for piece in pieces)
        config = self.source.folder / CONFIG
        if self.source.config is not None:
            after += len(self.texts().get(config, b"")) or os.stat(config).st_size
        return after

    def rewritten(self, path: Path) -> bool:
        """Whether a file of weights becomes another."""
        touched = any(self.source.tensors[name].path == path for name in self.tensors)
        return touched or bool(self.metadata and path == self.source.files[0])

    def _shard(self, path: Path) -> list[Piece]:
        if not self.rewritten(path):
            return [whole_file(path)]
        header = read_start(path)
        text, order = self._header(path, header)
        pieces = [ready(len(text).to_bytes(LENGTH_BYTES, "little") + text)]
        for name in order:
            revised = self.tensors.get(name)
            pieces.append(self.source.tensors[name].piece() if revised is None else revised.piece)
        return pieces

    def _header(self, path: Path, before: bytes) -> tuple[bytes, list[str]]:
        """The header with its keys in the order that they had, and the tensors in the order in which they lie."""
        header: dict[str, Any] = parsed(path, before)
        order = sorted(
            (name for name in header if name != METADATA), key=lambda name: header[name]["data_offsets"]
        )
        end = 0
        for name in order:
            length, revised = self.source.tensors[name].length, self.tensors.get(name)
            if revised is not None:
                length = revised.piece.length
                header[name]["shape"] = list(revised.shape)
            header[name]["data_offsets"] = [end, end + length]
            end += length
        if self.metadata and path == self.source.files[0]:
            known = header.get(METADATA) or {}
            header = {METADATA: {}, **header} if METADATA not in header else header
            header[METADATA] = {**known, **dict(sorted(self.metadata.items()))}
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > LARGEST_HEADER_BYTES:
            raise OutputError(
                f"a safetensors file with a header of {len(text):,} bytes, which no reader takes: fewer units with "
                "reasons of their own would make it shorter"
            )
        return text + b" " * (-len(text) % LENGTH_BYTES), order

    def _index(self) -> str | None:
        """The index with its totals; None where they stay, or it has none."""
        if self.source.index is None:
            return None
        text = read_text(self.source.index)
        totals = json.loads(text).get("metadata")
        saved = {"total_size": 0, "total_parameters": 0}
        for name, revised in self.tensors.items():
            stored = self.source.tensors[name]
            saved["total_size"] += stored.length - revised.piece.length
            saved["total_parameters"] += prod(stored.shape) - prod(revised.shape)
        before = text
        for key, less in saved.items():
            number = totals.get(key) if isinstance(totals, dict) else None
            if less and isinstance(number, int | float) and not isinstance(number, bool):
                text = with_number(text, ("metadata", key), number - less)
        return None if text == before else text


def write_folder(path: str | os.PathLike[str], revision: Revision) -> list[str]:
    """Write the checkpoint as a folder that does not exist yet, whole or not at all; what to say of it.

    The files beside the weights are copied, but not copies of the weights in other formats. Raises OutputError,
    ModelError.
    """
    beside = beside_weights(revision.source)
    files = {path.name: pieces for path, pieces in revision.shards().items()}
    if revision.source.index is not None:
        files[revision.source.index.name] = [whole_file(revision.source.index)]
    files |= {name: [whole_file(revision.source.folder / name)] for name in beside.files}
    files |= {path.name: [ready(content)] for path, content in revision.texts().items()}
    write_files(path, files)
    return [_left_out(beside.left_out)] if beside.left_out else []


def beside_weights(source: SafetensorsSource) -> Companions:
    """What lies beside the weights and their index; nothing where one file was named that has no config.json."""
    if source.config is None and not source.path.is_dir():
        return Companions((), ())
    own = source.files if source.index is None else (*source.files, source.index)
    return companions(source.folder, own)


def write_files(path: str | os.PathLike[str], files: Mapping[str, list[Piece]]) -> None:
    """Write a folder that does not exist yet, whole or not at all; names have / between parts. Raises OutputError."""
    folder = Path(path)
    try:
        folder.mkdir()
        for name, pieces in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            _write(folder / name, pieces)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise OutputError(
            f"cannot write {printable(folder)}: {(error.strerror or str(error)).lower()}"
        ) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def write_file(path: str | os.PathLike[str], revision: Revision) -> None:
    """Write a checkpoint that is one file, whole or not at all. Raises OutputError, ModelError."""
    (pieces,) = revision.shards().values()
    _write(Path(path), pieces)


def whole_file(path: Path) -> Piece:
    """All bytes of a regular file, a few MB at a time. Raises ModelError."""
    with open_regular(path) as (_, status):
        length = status.st_size
    return Stored(path, "U8", (length,), 0, length).piece()


def read_start(path: Path) -> bytes:
    """The header of a safetensors file and the eight bytes before it. Raises ModelError."""
    with open_regular(path) as (file, status):
        first = file.read(LENGTH_BYTES)
        length = int.from_bytes(first, "little")
        if length > min(LARGEST_HEADER_BYTES, status.st_size - LENGTH_BYTES):
            raise ModelError(f"{printable(path)}: its header changed while it was read")
        return first + file.read(length)


def parsed(path: Path, start: bytes) -> dict[str, Any]:
    """The header that such bytes hold, its keys in their order. Raises ModelError."""
    try:
        found = json.loads(start[LENGTH_BYTES:])
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ModelError(f"{printable(path)}: its header changed while it was read")
    return found


def read_text(path: Path) -> str:
    """A text of JSON, as it stands in its file. Raises ModelError."""
    with open_regular(path) as (file, _):
        content = file.read(_LARGEST_TEXT_BYTES)
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ModelError(f"{printable(path)}: not UTF-8") from None


def _write(path: Path, pieces: list[Piece]) -> None:
    atomic_write(path, lambda file: pour(file, pieces))


def _left_out(names: tuple[str, ...]) -> str:
    """What lies in the source's folder and not in the new one."""
    shown = ", ".join(printable(name, 60) for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return (
        f"not copied: {shown}{more} (copies of the weights, which would not be those of the edited checkpoint, "
        "links out of the folder, or no regular files)"
    )
