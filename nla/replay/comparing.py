"""What the supervised child does for `nla verify`: open both models and the data, compare, weigh and time them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any

import numpy as np
from onnx import TensorProto

from nla.architectures.opening import open_checkpoint
from nla.calibration import Calibration, open_calibration
from nla.checkpoint.onnx_file import OnnxCheckpoint
from nla.checkpoint.safetensors_source import looks_like_safetensors
from nla.errors import DataError, UsageError, one_line, printable
from nla.graph.cost import multiply_adds
from nla.graph.given import ConstantFeed, place
from nla.graph.loading import load
from nla.graph.prepare import Prepared, prepare
from nla.graph.randomness import drawn_outputs
from nla.replay.blame import names_files
from nla.replay.compare import (
    Array,
    Comparison,
    Runner,
    about,
    batch_size,
    check_same_interface,
    latency,
    tensor_outputs,
)
from nla.replay.session import check_providers
from nla.replay.streaming.staged import session_of
from nla.replay.tasks import (
    Arguments,
    Arrays,
    Report,
    data_given,
    options_given,
    throttled,
    under,
    workers_of,
)
from nla.verification.differences import default_tolerance
from nla.verification.results import Size, SplitComparison, plain_split

KEYS = ("nla.manifest", "nla.stayed")
"""Of the metadata that `apply` writes."""
_LONGEST = 1 << 24
"""Characters of metadata that are read: a list of units is shorter, and a longer one is cut, and then none."""
_FLOATS = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16", TensorProto.FLOAT: "float32"}


@names_files
def compare(arguments: Arguments, arrays: Arrays, report: Report) -> tuple[dict[str, Any], dict[str, Array]]:
    """Outputs, sizes and latencies of the models `model` and `edited` over the data.

    Raises:
        ModelError, DataError, UsageError: what was given cannot be compared.
    """
    providers = tuple(arguments["providers"])
    check_providers(providers)
    constants = {**arguments["constants"], **under("constant/", arrays)}
    original, edited = (_opened(arguments, name, report) for name in ("model", "edited"))
    check_same_interface(original, edited)
    _check_made_for(arguments.get("made_for"), original, edited)
    report({"phase": "reading the data"})
    options = options_given(arguments, arrays, original)
    prepared = prepare(original, constants)
    data = open_calibration(data_given(arguments, arrays), prepared.inputs, options)
    report({"phase": "loading both models in onnxruntime"})
    drawn = drawn_outputs(prepared.model.graph)
    outputs = _compared(original, drawn)
    before, after = (
        _runner(model, outputs, constants, providers, arguments["verbose"]) for model in (original, edited)
    )
    tolerance = _tolerance(arguments["tolerance"], original)
    batch = batch_size(before, after, data, _fixed(prepared, data), arguments["largest_batch"])
    progress = throttled(report)
    splits = {
        name: Comparison(before, after, part, tolerance).run(
            batch, workers_of(arguments), _phase(progress, f"comparing outputs ({name.replace('_', '-')})")
        )
        for name, part in _splits(data, options.held_out).items()
    }
    _check_seen(splits["calibration"], original)
    latencies = [
        latency(before, after, data, size, lambda: report({"phase": "timing both models"}))
        for size in dict.fromkeys((1, batch))
    ]
    plain = {
        "tolerance": tolerance,
        "data": {**data.describe(), "held_out_samples": data.split()[1].samples if options.held_out else 0},
        "splits": {name: plain_split(split) for name, split in splits.items()},
        "latencies": [asdict(each) for each in latencies],
        "before": _about(original),
        "after": _about(edited),
        "size_before": asdict(_size(original, constants, data)),
        "size_after": asdict(_size(edited, constants, data)),
        "notes": _notes(original, drawn),
    }
    return plain, {}


def _opened(arguments: Arguments, name: str, report: Report) -> OnnxCheckpoint:
    """The checkpoint of this name; what is said of graphs is for those without one, of which there must be one."""
    report({"phase": "reading the models"})
    progress = throttled(report)
    path = arguments[name]
    without = [looks_like_safetensors(arguments[each]) for each in ("model", "edited")]
    said = arguments["construction"] if looks_like_safetensors(path) or not any(without) else {}
    return open_checkpoint(path, lambda done, total: progress("reading the models", done, total), **said)


def _compared(original: OnnxCheckpoint, drawn: Collection[str]) -> tuple[str, ...]:
    """The outputs that an edit can be judged by. Raises UsageError: there is none."""
    tensors = tensor_outputs(original)[0]
    kept = tuple(name for name in tensors if name not in drawn)
    if tensors and not kept:
        raise UsageError(
            f"{printable(original.path)}: every output is drawn at random, and differs from run to run: there is "
            "nothing to compare; export the model with an output that is not drawn"
        )
    return kept


def _runner(
    checkpoint: OnnxCheckpoint,
    outputs: tuple[str, ...],
    constants: Mapping[str, Any],
    providers: tuple[str, ...],
    verbose: bool,
) -> Runner:
    with about(checkpoint.path):
        session = session_of(checkpoint, providers, verbose)
    return Runner(str(checkpoint.path), session, outputs, _constant_feeds(checkpoint, constants))


def _constant_feeds(
    checkpoint: OnnxCheckpoint, constants: Mapping[str, Any]
) -> dict[str, ConstantFeed | Array]:
    """The values of inputs that are no data, as the file's own inputs take them."""
    if not constants:
        return {}
    graph = load(checkpoint).graph
    feeds, _ = place(graph, constants)
    fixed = {name: graph.initializers[name].const_value for name in constants if name not in feeds}
    return {**feeds, **{name: tensor.numpy() for name, tensor in fixed.items() if tensor is not None}}


