"""Small safetensors checkpoints in the layouts of model hubs, for the tests of what reads them."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from nla.checkpoint.safetensors_source import open_safetensors
from nla.errors import ModelError

RNG = np.random.default_rng(4)
TENSORS = {
    "h.0.weight": RNG.normal(size=(3, 4)).astype(np.float32),
    "h.0.bias": RNG.normal(size=3).astype(np.float16),
    "h.1.weight": RNG.normal(size=(5, 3)).astype(ml_dtypes.bfloat16),
    "h.10.ids": np.arange(7, dtype=np.int64),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.array(2.5, np.float64),
    "mask": np.array([True, False, True]),
}
CONFIG = {"model_type": "gpt2", "n_layer": 2}
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def refused(path, words):
    """What is said when the checkpoint is refused: one short line with these words."""
    with pytest.raises(ModelError, match=words) as caught:
        open_safetensors(path)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 600, said
    return said


def make_folder(place: Path) -> Path:
    """config.json and model.safetensors."""
    place.mkdir()
    (place / "config.json").write_text(json.dumps(CONFIG))
    save_file(TENSORS, place / "model.safetensors", {"format": "pt"})
    return place


def make_shards(place: Path) -> Path:
    """config.json, two shards and their index."""
    place.mkdir()
    (place / "config.json").write_text(json.dumps(CONFIG))
    names = list(TENSORS)
    parts = dict(zip(SHARDS, (names[:3], names[3:]), strict=True))
    for file, held in parts.items():
        save_file({name: TENSORS[name] for name in held}, place / file, {"format": "pt", "part": file[6:11]})
    write_index(place, {name: file for file, held in parts.items() for name in held})
    return place


def write_index(folder, weight_map):
    """The index of the folder, anew."""
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map})
    )


def weight_map(folder):
    """What the folder's index says."""
    return json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
