"""The undo file of an edit: what the edit overwrote, and the graph as it was; and back.

A safetensors file. Its metadata name the format and the digests of the original and of the edited model. It holds

- `model`: the original protobuf without values of weights, but for those in fields of integers of varying
  length, where the bytes say more than the values;
- `weight:NAME`: the bytes of each weight that the edit changed or dropped;
- `range:LOCATION:OFFSET:LENGTH`: external data of subgraphs;
- `~sha256`, the last: of all bytes before it, header included, so that what was spoilt on the way is not brought back.

All other weights are in the edited model.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto, TensorProto

from nla.checkpoint.external import ExternalRange, read_range
from nla.checkpoint.limits import DEFAULT_LIMITS
from nla.checkpoint.onnx_file import OnnxCheckpoint
from nla.checkpoint.precheck import precheck
from nla.checkpoint.safetensors_file import Entry, Stored, entry, pieces, read_header
from nla.checkpoint.skeleton import left_out, skeleton, weight_tensors
from nla.checkpoint.tensors import named, size_bytes
from nla.checkpoint.values import AS_RAW, field_of, from_field, numpy_type, to_bytes
from nla.checkpoint.walking import graphs
from nla.checkpoint.weights import Content, Weight, range_piece, weights_of
from nla.checkpoint.wire import Buffer, Piece, ready, serialised
from nla.checkpoint.writing import Outcome, Written, write_model
from nla.errors import ModelError, printable

FORMAT = "nla/undo/1"
_MODEL = "model"
SUM, SUM_BYTES = "~sha256", 32
"""The last entry of every undo file, and its length."""


class UndoRecord:
    """What is to be kept of a checkpoint before an edit that touches some of its weights."""

    def __init__(self, checkpoint: OnnxCheckpoint, touched: Collection[str]) -> None:
        self._checkpoint = checkpoint
        self._touched = frozenset(touched)

    def pieces(self, edited: str) -> list[Piece]:
        """The undo file; `edited` is the digest of the edited model."""
        model = skeleton(self._checkpoint.proto)
        entries = {f"range:{_range_key(where)}": self._range(where) for where in _inner_ranges(model)}
        headers = weight_tensors(model.graph)
        for name, tensor in weight_tensors(self._checkpoint.proto.graph).items():
            if name not in self._touched:
                continue
            kept = self._kept(tensor)
            if kept is None:
                headers[name].CopyFrom(tensor)
            else:
                entries[f"weight:{name}"] = kept
        content = serialised(model)
        entries[_MODEL] = Entry("U8", (len(content),), ready(content))
        metadata = {"format": FORMAT, "original": self._checkpoint.digest, "edited": edited}
        entries[SUM] = Entry(
            "U8", (SUM_BYTES,), Piece(SUM_BYTES, tuple)
        )  # its place; its content is made last
        *content_pieces, _ = pieces(entries, metadata)
        return summed(content_pieces)

    def _kept(self, tensor: TensorProto) -> Entry | None:
        """The tensor's bytes as an entry; None where it stays in the protobuf."""
        if tensor.data_location == TensorProto.EXTERNAL:
            piece = range_piece(self._checkpoint.place, read_range(tensor))
        elif field_of(tensor) in AS_RAW and size_bytes(tensor):
            piece = Piece(size_bytes(tensor), partial(_inline, tensor))
        else:
            return None
        try:
            dtype = numpy_type(tensor.data_type)
        except ModelError:
            dtype = np.dtype(np.uint8)  # kept as bytes
        return entry(dtype, tuple(tensor.dims), piece)

    def _range(self, where: ExternalRange) -> Entry:
        return Entry("U8", (where.length,), range_piece(self._checkpoint.place, where))


def summed(content: list[Piece]) -> list[Piece]:
    """The pieces, and the sha256 of all that they give, which is known when they have been written."""
    sha256 = hashlib.sha256()

    def shown(piece: Piece) -> Iterator[Buffer]:
        for part in piece.checked():
            sha256.update(part)
            yield part

    through = [Piece(piece.length, partial(shown, piece)) for piece in content]
    return [*through, Piece(SUM_BYTES, lambda: (sha256.digest(),))]


def check_sum(source: Path, stored: Mapping[str, Stored]) -> None:
    """Refuse a file that is not as it was written. Raises ModelError."""
    found = stored.get(SUM)
    if found is None or found.length != SUM_BYTES:
        raise ModelError(f"it holds no '{SUM}' of its content")
    sha256 = hashlib.sha256()
    for part in Stored(source, "U8", (found.offset,), 0, found.offset).piece().checked():
        sha256.update(part)
    if found.read() != sha256.digest():
        raise ModelError("its content is not what was written: it was changed, or spoilt on the way")


def _inline(tensor: TensorProto) -> Iterator[Buffer]:
    if field_of(tensor) == "raw_data":
        yield tensor.raw_data
    else:
        yield to_bytes(from_field(tensor), tensor.data_type).data