def _tolerance(given: float | None, original: OnnxCheckpoint) -> float:
    if given is None:
        kinds = {_FLOATS.get(t.data_type, "") for t in original.proto.graph.initializer if len(t.dims) > 1}
        return default_tolerance(kinds)
    if not (isinstance(given, int | float) and np.isfinite(given) and given >= 0):
        raise UsageError(f"tolerance {one_line(given)}: expected a number from 0 on, such as 1e-5")
    return float(given)


def _fixed(prepared: Prepared, data: Calibration) -> bool:
    """Whether the file itself takes one sample a run."""
    declared = {i.name: i.shape for i in prepared.inputs}
    return any((shape := declared.get(n)) and isinstance(shape[0], int) for n in data.data_inputs)


def _splits(data: Calibration, share: float) -> dict[str, Calibration]:
    if not share:
        return {"calibration": data}
    kept, held = data.split(share)
    return {"calibration": kept, **({"held_out": held} if held.samples else {})}


def _check_made_for(
    made_for: Mapping[str, str] | None, original: OnnxCheckpoint, edited: OnnxCheckpoint
) -> None:
    """Refuse a manifest for another checkpoint, unless it was carried out all the same (--force)."""
    if made_for is None:
        return
    expected = made_for["checkpoint"]
    if expected != original.digest and made_for["manifest"] not in _about(edited)["nla"].values():
        raise UsageError(
            f"{printable(original.path)}: its digest is {original.digest[:16]}…, the manifest was made for "
            f"{expected[:16]}…: give the checkpoint that it was planned for, or no manifest"
        )


def _check_seen(split: SplitComparison, original: OnnxCheckpoint) -> None:
    """Refuse to call equal what could not be compared."""
    if not split.samples:
        raise DataError("every sample holds NaN or infinity: there is nothing to compare the models on")
    if all(output.values == output.nonfinite for output in split.outputs):
        raise DataError(
            f"{printable(original.path)}: on this data no output has a value that is finite: there is nothing to "
            "compare"
        )


def _phase(progress: Callable[[str, int, int], None], name: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(name, done, total)


def _about(checkpoint: OnnxCheckpoint) -> dict[str, Any]:
    metadata = {
        p.key: p.value[:_LONGEST]
        for p in islice((p for p in checkpoint.proto.metadata_props if p.key in KEYS), len(KEYS))
    }
    return {**checkpoint.describe(), "nla": metadata}


def _size(checkpoint: OnnxCheckpoint, constants: Mapping[str, Any], data: Calibration) -> Size:
    """Multiply-adds are those of one sample."""
    shapes = {name: (1, *sizes[1:]) if sizes else sizes for name, sizes in data.shapes.items()}
    prepared = prepare(checkpoint, constants, shapes)
    return Size(prepared.parameters, checkpoint.size_bytes, multiply_adds(prepared.model))


def _notes(original: OnnxCheckpoint, drawn: Collection[str]) -> list[str]:
    left = {"are no tensors": tensor_outputs(original)[1], "are drawn at random": drawn}
    return [
        f"outputs that {why} were not compared: {one_line(', '.join(names), 200)}"
        for why, names in left.items()
        if names
    ]
