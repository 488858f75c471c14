"""Which files of a folder make up a safetensors checkpoint, by their names and by the index of shards."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nla.checkpoint.strict_json import read_json_file
from nla.errors import ModelError, printable

CONFIG = "config.json"
SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
_MODEL = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_ADAPTER = "adapter_model.safetensors"
_BELOW = (f"*/{_MODEL}", f"*/{_INDEX}", f"snapshots/*/{_MODEL}", f"snapshots/*/{_INDEX}")
"""Where older sentence-transformers and a hub cache keep the checkpoint of a folder."""
_LARGEST_INDEX_BYTES = 32 << 20
_MOST_SHARDS = 10_000
_SHARD = re.compile(r"-0*([0-9]{1,9})-of-0*([0-9]{1,9})\.safetensors$", re.ASCII)
_OTHERS = (
    (
        ("pytorch_model*.bin", "*.bin", "*.pt", "*.pth", "*.ckpt"),
        "PyTorch pickles, which nla never loads; convert them with transformers: "
        "`AutoModel.from_pretrained(folder).save_pretrained(folder)`, or with safetensors' own converter",
    ),
    (("tf_model.h5", "*.h5", "*.msgpack"), "weights of TensorFlow or Flax; convert them to safetensors"),
    (("*.gguf",), "a GGUF file; give the safetensors checkpoint that it was made from"),
)


@dataclass(frozen=True)
class Layout:
    """The files of a checkpoint, none opened yet but the index."""

    path: Path
    """As it was given."""
    folder: Path
    config: Path | None
    files: tuple[Path, ...]
    """The .safetensors files, in natural order of their names."""
    index: Path | None = None
    listed: Mapping[str, str] = field(default_factory=dict)
    """By tensor, the name of the file that the index says it is in."""


def find_layout(path: Path) -> Layout:
    """The files of the checkpoint at `path`: a folder, a .safetensors file or an index. Raises ModelError."""
    if "\0" in str(path):
        raise ModelError(f"{printable(path)}: the path holds a NUL character")
    if os.path.isdir(path):
        found = _in_folder(path)
        folder = path
    else:
        found, folder = path, path.parent
    config = folder / CONFIG
    there = config if os.path.lexists(config) else None
    if found.name.lower().endswith(INDEX_SUFFIX):
        listed = _listed(found)
        files = tuple(folder / name for name in sorted(set(listed.values()), key=natural))
        _check_there(found, files)
        return Layout(path, folder, there, files, found, listed)
    _check_whole(found)
    return Layout(path, folder, there, (found,))


def natural(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts the numbers in names as numbers.

    >>> sorted(["h.10", "h.9"], key=natural)
    ['h.9', 'h.10']
    """
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part)) if part.isdecimal() and part.isascii() else (1, part) for part in parts]


def _in_folder(folder: Path) -> Path:
    """The file of tensors, or the index, that a folder's name stands for: as transformers looks for it."""
    try:
        names = sorted(os.listdir(folder), key=natural)
    except OSError as error:
        raise ModelError(
            f"{printable(folder)}: cannot be opened: {(error.strerror or str(error)).lower()}"
        ) from None
    for name in (_MODEL, _INDEX):
        if name in names:
            return folder / name
    if _ADAPTER in names:
        raise ModelError(
            f"{printable(folder)}: an adapter ({_ADAPTER}), which is a change of another checkpoint; merge the two "
            "first, with peft's `merge_and_unload` for example"
        )
    for suffix in (INDEX_SUFFIX, SUFFIX):
        found = [name for name in names if name.endswith(suffix)]
        if len(found) == 1:
            return folder / found[0]
        if found:
            raise ModelError(f"{printable(folder)}: {_which(found)}")
    raise ModelError(f"{printable(folder)}: {_nothing(folder)}")


def _which(found: list[str]) -> str:
    if any(_SHARD.search(name) for name in found):
        return f"it holds shards ({printable(found[0])}, …) and no {_INDEX}, which says what they hold; it is missing"
    return (
        f"it holds several checkpoints ({', '.join(printable(name, 80) for name in found[:3])}"
        f"{', …' if len(found) > 3 else ''}) and no {_MODEL}; name the file"
    )


def _nothing(folder: Path) -> str:
    """Why a folder without any .safetensors file is no checkpoint, from what else it holds."""
    models = sorted(found.name for found in folder.glob("*.onnx"))[:3]
    if models:
        return f"a folder, not a model file; it holds {', '.join(printable(name) for name in models)}"
    for patterns, what in _OTHERS:
        for pattern in patterns:
            others = sorted(found.name for found in folder.glob(pattern))
            if others:
                return f"it holds no {_MODEL} but {printable(others[0])}: {what}"
    below = sorted(found.parent for pattern in _BELOW for found in folder.glob(pattern))
    if below:
        return f"a folder, not a model file; the checkpoint lies below: give {printable(below[0])}"
    return f"a folder, not a model file, and no checkpoint: it holds no {_MODEL}"


def _check_whole(path: Path) -> None:
    """A shard alone is a part of a checkpoint."""
    match = _SHARD.search(path.name)
    if match is None or int(match[2]) < 2:
        return
    raise ModelError(
        f"{printable(path)}: shard {match[1]} of {match[2]}, a part of a checkpoint; give the folder, or its index"
    )


def _listed(index: Path) -> dict[str, str]:
    """By tensor, the file that the index names: plain names of files in its folder."""
    try:
        found = read_json_file(index, _LARGEST_INDEX_BYTES).get("weight_map")
        if not isinstance(found, dict) or not found:
            raise ModelError("it has no weight_map, the object that names a file for each tensor")
        for tensor, shard in found.items():
            _check_shard(tensor, shard)
        if len(set(found.values())) > _MOST_SHARDS:
            raise ModelError(f"it names more than {_MOST_SHARDS:,} files")
    except ModelError as error:
        raise ModelError(f"{printable(index)}: {error}") from None
    return found


def _check_shard(tensor: str, shard: object) -> None:
    plain = isinstance(shard, str) and shard.isprintable() and not re.search(r"[/\\:]", shard)
    if not isinstance(shard, str) or not plain or not shard.endswith(SUFFIX):
        raise ModelError(
            f"tensor '{printable(tensor)}': '{printable(shard)}' is no plain name of a {SUFFIX} file in its folder"
        )


def _check_there(index: Path, files: tuple[Path, ...]) -> None:
    missing = [file.name for file in files if not os.path.exists(file)]
    if missing:
        raise ModelError(
            f"{printable(index)}: {len(missing)} of {len(files)} shards "
            f"{'is' if len(missing) == 1 else 'are'} missing: {', '.join(printable(name, 80) for name in missing[:3])}"
            f"{', …' if len(missing) > 3 else ''}; put them beside the index"
        )