def _range_key(where: ExternalRange) -> str:
    return f"{where.location}:{where.offset}:{where.length}"


def _inner_ranges(model: ModelProto) -> set[ExternalRange]:
    """External data of initializers in subgraphs."""
    inner = list(graphs(model))[1:]
    tensors = (tensor for graph in inner for tensor in graph.initializer)
    return {read_range(tensor) for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL}


@dataclass(frozen=True)
class Restored:
    """What undoing an edit gave."""

    written: Written
    original: str
    """Digest of the original."""

    @property
    def identical(self) -> bool:
        """Whether every file is, byte for byte, what it was; else the values of all weights are, and the graph.

        External data gets a file named after the output, and a protobuf may have been written in an order of
        its own.
        """
        return self.written.digest == self.original


def restore(undo: str | os.PathLike[str], edited: OnnxCheckpoint, path: str | os.PathLike[str]) -> Restored:
    """Write the original of an edited model to `path`. Raises ModelError, OutputError.

    The undo file must belong to this very model: that is checked before anything is written.
    """
    source = Path(undo)
    try:
        stored, metadata = read_header(source)
        check_belongs(metadata, edited.digest, edited.path)
        check_sum(source, stored)
        model = _model(stored)
        outcome = Outcome(model, _contents(model, stored, edited), partial(_stored_range, stored))
        sources = [source, *edited.files]
        return Restored(write_model(path, outcome, sources=sources), metadata["original"])
    except ModelError as error:
        raise ModelError(f"{printable(source)}: {error}") from None


def check_belongs(metadata: Mapping[str, str], digest: str, edited: Path, expected: str = FORMAT) -> None:
    """Refuse an undo file of another format, or of another edit than that at `edited`. Raises ModelError."""
    kind = metadata.get("format", "")
    if kind != expected:
        later = " (written by a later nla?)" if kind.startswith("nla/undo/") else ""
        raise ModelError(
            f"not an undo file of nla: its format is '{printable(kind)}', not '{expected}'{later}"
        )
    if "original" not in metadata or metadata.get("edited") != digest:
        raise ModelError(
            f"it belongs to the model with digest {printable(metadata.get('edited', 'unknown'))[:16]}…, and "
            f"{printable(edited)} has {digest[:16]}…: give the model that was written with it"
        )


def _model(stored: Mapping[str, Stored]) -> ModelProto:
    """The original protobuf that the file keeps, checked as every model is."""
    if _MODEL not in stored or stored[_MODEL].length > DEFAULT_LIMITS.file_bytes:
        raise ModelError(f"it holds no '{_MODEL}', or one too large for a protobuf")
    model = ModelProto()
    try:
        model.ParseFromString(stored[_MODEL].read())
    except DecodeError:
        raise ModelError(f"its '{_MODEL}' does not parse as a protobuf") from None
    precheck(model, DEFAULT_LIMITS)
    return model


def _contents(model: ModelProto, stored: Mapping[str, Stored], edited: OnnxCheckpoint) -> dict[str, Content]:
    """Where the values of each weight are read: from the undo file, or else from the edited model."""
    there = weights_of(edited.proto.graph, edited.place)
    contents: dict[str, Content] = {}
    for name, tensor in weight_tensors(model.graph).items():
        external = tensor.data_location == TensorProto.EXTERNAL
        if not external:
            continue
        try:
            found = stored.get(f"weight:{name}")
            contents[name] = _untouched(tensor, there.get(name)) if found is None else _touched(tensor, found)
        except ModelError as error:
            raise named("weight", name, error) from None
    return contents


def _touched(tensor: TensorProto, found: Stored) -> Content:
    needed = size_bytes(tensor)
    if found.length != needed:
        raise ModelError(f"the original takes {needed:,} bytes, and {found.length:,} are kept")
    field = left_out(tensor)
    if field is None:
        return Content("external_data", found.piece(), read_range(tensor))
    if field not in AS_RAW:
        raise ModelError(f"its values are said to be in '{printable(field)}'")
    return Content(field, found.piece())


def _untouched(tensor: TensorProto, weight: Weight | None) -> Content:
    """What the edited model has, which must be of the type and shape that the original has."""
    same = weight is not None and (weight.data_type, weight.shape) == (tensor.data_type, tuple(tensor.dims))
    if weight is None or not same or weight.external != (left_out(tensor) is None):
        raise ModelError("it is neither kept in the undo file nor, as it was, in the edited model")
    if not weight.external:
        return weight.content()
    content = weight.content()
    return Content("external_data", content.piece, read_range(tensor))


def _stored_range(stored: Mapping[str, Stored], where: ExternalRange) -> Piece:
    found = stored.get(f"range:{_range_key(where)}")
    if found is None or found.length != where.length:
        raise ModelError(f"bytes of external data '{printable(where.location)}' are missing")
    return found.piece()
