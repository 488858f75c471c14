"""An honest manifest, its edited model and its undo file, which the tests of surgery spoil."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

import nla

MODEL = """
<ir_version: 10, opset_import: ["" : 20]>
hostile (float[n, 4] x) => (float[n, 2] y)
<float[4, 4] W = {1, -1, 2, 0, 1, -2, 3, 0, 1, 1, 1, 1, 0.5, 0.25, -1, 0}, float[4] b = {0, 1, -500, -500},
 float[4, 2] V = {1, 2, 3, 4, 5, 6, 7, 8}, float[2] c = {0.5, 0.25} %s>
{
  %s
  z = Gemm (%s, W, b)
  h = Relu (z)
  y = Gemm (h, V, c)
}
"""
"""Units 2 and 3 of h are dead on every sample of the data."""


def parsed(constants: str = "", before: str = "", reads: str = "x") -> ModelProto:
    """The model; `before` are nodes between the input and the first layer, which reads the tensor `reads`."""
    return onnx.parser.parse_model(MODEL % (constants and f", {constants}", before, reads))


def external(folder: Path, location: str) -> Path:
    """The model with all weights in a file of this name beside it."""
    model = parsed()
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    path = folder / "model.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location=location, size_threshold=0)
    return path


@dataclass(frozen=True)
class Files:
    """What lies in a folder; a spoilt file is put beside."""

    folder: Path

    def __getattr__(self, name: str) -> Path:
        return self.folder / _NAMES[name]

    @property
    def plain(self) -> dict[str, Any]:
        """The manifest's values."""
        return json.loads(self.manifest.read_text())

    def changed(self, change: Callable[[dict[str, Any]], object], name: str = "changed.json") -> Path:
        """A manifest that `change` has changed."""
        plain = deepcopy(self.plain)
        change(plain)
        path = self.folder / name
        path.write_text(json.dumps(plain))
        return path

    def contents(self) -> dict[str, bytes]:
        """Of all files that no run may touch."""
        return {
            name: (self.folder / name).read_bytes()
            for name in _NAMES.values()
            if (self.folder / name).exists()
        }


_NAMES = {
    "model": "model.onnx",
    "data": "data.npz",
    "recording": "run.h5",
    "manifest": "manifest.json",
    "edited": "edited.onnx",
    "undo": "undo.safetensors",
}


def prepared(folder: Path, model: Path | None = None) -> Files:
    """All files, made by nla in this process."""
    files = Files(folder)
    if model is None:
        files.model.write_bytes(parsed().SerializeToString())
    np.savez(files.data, x=np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32))
    nla.inspect(files.model, files.data, output=files.recording, in_process=True)
    nla.plan(files.recording, "prune", output=files.manifest, in_process=True)
    nla.apply(files.manifest, files.model, files.edited, record_undo=files.undo, in_process=True)
    return files
