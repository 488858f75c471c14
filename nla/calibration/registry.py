"""The formats of calibration data that nla reads, and which one a path is."""

from __future__ import annotations

import stat
from pathlib import Path

from nla.calibration.files import head
from nla.calibration.hdf5 import Hdf5
from nla.calibration.images import Images
from nla.calibration.npy import Npy
from nla.calibration.npz import Npz
from nla.calibration.onnx_test_data import OnnxTestData
from nla.calibration.safetensors import Safetensors
from nla.calibration.source import Reader, Request, Source
from nla.calibration.text import Text
from nla.errors import DataError, one_line, printable

READERS: tuple[Reader, ...] = (Npz(), Npy(), Hdf5(), Safetensors(), Text(), OnnxTestData(), Images())
"""The first that recognises a path reads it."""

_KNOWN = ".npz, .npy, .h5, .safetensors, text in .txt or .jsonl, a folder of images or of test_data_set_*"


def open_path(path: Path, request: Request) -> Source:
    """The arrays in the file or folder `path`; DataError where no reader knows it."""
    return reader_of(path).open(path, request)


def reader_of(path: Path) -> Reader:
    """The reader for the file or folder `path`; DataError where none knows it."""
    first = b"" if _is_folder(path) else head(path)
    for reader in READERS:
        if reader.recognises(path, first):
            return reader
    raise DataError(f"{printable(path)}: not a format of calibration data that nla reads: {_KNOWN}")


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        raise DataError(f"{printable(path)}: there is no such file or folder") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{printable(path)}: cannot be read: {one_line(error)}") from None
