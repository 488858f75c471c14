"""A graph that the user gives, with the weights of a safetensors checkpoint in the place of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from nla.architectures.builder import FLOATING
from nla.architectures.grafting.hidden import initializers, refuse_hidden
from nla.architectures.grafting.layouts import turned
from nla.architectures.grafting.matching import Matches, is_buffer, match
from nla.architectures.grafting.rewriting import Rewriting
from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.external import Place
from nla.checkpoint.onnx_file import OnnxCheckpoint, open_onnx
from nla.checkpoint.safetensors_source import SafetensorsSource
from nla.checkpoint.values import from_field
from nla.checkpoint.weights import read_external
from nla.errors import ModelError, printable

NAME = "graph"
_BYTES = ("I8", "U8")
_SHOWN = 5


def build_on(source: SafetensorsSource, path: str | os.PathLike[str]) -> BuiltCheckpoint:
    """The graph of the ONNX file at `path` with the tensors of `source` for its weights.

    They are matched by name, or by name without one common prefix; heads may be tied to tables of embeddings.
    Every floating tensor of the checkpoint has to be in the graph and every weight of the graph in the checkpoint:
    exporters fold and merge tensors, and a network of which a part stayed behind computes something else. Raises
    ModelError.
    """
    given = open_onnx(path)
    try:
        return _graft(source, given)
    except ModelError as error:
        raise ModelError(f"--graph {printable(path)}: {error}") from None


def _graft(source: SafetensorsSource, given: OnnxCheckpoint) -> BuiltCheckpoint:
    refuse_hidden(given.proto)
    weights = initializers(given.proto.graph)
    wanted = {name: tuple(tensor.dims) for name, tensor in weights.items()}
    stored = _floating(source)
    tie = source.config is None or source.config.get("tie_word_embeddings") is not False
    matches = match(wanted, stored, tie=tie, equal=partial(_equal, source))
    if not matches.pairs:
        raise ModelError("none of its weights is in the checkpoint by name")

    def values(name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        return _read(weights[name], Place(given.path)), source.array(matches.pairs[name])

    across = turned(given.proto, matches.pairs, wanted, stored, values)
    proto = Rewriting(given.proto, Place(given.path)).run(matches.pairs, across, source.tensors)
    bare = replace(given, proto=ModelProto())  # its weights need not stay in memory
    notes = _notes(given, matches, len(across), source)
    return BuiltCheckpoint.of(source, proto, architecture=NAME, notes=notes, graph=bare)


def _floating(source: SafetensorsSource) -> dict[str, tuple[int, ...]]:
    """The shapes of the floating tensors. Raises ModelError for bytes that may be quantised weights."""
    for name, stored in source.tensors.items():
        if stored.dtype in _BYTES and not is_buffer(name, stored.shape):
            raise ModelError(
                f"tensor '{printable(name)}' of the checkpoint is {stored.dtype} {list(stored.shape)}: a quantised "
                "weight or a mask, which no weight of a graph is matched with"
            )
    return {name: stored.shape for name, stored in source.tensors.items() if stored.dtype in FLOATING}


def _equal(source: SafetensorsSource, name: str, other: str) -> bool:
    first, second = source.tensors[name], source.tensors[other]
    same = first.dtype == second.dtype and first.shape == second.shape
    return same and bool(np.array_equal(source.array(name), source.array(other)))


def _read(tensor: TensorProto, place: Place) -> NDArray[Any]:
    outside = tensor.data_location == TensorProto.EXTERNAL
    return read_external(place, tensor) if outside else from_field(tensor)


def _notes(
    given: OnnxCheckpoint, matches: Matches, across: int, source: SafetensorsSource
) -> tuple[str, ...]:
    where = printable(os.path.basename(given.path))
    count = f"{len(matches.pairs):,} weights of the checkpoint"
    notes = [f"the graph is that of {where} (sha256 {given.digest[:16]}…), with {count}"]
    if matches.prefix:
        notes.append(f"names were matched without {matches.prefix}")
    if across:
        notes.append(f"{across:,} matrices of the checkpoint are read transposed")
    notes += [f"'{printable(a)}' is tied to '{printable(b)}' of the checkpoint" for a, b in matches.tied]
    if matches.kept:
        notes.append(f"constants that stay the graph's own: {_listed(matches.kept)}")
    if matches.unused:
        notes.append(f"tensors of the checkpoint that nothing needs: {_listed(matches.unused)}")
    casts = _casts(given, matches, source)
    if casts:
        notes.append(f"{casts:,} weights are cast from the checkpoint's type to the graph's")
    return tuple(notes)


def _casts(given: OnnxCheckpoint, matches: Matches, source: SafetensorsSource) -> int:
    weights: Mapping[str, TensorProto] = initializers(given.proto.graph)
    return sum(
        FLOATING[source.tensors[tensor].dtype] != weights[name].data_type
        for name, tensor in matches.pairs.items()
    )


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(printable(name) for name in names[:_SHOWN]) + more
