"""Small safetensors checkpoints for tests: written, opened, and run by onnxruntime as the graph that was built."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from safetensors.numpy import save_file

from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.safetensors_source import SafetensorsSource, open_safetensors

Array = NDArray[Any]


def stored(
    folder: Path, tensors: Mapping[str, Array], config: Mapping[str, Any] | None = None
) -> SafetensorsSource:
    """The tensors as `model.safetensors` in a folder, with a config.json where one is given, opened by nla."""
    folder.mkdir(exist_ok=True, parents=True)
    contiguous = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in tensors.items()}
    save_file(contiguous, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return open_safetensors(folder if config is not None else folder / "model.safetensors")


def run(built: BuiltCheckpoint, feeds: Mapping[str, Array], also: Sequence[str] = ()) -> dict[str, Array]:
    """Every output of the graph, and the values named in `also`, on the weights in the checkpoint's files."""
    proto = onnx.ModelProto()
    proto.CopyFrom(built.proto)
    there = {info.name for info in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in also if name not in there)
    options = ort.SessionOptions()
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(built.folder)
    )
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feeds)), strict=True))


def furthest(found: Array, expected: Array) -> float:
    """The largest difference, as a share of the largest expected magnitude."""
    assert found.shape == expected.shape
    return float(np.abs(found.astype(np.float64) - expected).max() / max(np.abs(expected).max(), 1e-30))


def convolved(
    x: Array, weight: Array, bias: Array | float = 0.0, stride: int = 1, pad: int = 0, groups: int = 1
) -> Array:
    """float64 convolution of [n, c, h, w] with [o, c / groups, k, l], by sliding windows."""
    x = np.pad(np.asarray(x, np.float64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], (2, 3))[:, :, ::stride, ::stride]
    parts = zip(np.split(windows, groups, 1), np.split(weight.astype(np.float64), groups, 0), strict=True)
    made = np.concatenate([np.einsum("nchwkl,ockl->nohw", part, kernel) for part, kernel in parts], 1)
    return made + np.reshape(bias, (1, -1, 1, 1))


def normed(
    x: Array, mean: Array, variance: Array, weight: Array, bias: Array, epsilon: float = 1e-5
) -> Array:
    """BatchNorm in inference, float64; channels on axis 1."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    scale = weight.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    return (x - mean.reshape(shape)) * scale.reshape(shape) + bias.reshape(shape)


def pooled(x: Array, size: int, stride: int, pad: int = 0) -> Array:
    """Max pooling of [n, c, h, w]."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))[:, :, ::stride, ::stride]
    return np.asarray(windows.max((4, 5)))
