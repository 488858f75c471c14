"""The undo file of an edit of a safetensors checkpoint: what the edit overwrote, as the bytes that stood there.

A safetensors file. Its metadata name the format and the digests of the original and of the edited checkpoint. It holds

- `file:NAME`: config.json or the index, where they changed;
- `start:NAME`: the header of a file of tensors that was rewritten, and the eight bytes before it;
- `tensor:NAME`: the bytes of each tensor that changed;
- `~sha256`, the last: of all bytes before it.

Everything else is in the edited checkpoint.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nla.checkpoint.atomic import atomic_write
from nla.checkpoint.safetensors_file import Entry, Stored, pieces, read_header
from nla.checkpoint.safetensors_header import LARGEST_HEADER_BYTES, LENGTH_BYTES, METADATA
from nla.checkpoint.safetensors_source import SafetensorsSource, open_safetensors
from nla.checkpoint.safetensors_writing import (
    Revision,
    beside_weights,
    read_start,
    whole_file,
    write_files,
)
from nla.checkpoint.undo import SUM, SUM_BYTES, check_belongs, check_sum, summed
from nla.checkpoint.wire import Piece, ready
from nla.checkpoint.writing import pour
from nla.errors import ModelError, printable

FORMAT = "nla/undo/safetensors/1"
_FILE, _START, _TENSOR = "file:", "start:", "tensor:"


def record(revision: Revision, edited: str) -> list[Piece]:
    """The undo file of a revision, in pieces; `edited` is the digest of what it wrote. Raises ModelError."""
    source = revision.source
    entries = {f"{_FILE}{path.name}": _bytes(whole_file(path)) for path in revision.texts()}
    for path in source.files:
        if revision.rewritten(path):
            entries[f"{_START}{path.name}"] = _bytes(ready(read_start(path)))
    for name in revision.tensors:
        entries[f"{_TENSOR}{name}"] = _bytes(source.tensors[name].piece())
    entries[SUM] = _bytes(Piece(SUM_BYTES, tuple))
    metadata = {"format": FORMAT, "original": source.digest, "edited": edited}
    *content, _ = pieces(entries, metadata)
    return summed(content)


@dataclass(frozen=True)
class RestoredFolder:
    """What undoing an edit gave."""

    digest: str
    identical: bool
    """Whether every file of tensors and config.json are, byte for byte, what they were."""


def restore_folder(
    undo: str | os.PathLike[str], edited: SafetensorsSource, path: str | os.PathLike[str]
) -> RestoredFolder:
    """Write the original of an edited checkpoint to `path`, a folder that does not exist yet, or, for one without
    config.json, a file. Raises ModelError, OutputError.
    """
    source = Path(undo)
    try:
        stored, metadata = read_header(source)
        check_belongs(metadata, edited.digest, edited.path, FORMAT)
        check_sum(source, stored)
        contents = {shard.name: _original(shard, stored, edited) for shard in edited.files}
    except ModelError as error:
        raise ModelError(f"{printable(source)}: {error}") from None
    target = Path(path)
    if target.name.endswith(".safetensors") and len(contents) == 1 and edited.config is None:
        (only,) = contents.values()
        atomic_write(target, lambda file: pour(file, only))
    else:
        _write(target, contents, stored, edited)
    digest = open_safetensors(target).digest
    return RestoredFolder(digest, digest == metadata["original"])


def _write(
    target: Path,
    contents: Mapping[str, list[Piece]],
    stored: Mapping[str, Stored],
    edited: SafetensorsSource,
) -> None:
    """The folder, whole or not at all."""
    files = dict(contents)
    if edited.index is not None:
        files[edited.index.name] = [whole_file(edited.index)]
    files |= {name: [whole_file(edited.folder / name)] for name in beside_weights(edited).files}
    kept = {name.removeprefix(_FILE): found for name, found in stored.items() if name.startswith(_FILE)}
    files |= {name: [found.piece()] for name, found in kept.items() if name in files}
    write_files(target, files)


def _original(shard: Path, stored: Mapping[str, Stored], edited: SafetensorsSource) -> list[Piece]:
    """A file of tensors as it was."""
    start = stored.get(f"{_START}{shard.name}")
    if start is None:
        return [whole_file(shard)]
    if not LENGTH_BYTES < start.length <= LARGEST_HEADER_BYTES + LENGTH_BYTES:
        raise ModelError(f"its header of {printable(shard.name)} has {start.length:,} bytes")
    content = [start.piece()]
    for name, length in _lengths(start).items():
        kept, there = stored.get(f"{_TENSOR}{name}"), edited.tensors.get(name)
        found = kept if kept is not None else there
        if found is None or found.length != length:
            raise ModelError(
                f"tensor '{printable(name)}' is neither kept in the undo file nor, as it was, in the edited checkpoint"
            )
        content.append(found.piece())
    return content


def _lengths(start: Stored) -> dict[str, int]:
    """By tensor, in the order in which they lie in the original, the bytes that each takes."""
    try:
        header = json.loads(start.read()[LENGTH_BYTES:])
        header.pop(METADATA, None)
        ends = {name: tuple(found["data_offsets"]) for name, found in header.items()}
        return {name: ends[name][1] - ends[name][0] for name in sorted(ends, key=lambda name: ends[name])}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise ModelError("a header that it keeps is none") from None


def _bytes(piece: Piece) -> Entry:
    return Entry("U8", (piece.length,), piece)
