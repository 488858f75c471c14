"""Opening an ONNX file: checked before any library's C++ sees it, with its external data left where it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto, TensorProto

from nla.checkpoint.digest import checkpoint_digest
from nla.checkpoint.external import ExternalFile, Hashed, Place, check_external, open_external, read_range
from nla.checkpoint.limits import DEFAULT_LIMITS, ModelLimits
from nla.checkpoint.opening import read_regular
from nla.checkpoint.precheck import precheck
from nla.checkpoint.signatures import looks_like
from nla.checkpoint.walking import attribute_tensors, graphs, nodes
from nla.errors import ModelError, printable

_HEAD_BYTES = 64


@dataclass(frozen=True)
class OnnxCheckpoint:
    """An ONNX model that passed the cheap checks. External data is not loaded."""

    path: Path
    """As it was given."""
    proto: ModelProto
    """Nodes in order, external tensors still references; not to be changed."""
    digest: str
    """sha256 of the model file alone, or, with external files, over it and them (`checkpoint_digest`)."""
    size_bytes: int
    """Of the model file and its external files."""
    external_files: tuple[ExternalFile, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder that external data is relative to."""
        return self.path.parent

    @property
    def place(self) -> Place:
        """Where its external data is looked for."""
        return Place(self.path)

    @property
    def constants(self) -> frozenset[str]:
        """Initializers that are none of the checkpoint's parameters; a model file has none of them."""
        return frozenset()

    @property
    def files(self) -> tuple[Path, ...]:
        """The model file and its external files."""
        return (self.path, *(self.folder / file.location for file in self.external_files))

    def map_external(self) -> dict[str, np.ndarray]:
        """The external files by location, uint8, mapped read-only: for libraries that take no path."""
        return {file.location: file.map() for file in self.external_files}

    def describe(self) -> dict[str, object]:
        """The checkpoint as documents name it: path, format, digest, bytes, producer, opsets."""
        producer = f"{self.proto.producer_name} {self.proto.producer_version}".strip()
        return {
            "path": str(self.path),
            "format": "onnx",
            "digest": self.digest,
            "bytes": self.size_bytes,
            "producer": producer,
            "ir_version": self.proto.ir_version,
            "opsets": {opset.domain or "ai.onnx": opset.version for opset in self.proto.opset_import},
            "external_files": [file.location for file in self.external_files],
        }


def open_onnx(
    path: str | os.PathLike[str], *, limits: ModelLimits = DEFAULT_LIMITS, on_hashed: Hashed | None = None
) -> OnnxCheckpoint:
    """The ONNX model at `path`, checked. Raises ModelError: one line that names file, place and fault.

    `on_hashed` is told from time to time how many bytes of external data were hashed, and of how many.
    """
    model = Path(path)
    try:
        content = read_regular(model, limits.file_bytes)
        proto = _parse(content)
        precheck(proto, limits)
        external = check_external(model, _external_tensors(proto), limits, on_hashed)
        _load_attributes(model, proto)
    except ModelError as error:
        raise ModelError(f"{printable(model)}: {error}") from None
    digest = checkpoint_digest(
        hashlib.sha256(content).hexdigest(), ((f.location, f.digest) for f in external)
    )
    size_bytes = len(content) + sum(file.size_bytes for file in external)
    return OnnxCheckpoint(model, proto, digest, size_bytes, external)


def _parse(content: bytes) -> ModelProto:
    other = looks_like(content[:_HEAD_BYTES])
    if other is not None:
        raise ModelError(f"not an ONNX model but {other}")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError:
        raise ModelError(
            f"not an ONNX model, or one cut short ({len(content):,} bytes): it does not parse as a protobuf"
        ) from None
    return proto


def _external_tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of the model whose data lies in another file."""
    for graph in graphs(proto):
        yield from (tensor for tensor in graph.initializer if tensor.data_location == TensorProto.EXTERNAL)
    yield from _external_attributes(proto)


def _external_attributes(proto: ModelProto) -> Iterator[TensorProto]:
    for node in nodes(proto):
        for attribute in node.attribute:
            yield from (t for t in attribute_tensors(attribute) if t.data_location == TensorProto.EXTERNAL)


def _load_attributes(model: Path, proto: ModelProto) -> None:
    """Bring external data of attributes (small: Constant nodes) into the protobuf."""
    for tensor in _external_attributes(proto):
        where = read_range(tensor)
        with open_external(Place(model), where.location) as (file, _):
            file.seek(where.offset)
            tensor.raw_data = file.read(where.length)
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT
