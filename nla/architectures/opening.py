"""From a path to a checkpoint with a graph: an ONNX file has one, for a safetensors checkpoint one is built."""

from __future__ import annotations

import os
import re
from typing import Any

from nla.architectures.builder import Graph
from nla.architectures.config import Config
from nla.architectures.grafting.matching import is_buffer
from nla.architectures.layers import build_layers
from nla.architectures.registry import ARCHITECTURES
from nla.architectures.user_graph import build_on
from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.external import Hashed
from nla.checkpoint.onnx_file import OnnxCheckpoint, open_onnx
from nla.checkpoint.safetensors_source import SafetensorsSource, looks_like_safetensors, open_safetensors
from nla.errors import ModelError, UsageError, printable

_CLASS = re.compile(r"(LMHead|DoubleHeads)?Model$|For[A-Z]\w*$")
"""What a class's name says beside its family: `BertForMaskedLM`, `GPT2LMHeadModel`."""


def open_checkpoint(
    path: str | os.PathLike[str], on_hashed: Hashed | None = None, **given: Any
) -> OnnxCheckpoint:
    """The checkpoint at `path`, of whatever format, with a graph.

    `given` is what the user says of a safetensors checkpoint: `graph`, `layers`, `activation`. Raises ModelError,
    UsageError.
    """
    told = {key: value for key, value in given.items() if value is not None}
    if looks_like_safetensors(path):
        return build(open_safetensors(path, on_hashed), **told)
    if told:
        raise UsageError(
            f"--{next(iter(told))} is for safetensors checkpoints, which hold no graph: "
            f"{printable(path)} is none"
        )
    return open_onnx(path, on_hashed=on_hashed)


def build(source: SafetensorsSource, **given: Any) -> BuiltCheckpoint:
    """The checkpoint with the graph of its architecture, or with what the user gives.

    `graph` is the path of an ONNX model whose weights have the tensors' names; `layers` and `activation` declare a
    plain network. Raises ModelError, UsageError.
    """
    try:
        if given.get("graph") is not None:
            if given.get("layers") or given.get("activation"):
                raise UsageError("--graph gives the whole network: leave --layers and --activation out")
            return build_on(source, given["graph"])
        if given.get("layers") or given.get("activation"):
            return build_layers(source, given.get("layers"), given.get("activation"))
        return _by_config(source)
    except ModelError as error:
        name = printable(source.path)
        raise error if str(error).startswith(name) else ModelError(f"{name}: {error}") from None


def _by_config(source: SafetensorsSource) -> BuiltCheckpoint:
    if source.config is None:
        raise ModelError(
            "no config.json beside it, so nothing says what the tensors compute: put it there, or give the graph "
            "with --graph model.onnx, or the layers of a plain network with --layers and --activation"
        )
    config = Config(source.config)
    name = _model_type(config)
    architecture = ARCHITECTURES.get(name)
    if architecture is None:
        raise ModelError(
            f"model_type '{printable(name)}' is none that nla builds a graph for: it knows "
            f"{', '.join(sorted(ARCHITECTURES))}; give the graph with --graph model.onnx"
        )
    graph = Graph(source)
    architecture(graph, config)
    proto = graph.finish(name, lambda tensor: is_buffer(tensor, source.tensors[tensor].shape))
    return BuiltCheckpoint.of(source, proto, cuts=graph.cuts, architecture=name, notes=graph.notes)


def _model_type(config: Config) -> str:
    """`model_type`; where an old config.json lacks it, that of the class that `architectures` names."""
    if config.has("model_type"):
        return config.text("model_type")
    plain = {name.replace("-", "").replace("_", ""): name for name in ARCHITECTURES}
    for found in config.architectures:
        family = _CLASS.sub("", found).lower()
        if family in plain:
            return plain[family]
    raise ModelError(
        "config.json names no model_type, so nothing says what the tensors compute: add one of "
        f"{', '.join(sorted(ARCHITECTURES))}, or give the graph with --graph model.onnx"
    )
