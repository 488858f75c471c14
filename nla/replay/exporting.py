"""What the supervised child does for `nla export`: build the graph, write it, try it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx import ModelProto, TensorProto

from nla.architectures.opening import open_checkpoint
from nla.checkpoint.atomic import atomic_write
from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.editing import ModelEdit
from nla.checkpoint.external import read_range
from nla.errors import ModelError, UsageError, printable
from nla.replay.blame import names_files
from nla.replay.tasks import Arguments, Arrays, Report, throttled
from nla.replay.trial import try_out

INLINE_BYTES = 100_000_000
"""Weights up to this are put into the ONNX file itself: one file is not torn apart."""


@names_files
def export(arguments: Arguments, arrays: Arrays, report: Report) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was written to `output`, and the files that were read.

    Raises:
        ModelError, UsageError: no graph can be built, or its weights cannot be referred to.
        OutputError: the output cannot be written.
    """
    report({"phase": "reading the model"})
    progress = throttled(report)
    checkpoint = open_checkpoint(
        arguments["model"],
        lambda done, total: progress("reading the model", done, total),
        **arguments["construction"],
    )
    if not isinstance(checkpoint, BuiltCheckpoint):
        raise UsageError(f"{printable(arguments['model'])}: it has a graph already")
    report({"phase": "writing"})
    written = (
        _copied(checkpoint, arguments["output"]) if arguments["copy"] else _referring(checkpoint, arguments)
    )
    source = arguments["construction"].get("graph")
    notes = try_out(arguments["output"], source, written["bytes"] + written["weight_bytes"], report)
    about = {
        "checkpoint": checkpoint.describe(),
        "inputs": [value.name for value in checkpoint.proto.graph.input],
        "outputs": [value.name for value in checkpoint.proto.graph.output],
        "notes": [*getattr(checkpoint, "notes", ()), *notes],
        "sources": [str(file) for file in checkpoint.files],
    }
    return {**written, **about}, {}


def _copied(checkpoint: BuiltCheckpoint, output: str) -> dict[str, Any]:
    """The graph, with the weights in it where they are small, else beside it."""
    weights = sum(read_range(tensor).length for tensor in _external(checkpoint.proto))
    if weights <= INLINE_BYTES:
        content = _inline(checkpoint).SerializeToString(deterministic=True)
        atomic_write(output, content, sources=checkpoint.files)
        return {"bytes": len(content) - weights, "weight_bytes": weights, "weights": "inside"}
    written = ModelEdit(checkpoint).write(output)
    beside = 0 if written.external is None else written.external.stat().st_size
    return {"bytes": written.size_bytes - beside, "weight_bytes": beside, "weights": "beside"}


def _external(proto: ModelProto) -> list[TensorProto]:
    return [tensor for tensor in proto.graph.initializer if tensor.data_location == TensorProto.EXTERNAL]


def _inline(checkpoint: BuiltCheckpoint) -> ModelProto:
    """A copy of the graph with the bytes of its weights in it."""
    model = ModelProto()
    model.CopyFrom(checkpoint.proto)
    files = checkpoint.map_external()
    for tensor in _external(model):
        where = read_range(tensor)
        tensor.raw_data = files[where.location][where.offset : where.offset + where.length].tobytes()
        del tensor.external_data[:]
        tensor.ClearField("data_location")
    return model


def _referring(checkpoint: BuiltCheckpoint, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The graph alone: its weights stay where they are, in the same folder."""
    for file in checkpoint.external_files:
        path = checkpoint.folder / file.location
        if path.is_symlink() or path.stat().st_nlink > 1:
            raise ModelError(
                f"{printable(path)}: a link, which onnx and onnxruntime refuse as external data: copy the weights "
                "(without --reference)"
            )
    content = checkpoint.proto.SerializeToString(deterministic=True)
    atomic_write(Path(arguments["output"]), content, sources=checkpoint.files)
    weights = sum(file.size_bytes for file in checkpoint.external_files)
    return {"bytes": len(content), "weight_bytes": weights, "weights": "source"}
