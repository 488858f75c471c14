"""Fixtures with other names, other tensors or another config.json: what other programs and versions write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from transformer_cases import FIXTURES, error, run

from nla.architectures.opening import open_checkpoint
from nla.checkpoint.built import BuiltCheckpoint

Tensors = dict[str, np.ndarray]


def variant(
    name: str,
    folder: Path,
    tensors: Callable[[Tensors], Tensors] = dict,
    config: Callable[[dict[str, Any]], Mapping[str, Any]] = dict,
) -> Path:
    """The fixture, its tensors and its config.json changed."""
    shutil.copytree(FIXTURES / name, folder, dirs_exist_ok=True)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config(values)))
    changed = tensors(load_file(FIXTURES / name / "model.safetensors"))
    save_file(
        {key: np.ascontiguousarray(array) for key, array in changed.items()}, folder / "model.safetensors"
    )
    return folder


def opened(folder: Path) -> BuiltCheckpoint:
    """The checkpoint in the folder."""
    checkpoint = open_checkpoint(folder)
    assert isinstance(checkpoint, BuiltCheckpoint)
    return checkpoint


def first_error(name: str, checkpoint: BuiltCheckpoint) -> float:
    """The error of the fixture's first output."""
    arrays = reference(name)
    expected = next(array for key, array in arrays.items() if key.startswith("output/"))
    return error(run_first(name, checkpoint), expected, arrays.get("input/attention_mask"))


def run_first(name: str, checkpoint: BuiltCheckpoint) -> np.ndarray:
    """The fixture's first output on the fixture's inputs."""
    arrays = reference(name)
    given = {key.partition("/")[2]: array for key, array in arrays.items() if key.startswith("input/")}
    output = next(key.partition("/")[2] for key in arrays if key.startswith("output/"))
    return run(checkpoint, [output], given)[0]


def reference(name: str) -> dict[str, np.ndarray]:
    """What is stored of the fixture: `input/…`, `output/…`, `neurons/0`, `heads/0`, …"""
    with np.load(FIXTURES / name / "reference.npz") as stored:
        return dict(stored)


def renamed(old: str, new: str) -> Callable[[Tensors], Tensors]:
    """Tensors whose names begin with `old` begin with `new`."""
    return lambda tensors: {
        (new + key[len(old) :] if key.startswith(old) else key): array for key, array in tensors.items()
    }
