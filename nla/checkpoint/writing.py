"""Writing a model piece by piece: no file is ever held whole, and files that belong together appear together."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import BinaryIO

from onnx import ModelProto, TensorProto

from nla.checkpoint.atomic import Content as FileContent
from nla.checkpoint.atomic import atomic_write_all, check_output
from nla.checkpoint.digest import checkpoint_digest
from nla.checkpoint.external import ExternalRange, read_range
from nla.checkpoint.limits import DEFAULT_LIMITS
from nla.checkpoint.skeleton import brought_in, constant_tensor, left_out
from nla.checkpoint.values import FIELDS
from nla.checkpoint.walking import graphs
from nla.checkpoint.weights import Content
from nla.checkpoint.wire import Piece, apart, opening, ready, serialised, within, without
from nla.errors import OutputError, printable

EXTERNAL_SUFFIX = ".data"
"""What the name of a model's external file ends with; it begins with the name of the model."""

_ALIGNMENT_BYTES = 64 << 10
"""Offsets beyond this need no finer rule: no system maps files in larger pages (Windows: 64 KiB)."""
_FLUSH_BYTES = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """A model that is to be written: everything but the values of its weights, and where these come from."""

    model: ModelProto
    """Consumed by `lay_out`: external tensors are told their new places in it."""
    contents: Mapping[str, Content]
    """Of tensors of the main graph, by name (a Constant node's is that of its output); others are as they stand."""
    ranges: Callable[[ExternalRange], Piece]
    """Where the bytes of other external tensors are read: those of subgraphs."""


@dataclass(frozen=True)
class Layout:
    """The two files of a model, as pieces; `data` is empty where all weights are inline."""

    model: list[Piece]
    data: list[Piece]

    @property
    def model_bytes(self) -> int:
        """Bytes of the protobuf."""
        return _total(self.model)

    @property
    def size_bytes(self) -> int:
        """Bytes of both files."""
        return self.model_bytes + _total(self.data)


@dataclass(frozen=True)
class Written:
    """What was written."""

    path: Path
    digest: str
    """As `open_onnx` gives it for the written model."""
    size_bytes: int
    """Of the model and its external file."""
    external: Path | None
    extra: Path | None
    """The file that was asked for beside the model."""


Extra = tuple[Path, Callable[[str], Iterable[Piece]]]
"""A file to be written with the model, its content made from the digest of what was written."""


def write_model(
    path: str | os.PathLike[str],
    outcome: Outcome,
    *,
    sources: Sequence[str | os.PathLike[str]] = (),
    extra: Extra | None = None,
) -> Written:
    """Write a model and, where it has external weights, `<path>.data`; all of it or nothing. Raises OutputError.

    The model is put in place last: until then, an older one and its data are as they were.
    """
    target = Path(path)
    check_output(target, sources=sources)
    beside = target.with_name(target.name + EXTERNAL_SUFFIX)
    layout = lay_out(outcome, beside.name)
    _check(target, layout)
    hashes = hashlib.sha256(), hashlib.sha256()

    def digest() -> str:
        external = [(beside.name, hashes[1].hexdigest())] if layout.data else []
        return checkpoint_digest(hashes[0].hexdigest(), external)

    outputs: list[tuple[Path, FileContent]] = [
        (target, lambda file: pour(file, layout.model, hashes[0].update))
    ]
    if layout.data:
        outputs.append((beside, lambda file: pour(file, layout.data, hashes[1].update)))
    if extra is not None:
        outputs.append((extra[0], lambda file: pour(file, extra[1](digest()))))
    atomic_write_all(outputs, sources=sources)
    return Written(
        target, digest(), layout.size_bytes, beside if layout.data else None, extra[0] if extra else None
    )


def pour(file: BinaryIO, pieces: Iterable[Piece], seen: Callable[[bytes], object] | None = None) -> None:
    """Write the pieces, each read when its turn comes; small ones are joined first. `seen` is shown all bytes."""
    waiting = bytearray()

    def flush() -> None:
        _put(file, bytes(waiting), seen)
        waiting.clear()

    for piece in pieces:
        for part in piece.checked():
            if len(waiting) + len(part) < _FLUSH_BYTES:
                waiting += part
                continue
            flush()
            _put(file, part, seen)
    flush()


def _put(file: BinaryIO, part: bytes | memoryview, seen: Callable[[bytes], object] | None) -> None:
    file.write(part)
    if seen is not None:
        seen(part)  # type: ignore[arg-type]  # hashlib takes every buffer


def _check(target: Path, layout: Layout) -> None:
    """Refuse before a byte is written what no reader could open."""
    if layout.model_bytes > DEFAULT_LIMITS.file_bytes:
        raise OutputError(
            f"cannot write {printable(target)}: the model would take {layout.model_bytes:,} bytes, more than the "
            f"{DEFAULT_LIMITS.file_bytes:,} that a protobuf may have; save the original with its weights in "
            "external data (onnx.save_model(…, save_as_external_data=True)) and edit that"
        )
    if not layout.data:
        return
    if target.exists() and not target.is_file():
        raise OutputError(
            f"cannot write {printable(target)}: its external data goes beside it; name a regular file"
        )
    if not target.name.isprintable() or re.match(r"[A-Za-z]:\\|\\", target.name):
        raise OutputError(
            f"cannot write {printable(target)}: its external data bears its name, which not every reader would "
            "accept; name another output"
        )


