"""What is said of a checkpoint that holds no graph, and the folder that says how its data is prepared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nla.errors import UsageError
from nla.verbs.parcel import StrPath

_FILES = (".safetensors", ".safetensors.index.json")


@dataclass(frozen=True)
class Construction:
    """How the graph of a safetensors checkpoint is made where its config.json does not say."""

    graph: str | None = None
    """An ONNX file with the graph, whose weights are replaced by the checkpoint's of the same names."""
    layers: tuple[str, ...] | None = None
    """The layers of a plain network in their order."""
    activation: str | None = None
    """What stands between them."""

    @classmethod
    def of(
        cls,
        graph: StrPath | None = None,
        layers: str | Sequence[str] | None = None,
        activation: str | None = None,
    ) -> Construction:
        """As the verbs take it. Raises UsageError where a graph and layers are both given."""
        if graph is not None and (layers is not None or activation is not None):
            raise UsageError(
                "a graph says what layers and activation there are: give --graph or --layers, not both"
            )
        words = layers.split(",") if isinstance(layers, str) else layers
        listed = None if words is None else tuple(word.strip() for word in words)
        return cls(None if graph is None else os.fspath(graph), listed, activation)

    def given(self) -> dict[str, Any]:
        """What was said, by name, as plain values: the keyword arguments of `open_checkpoint`."""
        said = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}

    @classmethod
    def recorded(cls, checkpoint: Mapping[str, Any]) -> Construction:
        """What a document says of its checkpoint; a path to a graph is not taken from a document.

        Raises UsageError.
        """
        layers, activation = checkpoint.get("layers"), checkpoint.get("activation")
        texts = isinstance(layers, list | None) and all(isinstance(word, str) for word in layers or ())
        if not texts or not isinstance(activation, str | None):
            raise UsageError("the manifest's checkpoint.layers and checkpoint.activation are no texts")
        return cls.of(None, layers, activation)

    @classmethod
    def in_options(cls, options: Mapping[str, Any]) -> Construction:
        """That of a verb's options."""
        return cls.of(options.get("graph"), options.get("layers"), options.get("activation"))


def is_safetensors(path: StrPath) -> bool:
    """Whether a checkpoint's path is that of one without a graph: a folder, a safetensors file, or an index."""
    return os.path.isdir(path) or os.fspath(path).lower().endswith(_FILES)


def folder_of(path: StrPath) -> str | None:
    """The folder of a safetensors checkpoint; None for a checkpoint of another format."""
    if not is_safetensors(path):
        return None
    return os.fspath(path) if os.path.isdir(path) else str(Path(path).parent)


def prepared_as(original: StrPath, options: Mapping[str, Any]) -> str | os.PathLike[str] | None:
    """The folder that says how data is prepared: the one given, else that of a safetensors checkpoint."""
    given = options.get("processor")
    return folder_of(original) if given is None else given


def for_edit(edited: StrPath, original: StrPath, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with which an edit of a checkpoint is replayed: its data is prepared as that of the original.

    What was said of the graph is for checkpoints without one, and the edit of such a checkpoint may have one.
    """
    said = {**options, "processor": prepared_as(original, options)}
    if not is_safetensors(edited):
        for name in ("graph", "layers", "activation"):
            said.pop(name, None)
    return said
