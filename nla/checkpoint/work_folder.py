"""The folder beside an output in which a long job keeps what it has so far: claimed, emptied, removed.

Nothing but the files that nla makes there is ever removed.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nla.errors import OutputError, printable

STATE = "state.json"
_SIGN = b'"nla/work/'
"""Stands in every state file."""
_LOCK = "lock"
_OURS = re.compile(r"state\.json|lock|hidden-[01]\.bin|[a-z_]+-[0-9]{5}\.(stage|part)")


def folder_of(output: str | os.PathLike[str]) -> Path:
    """The work folder of an output.

    >>> folder_of("run.h5").name
    'run.h5.work'
    """
    path = Path(output)
    return path.with_name(path.name + ".work")


def holds_work(folder: Path) -> bool:
    """Whether a job was left unfinished there."""
    return any(folder.glob("*.stage"))


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder, made if need be, for this process alone.

    Raises OutputError: it cannot be made, holds files of others, or another process works in it.
    """
    try:
        folder.mkdir(exist_ok=True)
        others = sorted(path.name for path in folder.iterdir() if not _OURS.fullmatch(path.name))
        if others:
            raise OutputError(
                f"{printable(folder)} is where the work so far would be kept, and holds '{printable(others[0])}', "
                "which is none of nla's: move it away, or name another output"
            )
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _cannot(folder, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(
                f"{printable(folder)} is in use by another nla: wait for it, or name another output"
            ) from error
        yield
    finally:
        os.close(descriptor)


def clear(folder: Path) -> None:
    """Remove what nla left in the folder, but for the lock. Raises OSError."""
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.name != _LOCK:
            path.unlink()


def remove_work(folder: Path) -> None:
    """Remove the folder of work that is done; what cannot be removed stays, and so does what is none of nla's."""
    with suppress(OSError):
        if _SIGN not in (folder / STATE).read_bytes()[:4096]:
            return
        clear(folder)
        (folder / _LOCK).unlink(missing_ok=True)
        folder.rmdir()


def sync(folder: Path) -> None:
    """The names in the folder are on the disk when this returns. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot make the folder {printable(folder)}: {(error.strerror or str(error)).lower()}"
    )