def lay_out(outcome: Outcome, location: str) -> Layout:
    """Say which bytes make up the model and its external file, which the model will call `location`."""
    data = _place(outcome, location)
    model = outcome.model
    graph = _graph(outcome)
    below, above = apart(without(model, "graph"), model.DESCRIPTOR.fields_by_name["graph"].number)
    number = model.DESCRIPTOR.fields_by_name["graph"].number
    return Layout([ready(below), ready(opening(number, _total(graph))), *graph, ready(above)], data)


def _graph(outcome: Outcome) -> list[Piece]:
    """The main graph: its nodes, its name, its initializers, and the rest."""
    graph, contents = outcome.model.graph, outcome.contents
    numbers = {name: field.number for name, field in graph.DESCRIPTOR.fields_by_name.items()}
    pieces: list[Piece] = []
    for node in graph.node:
        tensor = constant_tensor(node)
        content = contents.get(node.output[0]) if tensor is not None else None
        if tensor is None or content is None:
            inner = [ready(serialised(node))]
        else:
            attribute = node.attribute[0]
            around = [
                (without(node, "attribute"), node.DESCRIPTOR.fields_by_name["attribute"].number),
                (without(attribute, "t"), attribute.DESCRIPTOR.fields_by_name["t"].number),
            ]
            inner = _tensor(around, tensor, content)
        pieces += [ready(opening(numbers["node"], _total(inner))), *inner]
    below, above = apart(without(graph, "node", "initializer"), numbers["initializer"])
    pieces.append(ready(below))
    for tensor in graph.initializer:
        content = contents.get(tensor.name)
        inner = [ready(serialised(tensor))] if content is None else _tensor([], tensor, content)
        pieces += [ready(opening(numbers["initializer"], _total(inner))), *inner]
    return [*pieces, ready(above)]


def _tensor(around: list[tuple[object, int]], tensor: TensorProto, content: Content) -> list[Piece]:
    """The first message around the tensor (or the tensor), with the content in it."""
    if content.field is None:
        return within(around, content.piece)
    if content.field == "external_data":
        return within(around, ready(serialised(tensor)))
    brought_in(tensor)
    if not content.piece.length:
        return within(around, ready(serialised(tensor)))
    return within([*around, (tensor, FIELDS[content.field])], content.piece)


def _place(outcome: Outcome, location: str) -> list[Piece]:
    """Tell every external tensor its new place; the pieces of the external file, padding among them.

    Tensors keep the order in which they lay before; those that share their bytes go on doing so.
    """
    pieces: list[Piece] = []
    placed: dict[ExternalRange, int] = {}
    end = 0
    for tensor, content in sorted(_external(outcome), key=lambda item: _order(item[1].range)):
        where, length = content.range, content.piece.length
        offset = placed.get(where) if where is not None and content.as_it_was else None
        if offset is None:
            alignment = _alignment(where, length)
            offset = -(-end // alignment) * alignment
            pieces += [ready(bytes(offset - end)), content.piece]
            end = offset + length
            if where is not None and content.as_it_was:
                placed[where] = offset
        _relocate(tensor, location, offset, length)
    return pieces


def _external(outcome: Outcome) -> Iterator[tuple[TensorProto, Content]]:
    for depth, graph in enumerate(graphs(outcome.model)):
        for tensor in graph.initializer:
            if tensor.data_location != TensorProto.EXTERNAL or left_out(tensor) is not None:
                continue
            content = outcome.contents.get(tensor.name) if depth == 0 else None
            if content is None:
                where = read_range(tensor)
                content = Content("external_data", outcome.ranges(where), where)
            yield tensor, content


def _order(where: ExternalRange | None) -> tuple[bool, str, int]:
    """New tensors come last, in the order of the graph (sorting keeps it)."""
    return (True, "", 0) if where is None else (False, where.location, where.offset)


def _alignment(where: ExternalRange | None, length: int) -> int:
    """A power of two: what the tensor's offset was a multiple of, 64 KiB at most.

    The start of a file is a multiple of everything, and a new tensor had no offset: these are aligned to
    their own size at most, as small tensors in files of their own would be mostly padding.
    """
    if where is not None and where.offset:
        return gcd(where.offset, _ALIGNMENT_BYTES)
    return min(_ALIGNMENT_BYTES, 1 << max(length, 1).bit_length() - 1)


def _relocate(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    """Write the new place into the entries that the tensor has; what said something of the old file goes."""
    new = {"location": location, "offset": str(offset), "length": str(length)}
    kept = [entry.key for entry in tensor.external_data if entry.key not in ("checksum", "basepath")]
    if "offset" not in kept and offset:
        kept.append("offset")
    others = {entry.key: entry.value for entry in tensor.external_data}
    del tensor.external_data[:]
    for key in kept:
        tensor.external_data.add(key=key, value=new.get(key, others.get(key, "")))


def _total(pieces: Iterable[Piece]) -> int:
    return sum(piece.length for piece in pieces)
