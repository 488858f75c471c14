"""Opening files of strangers: regular files only, and what they are by their first bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nla.calibration.columns import Handle
from nla.errors import DataError, NlaError, one_line, printable

_LFS = b"version https://git-lfs"


def open_regular(path: Path) -> Handle:
    """A handle on `path`; DataError where it is missing, unreadable, or a FIFO, device, socket or folder.

    Opened without blocking and looked at afterwards, so that neither a FIFO nor a race can hold us up.
    """
    shown = printable(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise DataError(f"{shown}: there is no such file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{shown}: cannot be opened: {one_line(reason)}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError(
            f"{shown}: not a regular file (a folder, FIFO or device); calibration data must be a file"
        )
    return Handle(descriptor, shown)


def head(path: Path) -> bytes:
    """The first 64 bytes; DataError for an empty file or one that git-lfs has not fetched."""
    handle = open_regular(path)
    first = handle.read(64, 0)
    if not first:
        raise DataError(f"{handle.name}: the file is empty")
    if first.startswith(_LFS):
        raise DataError(f"{handle.name}: a git-lfs pointer, not the data itself: run `git lfs pull`")
    return first


def read_text(path: Path, limit_bytes: int) -> str:
    """A small text file, UTF-8 with or without a byte-order mark; DataError where it is not."""
    handle = open_regular(path)
    if handle.size > limit_bytes:
        raise DataError(f"{handle.name}: {handle.size} bytes; at most {limit_bytes} are read as text")
    try:
        return handle.read(limit_bytes, 0).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{handle.name}: not UTF-8 text (byte {error.start})") from None


@contextmanager
def blaming(what: str) -> Iterator[None]:
    """Turns whatever a library raises on a faulty file into a DataError that begins with `what`.

    BaseException, because the Rust libraries panic with one; Ctrl-C and our own errors pass.
    """
    try:
        yield
    except (NlaError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise DataError(f"{what}: {one_line(error) or type(error).__name__}") from None
