"""The same arrays in every format: what the contract suite runs over."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
from safetensors.numpy import save_file

Arrays = Mapping[str, np.ndarray]
Writer = Callable[[Path, Arrays], Any]


def npz(folder: Path, arrays: Arrays) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def npz_compressed(folder: Path, arrays: Arrays) -> Path:
    np.savez_compressed(folder / "packed.npz", **arrays)
    return folder / "packed.npz"


def npz_fortran(folder: Path, arrays: Arrays) -> Path:
    np.savez(folder / "fortran.npz", **{k: np.asfortranarray(v) for k, v in arrays.items()})
    return folder / "fortran.npz"


def npz_big_endian(folder: Path, arrays: Arrays) -> Path:
    np.savez(folder / "big.npz", **{k: v.astype(v.dtype.newbyteorder(">")) for k, v in arrays.items()})
    return folder / "big.npz"


def hdf5(folder: Path, arrays: Arrays) -> Path:
    with h5py.File(folder / "data.h5", "w") as file:
        for name, value in arrays.items():
            file[name] = value
    return folder / "data.h5"


def hdf5_chunked(folder: Path, arrays: Arrays) -> Path:
    with h5py.File(folder / "chunked.h5", "w") as file:
        for name, value in arrays.items():
            chunks = (min(7, len(value)), *value.shape[1:])
            file.create_dataset(name, data=value, chunks=chunks, compression="gzip")
    return folder / "chunked.h5"


def safetensors(folder: Path, arrays: Arrays) -> Path:
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, folder / "data.safetensors")
    return folder / "data.safetensors"


def onnx_test_data(folder: Path, arrays: Arrays) -> Path:
    """Samples in folders of unequal number: 3, then the rest."""
    root = folder / "onnx"
    for run, part in enumerate((slice(0, 3), slice(3, None))):
        where = root / f"test_data_set_{run}"
        where.mkdir(parents=True)
        for number, (name, value) in enumerate(arrays.items()):
            if len(value[part]):
                tensor = onnx.numpy_helper.from_array(value[part], name)
                (where / f"input_{number}.pb").write_bytes(tensor.SerializeToString())
        if not any(where.iterdir()):
            where.rmdir()
    return root


def in_memory(folder: Path, arrays: Arrays) -> Arrays:
    return dict(arrays)


NAMED: tuple[Writer, ...] = (
    npz,
    npz_compressed,
    npz_fortran,
    npz_big_endian,
    hdf5,
    hdf5_chunked,
    safetensors,
    onnx_test_data,
    in_memory,
)
"""Every format that holds several arrays by name."""


def npy(folder: Path, array: np.ndarray) -> Path:
    np.save(folder / "data.npy", array)
    return folder / "data.npy"


def word_tokenizer(folder: Path, words: str) -> Path:
    """A tokenizer.json that knows whole words only; the padding token is number 1."""
    vocabulary = {word: number for number, word in enumerate(["[UNK]", "[PAD]", *words.split()])}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    content = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": model,
    }
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(content))
    return path
