"""The opener of model files: regular files only, of a size that was asked for, and nothing that waits."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nla.errors import ModelError, printable


@contextmanager
def open_regular(
    path: str | os.PathLike[str], *, follow: bool = True
) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """The file opened for reading, and what `fstat` says of it.

    A FIFO or a device would block or never end: the file is opened without waiting and its kind is looked at
    before a byte is read. With `follow=False` a symbolic link is refused. Raises ModelError.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise ModelError(_why_not(Path(path), error)) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ModelError(_not_regular(Path(path), status.st_mode))
    with os.fdopen(descriptor, "rb") as file:
        yield file, status


def read_regular(path: str | os.PathLike[str], largest_bytes: int) -> bytes:
    """The whole content of a regular file of at most `largest_bytes` bytes. Raises ModelError."""
    with open_regular(path) as (file, status):
        if status.st_size > largest_bytes:
            raise ModelError(
                f"the file has {status.st_size:,} bytes, more than the {largest_bytes:,} that a protobuf may "
                "have; a larger model keeps its weights in external data"
            )
        content = file.read(status.st_size + 1)  # read(n) takes n bytes of memory, whatever is there
    if len(content) != status.st_size:
        raise ModelError(
            f"the file changed while it was read ({status.st_size:,} bytes, then {len(content):,})"
        )
    return content


def _why_not(path: Path, error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):
        return "the path holds a NUL character"
    if error.errno == errno.ENOENT:
        return "no such file" if path.parent.is_dir() else f"no such folder: {printable(path.parent)}"
    if error.errno == errno.ELOOP:
        return "a symbolic link that may not be followed, or a circle of them"
    if error.errno in (errno.ENXIO, errno.ENODEV):
        return "not a regular file"
    return f"cannot be opened: {(error.strerror or str(error)).lower()}"


def _not_regular(path: Path, mode: int) -> str:
    if not stat.S_ISDIR(mode):
        return "not a regular file (a pipe, socket or device)"
    models = sorted(p.name for p in path.glob("*.onnx"))[:3]
    hint = f"; it holds {', '.join(printable(name) for name in models)}" if models else ""
    return f"a folder, not a model file{hint}"
