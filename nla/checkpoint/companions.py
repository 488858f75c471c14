"""The files that lie beside a checkpoint's weights and belong to it: tokenizer, README, what pooling there is."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

_OTHER_FORMATS = (
    *("*.onnx", "*.onnx_data*", "*.onnx.data", "*.gguf", "*.ggml", "*.msgpack", "*.h5", "*.ot", "*.tflite"),
    *("*.mlmodel", "*.mlpackage", "openvino_*", "consolidated*", "model.ckpt*"),
)
"""Weights as other libraries keep them, wherever they lie."""
_WEIGHTS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.bin",
    "*.bin.index.json",
    "*.pt",
    "*.pth",
    "*.ckpt",
)
"""Beside the checkpoint's own: copies of the weights, or weights of something else. Below, parts of a pipeline."""
_NO_WEIGHTS = ("training_args.bin",)
_EARLIER = re.compile(r"(checkpoint|step|epoch)[-_]?\d+")
"""Folders in which a trainer leaves what the model was before."""
_DEEPEST = 8
_MOST_FILES = 10_000


@dataclass(frozen=True)
class Companions:
    """What is copied with a checkpoint, and what is not, as paths relative to its folder with / between parts."""

    files: tuple[str, ...]
    left_out: tuple[str, ...]
    """Copies of the weights, links out of the folder, and what is no regular file."""


def companions(folder: Path, own: Collection[Path]) -> Companions:
    """What lies beside the checkpoint's `own` files. Hidden folders (.git, .cache) are passed over.

    A link is followed where it leads into the folder, or to where the checkpoint's own files really lie.
    """
    mine = {os.path.abspath(path) for path in own}
    reach = {os.path.realpath(folder), *(os.path.dirname(os.path.realpath(path)) for path in own)}
    files: list[str] = []
    left_out: list[str] = []
    for path in _found(folder, _DEEPEST):
        name = path.relative_to(folder).as_posix()
        if os.path.abspath(path) in mine:
            continue
        good = path.is_file() and _within(path, reach) and not _is_weights(PurePosixPath(name), path.parent)
        (files if good else left_out).append(name)
        if len(files) + len(left_out) > _MOST_FILES:
            left_out.append("…")
            break
    return Companions(tuple(files), tuple(left_out))


def _found(folder: Path, depth: int) -> Iterator[Path]:
    """Files, and folders that are not gone into, in the order of their names."""
    for path in sorted(folder.iterdir()):
        if not path.is_dir():
            yield path
        elif path.name.startswith("."):
            continue
        elif path.is_symlink() or not depth or _EARLIER.fullmatch(path.name) or _is_other(path.name):
            yield path
        else:
            yield from _found(path, depth - 1)


def _within(path: Path, reach: Collection[str]) -> bool:
    real = os.path.realpath(path)
    return any(os.path.commonpath([folder, real]) == folder for folder in reach)


def _is_other(name: str) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for pattern in _OTHER_FORMATS)


def _is_weights(name: PurePosixPath, folder: Path) -> bool:
    """Whether the file holds weights that the checkpoint's own are a copy of, or that are not this checkpoint's."""
    if _is_other(name.name):
        return True
    if len(name.parts) > 1:  # weights of another part, in this format once
        return fnmatchcase(name.name, "pytorch_model*.bin") and (folder / "model.safetensors").is_file()
    lower = name.name.lower()
    return lower not in _NO_WEIGHTS and any(fnmatchcase(lower, pattern) for pattern in _WEIGHTS)
