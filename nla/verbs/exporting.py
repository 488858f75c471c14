"""The verb that writes the graph built for a safetensors checkpoint: export."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from nla.checkpoint.atomic import check_output
from nla.checkpoint.staging import named_as_asked, staged
from nla.errors import OutputError, UsageError, printable
from nla.isolation import Limits
from nla.outcomes import Exported
from nla.verbs.construction import Construction, folder_of
from nla.verbs.parcel import Parcel, Progress, StrPath


def export(
    model: StrPath,
    output: StrPath,
    *,
    copy: bool = True,
    graph: StrPath | None = None,
    layers: str | Sequence[str] | None = None,
    activation: str | None = None,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """The graph built for a safetensors checkpoint, as an ONNX file at `output` that any tool can go on from.

    It passed onnx's checker and loaded in onnxruntime before it got its name; the source is not touched. Weights in
    float16 and bfloat16 are kept as they are stored, and cast in the graph.

    Args:
        model: a safetensors checkpoint: its folder, a .safetensors file, or an index of shards.
        output: where the ONNX file goes.
        copy: copy the weights, into the ONNX file where they are small (100 MB), else to `<output>.data`; without it,
            the safetensors files are its external data, which demands that `output` lies in their folder.
        graph: an ONNX file with the graph of a safetensors checkpoint of no known architecture.
        layers: the layers of a plain network in a safetensors file, in their order.
        activation: what stands between these layers.
        memory_limit: bytes that the child process may take.
        time_limit: seconds that it may take.
        in_process: work in this process, without limits.
        progress: called with {'phase': str, 'done': int, 'total': int}.

    Raises:
        ModelError, UsageError: the checkpoint cannot be read, no graph is known for it, or it has one already.
        OutputError: the output cannot be written, or is a source.
    """
    folder = folder_of(model)
    if folder is None and os.path.exists(model):
        raise UsageError(
            f"{printable(model)}: not a safetensors checkpoint (a folder, a .safetensors file, an index of shards), "
            "and only such a one needs a graph"
        )
    sources = [model, *([graph] if graph is not None else [])]
    parcel = Parcel()
    parcel.arguments.update(
        model=os.fspath(model), copy=copy, construction=Construction.of(graph, layers, activation).given()
    )
    limits = Limits(memory_limit, time_limit)
    if not copy:
        with _beside_the_weights(output, folder or "", sources) as place:
            parcel.arguments["output"] = str(place)
            plain, _ = parcel.run("nla.replay.exporting:export", limits, progress, in_process)
        return Exported.of(output, plain)
    with staged(output, sources) as made:
        parcel.arguments["output"] = str(made.path)
        with named_as_asked(made):
            plain, _ = parcel.run("nla.replay.exporting:export", limits, progress, in_process)
        made.keep(plain["sources"])
    return Exported.of(output, plain)


@contextmanager
def _beside_the_weights(output: StrPath, folder: str, sources: Sequence[StrPath]) -> Iterator[Path]:
    """A temporary name in the folder of the weights, which gets the output's in the end. Raises OutputError."""
    target = Path(output)
    check_output(target, sources=sources)
    if os.path.realpath(target.parent) != os.path.realpath(folder):
        raise OutputError(
            f"cannot write {printable(target)}: its weights would stay in {printable(folder)}, and external data lies "
            "in the folder of its model: name an output in that folder, or copy the weights (without --reference)"
        )
    place = target.with_name(f".nla-{secrets.token_hex(8)}.onnx")
    try:
        yield place
        os.replace(place, target)
    finally:
        with suppress(OSError):
            place.unlink()
