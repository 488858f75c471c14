"""Ranges of inputs from a file: .npz with arrays `lo` and `hi` (or `INPUT.lo`, `INPUT.hi`), .json, or .vnnlib."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nla.certificates import vnnlib_files
from nla.certificates.domains import Shapes, Stated, from_arrays
from nla.errors import UsageError, one_line, printable

_LARGEST = 1 << 28
"""Bytes that a file may hold, unpacked."""


def read(path: Path, shapes: Shapes) -> dict[str, Stated]:
    """The domain of each input that the file names.

    JSON: `{"INPUT": {"lo": …, "hi": …}}`, or `{"lo": …, "hi": …}` for the only input; numbers or nested lists.

    Raises:
        UsageError: it cannot be read, holds something else, or is what `domains.box` refuses.
    """
    shown, source = printable(path), str(path)
    arrays: Mapping[str, ArrayLike]
    try:
        if path.suffix.lower() == ".npz":
            arrays = _npz(path, shown)
        elif path.suffix.lower() == ".json":
            arrays = _json(path, shown)
        elif path.suffix.lower() == ".vnnlib":
            arrays, source = vnnlib_files.read(path, shapes)
        elif path.suffix.lower() == ".gz":
            raise UsageError(f"{shown}: it is compressed: unpack it first, with gunzip")
        else:
            raise UsageError(f"{shown}: a domain is read from .npz, .json or .vnnlib")
    except OSError as error:
        raise UsageError(f"{shown}: cannot be read: {error.strerror or one_line(error, 120)}") from None
    except (ValueError, zipfile.BadZipFile, EOFError, RecursionError, MemoryError) as error:
        raise UsageError(f"{shown}: cannot be read as a domain ({one_line(error, 120)})") from None
    return from_arrays(arrays, shapes, source)


def _npz(path: Path, shown: str) -> dict[str, ArrayLike]:
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > _LARGEST:
            raise UsageError(f"{shown}: more than {_LARGEST >> 20} MiB")
    with np.load(path, allow_pickle=False) as held:
        return {name: held[name] for name in held.files}


def _json(path: Path, shown: str) -> dict[str, ArrayLike]:
    if path.stat().st_size > _LARGEST:
        raise UsageError(f"{shown}: more than {_LARGEST >> 20} MiB")
    document: Any = json.loads(path.read_text("utf-8"))
    if not isinstance(document, dict):
        raise UsageError(f"{shown}: expected an object with 'lo' and 'hi', or one for each input")
    made: dict[str, ArrayLike] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            made.update({f"{key}.{end}": part for end, part in value.items()})
        else:
            made[key] = value
    return made
