"""The one writer of output files: whole or not at all, and never over a source."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from nla.errors import OutputError, printable

Content = bytes | Callable[[BinaryIO], object]
_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than is allowed here",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENAMETOOLONG: "the name is too long",
}


def atomic_write(
    path: str | os.PathLike[str], content: Content, *, sources: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Write `content` (bytes, or a function given the open file) to `path`, whole or not at all.

    A temporary file beside the target is written, flushed to the disk and renamed; on any failure it is
    removed and an older file of that name stays as it was. A device or pipe (`/dev/null`) is written to.
    Raises OutputError, also where `path` is one of `sources`.
    """
    target = Path(path)
    try:
        _refuse(target, sources)
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                _fill(file, content)
            return
        _replace(target, content)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {printable(target)}: {_reason(target, error)}") from error


def check_output(path: str | os.PathLike[str], *, sources: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Find out before the work, not after it, that `path` cannot be written. Raises OutputError."""
    target = Path(path)
    try:
        _refuse(target, sources)
        if target.exists() and not target.is_file():
            return
        with suppress(FileNotFoundError):
            target.lstat()  # a name that is too long shows here
        _replace(target, None)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {printable(target)}: {_reason(target, error)}") from error


def _refuse(target: Path, sources: Iterable[str | os.PathLike[str]]) -> None:
    if not target.name:
        raise IsADirectoryError(errno.EISDIR, "is a folder")
    if not target.exists():
        return
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder")
    for source in sources:
        if os.path.exists(source) and os.path.samefile(source, target):
            raise OutputError(
                f"cannot write {printable(target)}: it is the file that was read; name another output"
            )


def _replace(target: Path, content: Content | None) -> None:
    """Put the content in the target's place; None: only try whether a file can be made beside it."""
    temporary = target.parent / f".nla-{secrets.token_hex(8)}.tmp"
    try:  # from before the file exists: an interrupt may come between any two lines
        with os.fdopen(_create(temporary), "wb") as file:
            if content is not None:
                _fill(file, content)
                file.flush()
                os.fsync(file.fileno())
        if content is not None:
            os.replace(temporary, target)
    finally:
        with suppress(OSError):
            temporary.unlink()
    _sync_folder(target.parent)


def _create(path: Path) -> int:
    """A new file, with the mode that the user's umask gives (which tempfile would not honour)."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _fill(file: BinaryIO, content: Content) -> None:
    if callable(content):
        content(file)
    else:
        file.write(content)


def _sync_folder(folder: Path) -> None:
    """Make the rename durable; some file systems cannot, and the file is complete all the same."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(target: Path, error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):
        return "the path holds a NUL character"
    if error.errno == errno.EISDIR or stat.S_ISDIR(_mode(target)):
        return "it is a folder; name a file in it"
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and not target.parent.is_dir():
        return f"the folder {printable(target.parent)} does not exist"
    return f"{_REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()}; nothing of it was written"


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0
