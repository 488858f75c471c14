"""A checkpoint without a graph of its own, and the graph that was built for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from nla.checkpoint.digest import checkpoint_digest
from nla.checkpoint.external import Place
from nla.checkpoint.onnx_file import OnnxCheckpoint
from nla.checkpoint.safetensors_source import SafetensorsSource

_FLOATING = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}

_OURS = "nla."


@dataclass(frozen=True, kw_only=True)
class BuiltCheckpoint(OnnxCheckpoint):
    """A safetensors checkpoint as an ONNX model: its weights are external data in the checkpoint's own files."""

    source: SafetensorsSource
    cuts: tuple[str, ...] = ()
    """Names of tensors, in graph order, at which the graph falls into stages: beside the graph's inputs, a stage
    reads of all that the one before it computes only the tensor between them."""
    architecture: str = ""
    """What built the graph: a model type of config.json, "graph" or "layers"."""
    notes: tuple[str, ...] = ()
    """What was taken for granted where the files leave it open: the plan of a plain network, tied tensors."""
    graph: OnnxCheckpoint | None = None
    """The model file that the graph was taken from, where a user gave one."""

    @classmethod
    def of(
        cls,
        source: SafetensorsSource,
        proto: ModelProto,
        *,
        cuts: tuple[str, ...] = (),
        architecture: str = "",
        notes: tuple[str, ...] = (),
        graph: OnnxCheckpoint | None = None,
    ) -> BuiltCheckpoint:
        """The graph over the checkpoint's files; the digest is over the user's model file too."""
        digest = source.digest if graph is None else checkpoint_digest(graph.digest, [("", source.digest)])
        _tell(proto, source)
        return cls(
            source.path,
            proto,
            digest,
            source.size_bytes,
            source.external_files,
            source=source,
            cuts=cuts,
            architecture=architecture,
            notes=notes,
            graph=graph,
        )

    @property
    def constants(self) -> frozenset[str]:
        """What the architecture put into the graph, and no file holds."""
        tensors = self.proto.graph.initializer
        return frozenset(tensor.name for tensor in tensors if tensor.name not in self.source.tensors)

    @property
    def folder(self) -> Path:
        """The folder in which config.json and the files of tensors lie."""
        return self.source.folder

    @property
    def place(self) -> Place:
        """Where its external data is looked for: beside config.json, whatever path was given."""
        return self.source.place

    @property
    def files(self) -> tuple[Path, ...]:
        """config.json, where there is one, and the files of tensors."""
        own = () if self.source.config is None else (self.folder / "config.json",)
        given = () if self.graph is None else self.graph.files
        return (*given, *own, *self.source.files)

    def describe(self) -> dict[str, object]:
        """The checkpoint as documents name it: path, format, digest, bytes, architecture, opsets, files."""
        return {
            "path": str(self.path),
            "format": "safetensors",
            "digest": self.digest,
            "bytes": self.size_bytes,
            "architecture": self.architecture,
            "dtype": " and ".join(self._dtypes()),
            "tensors": len(self.source.tensors),
            "shards": len(self.source.files),
            "producer": "",
            "ir_version": self.proto.ir_version,
            "opsets": {opset.domain or "ai.onnx": opset.version for opset in self.proto.opset_import},
            "external_files": [file.location for file in self.external_files],
            **({} if self.graph is None else {"graph": str(self.graph.path)}),
        }

    def _dtypes(self) -> list[str]:
        """The types of its floating tensors, the one with the most bytes first; of all tensors where none floats."""
        sizes: Counter[str] = Counter()
        for stored in self.source.tensors.values():
            sizes[stored.dtype] += stored.length
        floating = [name for name, _ in sizes.most_common() if name in _FLOATING]
        return [_FLOATING[name] for name in floating] or [name.lower() for name, _ in sizes.most_common()]


def _tell(proto: ModelProto, source: SafetensorsSource) -> None:
    """Let the graph say what nla wrote into the metadata of the files, as a model file would."""
    own = [entry for entry in proto.metadata_props if not entry.key.startswith(_OURS)]
    del proto.metadata_props[:]
    proto.metadata_props.extend(own)
    for metadata in source.metadata.values():
        for key, value in metadata.items():
            if key.startswith(_OURS):
                proto.metadata_props.add(key=key, value=value)
