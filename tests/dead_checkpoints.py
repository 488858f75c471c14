"""Checkpoints of every family with units that are dead, constant or twins, and what numpy's format readers say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from transformer_cases import FIXTURES

from nla.architectures.opening import open_checkpoint

BESIDE = {
    "tokenizer.json": b'{"version": "1.0"}',
    "generation_config.json": b'{\n  "use_cache": true\n}\n',
    "README.md": b"a model\n",
    ".gitattributes": b"*.safetensors filter=lfs\n",
    "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
    "2_Dense/model.safetensors": b"weights of another part",
}
"""What lies beside the weights and belongs to them."""
COPIES = (
    "pytorch_model.bin",
    "onnx/model.onnx",
    "model.onnx",
    "other.safetensors",
    "checkpoint-500/model.safetensors",
)
"""Weights that are not the checkpoint's own, or copies of them."""
UP = ("c_fc", "fc1", "gate_proj", "up_proj", "intermediate.dense", "dense_h_to_4h", "lin1")
DOWN = ("c_proj", "fc2", "down_proj", "output.dense", "dense_4h_to_h", "lin2")


@dataclass(frozen=True)
class Units:
    """Units of one block, by what becomes of them."""

    dead: tuple[int, ...] = ()
    constant: tuple[int, ...] = ()
    twins: tuple[tuple[int, int], ...] = ()
    """(unit, the one before it that it equals)"""


def make(
    place: Path,
    family: str,
    blocks: Mapping[int, Units],
    *,
    dtype: str = "float32",
    shards: int = 1,
    beside: bool = True,
) -> Path:
    """The family's fixture with these units, in a folder of its own."""
    place.mkdir(parents=True)
    tensors = dict(load_file(FIXTURES / family / "model.safetensors"))
    for block, units in blocks.items():
        for name in _of_block(tensors, block, UP):
            tensors[name] = _altered(tensors[name], name, units, turned=family == "gpt2")
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    tensors = {name: value.astype(kind) for name, value in tensors.items()}
    shutil.copy(FIXTURES / family / "config.json", place)
    if dtype != "float32":
        text = (place / "config.json").read_text().replace('"float32"', f'"{dtype}"')
        (place / "config.json").write_text(text)
    _save(place, tensors, shards)
    for name, content in BESIDE.items() if beside else ():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(content)
    return place


def _of_block(tensors: Iterable[str], block: int, modules: Iterable[str]) -> list[str]:
    return [
        name
        for name in tensors
        if f".{block}." in name and "attention" not in name and "attn" not in name
        if any(f".{module}." in name for module in modules)
    ]


def _altered(values: np.ndarray, name: str, units: Units, turned: bool) -> np.ndarray:
    rows = np.array(values.T if turned else values)
    rows[list(units.dead)] = 0
    if rows.ndim > 1:
        rows[list(units.constant)] = 0
    for unit, other in units.twins:
        rows[unit] = rows[other]
    return np.ascontiguousarray(rows.T if turned else rows)


def _save(place: Path, tensors: dict[str, np.ndarray], shards: int) -> None:
    if shards == 1:
        save_file(tensors, place / "model.safetensors", {"format": "pt", "by": "a trainer"})
        return
    names = list(tensors)
    parts = [names[at::shards] for at in range(shards)]
    files = [f"model-{at + 1:05d}-of-{shards:05d}.safetensors" for at in range(shards)]
    for file, held in zip(files, parts, strict=True):
        save_file({name: tensors[name] for name in held}, place / file, {"format": "pt"})
    total = sum(value.nbytes for value in tensors.values())
    where = {name: file for file, held in zip(files, parts, strict=True) for name in held}
    index = {"metadata": {"total_parameters": sum(v.size for v in tensors.values()), "total_size": total}}
    index["weight_map"] = where  # type: ignore[assignment]
    (place / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def add_copies(place: Path) -> None:
    """Files that are not to be copied with the checkpoint."""
    for name in COPIES:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(b"weights as they were")


def files(folder: Path) -> dict[str, str]:
    """sha256 of every file in the folder."""
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tensors_of(folder: Path) -> dict[str, np.ndarray]:
    """All tensors, as the library itself reads them."""
    found: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def order_of(path: Path) -> list[str]:
    """The tensors of a file in the order in which they lie."""
    header = header_of(path)
    return sorted(
        (name for name in header if name != "__metadata__"), key=lambda n: header[n]["data_offsets"]
    )


def header_of(path: Path) -> dict[str, Any]:
    """The header as it stands."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    found: dict[str, Any] = json.loads(content[8 : 8 + length])
    return found


def metadata_of(path: Path) -> dict[str, str]:
    """The metadata, as the library reads them."""
    with safe_open(path, "numpy") as file:
        return dict(file.metadata() or {})


def feeds(family: str) -> dict[str, np.ndarray]:
    """The fixture's inputs: padding among them."""
    with np.load(FIXTURES / family / "reference.npz") as values:
        return {name.removeprefix("input/"): values[name] for name in values if name.startswith("input/")}


def outputs(path: Path, given: Mapping[str, np.ndarray], **construction: Any) -> list[np.ndarray]:
    """What onnxruntime alone computes: of the built graph for a checkpoint without one."""
    checkpoint = open_checkpoint(path, **construction)
    options = onnxruntime.SessionOptions()
    external = checkpoint.map_external()
    if external:
        sizes = [len(file) for file in external.values()]
        options.add_external_initializers_from_files_in_memory(list(external), list(external.values()), sizes)
    session = onnxruntime.InferenceSession(
        checkpoint.proto.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    wanted = {i.name for i in session.get_inputs()}
    return session.run(None, {name: value for name, value in given.items() if name in wanted})
