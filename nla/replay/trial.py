"""A model that nla wrote, tried before it gets its name: in onnx's checker, and in onnxruntime at every level."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from onnx import TensorProto

from nla.architectures.opening import open_checkpoint
from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.onnx_file import OnnxCheckpoint
from nla.errors import LimitError, one_line
from nla.replay.session import CPU, give_external, load_onnxruntime
from nla.replay.streaming.staged import session_of

_LARGE_BYTES = 500 << 20
"""A larger model is loaded once, as it is: each load takes its size in memory and seconds of time."""
_LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
_FATAL_ONLY = 4
_TOKENS, _PIXELS = 2, 32
"""Sizes of a small run where the graph leaves them free."""

StrPath = str | os.PathLike[str]
Report = Callable[[dict[str, object]], None]


_Run = Callable[[StrPath], None]
"""One way to try a model; it raises whatever the library raises."""


def try_out(made: StrPath, source: StrPath | None, size_bytes: int, report: Report) -> list[str]:
    """Try the model at `made`, an edit of the one at `source`; notes on what could not be tried.

    `source` None: all of it is nla's own.

    Raises:
        RuntimeError: a library refuses what nla made and takes the source: a defect of nla.
    """
    notes = []
    for what, run in _ways(size_bytes).items():
        report({"phase": f"trying the result: {what}"})
        refused = _refused(run, made)
        if refused is None:
            continue
        again = partial(_load, level="ORT_DISABLE_ALL") if run is _load_large else run
        if source is None or _refused(again, source) is None:
            raise RuntimeError(f"surgery made a model that fails at {what}: {refused}; nothing was written")
        notes.append(f"not tried: {what}, which refuses the original too ({refused})")
    if size_bytes > _LARGE_BYTES:
        notes.append(
            f"loaded in onnxruntime without optimisations only: the model is over {_LARGE_BYTES >> 20} MiB"
        )
    return notes


def try_built(made: BuiltCheckpoint, report: Report) -> list[str]:
    """Try a checkpoint that nla wrote and that holds no graph: a small run, and loading at every level; notes.

    A large one is run stage by stage alone, as it is replayed. Raises LimitError, or

        RuntimeError: onnxruntime refuses it: a defect of nla.
    """
    tries: dict[str, Callable[[], object]] = {}
    if made.cuts:
        tries["a small run"] = partial(_run_small, made)
    if made.size_bytes <= _LARGE_BYTES:
        tries |= {
            f"loading in onnxruntime ({level})": partial(_load_opened, made, level) for level in _LEVELS
        }
    for what, run in tries.items():
        report({"phase": f"trying the result: {what}"})
        try:
            run()
        except LimitError:
            raise
        except Exception as error:
            raise RuntimeError(
                f"surgery made a checkpoint that fails at {what}: {one_line(error, 200)}; nothing was written"
            ) from error
    return [] if tries else [f"not loaded in onnxruntime: the checkpoint is over {_LARGE_BYTES >> 20} MiB"]


def _run_small(made: BuiltCheckpoint) -> None:
    """Every stage in turn on one sample of two tokens, or of an image of zeros."""
    feeds = {}
    for value in made.proto.graph.input:
        declared = value.type.tensor_type
        floating = declared.elem_type == TensorProto.FLOAT
        sizes = [dim.dim_value or (_PIXELS if floating else _TOKENS) for dim in declared.shape.dim]
        fill = np.ones if value.name == "attention_mask" else np.zeros
        feeds[value.name] = fill([1, *sizes[1:]], np.float32 if floating else np.int64)
    session_of(made).run([output.name for output in made.proto.graph.output], feeds)


def refusal(source: StrPath) -> str | None:
    """What a library says against a model that was given; None where all of them take it."""
    for what, run in _ways(os.stat(source).st_size).items():
        refused = _refused(run, source)
        if refused is not None:
            return f"{what}: {refused}"
    return None


def _refused(run: _Run, path: StrPath) -> str | None:
    """What a library says against the model; None where it takes it."""
    try:
        run(path)
    except Exception as error:  # onnx and onnxruntime raise many kinds
        return one_line(error, 200)
    return None


def _ways(size_bytes: int) -> dict[str, _Run]:
    checks: dict[str, _Run] = {
        "onnx's checker": partial(_check, strict=False),
        "onnx's strict shape inference": partial(_check, strict=True),
    }
    if size_bytes > _LARGE_BYTES:
        return checks | {"loading in onnxruntime": _load_large}
    return checks | {f"loading in onnxruntime ({level})": partial(_load, level=level) for level in _LEVELS}


def _check(path: StrPath, strict: bool) -> None:
    import onnx

    onnx.checker.check_model(os.fspath(path), full_check=strict)


def _load(path: StrPath, level: str) -> None:
    """With its external data handed over by nla's one opener."""
    _load_opened(open_checkpoint(path), level)


def _load_opened(checkpoint: OnnxCheckpoint, level: str) -> None:
    ort, options = _options(level)
    external = checkpoint.map_external()  # onnxruntime reads them by address: they must outlive the loading
    give_external(options, external)
    ort.InferenceSession(checkpoint.proto.SerializeToString(), options, providers=[CPU])


def _load_large(path: StrPath) -> None:
    """By path: the external data is nla's own, and onnxruntime leaves it mapped where it need not prepack it."""
    ort, options = _options("ORT_DISABLE_ALL")
    options.add_session_config_entry("session.disable_prepacking", "1")
    ort.InferenceSession(os.fspath(path), options, providers=[CPU])


def _options(level: str) -> tuple[Any, Any]:
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    return ort, options
